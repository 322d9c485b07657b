// SPDX-License-Identifier: Apache-2.0
// The window of one stream: a ring of identities in order of arrival, and two open-addressing hash tables of indexes
// into the ring, one for older and one for younger identities. Entries are never erased from a table. A lookup ignores
// entries whose identity has left the ring. When no old identity is left, the tables are swapped and the old one is
// cleared. This takes less than half the time of erasing each entry. A window is used from one thread.
//
// The ring is divided into slices. A slice leaves the window as a whole when the stream's time has advanced by
// `within`. Each slice is one entry of the stream's state, which is erased as a whole.
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
  std::uint32_t most = 0;   // maximum number of identities; when it is reached, at least half of this number stay
};

struct entry {
  identity id;
  std::uint64_t position = 0;  // position of its first record
};

struct slice {
  std::uint64_t number = 0;  // ascending; part of the name of its state entry
  std::uint32_t count = 0;
  std::uint32_t level = 0;      // number of merges that produced it
  std::int64_t opened = never;  // the stream's time at its first identity
  std::int64_t newest = never;  // the stream's time at its last identity
  bool stored = false;          // the state has an entry of this number
  bool changed = true;          // the slice differs from its state entry
};

class window {
 public:
  explicit window(limits most);

  // Advance the stream's time to the time of a record. An older time has no effect.
  void advance(std::int64_t time) {
    if (time > clock_) move_clock(time);
  }
  // Return whether the window has the identity with an earlier position; otherwise insert it. A record that is read
  // again from the same position is not a duplicate. A record from an earlier position replaces the first position.
  [[nodiscard]] bool seen_before(const identity& id, std::uint64_t position) {
    std::uint32_t free = 0, unused = 0;
    auto* known = find(young_, id, free);
    if (known == nullptr) known = find(old_, id, unused);
    if (known == nullptr) return insert(id, position, free), false;
    if (known->position < position) return true;
    known->position = position;
    return false;
  }
  // Prefetch the memory that seen_before will access.
  void prefetch(const identity& id) const noexcept {
    __builtin_prefetch(&young_.places[tag_of(id) & young_.mask()]);
    __builtin_prefetch(&old_.places[tag_of(id) & old_.mask()]);
  }

  // Remove all identities from `position` on, because their records are read again.
  void remove_from(std::uint64_t position);

  // Close the open slice. Merge small neighbouring slices, eight into one, to bound the number of slices.
  void seal();
  // Visit each sealed slice that has changed, with its entries, and mark it as stored.
  template <class Visit>
  void for_each_changed(Visit&& visit) {
    auto from = head_;
    for (auto& s : slices_) {
      if (s.changed) {
        visit(static_cast<const slice&>(s), std::span<const entry>(copied(from, s.count)));
        s.stored = true;
        s.changed = false;
      }
      from += s.count;
    }
  }
  // Return the numbers of stored slices that have left the window, and clear the list.
  [[nodiscard]] std::vector<std::uint64_t> take_removed() { return std::exchange(removed_, {}); }
  // Restore a stored slice. Call in the order of the slice numbers, before the first record.
  void restore(slice s, std::span<const entry> entries);
  // After the last `restore`: apply the present limits, which may be lower than those under which the slices were stored.
  void restored();
  // Forget the stream's time: the times of the identities belong to another column. They count from the next time on.
  void forget_times();
  // Mark a stored slice that cannot be used for removal from the state.
  void discard(std::uint64_t number) {
    next_number_ = number + 1;
    removed_.push_back(number);
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t slices() const noexcept { return slices_.size(); }
  [[nodiscard]] std::int64_t clock() const noexcept { return clock_; }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return ring_.size() * sizeof(entry) + (young_.places.size() + old_.places.size()) * sizeof(place) +
           slices_.size() * sizeof(slice);
  }
  // Return the number of identities that left the window early because the limit was reached, and reset it.
  [[nodiscard]] std::uint64_t take_early() noexcept { return std::exchange(early_, 0); }
  // Return the part of the stream's time that the window covers, in nanoseconds.
  [[nodiscard]] std::int64_t span() const noexcept;

 private:
  // Identities have 31-bit numbers in order of arrival; the ring contains the last `size_` of them.
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
  // Return the entry of the identity, or null. Set `free` to the index at which it would be inserted.
  [[nodiscard]] entry* find(const table& t, const identity& id, std::uint32_t& free) noexcept {
    const auto tag = tag_of(id);
    const auto mask = t.mask();
    for (free = tag & mask; t.places[free].number != 0; free = (free + 1) & mask)
      if (t.places[free].tag == tag && is_there(t.places[free].number))
        if (auto& e = at(t.places[free].number); e.id == id) return &e;
    return nullptr;
  }
  void move_clock(std::int64_t time);
  void set_times(std::int64_t time);
  void remove_expired();
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
  void remove_old();
  void remove_oldest(std::uint32_t count);
  void swap_tables();
  void clear();
  void grow_ring();
  void grow_young();
  void put(table& to, std::uint32_t number) noexcept;
  void merge_neighbours();
  [[nodiscard]] const std::vector<entry>& copied(std::uint32_t from, std::uint32_t count);

  limits limits_;
  std::uint32_t slice_most_;  // maximum number of identities in a slice
  std::uint32_t young_most_;
  huge_vector<entry> ring_;  // a power of two
  table young_, old_;
  std::uint32_t head_ = 0;  // number of the oldest identity
  std::uint32_t size_ = 0;
  std::deque<slice> slices_;  // together they cover the ring
  bool open_ = false;         // identities can be added to the last slice
  std::int64_t open_until_ = never;
  std::uint64_t next_number_ = 0;
  std::vector<std::uint64_t> removed_;
  std::int64_t clock_ = never;
  std::uint64_t early_ = 0;
  std::vector<entry> scratch_;
};

}  // namespace deduplicate
