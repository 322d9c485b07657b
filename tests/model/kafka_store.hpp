// SPDX-License-Identifier: Apache-2.0
// How kafka_sink keeps positions (docs/decisions/0008-exactly-once-into-kafka.md), for one stream and two hosts. A host
// takes over the transactional id and then reads the position, in place of a compare-and-set. Open transactions of other
// producers hide later records of a partition. The model has rebalances, kills, zombies, lost responses and time-outs.
#pragma once

#include "one_stream.hpp"

#include <array>
#include <string_view>

namespace model {

struct kafka_bounds {
  byte records = 2, rebalances = 2, kills = 1, lost = 1, foreign = 1;
};

// The defaults are what the code does.
struct kafka_rules {
  bool claim_looks = true;        // position_book::claim compares after it has taken over, not only before
  bool look_waits = true;         // position_log::look waits for transactions that were open when it began
  bool writer_looks = true;       // exact_writer takes over and reads the position before its first write
  bool outcome_looked_up = true;  // ... and when the outcome of a transaction is unknown
  bool assumed = false;           // if the outcome is not looked up, assume that it was committed
  bool id_of_stream = true;       // the transactional id is the stream's, not the host's
};

enum class kafka_phase : byte {
  dead,
  idle,
  first_look,
  take,
  look,
  claim,
  claiming,
  take_over_to_write,
  look_to_write,
  ready,
  writing
};
enum class outcome : byte { none, committed, failed };

struct kafka_position {
  byte next = 0, epoch = 0, token = 0;
  bool operator==(const kafka_position&) const = default;
};

struct kafka_host {
  kafka_phase now = kafka_phase::idle;
  kafka_position seen{};
  byte epoch = 0, position = 0;
  byte token = 0;  // of the current write, for all its attempts; 0: none
  byte turn = 0;   // makes the tokens of two successive writes differ
  byte holds = 0;  // whether it holds its own id, if each host has one
  outcome known = outcome::none;
};

struct kafka_world {
  std::array<kafka_host, 2> hosts{};
  kafka_position actual{}, visible{};  // visible: the visible position while `hidden`
  byte hidden = 0, owner = nothing, holder = nothing;
  // A request to commit that is in flight to the broker.
  std::array<kafka_position, 2> commit{};
  std::array<byte, 2> under_way{}, first{};  // 1: a claim, 2: a write
  std::array<byte, 4> stored{};
  byte rebalances = 0, kills = 0, lost = 0, foreign = 0;
  byte filler = 0;
};
static_assert(sizeof(kafka_world) % 8 == 0);

class kafka_store {
 public:
  using state = kafka_world;
  kafka_store(kafka_bounds b, kafka_rules r) : bounds_(b), rules_(r) {}

  [[nodiscard]] state first() const {
    state w;
    w.rebalances = bounds_.rebalances, w.kills = bounds_.kills, w.lost = bounds_.lost, w.foreign = bounds_.foreign;
    return w;
  }
  [[nodiscard]] state tidy(state w) const {
    for (auto& h : w.hosts) {
      if (h.now == kafka_phase::dead || h.now == kafka_phase::idle) {
        const auto now = h.now;
        const auto turn = h.turn;
        h = {};
        h.now = now, h.turn = turn;
      }
    }
    if (w.hidden == 0) w.visible = {};
    return w;
  }
  [[nodiscard]] state same(const state& w) const { return w; }

  [[nodiscard]] const char* violation(const state& w) const {
    for (byte r = 0; r < bounds_.records; ++r)
      if (w.stored[r] > 1) return "a record is stored more often than expected";
    if (w.actual.epoch > many_claims) return "the stream is claimed endlessly";
    if (!finished(w)) return nullptr;
    for (byte r = 0; r < bounds_.records; ++r)
      if (w.stored[r] == 0) return "the run has finished, but a sink lacks a record";
    return nullptr;
  }
  [[nodiscard]] bool finished(const state& w) const {
    if (w.owner == nothing) return false;
    const auto& h = w.hosts[w.owner];
    return h.now == kafka_phase::ready && h.position == bounds_.records && w.under_way[0] == 0 && w.under_way[1] == 0;
  }

  template <class Take>
  void steps(const state& w, Take&& take) const {
    the_broker(w, take);
    for (byte i = 0; i < 2; ++i) {
      fate(w, i, take);
      acts(w, i, take);
    }
  }

 private:
  static constexpr byte old_token = 9;

  template <class Take, class Change>
  static void give(const state& w, Take&& take, std::string_view words, Change&& change) {
    state t = w;
    change(t);
    take(t, [&] { return std::string(words); });
  }
  template <class Take, class Change>
  static void give(const state& w, Take&& take, byte host, std::string_view words, Change&& change) {
    state t = w;
    change(t, t.hosts[host]);
    take(t, [&] { return (host == 0 ? "host A " : "host B ") + std::string(words); });
  }

  [[nodiscard]] bool holds(const state& w, byte i) const {
    return rules_.id_of_stream ? w.holder == i : w.hosts[i].holds != 0;
  }
  void end_unfinished(state& w, byte i) const {
    if (w.under_way[i] != 0 && w.hosts[i].known == outcome::none) w.hosts[i].known = outcome::failed;
    w.under_way[i] = 0;
  }
  // rd_kafka_init_transactions
  void take_over(state& w, byte i) const {
    end_unfinished(w, i);
    if (rules_.id_of_stream) end_unfinished(w, 1 - i);
    w.holder = i;
    w.hosts[i].holds = 1;
    w.hosts[i].known = outcome::none;
  }

  template <class Take>
  void the_broker(const state& w, Take&& take) const {
    for (byte i = 0; i < 2; ++i) {
      if (w.under_way[i] == 0) continue;
      give(w, take, "the broker commits", [&](state& t) {
        for (byte r = t.first[i]; t.under_way[i] == 2 && r < t.commit[i].next; ++r) ++t.stored[r];
        t.actual = t.commit[i];
        t.under_way[i] = 0;
        if (waits(t.hosts[i])) t.hosts[i].known = outcome::committed;
      });
      if (w.lost != 0)
        give(w, take, "the broker aborts the transaction after its time-out", [&](state& t) {
          --t.lost;
          end_unfinished(t, i);
          if (t.holder == i) t.holder = nothing;
          t.hosts[i].holds = 0;
        });
    }
    if (w.hidden != 0)
      give(w, take, "another producer's transaction ends", [](state& t) { t.hidden = 0; });
    else if (w.foreign != 0)
      give(w, take, "another producer's transaction begins",
           [](state& t) { --t.foreign, t.hidden = 1, t.visible = t.actual; });
  }

  static bool waits(const kafka_host& h) { return h.now == kafka_phase::claiming || h.now == kafka_phase::writing; }

  template <class Take>
  void fate(const state& w, byte i, Take&& take) const {
    const auto& me = w.hosts[i];
    if (me.now == kafka_phase::dead) {
      give(w, take, i, "starts again", [&](state& t, kafka_host& h) {
        h = {};
        h.turn = me.turn;
        if (t.owner == i) h.now = kafka_phase::first_look;
      });
      return;
    }
    if (w.rebalances != 0 && w.owner != i)
      give(w, take, i, "is assigned the stream", [&](state& t, kafka_host& h) {
        if (t.owner != nothing) --t.rebalances;
        t.owner = i;
        if (h.now == kafka_phase::idle) h.now = kafka_phase::first_look;
      });
    if (w.owner != i && me.now != kafka_phase::idle)
      give(w, take, i, "is informed that the stream was revoked",
           [&](state&, kafka_host& h) { h.now = kafka_phase::idle; });
    if (w.kills != 0)
      give(w, take, i, "is killed", [&](state& t, kafka_host& h) {
        --t.kills;
        h.now = kafka_phase::dead;
        for (auto* s : {&t.actual, &t.visible, &t.commit[0], &t.commit[1]})  // tokens are random and never repeat
          if (s->token != 0 && (s->token - 1) / 2 == i) s->token = old_token;
      });
    if (waits(me) && w.lost != 0)
      give(w, take, i, "gets no response", [&](state& t, kafka_host& h) {
        --t.lost;
        h.known = outcome::failed;
      });
  }

  [[nodiscard]] const kafka_position& visible_position(const state& w) const {
    return w.hidden != 0 ? w.visible : w.actual;
  }
  [[nodiscard]] bool can_look(const state& w) const { return w.hidden == 0 || !rules_.look_waits; }

  // position_book::claim, exact_writer::write
  template <class Take>
  void acts(const state& w, byte i, Take&& take) const {
    const auto& me = w.hosts[i];
    const bool is_mine = holds(w, i);
    switch (me.now) {
      case kafka_phase::first_look:
        return give(w, take, i, "reads the position", [&](state& t, kafka_host& h) {
          h.seen = visible_position(t), h.token = 0, h.now = kafka_phase::take;
        });
      case kafka_phase::take:
        return give(w, take, i, "takes over the id to claim", [&](state& t, kafka_host& h) {
          take_over(t, i);
          h.now = rules_.claim_looks ? kafka_phase::look : kafka_phase::claim;
        });
      case kafka_phase::look:
        if (can_look(w))
          give(w, take, i, "reads the position again", [&](state& t, kafka_host& h) {
            h.now = visible_position(t) == h.seen ? kafka_phase::claim : kafka_phase::first_look;
          });
        return;
      case kafka_phase::claim:
        if (!is_mine)
          return give(w, take, i, "is fenced before its claim",
                      [&](state&, kafka_host& h) { h.now = kafka_phase::first_look; });
        return give(w, take, i, "sends its claim", [&](state& t, kafka_host& h) {
          send(t, i, 1, h.seen.next, {h.seen.next, static_cast<byte>(h.seen.epoch + 1), 0});
          h.now = kafka_phase::claiming;
        });
      case kafka_phase::claiming:
        return claim_ends(w, i, take);
      case kafka_phase::take_over_to_write:
        return give(w, take, i, "takes over the id to write", [&](state& t, kafka_host& h) {
          take_over(t, i);
          h.now = kafka_phase::look_to_write;
        });
      case kafka_phase::look_to_write:
        return look_before_write(w, i, take);
      case kafka_phase::ready:
        if (me.position == bounds_.records) return;
        if (!is_mine)
          return give(w, take, i, "is fenced", [&](state&, kafka_host& h) { h.now = kafka_phase::take_over_to_write; });
        return give(w, take, i, "sends a write", [&](state& t, kafka_host& h) {
          if (h.token == 0) h.turn ^= 1U, h.token = static_cast<byte>(1 + 2 * i + h.turn);
          send(t, i, 2, h.position, {static_cast<byte>(h.position + 1), h.epoch, h.token});
          h.now = kafka_phase::writing;
        });
      case kafka_phase::writing:
        return write_ends(w, i, take);
      default:
        return;
    }
  }

  static void send(state& t, byte i, byte what, byte from, kafka_position to) {
    t.under_way[i] = what, t.first[i] = from, t.commit[i] = to;
    t.hosts[i].known = outcome::none;
  }

  template <class Take>
  void claim_ends(const state& w, byte i, Take&& take) const {
    if (w.hosts[i].known == outcome::none) return;
    give(w, take, i, "gets the outcome of its claim", [&](state&, kafka_host& h) {
      if (h.known == outcome::committed) {
        h.epoch = static_cast<byte>(h.seen.epoch + 1), h.position = h.seen.next;
        h.now = kafka_phase::take_over_to_write;
      } else {
        h.now = kafka_phase::first_look;
      }
      h.known = outcome::none;
    });
  }

  static void written(kafka_host& h) { ++h.position, h.token = 0, h.now = kafka_phase::ready; }

  template <class Take>
  void write_ends(const state& w, byte i, Take&& take) const {
    if (w.hosts[i].known == outcome::none) return;
    give(w, take, i, "gets the outcome of its write", [&](state&, kafka_host& h) {
      if (h.known == outcome::committed || (!rules_.outcome_looked_up && rules_.assumed))
        written(h);
      else
        h.now = kafka_phase::take_over_to_write;
      h.known = outcome::none;
    });
  }

  template <class Take>
  void look_before_write(const state& w, byte i, Take&& take) const {
    const auto& me = w.hosts[i];
    if (me.token != 0 ? !rules_.outcome_looked_up : !rules_.writer_looks)
      return give(w, take, i, "continues without a look", [&](state&, kafka_host& h) { h.now = kafka_phase::ready; });
    if (!can_look(w)) return;
    give(w, take, i, "reads the position before the write", [&](state& t, kafka_host& h) {
      const auto& at = visible_position(t);
      if (at.epoch == h.epoch && h.token != 0 && at.token == h.token)
        written(h);
      else if (at.epoch == h.epoch && at.next == h.position)
        h.now = kafka_phase::ready;
      else  // PL_FENCED: the host joins the group again
        h.now = t.owner == i ? kafka_phase::first_look : kafka_phase::idle;
    });
  }

  kafka_bounds bounds_;
  kafka_rules rules_;
};

}  // namespace model
