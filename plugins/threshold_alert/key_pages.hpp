// SPDX-License-Identifier: Apache-2.0
// The keys of a stream, divided into pages. The readings and runs of a page's keys are one entry of the stored state, so
// that a snapshot of a million devices has some ten thousand entries. A page is stored again if one of its keys has
// changed. Keys join a page in the order of their first records, so devices that report together change few pages.
#pragma once

#include "key_table.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace threshold_alert {

class key_pages {
 public:
  explicit key_pages(std::size_t rules) noexcept;

  // Add a key that is in no page to one that has room.
  void add(key_node& n);
  // Add a restored key to its page.
  void add(key_node& n, std::uint32_t number);
  // Keep a page from being used, until it is released: the stored state has an entry of this number with other keys.
  void reserve(std::uint32_t number);
  void release(std::uint32_t number);
  // Remove a key from its page, which changes.
  void remove(key_node& n);
  // Move half of the keys of a page to a new page, which changes. Return the number of the new page.
  std::uint32_t split(std::uint32_t number);
  void touch(std::uint32_t number) {
    if (changed_[number] != 0) return;
    changed_[number] = 1;
    to_store_.push_back(number);
  }

  // Return the pages that have changed since the last call.
  [[nodiscard]] std::vector<std::uint32_t> take_changed();
  [[nodiscard]] std::span<key_node* const> keys(std::uint32_t number) const noexcept { return pages_[number].keys; }
  // Return whether the stored state has an entry of the page, and set whether it has one from now on.
  bool exchange_stored(std::uint32_t number, bool stored) noexcept {
    return std::exchange(pages_[number].stored, stored);
  }

  [[nodiscard]] std::size_t bytes() const noexcept {
    return pages_.capacity() * sizeof(page) + changed_.capacity() + places_ * sizeof(key_node*) +
           (to_store_.capacity() + roomy_.capacity()) * sizeof(std::uint32_t);
  }

 private:
  struct page {
    std::vector<key_node*> keys;
    std::uint32_t key_bytes = 0;
    bool listed = false;  // in roomy_
    bool stored = false;
    bool reserved = false;
  };
  [[nodiscard]] bool is_full(const page& p) const noexcept;
  void list(std::uint32_t number);
  void reach(std::uint32_t number);
  void put(key_node& n, std::uint32_t number);

  std::size_t most_keys_;
  std::size_t places_ = 0;  // memory of all pages for keys
  std::vector<page> pages_;
  std::vector<std::uint8_t> changed_;    // one for each page
  std::vector<std::uint32_t> to_store_;  // the pages that have changed
  std::vector<std::uint32_t> roomy_;     // pages that may have room
};

}  // namespace threshold_alert
