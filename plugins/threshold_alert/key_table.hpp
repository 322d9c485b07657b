// SPDX-License-Identifier: Apache-2.0
// Hash table of the keys (devices) of one stream, looked up by the cells of a record. Each key is one allocation; a
// lookup does not allocate.
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

constexpr std::uint32_t not_queued = UINT32_MAX, no_page = UINT32_MAX;

// One key. The readings and then the bytes of the key follow the node in the same block.
struct key_node {
  std::int64_t newest = never;  // time of its newest record, which orders its records
  // When its last record arrived: a reading of the arrival clock, or, in a stream without one, that record's own time.
  std::int64_t seen = never;
  std::uint64_t position = PL_UNKNOWN;              // position of its last record
  std::unique_ptr<std::vector<rule_state>> states;  // null, as for most keys: no rule has state
  std::uint32_t hash = 0;
  std::uint32_t queued_at = not_queued;  // place in the stream's deadline_queue
  std::uint32_t key_size = 0;
  std::uint32_t page = no_page;  // see key_pages
  std::uint16_t slots = 0;
  std::uint16_t scope = 0;            // which rules match it
  std::uint8_t late = 0;              // consecutive records that were older than the newest
  std::uint8_t silences_ended = 0;    // by a change of the configuration: it makes the ids of later ones different
  bool seen_is_reading : 1 = false;   // of the arrival clock
  bool changed : 1 = false;           // since the last snapshot; then its page has changed, too
  bool rereading : 1 = false;         // its records are read again up to the state that a timer stored
  bool unconfirmed : 1 = false;       // a timer has stored the key since the last snapshot
  bool trace_stored : 1 = false;      // the stored state has an entry of its trace alone: an earlier version wrote it
  bool alerts_stored : 1 = false;     // the stored state has an entry of alerts; most keys have none
  bool published_stored : 1 = false;  // likewise, of published alerts

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
static_assert(sizeof(key_node) <= 56);  // a million devices are common
static_assert(alignof(reading) <= alignof(key_node) && sizeof(key_node) % alignof(reading) == 0);

// The cells of a key, packed: for each its kind, its length, and its bytes (numbers: eight).
void append_key(std::string& out, const pl::cell& c);
void unpack_key(std::string_view key, std::vector<pl::cell>& to);  // cells point into `key`
// Return whether stored bytes are `cells` packed cells, so that unpack_key can be called.
[[nodiscard]] bool is_packed(std::string_view key, std::size_t cells) noexcept;

class key_hash {
 public:
  explicit key_hash(std::uint64_t seed) noexcept : seed_(seed) {}
  // Call add() for each cell of the key.
  [[nodiscard]] std::uint64_t start() const noexcept { return seed_; }
  [[nodiscard]] static std::uint64_t add(std::uint64_t h, const pl::cell& c) noexcept;

 private:
  std::uint64_t seed_;  // random for each instance, so that a sender cannot choose ids that collide
};

class key_table {
 public:
  key_table(std::size_t slots) : slots_(static_cast<std::uint16_t>(slots)), table_(min_size) {}  // NOLINT
  key_table(const key_table&) = delete;
  key_table& operator=(const key_table&) = delete;
  ~key_table();

  // Return the node of this hash for which `matches(node)` is true, or null.
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

  // Prefetch the memory that `find` will read: first the table entry, later the node that the entry likely refers to.
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
  // Return the memory of the table and its nodes, without the rule states.
  [[nodiscard]] std::size_t bytes() const noexcept { return table_.capacity() * sizeof(entry) + node_bytes_; }

 private:
  struct entry {
    key_node* node = nullptr;
    std::uint32_t hash = 0;
  };
  static constexpr std::size_t min_size = 16;  // all sizes are powers of two
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
