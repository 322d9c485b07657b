// SPDX-License-Identifier: Apache-2.0
// The keys (devices) of one stream, found by the cells of a record: one allocation for each key, none for a record.
#pragma once

#include "state.hpp"

#include <pipeline/batch.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace threshold_alert {

constexpr std::uint32_t not_queued = UINT32_MAX;

// One key. The readings and then the bytes of the key stand behind it in the same block.
struct key_node {
  std::int64_t newest = never;                      // time of its newest record
  std::uint64_t position = PL_UNKNOWN;              // and where that stands
  std::unique_ptr<std::vector<rule_state>> states;  // null: no rule has anything to remember, as with most keys
  std::uint32_t hash = 0;
  std::uint32_t queued_at = not_queued;  // place in the stream's deadline_queue
  std::uint32_t key_size = 0;
  std::uint16_t slots = 0;
  std::uint16_t scope = 0;  // which rules match it
  bool changed = false;     // since it was last put away; then it is in its stream's list
  bool reread =
      false;  // put back from a timer, and its records since then are still to come: older ones are in it already
  bool unconfirmed = false;  // put away by a timer, beside the snapshots
  bool alerts_kept = false;  // there is an entry of alerts in the sink; most keys have none

  [[nodiscard]] reading& slot(std::size_t i) noexcept { return readings()[i]; }
  [[nodiscard]] const reading& slot(std::size_t i) const noexcept { return const_cast<key_node*>(this)->readings()[i]; }
  [[nodiscard]] std::string_view key() const noexcept {
    return {reinterpret_cast<const char*>(const_cast<key_node*>(this)->readings() + slots), key_size};
  }
  [[nodiscard]] rule_state* find(std::uint32_t rule) noexcept {
    if (!states) return nullptr;
    for (auto& s : *states)
      if (s.rule == rule) return &s;
    return nullptr;
  }

 private:
  [[nodiscard]] reading* readings() noexcept { return reinterpret_cast<reading*>(this + 1); }
};
static_assert(alignof(reading) <= alignof(key_node) && sizeof(key_node) % alignof(reading) == 0);

// The cells of a key, packed: for each its kind, its length, and its bytes (numbers: eight).
void append_key(std::string& out, const pl::cell& c);
void unpack_key(std::string_view key, std::vector<pl::cell>& to);  // cells point into `key`

class key_hash {
 public:
  explicit key_hash(std::uint64_t seed) noexcept : seed_(seed) {}
  // add() for each cell of the key, then finish.
  [[nodiscard]] std::uint64_t start() const noexcept { return seed_; }
  [[nodiscard]] static std::uint64_t add(std::uint64_t h, const pl::cell& c) noexcept;

 private:
  std::uint64_t seed_;  // random for each instance: nobody can prepare ids that collide
};

class key_table {
 public:
  key_table(std::size_t slots) : slots_(static_cast<std::uint16_t>(slots)), table_(min_size) {}  // NOLINT
  key_table(const key_table&) = delete;
  key_table& operator=(const key_table&) = delete;
  ~key_table();

  // `matches(node)` says whether a node of this hash is the one.
  template <std::predicate<const key_node&> Matches>
  [[nodiscard]] key_node* find(std::uint32_t hash, Matches&& matches) const {
    for (auto at = hash & mask();; at = (at + 1) & mask()) {
      const auto& e = table_[at];
      if (e.node == nullptr) return nullptr;
      if (e.hash == hash && matches(*e.node)) return e.node;
    }
  }
  [[nodiscard]] key_node* find(std::uint32_t hash, std::string_view key) const {
    return find(hash, [key](const key_node& n) { return n.key() == key; });
  }
  key_node& insert(std::uint32_t hash, std::string_view key);
  void erase(key_node& n);

  // Brings what `find` will touch into the cache: first the place, later the node that is likely there.
  void prefetch_place(std::uint32_t hash) const noexcept { __builtin_prefetch(&table_[hash & mask()]); }
  void prefetch_node(std::uint32_t hash) const noexcept {
    const auto* n = reinterpret_cast<const char*>(table_[hash & mask()].node);
    __builtin_prefetch(n);
    __builtin_prefetch(n + 64);
  }

  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const auto& e : table_)
      if (e.node != nullptr) visit(*e.node);
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  // Of the table and its nodes, without the states of rules that are not at rest.
  [[nodiscard]] std::size_t bytes() const noexcept { return table_.capacity() * sizeof(entry) + node_bytes_; }

 private:
  struct entry {
    key_node* node = nullptr;
    std::uint32_t hash = 0;
  };
  static constexpr std::size_t min_size = 16;  // a power of two, as all sizes
  [[nodiscard]] std::size_t mask() const noexcept { return table_.size() - 1; }
  [[nodiscard]] std::size_t bytes_of(std::size_t key_size) const noexcept {
    return sizeof(key_node) + slots_ * sizeof(reading) + key_size;
  }
  void grow();
  void place(entry e) noexcept;
  static void destroy(key_node* n) noexcept;

  std::uint16_t slots_;
  std::size_t size_ = 0, node_bytes_ = 0;
  std::vector<entry> table_;
};

}  // namespace threshold_alert
