// SPDX-License-Identifier: Apache-2.0
// Two streams whose records are written in one transaction, completely or not at all. Otherwise the model is that of
// one_stream.hpp, without offset resets, state and a second sink.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace model {

struct stream_bounds {
  std::uint8_t records = 2, kills = 1, rebalances = 2, lost = 1;
};

enum class all_or_nothing : std::uint8_t {
  checked,        // the number of updated positions must be the number of streams
  any_is_enough,  // one updated position is enough; others remain unchanged
};

struct stream_row {
  std::uint8_t next = 0, epoch = 0, token = 0;
  std::array<std::uint8_t, 3> stored{};
};

enum class part : std::uint8_t { idle, look, claim, run };

struct reading {
  part now = part::idle;
  std::uint8_t seen_next = 0, seen_epoch = 0, epoch = 0, written = 0, try_next = 0;
};

struct shared_write {
  std::uint8_t token = 0;  // 0: none
  std::array<std::uint8_t, 2> first{}, next{}, epoch{};
};

struct two_stream_host {
  std::uint8_t dead = 0, trying = 0, fenced = 0;
  std::array<reading, 2> streams{};
};

struct two_stream_world {
  std::array<stream_row, 2> rows{};
  std::array<two_stream_host, 2> hosts{};
  shared_write under_way{};
  std::array<std::uint8_t, 2> owner{15, 15};
  std::uint8_t kills = 0, rebalances = 0, lost = 0;
  std::array<std::uint8_t, 2> filler{};
};

class two_streams {
 public:
  using state = two_stream_world;
  using byte = std::uint8_t;
  two_streams(stream_bounds b, all_or_nothing how) : bounds_(b), how_(how) {}

  [[nodiscard]] state first() const {
    state w;
    w.kills = bounds_.kills, w.rebalances = bounds_.rebalances, w.lost = bounds_.lost;
    return w;
  }
  [[nodiscard]] state tidy(state w) const {
    for (byte i = 0; i < 2; ++i) {
      if (w.hosts[i].trying != 0) continue;
      for (auto& row : w.rows)
        if (row.token == i + 1) row.token = 0;
      if (w.under_way.token == i + 1) w.under_way.token = old_token;
    }
    return w;
  }
  [[nodiscard]] state same(const state& w) const {
    state other = w;
    std::swap(other.hosts[0], other.hosts[1]);
    for (auto& o : other.owner) o = o == no_host ? no_host : static_cast<byte>(1 - o);
    const auto swapped = [](byte t) { return t == 1 ? byte{2} : t == 2 ? byte{1} : t; };
    for (auto& row : other.rows) row.token = swapped(row.token);
    other.under_way.token = swapped(other.under_way.token);
    return std::memcmp(&w, &other, sizeof w) <= 0 ? w : other;
  }
  [[nodiscard]] const char* violation(const state& w) const {
    for (const auto& row : w.rows)
      for (byte r = 0; r < bounds_.records; ++r) {
        if (row.stored[r] > 1) return "a record is stored more often than expected";
        if (r < row.next && row.stored[r] == 0) return "a position has passed a record that is not stored";
      }
    return nullptr;
  }
  [[nodiscard]] bool finished(const state& w) const {
    return w.under_way.token == 0 && std::ranges::all_of(std::array<byte, 2>{0, 1}, [&](byte s) {
             return w.owner[s] != no_host && w.hosts[w.owner[s]].fenced == 0 &&
                    w.hosts[w.owner[s]].streams[s].now == part::run &&
                    w.hosts[w.owner[s]].streams[s].written == bounds_.records;
           });
  }

  template <class Take>
  void steps(const state& w, Take&& take) const {
    the_database(w, take);
    for (byte i = 0; i < 2; ++i) {
      const auto& h = w.hosts[i];
      if (h.dead != 0) {
        give(w, take, i, "starts again", [&](state& t) { t.hosts[i] = {}; });
        continue;
      }
      if (w.kills != 0)
        give(w, take, i, "is killed", [&](state& t) {
          let_go(t, i);
          --t.kills;
          t.hosts[i].dead = 1;
        });
      for (byte s = 0; s < 2; ++s) the_group(w, i, s, take);
      if (h.fenced != 0)
        give(w, take, i, "joins the group again", [&](state& t) { let_go(t, i); });
      else if (h.trying == 2)
        find_out(w, i, take);
      else
        writing(w, i, take);
    }
  }

 private:
  static constexpr byte no_host = 15, old_token = 3;

  template <class Take, class Change>
  static void give(const state& w, Take&& take, byte who, std::string_view what, Change&& change) {
    state t = w;
    change(t);
    take(t, [&] {
      return (who == no_host ? std::string() : std::string("host ") + (who == 0 ? "A " : "B ")) + std::string(what);
    });
  }
  static void let_go(state& t, byte i) {
    for (auto& o : t.owner)
      if (o == i) o = no_host;
    t.hosts[i] = {};
  }

  template <class Take>
  void the_group(const state& w, byte i, byte s, Take&& take) const {
    const auto& h = w.hosts[i];
    const auto& r = h.streams[s];
    const auto name = "stream " + std::to_string(s);
    const auto assign = [&](state& t) { t.owner[s] = i, t.hosts[i].streams[s] = {.now = part::look}; };
    if (r.now == part::idle && h.trying == 0 && h.fenced == 0) {
      if (w.owner[s] == no_host) give(w, take, i, "is assigned " + name, assign);
      if (w.owner[s] == 1 - i && w.rebalances != 0)
        give(w, take, i, "is assigned " + name + " before the other host is informed",
             [&](state& t) { assign(t), --t.rebalances; });
    }
    if (r.now != part::idle && w.owner[s] != i && h.trying == 0)
      give(w, take, i, "is informed of the revocation of " + name, [&](state& t) { t.hosts[i].streams[s] = {}; });
    if (r.now == part::look)
      give(w, take, i, "looks up the position of " + name, [&](state& t) {
        t.hosts[i].streams[s] = {.now = part::claim, .seen_next = w.rows[s].next, .seen_epoch = w.rows[s].epoch};
      });
    if (r.now != part::claim) return;
    const bool unchanged = r.seen_next == w.rows[s].next && r.seen_epoch == w.rows[s].epoch;
    give(w, take, i, (unchanged ? "claims " : "fails to claim ") + name, [&](state& t) {
      auto& me = t.hosts[i].streams[s];
      if (!unchanged) return void(me = {.now = part::look});
      t.rows[s].epoch = static_cast<byte>(r.seen_epoch + 1);
      t.rows[s].token = 0;
      me = {.now = part::run, .epoch = t.rows[s].epoch, .written = r.seen_next};
    });
  }

  // positions.cpp: all_moved
  [[nodiscard]] static bool fits(const state& w, const shared_write& x, byte s) {
    return w.rows[s].next == x.first[s] && w.rows[s].epoch == x.epoch[s];
  }
  [[nodiscard]] bool goes_through(const state& w, const shared_write& x) const {
    byte moved = 0, wanted = 0;
    for (byte s = 0; s < 2; ++s)
      if (x.next[s] > x.first[s]) ++wanted, moved = static_cast<byte>(moved + (fits(w, x, s) ? 1 : 0));
    return how_ == all_or_nothing::checked ? moved == wanted : moved > 0;
  }
  static void commit(state& w, const shared_write& x) {
    for (byte s = 0; s < 2; ++s) {
      if (x.next[s] == x.first[s]) continue;
      for (byte r = x.first[s]; r < x.next[s]; ++r) ++w.rows[s].stored[r];
      if (!fits(w, x, s)) continue;
      w.rows[s].next = x.next[s];
      w.rows[s].token = x.token == old_token ? 0 : x.token;
    }
  }
  template <class Take>
  void the_database(const state& w, Take&& take) const {
    if (w.under_way.token == 0) return;
    if (goes_through(w, w.under_way))
      give(w, take, no_host, "the transaction whose connection was lost commits late",
           [&](state& t) { commit(t, w.under_way), t.under_way = {}; });
    give(w, take, no_host, "the transaction whose connection was lost is rolled back",
         [&](state& t) { t.under_way = {}; });
  }

  template <class Take>
  void writing(const state& w, byte i, Take&& take) const {
    const auto& h = w.hosts[i];
    std::array<byte, 2> from{}, most{};
    for (byte s = 0; s < 2; ++s) {
      from[s] = h.streams[s].written;
      most[s] = h.streams[s].now == part::run ? bounds_.records : from[s];
    }
    if (h.trying == 1)  // without a stream that was assigned in the meantime
      return write(w, i, {std::max(from[0], h.streams[0].try_next), std::max(from[1], h.streams[1].try_next)}, take);
    for (byte a = from[0]; a <= most[0]; ++a)
      for (byte b = from[1]; b <= most[1]; ++b)
        if (a != from[0] || b != from[1]) write(w, i, {a, b}, take);
  }
  template <class Take>
  void write(const state& w, byte i, std::array<byte, 2> next, Take&& take) const {
    state from = w;
    auto& me = from.hosts[i];
    shared_write x;
    x.token = static_cast<byte>(i + 1);
    std::string what = "writes";
    for (byte s = 0; s < 2; ++s) {
      x.first[s] = me.streams[s].written, x.epoch[s] = me.streams[s].epoch;
      x.next[s] = me.streams[s].try_next = next[s];
      if (x.first[s] != next[s])
        what += " stream " + std::to_string(s) + " from " + std::to_string(x.first[s]) + " to before " +
                std::to_string(next[s]);
    }
    me.trying = 2;
    if (!goes_through(from, x)) {
      give(from, take, i, what + ": a position is not as expected", [](state&) {});
    } else {
      give(from, take, i, what, [&](state& t) { commit(t, x), acknowledge(t.hosts[i]); });
      if (w.lost != 0)
        give(from, take, i, what + ", and the reply to COMMIT is lost", [&](state& t) { commit(t, x), --t.lost; });
    }
    if (w.lost != 0 && w.under_way.token == 0)
      give(from, take, i, what + ", and the connection is lost while the transaction is in flight",
           [&](state& t) { t.under_way = x, --t.lost; });
  }
  static void acknowledge(two_stream_host& me) {
    for (auto& s : me.streams) s.written = std::max(s.written, std::exchange(s.try_next, byte{0}));
    me.trying = 0;
  }

  // position_book::standing_of
  template <class Take>
  void find_out(const state& w, byte i, Take&& take) const {
    const auto& h = w.hosts[i];
    byte before = 0, after = 0, wanted = 0;
    for (byte s = 0; s < 2; ++s) {
      const auto& r = h.streams[s];
      if (r.try_next <= r.written) continue;
      ++wanted;
      if (w.rows[s].epoch != r.epoch) continue;
      const bool mine = w.rows[s].token == i + 1;
      if (mine && w.rows[s].next == r.try_next) ++after;
      if (!mine && w.rows[s].next == r.written) ++before;
    }
    if (after == wanted)
      give(w, take, i, "finds the transaction committed", [&](state& t) { acknowledge(t.hosts[i]); });
    else if (before == wanted)
      give(w, take, i, "finds the transaction not committed", [&](state& t) { t.hosts[i].trying = 1; });
    else
      give(w, take, i, "finds itself fenced", [&](state& t) { t.hosts[i].fenced = 1, t.hosts[i].trying = 0; });
  }

  stream_bounds bounds_;
  all_or_nothing how_;
};

}  // namespace model
