// SPDX-License-Identifier: Apache-2.0
// Keys ordered by deadline: a binary heap whose nodes store their own index. A queued deadline may be too early,
// because records postpone deadlines without moving the node. The caller must recompute the deadline of the front node.
#pragma once

#include "key_table.hpp"

#include <cstdint>
#include <vector>

namespace threshold_alert {

class deadline_queue {
 public:
  struct entry {
    std::int64_t due;
    key_node* node;
  };

  [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
  [[nodiscard]] const entry& front() const noexcept { return heap_.front(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return heap_.capacity() * sizeof(entry); }

  // Set the node's deadline. no_deadline removes the node.
  void set(key_node& n, std::int64_t due) {
    if (due == no_deadline) return remove(n);
    if (n.queued_at == not_queued) {
      n.queued_at = static_cast<std::uint32_t>(heap_.size());
      heap_.push_back({due, &n});
      return up(n.queued_at);
    }
    heap_[n.queued_at].due = due;
    up(n.queued_at);
    down(n.queued_at);
  }

  void remove(key_node& n) {
    if (n.queued_at == not_queued) return;
    const auto at = n.queued_at;
    n.queued_at = not_queued;
    const auto last = heap_.back();
    heap_.pop_back();
    if (last.node == &n) return;
    put(at, last);
    up(at);
    down(last.node->queued_at);
  }

 private:
  // Order equal times by key, so that the order does not depend on insertion order, which a restart may change.
  static bool before(const entry& a, const entry& b) noexcept {
    return a.due != b.due ? a.due < b.due : a.node->key() < b.node->key();
  }
  void put(std::size_t at, const entry& e) noexcept {
    heap_[at] = e;
    e.node->queued_at = static_cast<std::uint32_t>(at);
  }
  void up(std::size_t at) noexcept {
    const auto e = heap_[at];
    for (; at > 0 && before(e, heap_[(at - 1) / 2]); at = (at - 1) / 2) put(at, heap_[(at - 1) / 2]);
    put(at, e);
  }
  void down(std::size_t at) noexcept {
    const auto e = heap_[at];
    for (auto child = 2 * at + 1; child < heap_.size(); child = 2 * at + 1) {
      if (child + 1 < heap_.size() && before(heap_[child + 1], heap_[child])) ++child;
      if (!before(heap_[child], e)) break;
      put(at, heap_[child]);
      at = child;
    }
    put(at, e);
  }
  std::vector<entry> heap_;
};

}  // namespace threshold_alert
