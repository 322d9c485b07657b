// SPDX-License-Identifier: Apache-2.0
#include "window.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace deduplicate {

namespace {

constexpr std::size_t smallest = 64;             // a power of two
constexpr std::int64_t time_slices = 64;         // slices of `within`, which is therefore exact to 1/64
constexpr std::uint32_t count_slices = 16;       // slices of `most`
constexpr std::uint32_t largest_slice = 32'768;  // about 550 KB of state, which fits into a Kafka record
constexpr std::size_t slices_joined = 8;

// Return later - earlier, saturated. Neither may be `never`.
std::int64_t between(std::int64_t earlier, std::int64_t later) noexcept {
  std::int64_t gap = 0;
  return __builtin_sub_overflow(later, earlier, &gap) ? std::numeric_limits<std::int64_t>::max() : gap;
}

}  // namespace

window::window(limits most)
    : limits_{most.within, std::max(most.most & ~1U, 2U)},
      slice_most_(std::clamp(most.most / count_slices, std::uint32_t{1}, largest_slice)),
      young_most_(limits_.most / 2),
      ring_(smallest) {
  young_.places.resize(smallest);
  old_.places.resize(smallest);
}

void window::move_clock(std::int64_t time) {
  // Identities inserted before the first known time get this time.
  if (clock_ == never) set_times(time);
  clock_ = time;
  remove_expired();
  // No old identity is left. Do not clear a large table while there are only few young identities.
  if (young_.count >= size_ && young_.count >= old_.places.size() / 8) swap_tables();
}

// Set the time of the slices that have none.
void window::set_times(std::int64_t time) {
  for (auto& s : slices_)
    if (s.newest == never) {
      s.opened = s.newest = time;
      s.changed = true;
    }
}

void window::remove_expired() {
  while (!slices_.empty() && between(slices_.front().newest, clock_) > limits_.within)
    remove_oldest(slices_.front().count);
}

void window::insert_slowly(const entry& e) {
  if (young_.count >= young_most_) remove_old();
  auto& s = open_slice();
  ++s.count;
  s.newest = clock_;
  append(e);
}

void window::append(const entry& e) {
  if (young_.count >= young_most_) remove_old();
  if (size_ == ring_.size()) grow_ring();
  if (young_.count >= young_.places.size() / 2) grow_young();
  const auto number = (head_ + size_) & ~taken;
  at(number) = e;
  ++size_;
  put(young_, number);
  ++young_.count;
}

void window::put(table& to, std::uint32_t number) noexcept {
  const auto tag = tag_of(at(number).id);
  auto here = tag & to.mask();
  while (to.places[here].number != 0) here = (here + 1) & to.mask();
  to.places[here] = {tag, number | taken};
}

void window::grow_ring() {
  huge_vector<entry> grown(ring_.size() * 2);
  for (std::uint32_t i = 0; i < size_; ++i) grown[(head_ + i) & (grown.size() - 1)] = at(head_ + i);
  ring_ = std::move(grown);
}

void window::grow_young() {
  table grown;
  grown.places.resize(young_.places.size() * 2);
  for (const auto& p : young_.places)
    if (p.number != 0 && is_there(p.number)) put(grown, p.number & ~taken), ++grown.count;
  young_ = std::move(grown);
}

// Make the young table the old one, and start with an empty young table.
void window::swap_tables() {
  std::swap(young_, old_);
  std::ranges::fill(young_.places, place{});
  young_.count = 0;
}

// Remove the remaining old identities early, because the limit is reached.
void window::remove_old() {
  const auto left = size_ - std::min(size_, young_.count);
  early_ += left;
  remove_oldest(left);
  swap_tables();
}

slice& window::open_slice() {
  if (open_ && (slices_.back().count >= slice_most_ || (clock_ >= open_until_ && clock_ != never))) open_ = false;
  if (std::exchange(open_, true)) return slices_.back();
  slice fresh;
  fresh.number = next_number_++;
  fresh.opened = clock_;
  const auto span = std::max(limits_.within / time_slices, std::int64_t{1});
  if (clock_ == never)
    open_until_ = never;
  else if (__builtin_add_overflow(clock_, span, &open_until_))
    open_until_ = std::numeric_limits<std::int64_t>::max();
  slices_.push_back(fresh);
  return slices_.back();
}

std::int64_t window::span() const noexcept {
  return slices_.empty() || clock_ == never ? 0 : between(slices_.front().opened, clock_);
}

// Remove the `count` oldest identities.
void window::remove_oldest(std::uint32_t count) {
  head_ = (head_ + count) & ~taken;
  size_ -= count;
  while (count != 0) {
    auto& s = slices_.front();
    const auto part = std::min(count, s.count);
    count -= part;
    s.count -= part;
    if (s.count != 0) return;
    if (s.stored) removed_.push_back(s.number);
    slices_.pop_front();
    open_ = open_ && !slices_.empty();
  }
}

void window::clear() {
  size_ = 0;
  for (auto* t : {&young_, &old_}) {
    std::ranges::fill(t->places, place{});
    t->count = 0;
  }
}

const std::vector<entry>& window::copied(std::uint32_t from, std::uint32_t count) {
  scratch_.clear();
  for (std::uint32_t i = 0; i < count; ++i) scratch_.push_back(at(from + i));
  return scratch_;
}

void window::remove_from(std::uint64_t position) {
  auto slices = std::exchange(slices_, {});
  const auto all = copied(head_, size_);
  clear();
  open_ = false;
  auto next = all.begin();
  for (auto& s : slices) {
    const auto before = size_;
    for (const auto end = next + s.count; next != end; ++next)
      if (next->position < position) append(*next);
    const auto stay = size_ - before;
    s.changed = s.changed || stay != s.count;
    s.count = stay;
    if (stay != 0)
      slices_.push_back(s);
    else if (s.stored)
      removed_.push_back(s.number);
  }
  // Move the clock back, too. Otherwise a stream that is read again from last week would be late for a week, and no
  // identity would leave the window.
  if (size_ != all.size()) clock_ = slices_.empty() ? never : slices_.back().newest;
}

void window::seal() {
  open_ = false;
  merge_neighbours();
}

// Merge small neighbouring slices. Without merging, each snapshot of a quiet stream would add a slice of a few
// identities, and a long window would have thousands of slices.
void window::merge_neighbours() {
  while (slices_.size() >= slices_joined) {
    const auto first = slices_.end() - slices_joined;
    std::uint64_t count = 0;
    for (auto s = first; s != slices_.end(); ++s) {
      if (s->level != first->level) return;
      count += s->count;
    }
    if (count > slice_most_ || between(first->opened, slices_.back().newest) > limits_.within / time_slices) return;
    first->newest = slices_.back().newest;
    first->count = static_cast<std::uint32_t>(count);
    ++first->level;
    first->changed = true;
    for (auto s = first + 1; s != slices_.end(); ++s)
      if (s->stored) removed_.push_back(s->number);
    slices_.erase(first + 1, slices_.end());
  }
}

void window::restored() {
  if (clock_ == never) return;
  set_times(clock_);  // a crash came between the first known time and the next snapshot
  remove_expired();
}

void window::forget_times() {
  clock_ = open_until_ = never;
  for (auto& s : slices_) {
    s.opened = s.newest = never;
    s.changed = true;
  }
}

void window::restore(slice s, std::span<const entry> entries) {
  next_number_ = s.number + 1;
  clock_ = std::max(clock_, s.newest);
  // The limit may be lower now than when the slice was stored.
  entries = entries.last(std::min<std::size_t>(entries.size(), limits_.most));
  if (entries.empty()) return removed_.push_back(s.number);
  if (size_ + entries.size() > limits_.most)
    remove_oldest(size_ + static_cast<std::uint32_t>(entries.size()) - limits_.most);
  s.count = static_cast<std::uint32_t>(entries.size());
  s.stored = true;
  s.changed = false;
  slices_.push_back(s);
  for (const auto& e : entries) append(e);
}

}  // namespace deduplicate
