// SPDX-License-Identifier: Apache-2.0
// The identities of one stream that are remembered, and since when: a ring in the order in which they came, and two
// open-addressing tables of places in it, for the older and for the younger ones. Nothing is ever taken out of a table: what
// has left the ring is passed over, and when no old one is left, the tables change places and the emptied one begins anew.
// That costs less than half of erasing each. Whoever owns a window uses it from one thread.
//
// The ring is cut into slices. A slice leaves the window as a whole once the stream's time has gone on by `within`, and is one
// entry of the stream's state: written once, erased as a whole.
#pragma once

#include "huge_pages.hpp"
#include "identity.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace deduplicate {

constexpr std::int64_t never = std::numeric_limits<std::int64_t>::min();

struct limits {
  std::int64_t within = 0;  // nanoseconds
  std::uint32_t most = 0;   // identities; at least half of them are remembered
};

struct entry {
  identity id;
  std::uint64_t position = 0;  // where it was first
};

struct slice {
  std::uint64_t number = 0;  // ascending; names it in the state
  std::uint32_t count = 0;
  std::uint32_t level = 0;      // how often it was joined with its neighbours
  std::int64_t opened = never;  // the stream's time at its first identity
  std::int64_t newest = never;  // and at its last
  bool kept = false;            // the state has a slice of this number
  bool changed = true;          // and this one is not what it has there
};

class window {
 public:
  explicit window(limits most);

  // Time of a record, which may be older than what was before: the window moves on with the newest.
  void advance(std::int64_t time) {
    if (time > clock_) move_clock(time);
  }
  // Whether the identity was there at an earlier position. If not, it is remembered. A record that comes once more, from the
  // same position, is no duplicate of itself; one from before it is the first.
  [[nodiscard]] bool seen_before(const identity& id, std::uint64_t position) {
    std::uint32_t free = 0, unused = 0;
    auto* known = find(young_, id, free);
    if (known == nullptr) known = find(old_, id, unused);
    if (known == nullptr) return insert(id, position, free), false;
    if (known->position < position) return true;
    known->position = position;
    return false;
  }
  // Brings what seen_before will touch into the cache.
  void prefetch(const identity& id) const noexcept {
    __builtin_prefetch(&young_.places[tag_of(id) & young_.mask()]);
    __builtin_prefetch(&old_.places[tag_of(id) & old_.mask()]);
  }

  // What came from `position` on comes again.
  void forget_from(std::uint64_t position);

  // The open slice ends here. Small neighbours are joined, eight into one, so that there are never many.
  void seal();
  // Visits each sealed slice that has changed, with its entries, and from then on takes it for kept.
  template <class Visit>
  void for_each_changed(Visit&& visit) {
    auto from = head_;
    for (auto& s : slices_) {
      if (s.changed) {
        visit(static_cast<const slice&>(s), std::span<const entry>(copied(from, s.count)));
        s.kept = true;
        s.changed = false;
      }
      from += s.count;
    }
  }
  // Numbers of slices that the state has, and that are gone.
  [[nodiscard]] std::vector<std::uint64_t> take_gone() { return std::exchange(gone_, {}); }
  // A slice as the state has it; in the order of their numbers, before any record.
  void restore(slice s, std::span<const entry> entries);
  // One that the state has, and that is of no use.
  void discard(std::uint64_t number) {
    next_number_ = number + 1;
    gone_.push_back(number);
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t slices() const noexcept { return slices_.size(); }
  [[nodiscard]] std::int64_t clock() const noexcept { return clock_; }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return ring_.size() * sizeof(entry) + (young_.places.size() + old_.places.size()) * sizeof(place) +
           slices_.size() * sizeof(slice);
  }
  // Forgotten because there were too many, before their time.
  [[nodiscard]] std::uint64_t take_early() noexcept { return std::exchange(early_, 0); }
  // How much of the stream's time is remembered.
  [[nodiscard]] std::int64_t span() const noexcept;

 private:
  // Identities are numbered as they come, with 31 bits; the ring has the last `size_` of them.
  static constexpr std::uint32_t taken = 1U << 31U;
  struct place {
    std::uint32_t tag = 0;
    std::uint32_t number = 0;  // with the bit `taken`; 0: free
  };
  struct table {
    huge_vector<place> places;  // a power of two, half of them free
    std::uint32_t count = 0;
    [[nodiscard]] std::uint32_t mask() const noexcept { return static_cast<std::uint32_t>(places.size() - 1); }
  };
  [[nodiscard]] static std::uint32_t tag_of(const identity& id) noexcept { return static_cast<std::uint32_t>(id.low); }
  [[nodiscard]] entry& at(std::uint32_t number) noexcept {
    return ring_[number & static_cast<std::uint32_t>(ring_.size() - 1)];
  }
  [[nodiscard]] bool is_there(std::uint32_t number) const noexcept { return ((number - head_) & ~taken) < size_; }
  // free: where it would have its place.
  [[nodiscard]] entry* find(const table& t, const identity& id, std::uint32_t& free) noexcept {
    const auto tag = tag_of(id);
    const auto mask = t.mask();
    for (free = tag & mask; t.places[free].number != 0; free = (free + 1) & mask)
      if (t.places[free].tag == tag && is_there(t.places[free].number))
        if (auto& e = at(t.places[free].number); e.id == id) return &e;
    return nullptr;
  }
  void move_clock(std::int64_t time);
  void insert(const identity& id, std::uint64_t position, std::uint32_t free) {
    if (young_.count >= young_most_ || size_ == ring_.size() || young_.count >= young_.places.size() / 2 || !open_ ||
        clock_ >= open_until_ || slices_.back().count >= slice_most_)
      return insert_slowly({id, position});
    const auto number = (head_ + size_++) & ~taken;
    at(number) = {id, position};
    young_.places[free] = {tag_of(id), number | taken};
    ++young_.count;
    ++slices_.back().count;
    slices_.back().newest = clock_;
  }
  void insert_slowly(const entry& e);
  void append(const entry& e);
  [[nodiscard]] slice& open_slice();
  void forget_old();
  void forget(std::uint32_t count);
  void turn();
  void clear();
  void grow_ring();
  void grow_young();
  void put(table& to, std::uint32_t number) noexcept;
  void join_neighbours();
  [[nodiscard]] const std::vector<entry>& copied(std::uint32_t from, std::uint32_t count);

  limits limits_;
  std::uint32_t slice_most_;  // identities of a slice
  std::uint32_t young_most_;
  huge_vector<entry> ring_;  // a power of two
  table young_, old_;
  std::uint32_t head_ = 0;  // number of the oldest
  std::uint32_t size_ = 0;
  std::deque<slice> slices_;  // together they are all of the ring
  bool open_ = false;         // the last slice still takes identities
  std::int64_t open_until_ = never;
  std::uint64_t next_number_ = 0;
  std::vector<std::uint64_t> gone_;
  std::int64_t clock_ = never;
  std::uint64_t early_ = 0;
  std::vector<entry> scratch_;
};

}  // namespace deduplicate
