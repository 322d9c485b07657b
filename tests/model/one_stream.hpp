// SPDX-License-Identifier: Apache-2.0
// The protocol of docs/decisions/0007-exactly-once.md as the code runs it, for one stream: two hosts, up to two sinks
// that keep positions, a branch that keeps none (MQTT), a transform that remembers, the offset of the group, and an
// operator. Each step is one act that others can see; the name of the function that does it stands beside it.
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

// What is explored.
struct bounds {
  byte records = 2, sinks = 1;
  bool mqtt = false, state = false, timer = false;
  byte devices = 1;  // of which the transform counts the records, each for itself: 1 or 2
  byte window = 2;   // records that are read ahead of the slowest branch
  byte kills = 1, rebalances = 2, orders = 0, lost = 1, duels = 1;
  bool new_sink = false;   // the second sink was added to a pipeline that has run
  bool new_topic = false;  // the topic is deleted, and created anew with fewer records
  byte first_commit = nothing;
};

enum class claim_check : byte { full, none, epoch_with_order, next_alone };
enum class lost_reply : byte { looked_up, taken_for_committed, taken_for_not_committed };

// How it is done. As it stands here: as the code does it.
struct rules {
  claim_check claim = claim_check::full;
  lost_reply reply = lost_reply::looked_up;
  bool epoch_in_write = true, next_in_write = true;
  bool commit_first = false;       // offsets go to the broker as soon as they are read
  bool order_marked_first = true;  // the mark is acknowledged before the first record
  bool read_from_group = true;     // reading begins at the group's offset too, if that is lower
  bool snapshot_settled = true;    // a snapshot waits until all before it is settled
  bool first_marker = true;        // seen_until goes with the very first records
  bool one_epoch = true;           // for all sinks of a claim
  bool start_marked_first = true;  // where the group had no offset, the start is marked before the first record
  bool changes_dropped = true;     // what waits in changes_ goes when its stream goes
  bool serial_in_write = true;     // a write that moves no position is compared with the one before it
  bool state_in_one = true;        // the first sink keeps the state for all, and its claim writes seen_until
  bool begins_at_state = true;     // all below seen_until is settled: reading begins there
  bool new_sink_at_lowest = true;  // a new sink begins where the furthest behind of the others stands
  bool back_under_claim = true;    // go_back compares with the epoch that the lane holds
};

enum class phase : byte { idle, dead, look, fetch, claim, load, mark, run };
enum class reason : byte { progress, order, policy };
enum class item : byte { none, snapshot_waits, snapshot, timer_row };

// A row of pipeline_positions, the state, and (for the promises) what was stored.
struct sink_row {
  byte next = 0, epoch = 0, token = 0;              // token: host + 1 whose last try this was; 0: another one's
  byte seen_until = nothing;                        // the marker
  byte odd = 0, told = 0;                           // state: records, modulo two, by device; the timer
  std::array<byte, 2> until{};                      // by device: behind its last record
  std::array<byte, max_records> stored{}, given{};  // how often: a record, what the transform made of it
  byte serial = 0;                                  // writes since the claim; only where it is compared
  byte ordered_to = nothing, ordered_odd = 0;       // the last order that was obeyed, and the state as it found it
  byte timer_rows = 0, owed = 0;                    // owed: records that have to be stored since they were last due
};

// What a transaction does.
struct transaction {
  byte sink = nothing, token = 0, first = 0, next = 0, epoch = 0, serial = 0;
  byte given = 0, seen_until = nothing, odd = 0, changed = 0;
  std::array<byte, 2> until{};
  item with = item::none;
};

struct host {
  phase now = phase::idle;
  byte at = 0;  // the sink that is asked next
  reason why = reason::progress;
  byte proposed = 0, going_back = 0;
  std::array<byte, 2> seen_next{}, seen_epoch{};                   // ledger::look
  std::array<byte, 2> epoch{}, has{}, written{};                   // claimed_stream; up to where the writer is through
  std::array<byte, 2> serial{}, trying{}, try_next{}, try_item{};  // 1: again, 2: after it was found out
  byte fenced = 0;                                                 // sinks
  byte position = 0, sent = 0, settled = 0;                        // stream_state; to MQTT
  byte to_commit = nothing;                                        // partition::settled
  byte odd = 0, changed = 0, told = 0, given = 0;
  std::array<byte, 2> until{}, guard{};
  byte change = nothing;                 // the marker, in lane::changes_
  byte marker = nothing, marker_at = 0;  // with the batch at marker_at
  byte seen_until = nothing;             // tracked::seen_until
  item with = item::none;
  byte item_seen = 0, item_odd = 0, item_changed = 0, item_at = 0, item_done = 0;
  std::array<byte, 2> item_until{};
};

struct world {
  std::array<sink_row, 2> sinks{};
  std::array<host, 2> hosts{};
  transaction under_way{};  // the client knows no answer; the database may still commit it
  byte committed = nothing, marked = 1, owner = nothing;
  byte owed_to_mqtt = 0, due_twice = 0, end = 0, passed = 0;  // passed: the group's offset, what MQTT did not have
  byte kills = 0, rebalances = 0, orders = 0, lost = 0, new_topics = 0, duels = 0;
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
    w.kills = bounds_.kills, w.rebalances = bounds_.rebalances, w.orders = bounds_.orders, w.lost = bounds_.lost;
    w.duels = bounds_.sinks == 2 || bounds_.new_topic ? bounds_.duels : 0;
    w.new_topics = bounds_.new_topic ? 1 : 0;
    for (byte s = 0; s < bounds_.sinks; ++s) w.sinks[s].owed = below(w.end);
    for (byte r = 0; r < w.end && bounds_.mqtt; ++r)
      if (!bounds_.state || given_once(r)) w.owed_to_mqtt |= bit(r);
    if (bounds_.new_sink) {  // two records are through, the group's offset knows of one
      auto& old = w.sinks[0];
      old.next = old.seen_until = old.until[0] = 2;
      old.epoch = old.stored[0] = old.stored[1] = old.given[1] = 1;
      w.sinks[0].owed = w.sinks[1].owed = below(w.end) & ~below(2);
      w.committed = 1;
    }
    return w;
  }

  // Without what nobody will ask for any more.
  [[nodiscard]] world tidy(world w) const {
    for (byte i = 0; i < 2; ++i) clean(w, i);
    return w;
  }
  // Of two tidy states that differ only in the names of the hosts, one.
  [[nodiscard]] world same(const world& w) const {
    world other = w;
    std::swap(other.hosts[0], other.hosts[1]);
    if (w.owner != nothing) other.owner = 1 - w.owner;
    for (auto& s : other.sinks) s.token = swapped(s.token);
    other.under_way.token = swapped(w.under_way.token);
    return std::memcmp(&w, &other, sizeof w) <= 0 ? w : other;
  }

  [[nodiscard]] const char* broken(const world& w) const {
    for (byte s = 0; s < bounds_.sinks; ++s)
      for (byte r = 0; r < max_records; ++r) {
        const auto due = 1 + (w.due_twice >> r & 1);
        if (w.sinks[s].stored[r] > due) return "a record is stored more often than it was due";
        const bool passes = bounds_.orders != 0 || given_once(r);
        if (w.sinks[s].given[r] > (passes ? 1 : 0)) return "the transform gave what one uninterrupted run does not";
        if (w.sinks[s].timer_rows > 1) return "what the timer made is stored twice";
      }
    for (byte s = 0; s < bounds_.sinks; ++s)
      if (w.sinks[s].epoch > many_claims) return "it is claimed anew for ever";
    if (w.passed != 0) return "the group's offset has passed a message that MQTT never got";
    return finished(w) ? lost_at_the_end(w) : nullptr;
  }

  [[nodiscard]] bool finished(const world& w) const {
    if (w.owner == nothing || w.marked == 0 || w.under_way.sink != nothing) return false;
    // Behind a new topic's end the old offset stays until there is a record.
    if (w.committed != w.end && (!bounds_.new_topic || w.committed == nothing)) return false;
    const auto& h = w.hosts[w.owner];
    return h.now == phase::run && h.position == w.end && h.fenced == 0 && quiet(h) && (!bounds_.timer || h.told != 0);
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

  // What one run without interruption gives: the second record of each two of a device.
  [[nodiscard]] bool given_once(byte r) const { return r / bounds_.devices % 2 == 1; }

  [[nodiscard]] bool given_as_ordered(const sink_row& row, byte end) const {
    byte odd = row.ordered_odd;
    for (byte r = row.ordered_to; r < end; ++r) {
      const auto device = bit(r % bounds_.devices);
      odd ^= device;
      if ((row.given[r] != 0) != ((odd & device) == 0)) return false;
    }
    return true;
  }

  [[nodiscard]] const char* lost_at_the_end(const world& w) const {
    for (byte s = 0; s < bounds_.sinks; ++s)
      if (w.sinks[s].owed != 0) return "a run is at its end, and a sink lacks a record";
    if (w.owed_to_mqtt != 0) return "a run is at its end, and MQTT lacks a message";
    if (!bounds_.state) return nullptr;
    for (byte r = bounds_.new_sink ? 2 : 0; r < w.end; ++r) {
      if (bounds_.sinks == 2 && w.sinks[0].given[r] != w.sinks[1].given[r])
        return "what the transform gave differs between the sinks";
      for (byte s = 0; s < bounds_.sinks; ++s)
        if (bounds_.orders == 0 && (w.sinks[s].given[r] != 0) != given_once(r))
          return "a run is at its end, and a sink lacks what the transform gives";
    }
    if (bounds_.sinks == 1 && !given_as_ordered(w.sinks[0], w.end))
      return "after an order, the transform gave what one uninterrupted run does not";
    if (bounds_.timer)
      for (byte s = 0; s < bounds_.sinks; ++s)
        if (w.sinks[s].timer_rows == 0) return "a run is at its end, and a sink lacks what the timer made";
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
    h.given &= static_cast<byte>(~below(bounds_.mqtt ? std::min(slowest, h.sent) : slowest));
    if (h.marker != nothing && slowest > h.marker_at) h.marker = nothing, h.marker_at = 0;
    if (h.to_commit == w.committed && w.marked != 0 && w.owner == i) h.to_commit = nothing;
  }

  // ------------------------------------------------------------------------------------------------ the database ---

  // timescale_sink: move_sql. Rows, state and position, or nothing.
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
    for (byte r = t.first; r < t.next; ++r) {
      ++row.stored[r];
      row.given[r] = static_cast<byte>(row.given[r] + (t.given >> r & 1));
      row.owed &= static_cast<byte>(~bit(r));
    }
    if (t.seen_until != nothing) row.seen_until = t.seen_until;
    if (t.with == item::snapshot)  // change_sql: what changed since the last one
      for (byte d = 0; d < 2; ++d)
        if ((t.changed >> d & 1) != 0)
          row.odd = static_cast<byte>((row.odd & ~bit(d)) | (t.odd & bit(d))), row.until[d] = t.until[d];
    if (t.with == item::timer_row) ++row.timer_rows, row.told = 1;
  }
  template <class Take>
  void the_database(const world& w, Take&& take) const {
    if (w.under_way.sink == nothing) return;
    const auto drop = [](world& t) { t.under_way = {}; };
    if (goes_through(w, w.under_way))
      give(
          w, take, nothing, "the transaction whose connection is gone commits, late, in sink",
          [&](world& t) { commit(t, w.under_way), drop(t); }, w.under_way.sink);
    give(w, take, nothing, "the transaction whose connection is gone is rolled back in sink", drop, w.under_way.sink);
  }

  // kafka-consumer-groups --reset-offsets: only while the group is empty; our mark is gone.
  template <class Take>
  void the_operator(const world& w, Take&& take) const {
    if (w.owner == nothing && w.orders != 0)
      for (byte to = 0; to < w.end; ++to)
        give(
            w, take, nothing, "the operator resets the group to",
            [&](world& t) {
              t.committed = to, t.marked = 0;
              --t.orders;
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
        t.committed = nothing, t.marked = 1;  // the coordinator drops them with the topic
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
  void forget(host& h) const {  // lane::stream_lost, lane::restart_source
    begin(h);
    h.now = phase::idle;
    if (rules_.changes_dropped) h.change = nothing;
  }
  void commit_offset(world& w, byte to) const {
    w.committed = to, w.marked = 1;
    if ((w.owed_to_mqtt & below(to)) != 0) w.passed = 1;
  }

  // consumer::assigned, consumer::revoked; a session that runs out.
  template <class Take>
  void the_group(const world& w, byte i, Take&& take) const {
    const auto& h = w.hosts[i];
    if (h.now == phase::dead) return;
    const bool mine = w.owner == i;
    const auto assign = [&](world& t) { t.owner = i, begin(t.hosts[i]); };
    if (h.now == phase::idle) {
      if (w.owner == nothing) give(w, take, i, "is assigned the stream", assign);
      if (w.owner == 1 - i && w.rebalances != 0)
        give(w, take, i, "is assigned the stream, and the other one does not know yet",
             [&](world& t) { assign(t), --t.rebalances; });
      return;
    }
    if (!mine) {
      give(w, take, i, "is told that it lost the stream", [&](world& t) { forget(t.hosts[i]); });
      leave_behind(w, i, take,
                   "is told that it lost the stream, and waits no longer for its writes, nor for that in sink",
                   [&](world& t) { forget(t.hosts[i]); });
    } else if (w.rebalances != 0) {
      give(w, take, i, "loses its place in the group, and does not know",
           [&](world& t) { t.owner = nothing, --t.rebalances; });
      if (h.now != phase::run || (quiet(h) && h.fenced == 0))
        give(w, take, i, "leaves the group", [&](world& t) {
          if (h.now == phase::run && h.to_commit != nothing) commit_offset(t, h.to_commit);
          t.owner = nothing, --t.rebalances;
          forget(t.hosts[i]);
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
    leave_behind(w, i, take, "is killed, and its transaction is still under way in sink", die);
  }

  // Whatever ends the host's patience: a write that it has begun may come to its end without it.
  template <class Take, class Change>
  void leave_behind(const world& w, byte i, Take&& take, const char* what, Change&& change) const {
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
      case phase::fetch:  // offset_lookup::committed, consumer::place_one
        return give(
            w, take, i, "asks for the group's offset:",
            [&](world& t) {
              auto& me = t.hosts[i];
              me.why = w.committed == nothing ? reason::policy : w.marked != 0 ? reason::progress : reason::order;
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

  // lane::stream_announced, ledger::look
  template <class Take>
  void look(const world& w, byte i, Take&& take) const {
    const auto s = w.hosts[i].at;
    give(
        w, take, i, "looks up its position in sink",
        [&](world& t) {
          auto& me = t.hosts[i];
          if (me.going_back != 0 && rules_.back_under_claim && w.sinks[s].epoch != me.epoch[s]) {
            if (w.owner == i) t.owner = nothing;  // as when it is fenced
            return forget(me);
          }
          me.seen_next[s] = w.sinks[s].next, me.seen_epoch[s] = w.sinks[s].epoch;
          if (++me.at < bounds_.sinks) return;
          me.at = 0;
          me.now = me.going_back != 0 ? phase::claim : phase::fetch;
          if (me.going_back == 0) return;
          me = {.now = me.now,
                .why = reason::order,
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
      case claim_check::epoch_with_order:
        return h.why != reason::order || same_epoch;
      case claim_check::next_alone:
        return same_next;
    }
    return false;
  }

  // ledger::claim, position_book::claim: one sink after the other
  template <class Take>
  void claim(const world& w, byte i, Take&& take) const {
    const auto& h = w.hosts[i];
    const auto s = h.at;
    if (!claim_holds(h, w.sinks[s], s)) {
      // Who is not to have the stream, and has raised the epoch of one sink already, could do so for ever.
      const bool duel = w.owner != i && s != 0;
      if (duel && w.duels == 0) return;  // it is told in the end
      return give(
          w, take, i, "is refused its claim in sink",
          [&](world& t) { begin(t.hosts[i]), t.duels = static_cast<byte>(t.duels - (duel ? 1 : 0)); }, s);
    }
    give(
        w, take, i, "claims the stream in sink",
        [&](world& t) {
          auto& me = t.hosts[i];
          auto& row = t.sinks[s];
          const byte highest = std::max(h.seen_epoch[0], h.seen_epoch[1]);
          const bool follow = h.why == reason::order || h.seen_epoch[s] == 0;
          // Without a comparison the update would take what is there, not what was seen.
          byte next = follow ? h.proposed : rules_.claim == claim_check::full ? h.seen_next[s] : row.next;
          if (rules_.new_sink_at_lowest && h.seen_epoch[s] == 0 && highest != 0 && h.why != reason::order)
            next = h.seen_epoch[0] == 0 ? h.seen_next[1] : h.seen_next[0];
          const auto lower = rules_.claim == claim_check::full ? h.seen_epoch[s] : row.epoch;
          me.epoch[s] =
              static_cast<byte>((rules_.one_epoch && rules_.claim == claim_check::full ? highest : lower) + 1);
          row.next = me.has[s] = next;
          row.epoch = me.epoch[s], row.token = row.serial = 0;
          if (h.why == reason::order) row.given = {}, row.ordered_to = next, row.ordered_odd = row.odd;
          if (rules_.state_in_one && s == 0 && (h.why == reason::order || row.seen_until == nothing))
            row.seen_until = where_all_begin(h, next);
          if (++me.at < bounds_.sinks) return;
          me.at = 0;
          claimed(me);
        },
        s);
  }

  // What the claim of the first sink knows of where reading begins.
  [[nodiscard]] byte where_all_begin(const host& h, byte next) const {
    if (bounds_.sinks == 2 && h.why != reason::order && h.seen_epoch[1] != 0) next = std::min(next, h.seen_next[1]);
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

  // lane::restore, lane::stream_assigned
  void load(world& w, byte i) const {
    auto& me = w.hosts[i];
    const byte from = bounds_.sinks == 2 && me.has[1] < me.has[0] && !rules_.state_in_one ? 1 : 0;
    const auto& row = w.sinks[from];
    const bool moved = me.why == reason::order;
    me.odd = row.odd, me.until = row.until, me.told = row.told;
    if (!moved && !rules_.begins_at_state) me.guard = row.until;
    if (row.seen_until != nothing && !moved) {
      if (rules_.begins_at_state && row.seen_until > me.settled) me.settled = me.to_commit = row.seen_until;
      me.position = rules_.begins_at_state ? row.seen_until : std::min(me.position, row.seen_until);
    } else if (rules_.first_marker && !rules_.state_in_one) {
      me.seen_until = me.change = me.position;
    }
    start(me);
  }

  // consumer::place_one, after the host's answer
  void start(host& me) const {
    const bool ordered = me.why == reason::order && me.going_back == 0;
    const bool mark = (ordered && rules_.order_marked_first) || (me.why == reason::policy && rules_.start_marked_first);
    if (me.why != reason::progress) me.to_commit = rules_.begins_at_state ? me.settled : me.position;
    me.sent = bounds_.mqtt ? me.settled : nothing;  // lane::cut_settled
    // The first write begins where reading does, or where the sink stands: what lies between nobody would ever read.
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

  // consumer::take_order
  template <class Take>
  void mark(const world& w, byte i, Take&& take) const {
    if (w.owner != i) return;  // refused: the next that it hears is that the stream is lost
    give(w, take, i, "marks the offset where it begins", [&](world& t) {
      commit_offset(t, t.hosts[i].to_commit);
      done_placing(t.hosts[i]);
    });
    if (w.lost != 0)
      give(w, take, i, "marks the offset where it begins, and does not hear of it", [&](world& t) {
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
    return (h.fenced & bit(s)) == 0 && (h.written[s] < h.position || has_item(h, s) || h.trying[s] != 0);
  }
  [[nodiscard]] bool quiet(const host& h) const {
    for (byte s = 0; s < bounds_.sinks; ++s)
      if (pending(h, s)) return false;
    return !bounds_.mqtt || h.sent >= h.position;
  }

  template <class Take>
  void running(const world& w, byte i, Take&& take) const {
    const auto& h = w.hosts[i];
    if (h.fenced != 0 && quiet(h)) join_again(w, i, take);
    if (h.fenced == 0) {
      reading(w, i, take);
      if (bounds_.state) remembering(w, i, take);
      if (w.owner == i && h.to_commit != nothing && (h.to_commit != w.committed || w.marked == 0))
        give(
            w, take, i, "commits to the group the offset", [&](world& t) { commit_offset(t, h.to_commit); },
            h.to_commit);  // committer::commit_if_due
    }
    if (bounds_.mqtt && h.sent < h.position)
      give(
          w, take, i, bounds_.state ? "has MQTT take what comes of record" : "has MQTT take record",
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
    }
  }

  // lane::restart_source: what is settled is committed by consumer::leave
  template <class Take>
  void join_again(const world& w, byte i, Take&& take) const {
    give(w, take, i, "joins the group again, since it was fenced", [&](world& t) {
      const auto& h = w.hosts[i];
      if (w.owner == i) {
        if (h.to_commit != nothing) commit_offset(t, h.to_commit);
        t.owner = nothing;
      }
      forget(t.hosts[i]);
    });
  }

  // lane::take, lane::apply
  template <class Take>
  void reading(const world& w, byte i, Take&& take) const {
    const auto& h = w.hosts[i];
    if (h.position > w.end) {  // consumer::go_back
      const bool duel = w.owner != i;
      if (duel && w.duels == 0) return;  // two who raise each other's epoch: it is told in the end
      return give(w, take, i, "finds its position beyond the end of the topic", [&](world& t) {
        t.duels = static_cast<byte>(t.duels - (duel ? 1 : 0));
        t.hosts[i].now = phase::look;
        t.hosts[i].going_back = 1;
      });
    }
    byte slowest = bounds_.mqtt ? h.sent : h.position;
    for (byte s = 0; s < bounds_.sinks; ++s) slowest = std::min(slowest, h.written[s]);
    if (h.position >= w.end || h.position >= slowest + bounds_.window) return;
    give(
        w, take, i, "reads record",
        [&](world& t) {
          auto& me = t.hosts[i];
          const auto r = me.position++;
          me.given &= static_cast<byte>(~bit(r));
          if (const byte d = r % bounds_.devices; bounds_.state && r >= me.guard[d]) {
            me.guard[d] = 0;
            me.odd ^= bit(d), me.changed |= bit(d);
            me.until[d] = me.position;
            if ((me.odd & bit(d)) == 0) me.given |= bit(r);
          }
          if (me.change != nothing) {
            me.marker = me.change, me.marker_at = r;
            me.change = nothing;
          }
          if (rules_.commit_first) me.to_commit = me.position;
          settle(me);
        },
        h.position);
  }

  // lane::snapshot_if_due, lane::take_belongings
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
      give(w, take, i, "hands the snapshot to the sinks", [&](world& t) { push_item(t.hosts[i], item::snapshot); });
    if (bounds_.timer && h.with == item::none && h.told == 0 && h.position == w.end && level)
      give(w, take, i, "has its timer go off", [&](world& t) {
        t.hosts[i].told = 1;
        push_item(t.hosts[i], item::timer_row);
      });
  }
  void push_item(host& me, item what) const {
    me.with = what;
    me.item_at = me.position;
    me.item_done = 0;
    for (byte s = 0; s < bounds_.sinks; ++s)
      if (me.item_at < me.has[s] || (rules_.state_in_one && s != 0 && what == item::snapshot))
        me.item_done |= bit(s);  // lane::carrier
    settle(me);
  }

  // stream_state::report
  void settle(host& me) const {
    byte until = me.position;
    for (byte s = 0; s < bounds_.sinks; ++s) until = std::min(until, me.written[s]);
    if (bounds_.mqtt) until = std::min(until, me.sent);
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
    t.sink = s, t.token = i + 1, t.first = h.written[s], t.next = next, t.epoch = h.epoch[s], t.serial = h.serial[s];
    t.given = h.given & below(next) & static_cast<byte>(~below(t.first));
    if (h.marker != nothing && h.marker_at >= t.first && h.marker_at < next) t.seen_until = h.marker;
    if (!item_too || !has_item(h, s) || h.item_at > next) return t;
    t.with = h.with;
    if (h.with == item::snapshot)
      t.seen_until = h.item_seen, t.odd = h.item_odd, t.changed = h.item_changed, t.until = h.item_until;
    return t;
  }

  // What write_queue::take may hand over: one batch, or all that wait.
  template <class Take>
  void writing(const world& w, byte i, byte s, Take&& take) const {
    const auto& h = w.hosts[i];
    if (h.trying[s] == 1) return write(w, i, s, h.try_next[s], h.try_item[s] != 0, take);
    const auto first = h.written[s];
    const bool item_next = has_item(h, s) && h.item_at == first;
    if (item_next) write(w, i, s, first, true, take);
    if (first < h.position && !item_next) write(w, i, s, first + 1, false, take);
    const bool more = first + 1 < h.position || (has_item(h, s) && first < h.position);
    if (more) write(w, i, s, h.position, true, take);
  }

  // timescale: sink::write
  template <class Take>
  void write(const world& w, byte i, byte s, byte next, bool item_too, Take&& take) const {
    world from = w;
    auto& me = from.hosts[i];
    if (me.trying[s] == 0) {  // under a token of its own: what an earlier one left is not this one's
      if (from.sinks[s].token == i + 1) from.sinks[s].token = 0;
      if (from.under_way.token == i + 1 && from.under_way.sink == s) from.under_way.token = old_token;
    }
    const auto t = transaction_of(me, i, s, next, item_too);
    me.trying[s] = 2, me.try_next[s] = next, me.try_item[s] = item_too ? 1 : 0;
    const auto what = [&](const char* end) {
      auto text = "writes to sink " + std::to_string(s);
      if (t.first != t.next) text += " from " + std::to_string(t.first) + " to before " + std::to_string(t.next);
      if (t.with == item::snapshot) text += " the snapshot";
      if (t.with == item::timer_row) text += " what the timer made";
      if (t.seen_until != nothing) text += " (seen_until " + std::to_string(t.seen_until) + ")";
      return text + end;
    };
    if (!goes_through(from, t)) {
      give(from, take, i, what(": the position is not as expected"), [](world&) {});
    } else {
      give(from, take, i, what(""), [&](world& x) { commit(x, t), acknowledge(x.hosts[i], s); });
      if (w.lost != 0)
        give(from, take, i, what(", and the reply to COMMIT is lost"), [&](world& x) { commit(x, t), --x.lost; });
    }
    if (w.lost != 0 && w.under_way.sink == nothing)
      give(from, take, i, what(", and the connection is lost while it is under way"),
           [&](world& x) { x.under_way = t, --x.lost; });
  }
  void acknowledge(host& me, byte s) const {
    me.written[s] = me.try_next[s];
    if (rules_.serial_in_write) ++me.serial[s];
    if (me.try_item[s] != 0 && has_item(me, s) && me.item_at <= me.try_next[s]) me.item_done |= bit(s);
    me.trying[s] = me.try_next[s] = me.try_item[s] = 0;
    settle(me);
  }

  // timescale: sink::find_out, position_book::standing_of; then writer::fence
  template <class Take>
  void find_out(const world& w, byte i, byte s, Take&& take) const {
    const auto& h = w.hosts[i];
    const auto& row = w.sinks[s];
    const bool mine = row.token == i + 1;
    const bool after = row.epoch == h.epoch[s] && mine && row.next == h.try_next[s];
    const bool before = row.epoch == h.epoch[s] && !mine && row.next == h.written[s];
    if (rules_.reply == lost_reply::taken_for_committed || (rules_.reply == lost_reply::looked_up && after))
      return give(
          w, take, i, after ? "finds that it was committed in sink" : "takes it for committed in sink",
          [&](world& t) { acknowledge(t.hosts[i], s); }, s);
    if (rules_.reply == lost_reply::taken_for_not_committed || before)
      return give(
          w, take, i, before ? "finds that it was not committed in sink" : "takes it for not committed in sink",
          [&](world& t) { t.hosts[i].trying[s] = 1; }, s);
    give(
        w, take, i, "finds that it is fenced in sink",
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
