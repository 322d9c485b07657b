// SPDX-License-Identifier: Apache-2.0
// The protocol of docs/decisions/0007-exactly-once.md for one stream: two hosts, up to two position stores, a branch
// without positions (MQTT), a transform with state, the group's offset, and an operator. Each step is one externally
// visible action; a comment names the function of the code that performs it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace model {

using byte = std::uint8_t;

constexpr byte max_records = 4, nothing = 15, many_claims = 50;

// The bounds of the exploration.
struct bounds {
  byte records = 2, sinks = 1;
  bool mqtt = false, state = false, timer = false;
  byte devices = 1;       // 1 or 2; the transform counts the records of each device
  byte window = 2;        // upper bound on records read ahead of the slowest branch
  byte batch = 1;         // 1 or 2: most records of one source batch
  bool unplaced = false;  // the rows of the transform have no positions: they are at the end of their source batch
  byte kills = 1, rebalances = 2, resets = 0, lost = 1, duels = 1;
  bool new_sink = false;   // the second sink is added to a pipeline with stored records
  bool new_topic = false;  // the topic is deleted, and created anew with fewer records
  byte first_commit = nothing;
  byte damages = 0, reloads = 0;  // of the queue of a sink, on disk; and reloads that replace a sink
  bool early = false;             // a sink receives the rows of the next write before it has replied to the last one
};

enum class claim_check : byte { full, none, epoch_with_reset, next_alone };
enum class lost_reply : byte { looked_up, taken_for_committed, taken_for_not_committed };

// The rules of the protocol. The defaults are what the code does.
struct rules {
  claim_check claim = claim_check::full;
  lost_reply reply = lost_reply::looked_up;
  bool epoch_in_write = true, next_in_write = true;
  bool commit_first = false;       // offsets are committed as soon as records are read
  bool reset_marked_first = true;  // the mark is acknowledged before the first record
  bool read_from_group = true;     // reading begins at the group's offset too, if that is lower
  bool snapshot_settled = true;    // a snapshot waits until all before it is settled
  bool first_watermark = true;     // seen_until is written with the first records
  bool one_epoch = true;           // one epoch for all sinks of a claim
  bool start_marked_first = true;  // where the group had no offset, the start is marked before the first record
  bool changes_dropped = true;     // pending changes are discarded when the stream is revoked
  bool serial_in_write = true;     // a write that moves no position is compared with the one before it
  bool state_in_one = true;        // the first sink keeps the state for all, and its claim writes seen_until
  bool begins_at_state = true;     // all records below seen_until are settled: reading begins there
  bool new_sink_at_lowest = true;  // a new sink begins at the lowest position of the other sinks
  bool back_under_claim = true;    // go_back compares with the epoch that the lane holds
  bool cut = true;                 // a write may end inside a source batch
  bool settled_whole = true;       // a source batch is settled when all its parts are
  bool damage_reread = true;       // records that are damaged in a queue are read again
  bool reload_rewrites = true;     // a new sink writes again what its predecessor has no reply for
  bool early_matched = true;       // rows that were sent early are committed only with their own positions
};

enum class phase : byte { idle, dead, look, fetch, claim, load, mark, run };
enum class reason : byte { progress, reset, policy };
enum class item : byte { none, snapshot_waits, snapshot, timer_row };

// A row of pipeline_positions, the state, and (for the properties) the number of stored rows.
struct sink_row {
  byte next = 0, epoch = 0, token = 0;              // token: host + 1 of the last attempt; 0: any other
  byte seen_until = nothing;                        // state watermark
  byte odd = 0, timer_ran = 0;                      // state: number of records modulo two, by device; timer
  std::array<byte, 2> until{};                      // by device: the position after its last record
  std::array<byte, max_records> stored{}, given{};  // how often a record and the transform's row for it were stored
  byte serial = 0;                                  // writes since the claim, if they are compared
  byte reset_to = nothing, reset_odd = 0;           // the last applied offset reset, and the state at that time
  byte timer_rows = 0, owed = 0;                    // owed: records that still have to be stored
};

// The contents of a transaction.
struct transaction {
  byte sink = nothing, token = 0, first = 0, next = 0, epoch = 0, serial = 0;
  byte given = 0, seen_until = nothing, odd = 0, changed = 0;
  byte rows_first = 0, rows_next = 0;  // the rows: as first and next, unless others were sent early
  std::array<byte, 2> until{};
  item with = item::none;
};

struct host {
  phase now = phase::idle;
  byte at = 0;  // the next sink of the current phase
  reason why = reason::progress;
  byte proposed = 0, going_back = 0;
  std::array<byte, 2> seen_next{}, seen_epoch{};                   // position_stores::look
  std::array<byte, 2> epoch{}, has{}, written{};                   // claimed_stream; `written`: by the writer
  std::array<byte, 2> serial{}, trying{}, try_next{}, try_item{};  // 1: write again, 2: outcome unknown
  std::array<byte, 2> early_first{}, early_next{};                 // rows of an open transaction; early_next 0: none
  byte fenced = 0;                                                 // sinks
  byte lost = 0;  // stream_state::lost: what is queued is not written, and the stream is claimed again
  byte position = 0, sent = 0, settled = 0;  // stream_state; `sent`: to MQTT
  byte to_commit = nothing;                  // partition::settled
  byte odd = 0, changed = 0, timer_ran = 0, given = 0;
  byte joined = 0;  // records that are in one source batch with the next record
  std::array<byte, 2> until{}, guard{};
  byte change = nothing;                       // state watermark, in state_keeper::changes_
  byte watermark = nothing, watermark_at = 0;  // written with the batch at watermark_at
  byte seen_until = nothing;                   // tracked::seen_until
  item with = item::none;
  byte item_seen = 0, item_odd = 0, item_changed = 0, item_at = 0, item_done = 0;
  std::array<byte, 2> item_until{};
};

struct world {
  std::array<sink_row, 2> sinks{};
  std::array<host, 2> hosts{};
  transaction under_way{};  // the client got no response; the database may still commit it
  byte committed = nothing, marked = 1, owner = nothing;
  byte owed_to_mqtt = 0, due_twice = 0, end = 0, passed = 0;  // passed: see violation()
  byte kills = 0, rebalances = 0, resets = 0, lost = 0, new_topics = 0, duels = 0;
  byte damages = 0, reloads = 0;
  std::array<byte, 4> filler{};
};

class one_stream {
 public:
  using state = world;
  one_stream(bounds b, rules r) : bounds_(b), rules_(r) {}

  [[nodiscard]] world first() const {
    world w;
    w.end = bounds_.records;
    w.committed = bounds_.first_commit;
    w.kills = bounds_.kills, w.rebalances = bounds_.rebalances, w.resets = bounds_.resets, w.lost = bounds_.lost;
    w.duels = bounds_.sinks == 2 || bounds_.new_topic ? bounds_.duels : 0;
    w.new_topics = bounds_.new_topic ? 1 : 0;
    w.damages = bounds_.damages, w.reloads = bounds_.reloads;
    for (byte s = 0; s < bounds_.sinks; ++s) w.sinks[s].owed = below(w.end);
    for (byte r = 0; r < w.end && bounds_.mqtt; ++r)
      if (!bounds_.state || given_once(r)) w.owed_to_mqtt |= bit(r);
    if (bounds_.new_sink) {  // two records are stored, the group's offset includes one
      auto& old = w.sinks[0];
      old.next = old.seen_until = old.until[0] = 2;
      old.epoch = old.stored[0] = old.stored[1] = old.given[1] = 1;
      w.sinks[0].owed = w.sinks[1].owed = below(w.end) & ~below(2);
      w.committed = 1;
    }
    return w;
  }

  // Return the state without values that no longer matter.
  [[nodiscard]] world tidy(world w) const {
    for (byte i = 0; i < 2; ++i) clean(w, i);
    return w;
  }
  // Return one of the two tidy states that differ only in the names of the hosts.
  [[nodiscard]] world same(const world& w) const {
    world other = w;
    std::swap(other.hosts[0], other.hosts[1]);
    if (w.owner != nothing) other.owner = 1 - w.owner;
    for (auto& s : other.sinks) s.token = swapped(s.token);
    other.under_way.token = swapped(w.under_way.token);
    return std::memcmp(&w, &other, sizeof w) <= 0 ? w : other;
  }

  [[nodiscard]] const char* violation(const world& w) const {
    for (byte s = 0; s < bounds_.sinks; ++s)
      for (byte r = 0; r < max_records; ++r) {
        const auto due = 1 + (w.due_twice >> r & 1);
        if (w.sinks[s].stored[r] > due) return "a record is stored more often than expected";
        const bool passes = bounds_.resets != 0 || given_once(r);
        if (w.sinks[s].given[r] > (passes ? 1 : 0))
          return "the transform emitted a row that an uninterrupted run does not emit";
        if (w.sinks[s].timer_rows > 1) return "the row of the timer is stored twice";
      }
    for (byte s = 0; s < bounds_.sinks; ++s)
      if (w.sinks[s].epoch > many_claims) return "the stream is claimed endlessly";
    if (w.passed != 0) return "the group's offset has passed a message that MQTT did not get";
    return finished(w) ? lost_at_the_end(w) : nullptr;
  }

  [[nodiscard]] bool finished(const world& w) const {
    if (w.owner == nothing || w.marked == 0 || w.under_way.sink != nothing) return false;
    // The old offset, beyond the end of a new topic, remains until there is a record.
    if (w.committed != w.end && (!bounds_.new_topic || w.committed == nothing)) return false;
    const auto& h = w.hosts[w.owner];
    return h.now == phase::run && h.position == w.end && h.fenced == 0 && h.lost == 0 && quiet(h) &&
           (!bounds_.timer || h.timer_ran != 0);
  }

  template <class Take>
  void steps(const world& w, Take&& take) const {
    the_database(w, take);
    the_operator(w, take);
    for (byte i = 0; i < 2; ++i) {
      the_group(w, i, take);
      fate(w, i, take);
      switch (w.hosts[i].now) {
        case phase::idle:
          break;
        case phase::dead:
          give(w, take, i, "starts again", [&](world& t) { t.hosts[i] = {}; });
          break;
        case phase::look:
        case phase::fetch:
        case phase::claim:
        case phase::load:
        case phase::mark:
          placing(w, i, take);
          break;
        case phase::run:
          running(w, i, take);
          break;
      }
    }
  }

 private:
  static constexpr byte below(byte n) { return static_cast<byte>((1U << n) - 1); }
  static constexpr byte bit(byte n) { return static_cast<byte>(1U << n); }
  static constexpr byte swapped(byte token) { return token == 1 ? 2 : token == 2 ? 1 : token; }
  static constexpr byte old_token = 3;

  // Return whether an uninterrupted run emits a row for this record: every second record of a device.
  [[nodiscard]] bool given_once(byte r) const { return r / bounds_.devices % 2 == 1; }

  [[nodiscard]] bool given_after_reset(const sink_row& row, byte end) const {
    byte odd = row.reset_odd;
    for (byte r = row.reset_to; r < end; ++r) {
      const auto device = bit(r % bounds_.devices);
      odd ^= device;
      if ((row.given[r] != 0) != ((odd & device) == 0)) return false;
    }
    return true;
  }

  [[nodiscard]] const char* lost_at_the_end(const world& w) const {
    for (byte s = 0; s < bounds_.sinks; ++s)
      if (w.sinks[s].owed != 0) return "the run has finished, but a sink lacks a record";
    if (w.owed_to_mqtt != 0) return "the run has finished, but MQTT lacks a message";
    if (!bounds_.state) return nullptr;
    for (byte r = bounds_.new_sink ? 2 : 0; r < w.end; ++r) {
      if (bounds_.sinks == 2 && w.sinks[0].given[r] != w.sinks[1].given[r])
        return "the rows of the transform differ between the sinks";
      for (byte s = 0; s < bounds_.sinks; ++s)
        if (bounds_.resets == 0 && (w.sinks[s].given[r] != 0) != given_once(r))
          return "the run has finished, but a sink lacks a row of the transform";
    }
    if (bounds_.sinks == 1 && !given_after_reset(w.sinks[0], w.end))
      return "after an offset reset, the transform emitted a row that an uninterrupted run does not emit";
    if (bounds_.timer)
      for (byte s = 0; s < bounds_.sinks; ++s)
        if (w.sinks[s].timer_rows == 0) return "the run has finished, but a sink lacks the row of the timer";
    return nullptr;
  }

  template <class Take, class Change>
  static void give(const world& w, Take&& take, byte who, const std::string_view what, Change&& change,
                   byte number = nothing) {
    world t = w;
    change(t);
    take(t, [&] {
      auto text = who == nothing ? std::string() : std::string("host ") + (who == 0 ? "A " : "B ");
      text += what;
      if (number != nothing) text += " " + std::to_string(number);
      return text;
    });
  }

  void clean(world& w, byte i) const {
    auto& h = w.hosts[i];
    byte slowest = h.position;
    for (byte s = 0; s < bounds_.sinks; ++s) {
      auto& row = w.sinks[s];
      const bool late = w.under_way.sink == s && w.under_way.token == i + 1;
      if (h.trying[s] == 0 && late && row.token != i + 1) w.under_way.token = old_token;
      if (h.trying[s] == 0 && !late && row.token == i + 1) row.token = 0;
      if (h.now != phase::run) continue;
      if (h.position >= h.has[s]) h.has[s] = 0;
      slowest = std::min(slowest, h.written[s]);
    }
    if (h.now != phase::run) return;
    const auto begun = batch_start(h, bounds_.mqtt ? std::min(slowest, h.sent) : slowest);
    h.given &= static_cast<byte>(~below(bounds_.unplaced || !bounds_.mqtt ? begun : std::min(slowest, h.sent)));
    h.joined &= static_cast<byte>(~below(begun));
    if (h.watermark != nothing && slowest > h.watermark_at) h.watermark = nothing, h.watermark_at = 0;
    if (h.to_commit == w.committed && w.marked != 0 && w.owner == i) h.to_commit = nothing;
  }

  // ------------------------------------------------------------------------------------------------ the database ---

  // timescale_sink: move_sql. A transaction writes rows, state and position, or nothing.
  [[nodiscard]] bool goes_through(const world& w, const transaction& t) const {
    const auto& row = w.sinks[t.sink];
    return (!rules_.epoch_in_write || row.epoch == t.epoch) && (!rules_.next_in_write || row.next == t.first) &&
           (!rules_.serial_in_write || row.serial == t.serial);
  }
  void commit(world& w, const transaction& t) const {
    auto& row = w.sinks[t.sink];
    row.next = t.next;
    if (rules_.serial_in_write) ++row.serial;
    row.token = t.token == old_token ? 0 : t.token;
    for (byte r = 0; r < max_records; ++r) row.given[r] = static_cast<byte>(row.given[r] + (t.given >> r & 1));
    for (byte r = t.rows_first; r < t.rows_next; ++r) {
      ++row.stored[r];
      row.owed &= static_cast<byte>(~bit(r));
    }
    if (t.seen_until != nothing) row.seen_until = t.seen_until;
    if (t.with == item::snapshot)  // state_rows: changes since the last snapshot
      for (byte d = 0; d < 2; ++d)
        if ((t.changed >> d & 1) != 0)
          row.odd = static_cast<byte>((row.odd & ~bit(d)) | (t.odd & bit(d))), row.until[d] = t.until[d];
    if (t.with == item::timer_row) ++row.timer_rows, row.timer_ran = 1;
  }
  template <class Take>
  void the_database(const world& w, Take&& take) const {
    if (w.under_way.sink == nothing) return;
    const auto drop = [](world& t) { t.under_way = {}; };
    if (goes_through(w, w.under_way))
      give(
          w, take, nothing, "the transaction whose connection was lost commits late in sink",
          [&](world& t) { commit(t, w.under_way), drop(t); }, w.under_way.sink);
    give(w, take, nothing, "the transaction whose connection was lost is rolled back in sink", drop, w.under_way.sink);
  }

  // kafka-consumer-groups --reset-offsets: works only while the group is empty, and removes our mark.
  template <class Take>
  void the_operator(const world& w, Take&& take) const {
    if (w.owner == nothing && w.resets != 0)
      for (byte to = 0; to < w.end; ++to)
        give(
            w, take, nothing, "the operator resets the group to",
            [&](world& t) {
              t.committed = to, t.marked = 0;
              --t.resets;
              t.due_twice |= static_cast<byte>(below(w.end) & ~below(to));
              for (byte s = 0; s < bounds_.sinks; ++s) t.sinks[s].owed = below(w.end) & static_cast<byte>(~below(to));
              if (bounds_.mqtt) t.owed_to_mqtt = below(w.end) & static_cast<byte>(~below(to));
            },
            to);
    const bool all_read = std::ranges::all_of(w.hosts, [&](const host& h) {
      const bool through = h.now == phase::run && h.position == w.end && quiet(h) && h.to_commit == nothing;
      return through || h.now == phase::idle || h.now == phase::dead;
    });
    if (w.new_topics != 0 && all_read && w.under_way.sink == nothing && w.sinks[0].next == w.end)
      give(w, take, nothing, "the topic is deleted, and created anew with fewer records", [&](world& t) {
        --t.new_topics;
        --t.end;
        t.committed = nothing, t.marked = 1;  // the coordinator deletes the offsets with the topic
        for (byte s = 0; s < bounds_.sinks; ++s) t.sinks[s].stored = {}, t.sinks[s].owed = below(t.end);
      });
  }

  // --------------------------------------------------------------------------------------------------- the group ---

  static void begin(host& h) {
    const auto change = h.change;
    h = {};
    h.now = phase::look;
    h.change = change;
  }
  void revoke(host& h) const {  // stream_claims::stream_revoked, lane::restart_source
    begin(h);
    h.now = phase::idle;
    if (rules_.changes_dropped) h.change = nothing;
  }
  void commit_offset(world& w, byte to) const {
    w.committed = to, w.marked = 1;
    if ((w.owed_to_mqtt & below(to)) != 0) w.passed = 1;
  }

  // consumer::assigned, consumer::revoked; expiry of a session.
  template <class Take>
  void the_group(const world& w, byte i, Take&& take) const {
    const auto& h = w.hosts[i];
    if (h.now == phase::dead) return;
    const bool mine = w.owner == i;
    const auto assign = [&](world& t) { t.owner = i, begin(t.hosts[i]); };
    if (h.now == phase::idle) {
      if (w.owner == nothing) give(w, take, i, "is assigned the stream", assign);
      if (w.owner == 1 - i && w.rebalances != 0)
        give(w, take, i, "is assigned the stream before the other host is informed",
             [&](world& t) { assign(t), --t.rebalances; });
      return;
    }
    if (!mine) {
      give(w, take, i, "is informed that the stream was revoked", [&](world& t) { revoke(t.hosts[i]); });
      abandon_write(w, i, take, "is informed that the stream was revoked, and abandons its writes, also that in sink",
                    [&](world& t) { revoke(t.hosts[i]); });
    } else if (w.rebalances != 0) {
      give(w, take, i, "loses its membership in the group without noticing",
           [&](world& t) { t.owner = nothing, --t.rebalances; });
      if (h.now != phase::run || (quiet(h) && h.fenced == 0 && h.lost == 0))
        give(w, take, i, "leaves the group", [&](world& t) {
          if (h.now == phase::run && h.to_commit != nothing) commit_offset(t, h.to_commit);
          t.owner = nothing, --t.rebalances;
          revoke(t.hosts[i]);
        });
    }
  }

  template <class Take>
  void fate(const world& w, byte i, Take&& take) const {
    if (w.hosts[i].now == phase::dead || w.kills == 0) return;
    const auto die = [&](world& t) {
      if (t.owner == i) t.owner = nothing;
      --t.kills;
      t.hosts[i] = {};
      t.hosts[i].now = phase::dead;
    };
    give(w, take, i, "is killed", die);
    abandon_write(w, i, take, "is killed while its transaction is in flight in sink", die);
  }

  // The host stops waiting for a write that it has begun; the write may still complete.
  template <class Take, class Change>
  void abandon_write(const world& w, byte i, Take&& take, const char* what, Change&& change) const {
    const auto& h = w.hosts[i];
    if (h.now != phase::run || w.lost == 0 || w.under_way.sink != nothing) return;
    for (byte s = 0; s < bounds_.sinks; ++s)
      if (pending(h, s) && h.trying[s] == 0) {
        auto t = transaction_of(h, i, s, h.position, h.with == item::snapshot || h.with == item::timer_row);
        t.token = old_token;
        give(
            w, take, i, what, [&](world& x) { x.under_way = t, --x.lost, change(x); }, s);
      }
  }

  // ----------------------------------------------------------------------------------------------------- placing ---

  template <class Take>
  void placing(const world& w, byte i, Take&& take) const {
    const auto& h = w.hosts[i];
    switch (h.now) {
      case phase::look:
        return look(w, i, take);
      case phase::fetch:  // offset_lookup::committed, placement::place_one
        return give(
            w, take, i, "reads the group's offset:",
            [&](world& t) {
              auto& me = t.hosts[i];
              me.why = w.committed == nothing ? reason::policy : w.marked != 0 ? reason::progress : reason::reset;
              me.proposed = w.committed == nothing ? 0 : w.committed;
              me.now = phase::claim;
            },
            w.committed);
      case phase::claim:
        return claim(w, i, take);
      case phase::load:
        return give(w, take, i, "loads the state", [&](world& t) { load(t, i); });
      default:
        return mark(w, i, take);
    }
  }

  // stream_claims::stream_announced, position_stores::look
  template <class Take>
  void look(const world& w, byte i, Take&& take) const {
    const auto s = w.hosts[i].at;
    give(
        w, take, i, "looks up its position in sink",
        [&](world& t) {
          auto& me = t.hosts[i];
          if (me.going_back != 0 && rules_.back_under_claim && w.sinks[s].epoch != me.epoch[s]) {
            if (w.owner == i) t.owner = nothing;  // as if it were fenced
            return revoke(me);
          }
          me.seen_next[s] = w.sinks[s].next, me.seen_epoch[s] = w.sinks[s].epoch;
          if (++me.at < bounds_.sinks) return;
          me.at = 0;
          me.now = me.going_back != 0 ? phase::claim : phase::fetch;
          if (me.going_back == 0) return;
          me = {.now = me.now,
                .why = reason::reset,
                .proposed = 0,
                .going_back = 1,
                .seen_next = me.seen_next,
                .seen_epoch = me.seen_epoch};
        },
        s);
  }

  [[nodiscard]] bool claim_holds(const host& h, const sink_row& row, byte s) const {
    const bool same_next = row.next == h.seen_next[s], same_epoch = row.epoch == h.seen_epoch[s];
    switch (rules_.claim) {
      case claim_check::full:
        return same_next && same_epoch;
      case claim_check::none:
        return true;
      case claim_check::epoch_with_reset:
        return h.why != reason::reset || same_epoch;
      case claim_check::next_alone:
        return same_next;
    }
    return false;
  }

  // position_stores::claim, position_book::claim: one sink after the other
  template <class Take>
  void claim(const world& w, byte i, Take&& take) const {
    const auto& h = w.hosts[i];
    const auto s = h.at;
    if (!claim_holds(h, w.sinks[s], s)) {
      // A host that does not own the stream and has raised the epoch of one sink could continue endlessly.
      const bool duel = w.owner != i && s != 0;
      if (duel && w.duels == 0) return;  // the revocation reaches it eventually
      return give(
          w, take, i, "fails to claim the stream in sink",
          [&](world& t) { begin(t.hosts[i]), t.duels = static_cast<byte>(t.duels - (duel ? 1 : 0)); }, s);
    }
    give(
        w, take, i, "claims the stream in sink",
        [&](world& t) {
          auto& me = t.hosts[i];
          auto& row = t.sinks[s];
          const byte highest = std::max(h.seen_epoch[0], h.seen_epoch[1]);
          const bool follow = h.why == reason::reset || h.seen_epoch[s] == 0;
          // Without a comparison the update uses the stored values, not those read before.
          byte next = follow ? h.proposed : rules_.claim == claim_check::full ? h.seen_next[s] : row.next;
          if (rules_.new_sink_at_lowest && h.seen_epoch[s] == 0 && highest != 0 && h.why != reason::reset)
            next = h.seen_epoch[0] == 0 ? h.seen_next[1] : h.seen_next[0];
          const auto lower = rules_.claim == claim_check::full ? h.seen_epoch[s] : row.epoch;
          me.epoch[s] =
              static_cast<byte>((rules_.one_epoch && rules_.claim == claim_check::full ? highest : lower) + 1);
          row.next = me.has[s] = next;
          row.epoch = me.epoch[s], row.token = row.serial = 0;
          if (h.why == reason::reset) row.given = {}, row.reset_to = next, row.reset_odd = row.odd;
          if (rules_.state_in_one && s == 0 && (h.why == reason::reset || row.seen_until == nothing))
            row.seen_until = where_all_begin(h, next);
          if (++me.at < bounds_.sinks) return;
          me.at = 0;
          claimed(me);
        },
        s);
  }

  // Return where reading begins, as far as it is known at the claim of the first sink.
  [[nodiscard]] byte where_all_begin(const host& h, byte next) const {
    if (bounds_.sinks == 2 && h.why != reason::reset && h.seen_epoch[1] != 0) next = std::min(next, h.seen_next[1]);
    return h.why == reason::progress ? std::min(next, h.proposed) : next;
  }

  void claimed(host& me) const {
    me.settled = bounds_.sinks == 2 ? std::min(me.has[0], me.has[1]) : me.has[0];
    if (me.why == reason::progress && rules_.read_from_group) me.settled = std::min(me.settled, me.proposed);
    me.position = me.settled;
    if (bounds_.state)
      me.now = phase::load;
    else
      start(me);
  }

  // state_keeper::restore, stream_claims::stream_assigned
  void load(world& w, byte i) const {
    auto& me = w.hosts[i];
    const byte from = bounds_.sinks == 2 && me.has[1] < me.has[0] && !rules_.state_in_one ? 1 : 0;
    const auto& row = w.sinks[from];
    const bool moved = me.why == reason::reset;
    me.odd = row.odd, me.until = row.until, me.timer_ran = row.timer_ran;
    if (!moved && !rules_.begins_at_state) me.guard = row.until;
    if (row.seen_until != nothing && !moved) {
      if (rules_.begins_at_state && row.seen_until > me.settled) me.settled = me.to_commit = row.seen_until;
      me.position = rules_.begins_at_state ? row.seen_until : std::min(me.position, row.seen_until);
    } else if (rules_.first_watermark && !rules_.state_in_one) {
      me.seen_until = me.change = me.position;
    }
    start(me);
  }

  // placement::place_one, after the host has returned the position
  void start(host& me) const {
    const bool was_reset = me.why == reason::reset && me.going_back == 0;
    const bool mark =
        (was_reset && rules_.reset_marked_first) || (me.why == reason::policy && rules_.start_marked_first);
    if (me.why != reason::progress) me.to_commit = rules_.begins_at_state ? me.settled : me.position;
    me.sent = bounds_.mqtt ? me.settled : nothing;  // exact_router::trim_settled
    // The first write begins where reading begins, or at the sink's position: records in between are never read.
    for (byte s = 0; s < bounds_.sinks; ++s) me.written[s] = std::max(me.has[s], me.position);
    me.now = mark ? phase::mark : phase::run;
    if (me.now == phase::run) done_placing(me);
  }
  static void done_placing(host& me) {
    me.now = phase::run;
    me.why = reason::progress;
    me.proposed = me.going_back = 0;
    me.seen_next = me.seen_epoch = {};
  }

  // placement::commit_start
  template <class Take>
  void mark(const world& w, byte i, Take&& take) const {
    if (w.owner != i) return;  // the broker rejects the commit; the revocation follows
    give(w, take, i, "marks the offset where it begins", [&](world& t) {
      commit_offset(t, t.hosts[i].to_commit);
      done_placing(t.hosts[i]);
    });
    if (w.lost != 0)
      give(w, take, i, "marks the offset where it begins, but gets no response", [&](world& t) {
        commit_offset(t, t.hosts[i].to_commit);
        --t.lost;
        begin(t.hosts[i]);
      });
  }

  // ----------------------------------------------------------------------------------------------------- running ---

  [[nodiscard]] static bool has_item(const host& h, byte s) {
    return (h.with == item::snapshot || h.with == item::timer_row) && (h.item_done & bit(s)) == 0;
  }
  [[nodiscard]] static bool pending(const host& h, byte s) {
    const bool queued = h.lost == 0 && (h.written[s] < h.position || has_item(h, s));
    return (h.fenced & bit(s)) == 0 && (queued || h.trying[s] != 0);
  }
  [[nodiscard]] bool quiet(const host& h) const {
    for (byte s = 0; s < bounds_.sinks; ++s)
      if (pending(h, s)) return false;
    return !bounds_.mqtt || h.sent >= h.position || h.lost != 0;
  }

  template <class Take>
  void running(const world& w, byte i, Take&& take) const {
    const auto& h = w.hosts[i];
    if ((h.fenced != 0 || h.lost != 0) && quiet(h)) join_again(w, i, take);
    queues(w, i, take);
    if (h.fenced == 0 && h.lost == 0) {
      reading(w, i, take);
      if (bounds_.state) remembering(w, i, take);
      if (w.owner == i && h.to_commit != nothing && (h.to_commit != w.committed || w.marked == 0))
        give(
            w, take, i, "commits to the group the offset", [&](world& t) { commit_offset(t, h.to_commit); },
            h.to_commit);  // committer::commit_if_due
    }
    if (bounds_.mqtt && h.sent < h.position && h.lost == 0)
      give(
          w, take, i, bounds_.state ? "sends the rows of this record to MQTT:" : "sends this record to MQTT:",
          [&](world& t) {
            if (!bounds_.state || (h.given >> h.sent & 1) != 0) t.owed_to_mqtt &= static_cast<byte>(~bit(h.sent));
            ++t.hosts[i].sent;
            settle(t.hosts[i]);
          },
          h.sent);
    for (byte s = 0; s < bounds_.sinks; ++s) {
      if (!pending(h, s)) continue;
      if (h.trying[s] == 2)
        find_out(w, i, s, take);
      else
        writing(w, i, s, take);
      if (bounds_.early && h.trying[s] == 2 && h.early_next[s] == 0) send_early(w, i, s, take);
    }
  }

  // timescale: sink::begin_early. Rows only: nothing of an open transaction is visible.
  template <class Take>
  void send_early(const world& w, byte i, byte s, Take&& take) const {
    const auto& h = w.hosts[i];
    const auto first = h.try_next[s];
    if (first >= h.position) return;
    const auto send = [&](byte next) {
      give(
          w, take, i, "sends early the rows before",
          [&](world& t) { t.hosts[i].early_first[s] = first, t.hosts[i].early_next[s] = next; }, next);
    };
    const auto one = smallest_write(h, first);
    send(one);
    if (one < h.position) send(h.position);
  }

  // What happens to the queues of sinks, which are in memory and on disk.
  template <class Take>
  void queues(const world& w, byte i, Take&& take) const {
    const auto& h = w.hosts[i];
    if (h.fenced != 0 && h.lost == 0)  // stream_table::lose_all: as soon as the report arrives
      give(w, take, i, "drops what is queued because it was fenced", [&](world& t) { t.hosts[i].lost = 1; });
    for (byte s = 0; s < bounds_.sinks; ++s) {
      const bool untouched = h.fenced == 0 && h.lost == 0 && h.written[s] < h.position && h.trying[s] == 0;
      if (w.damages != 0 && untouched)  // stored_group::load
        give(
            w, take, i, "finds records damaged that are queued on disk for sink",
            [&](world& t) {
              --t.damages;
              auto& me = t.hosts[i];
              if (rules_.damage_reread) return void(me.lost = 1);
              me.written[s] = me.position;
              settle(me);
            },
            s);
      // sink_node::take_over: the new instance has no token of an attempt without a reply.
      if (w.reloads != 0 && h.fenced == 0 && h.trying[s] == 2)
        give(
            w, take, i, "reloads: another instance takes over the queue of sink",
            [&](world& t) {
              --t.reloads;
              auto& me = t.hosts[i];
              if (!rules_.reload_rewrites) return acknowledge(me, s);
              me.trying[s] = me.try_next[s] = me.try_item[s] = 0;
            },
            s);
    }
    if (w.damages != 0 && bounds_.mqtt && h.sent < h.position && h.fenced == 0 && h.lost == 0)
      give(w, take, i, "finds records damaged that are queued on disk for MQTT", [&](world& t) {
        --t.damages;
        auto& me = t.hosts[i];
        if (rules_.damage_reread) return void(me.lost = 1);
        me.sent = me.position;
        settle(me);
      });
  }

  // lane::restart_source: consumer::close commits settled offsets
  template <class Take>
  void join_again(const world& w, byte i, Take&& take) const {
    give(w, take, i, "joins the group again because it was fenced, or its queue was damaged", [&](world& t) {
      const auto& h = w.hosts[i];
      if (w.owner == i) {
        if (h.to_commit != nothing) commit_offset(t, h.to_commit);
        t.owner = nothing;
      }
      revoke(t.hosts[i]);
    });
  }

  // The source batch of a position inside it begins at batch_start; that of a record ends before batch_end.
  static byte batch_start(const host& h, byte position) {
    while (position > 0 && (h.joined >> (position - 1) & 1) != 0) --position;
    return position;
  }
  static byte batch_end(const host& h, byte record) {
    while ((h.joined >> record & 1) != 0) ++record;
    return static_cast<byte>(record + 1);
  }
  // write_cutter: the smallest write from a position on
  [[nodiscard]] byte smallest_write(const host& h, byte first) const {
    return rules_.cut && !bounds_.unplaced ? static_cast<byte>(first + 1) : batch_end(h, first);
  }

  void read(host& me) const {
    const auto r = me.position++;
    me.given &= static_cast<byte>(~bit(r));
    if (const byte d = r % bounds_.devices; bounds_.state && r >= me.guard[d]) {
      me.guard[d] = 0;
      me.odd ^= bit(d), me.changed |= bit(d);
      me.until[d] = me.position;
      if ((me.odd & bit(d)) == 0) me.given |= bit(r);
    }
    if (me.change != nothing) {
      me.watermark = me.change, me.watermark_at = r;
      me.change = nothing;
    }
  }

  // lane::take, graph_walk::apply
  template <class Take>
  void reading(const world& w, byte i, Take&& take) const {
    const auto& h = w.hosts[i];
    if (h.position > w.end) {  // range_repair::go_back
      const bool duel = w.owner != i;
      if (duel && w.duels == 0) return;  // two hosts raise each other's epoch until a revocation arrives
      return give(w, take, i, "finds its position beyond the end of the topic", [&](world& t) {
        t.duels = static_cast<byte>(t.duels - (duel ? 1 : 0));
        t.hosts[i].now = phase::look;
        t.hosts[i].going_back = 1;
      });
    }
    byte slowest = bounds_.mqtt ? h.sent : h.position;
    for (byte s = 0; s < bounds_.sinks; ++s) slowest = std::min(slowest, h.written[s]);
    if (h.position >= w.end || h.position >= slowest + bounds_.window) return;
    const auto reads = [&](const char* what, byte records) {
      give(
          w, take, i, what,
          [&](world& t) {
            auto& me = t.hosts[i];
            me.joined &= static_cast<byte>(~bit(h.position));
            for (byte n = 0; n < records; ++n) read(me);
            if (records == 2) me.joined |= bit(h.position), me.joined &= static_cast<byte>(~bit(h.position + 1));
            if (rules_.commit_first) me.to_commit = me.position;
            settle(me);
          },
          h.position);
    };
    reads("reads record", 1);
    const bool room = h.position + 1 < w.end && h.position + 1 < slowest + bounds_.window;
    if (bounds_.batch == 2 && room) reads("reads, with the one after it, record", 2);
  }

  // state_keeper::snapshot_if_due, graph_walk::begin_timer_batches
  template <class Take>
  void remembering(const world& w, byte i, Take&& take) const {
    const auto& h = w.hosts[i];
    const bool level = h.position >= h.has[0] && (bounds_.sinks == 1 || h.position >= h.has[1]);
    if (h.with == item::none && level && h.seen_until != h.position)
      give(
          w, take, i, "takes a snapshot of the state at",
          [&](world& t) {
            auto& me = t.hosts[i];
            me.with = item::snapshot_waits;
            me.item_seen = me.seen_until = me.position;
            me.item_odd = me.odd, me.item_until = me.until;
            me.item_changed = std::exchange(me.changed, byte{0});
          },
          h.position);
    if (h.with == item::snapshot_waits && (h.settled >= h.item_seen || !rules_.snapshot_settled))
      give(w, take, i, "passes the snapshot to the sinks", [&](world& t) { push_item(t.hosts[i], item::snapshot); });
    if (bounds_.timer && h.with == item::none && h.timer_ran == 0 && h.position == w.end && level)
      give(w, take, i, "runs its timer", [&](world& t) {
        t.hosts[i].timer_ran = 1;
        push_item(t.hosts[i], item::timer_row);
      });
  }
  void push_item(host& me, item what) const {
    me.with = what;
    me.item_at = me.position;
    me.item_done = 0;
    for (byte s = 0; s < bounds_.sinks; ++s)
      if (me.item_at < me.has[s] || (rules_.state_in_one && s != 0 && what == item::snapshot))
        me.item_done |= bit(s);  // exact_router::position_only
    settle(me);
  }

  // stream_state::report
  void settle(host& me) const {
    byte until = me.position;
    for (byte s = 0; s < bounds_.sinks; ++s) until = std::min(until, me.written[s]);
    if (bounds_.mqtt) until = std::min(until, me.sent);
    if (rules_.settled_whole)
      until = batch_start(me, until);
    else if (until > 0 && until < me.position)
      until = batch_end(me, static_cast<byte>(until - 1));
    const bool open = me.with == item::snapshot || me.with == item::timer_row;
    if (open && me.item_done == below(bounds_.sinks))
      me.with = item::none, me.item_seen = me.item_odd = me.item_changed = me.item_at = me.item_done = 0,
      me.item_until = {};
    else if (open)
      until = std::min(until, me.item_at);
    if (until > me.settled) me.settled = me.to_commit = until;
  }

  [[nodiscard]] transaction transaction_of(const host& h, byte i, byte s, byte next, bool item_too) const {
    transaction t;
    t.sink = s, t.token = i + 1, t.first = t.rows_first = h.written[s], t.next = t.rows_next = next;
    t.epoch = h.epoch[s], t.serial = h.serial[s];
    for (byte r = 0; r < max_records; ++r) {
      const byte at = bounds_.unplaced ? static_cast<byte>(batch_end(h, r) - 1) : r;
      if (at >= t.first && at < next) t.given |= static_cast<byte>(h.given & bit(r));
    }
    if (h.watermark != nothing && h.watermark_at >= t.first && h.watermark_at < next) t.seen_until = h.watermark;
    if (!item_too || !has_item(h, s) || h.item_at > next) return t;
    t.with = h.with;
    if (h.with == item::snapshot)
      t.seen_until = h.item_seen, t.odd = h.item_odd, t.changed = h.item_changed, t.until = h.item_until;
    return t;
  }

  // write_queue::take returns one batch or all queued ones.
  template <class Take>
  void writing(const world& w, byte i, byte s, Take&& take) const {
    const auto& h = w.hosts[i];
    const auto first = h.written[s];
    const bool item_next = has_item(h, s) && h.item_at == first;
    if (h.trying[s] == 1) {
      write(w, i, s, h.try_next[s], h.try_item[s] != 0, take);
      if (bounds_.batch == 1 || item_next || first >= h.position) return;
      const auto smaller = smallest_write(h, first);  // writer::reduce
      if (smaller >= h.try_next[s]) return;
      world anew = w;
      anew.hosts[i].trying[s] = 0;
      return write(anew, i, s, smaller, false, take);
    }
    if (item_next) write(w, i, s, first, true, take);
    const byte one = first < h.position ? smallest_write(h, first) : first;
    if (first < h.position && !item_next) write(w, i, s, one, false, take);
    const bool more = one < h.position || (has_item(h, s) && first < h.position);
    if (more) write(w, i, s, h.position, true, take);
  }

  // timescale: sink::write
  template <class Take>
  void write(const world& w, byte i, byte s, byte next, bool item_too, Take&& take) const {
    world from = w;
    auto& me = from.hosts[i];
    if (me.trying[s] == 0) {  // a new write has a new token, which no earlier write has left
      if (from.sinks[s].token == i + 1) from.sinks[s].token = 0;
      if (from.under_way.token == i + 1 && from.under_way.sink == s) from.under_way.token = old_token;
    }
    auto t = transaction_of(me, i, s, next, item_too);
    take_early(me, s, t);
    me.trying[s] = 2, me.try_next[s] = next, me.try_item[s] = item_too ? 1 : 0;
    const auto what = [&](const char* end) {
      auto text = "writes to sink " + std::to_string(s);
      if (t.first != t.next) text += " from " + std::to_string(t.first) + " to before " + std::to_string(t.next);
      if (t.with == item::snapshot) text += " the snapshot";
      if (t.with == item::timer_row) text += " the row of the timer";
      if (t.seen_until != nothing) text += " (seen_until " + std::to_string(t.seen_until) + ")";
      return text + end;
    };
    if (!goes_through(from, t)) {
      give(from, take, i, what(": the position is not as expected"), [](world&) {});
    } else {
      give(from, take, i, what(""), [&](world& x) { commit(x, t), acknowledge(x.hosts[i], s); });
      if (bounds_.early) give(from, take, i, what(", and awaits the reply"), [&](world& x) { commit(x, t); });
      if (w.lost != 0)
        give(from, take, i, what(", and the reply to COMMIT is lost"), [&](world& x) { commit(x, t), --x.lost; });
    }
    if (w.lost != 0 && w.under_way.sink == nothing)
      give(from, take, i, what(", and the connection is lost while the transaction is in flight"),
           [&](world& x) { x.under_way = t, --x.lost; });
  }
  // timescale: sink::write. Rows that were sent early are those of this write, or are rolled back.
  void take_early(host& me, byte s, transaction& t) const {
    const bool same = me.early_first[s] == t.first && me.early_next[s] == t.next;
    if (me.early_next[s] != 0 && (same || !rules_.early_matched))
      t.rows_first = me.early_first[s], t.rows_next = me.early_next[s];
    me.early_first[s] = me.early_next[s] = 0;
  }
  void acknowledge(host& me, byte s) const {
    me.written[s] = me.try_next[s];
    if (rules_.serial_in_write) ++me.serial[s];
    if (me.try_item[s] != 0 && has_item(me, s) && me.item_at <= me.try_next[s]) me.item_done |= bit(s);
    me.trying[s] = me.try_next[s] = me.try_item[s] = 0;
    settle(me);
  }

  // timescale: sink::find_out, position_book::standing_of; then writer::report_fenced
  template <class Take>
  void find_out(const world& w, byte i, byte s, Take&& take) const {
    const auto& h = w.hosts[i];
    const auto& row = w.sinks[s];
    const bool mine = row.token == i + 1;
    const bool after = row.epoch == h.epoch[s] && mine && row.next == h.try_next[s];
    const bool before = row.epoch == h.epoch[s] && !mine && row.next == h.written[s];
    if (rules_.reply == lost_reply::taken_for_committed || (rules_.reply == lost_reply::looked_up && after))
      return give(
          w, take, i,
          after ? "finds the transaction committed in sink" : "assumes that the transaction committed in sink",
          [&](world& t) { acknowledge(t.hosts[i], s); }, s);
    if (rules_.reply == lost_reply::taken_for_not_committed || before)
      return give(
          w, take, i,
          before ? "finds the transaction not committed in sink"
                 : "assumes that the transaction did not commit in sink",
          [&](world& t) { t.hosts[i].trying[s] = 1; }, s);
    give(
        w, take, i, "finds itself fenced in sink",
        [&](world& t) {
          auto& me = t.hosts[i];
          me.fenced |= bit(s);
          me.trying[s] = me.try_next[s] = me.try_item[s] = 0;
        },
        s);
  }

  bounds bounds_;
  rules rules_;
};

}  // namespace model
