// SPDX-License-Identifier: Apache-2.0
#include "key_pages.hpp"

#include <algorithm>

namespace threshold_alert {
namespace {

// A page of 64 keys has about 3 KiB. Larger pages make complete snapshots little cheaper, and changes of single devices
// more expensive.
constexpr std::size_t usual_keys = 64, least_keys = 2, usual_rules = 16;
constexpr std::uint32_t most_key_bytes = 8192;  // long ids

}  // namespace

// The entries of a key grow with the number of rules, and some stores limit the size of an entry.
key_pages::key_pages(std::size_t rules) noexcept
    : most_keys_(std::clamp(usual_keys * usual_rules / std::max<std::size_t>(rules, 1), least_keys, usual_keys)) {}

bool key_pages::is_full(const page& p) const noexcept {
  return p.reserved || p.keys.size() >= most_keys_ || p.key_bytes >= most_key_bytes;
}

void key_pages::add(key_node& n) {
  while (!roomy_.empty() && is_full(pages_[roomy_.back()])) {
    pages_[roomy_.back()].listed = false;
    roomy_.pop_back();
  }
  if (roomy_.empty()) reach(static_cast<std::uint32_t>(pages_.size()));
  put(n, roomy_.back());
}

void key_pages::add(key_node& n, std::uint32_t number) {
  reach(number);
  put(n, number);
}

void key_pages::reserve(std::uint32_t number) {
  reach(number);
  pages_[number].reserved = true;
}

void key_pages::release(std::uint32_t number) {
  pages_[number].reserved = false;
  list(number);
}

void key_pages::reach(std::uint32_t number) {
  while (pages_.size() <= number) {
    pages_.emplace_back();
    changed_.push_back(0);
    list(static_cast<std::uint32_t>(pages_.size() - 1));
  }
}

void key_pages::list(std::uint32_t number) {
  if (std::exchange(pages_[number].listed, true)) return;
  roomy_.push_back(number);
}

void key_pages::put(key_node& n, std::uint32_t number) {
  auto& p = pages_[number];
  places_ -= p.keys.capacity();
  p.keys.push_back(&n);
  places_ += p.keys.capacity();
  p.key_bytes += n.key_size;
  n.page = number;
}

void key_pages::remove(key_node& n) {
  if (n.page == no_page) return;
  auto& p = pages_[n.page];
  const auto at = std::ranges::find(p.keys, &n);
  *at = p.keys.back();
  p.keys.pop_back();
  p.key_bytes -= n.key_size;
  list(n.page);
  touch(n.page);
  n.page = no_page;
}

std::uint32_t key_pages::split(std::uint32_t number) {
  const auto fresh = static_cast<std::uint32_t>(pages_.size());
  reach(fresh);
  const auto moved = pages_[number].keys.size() / 2;
  for (std::size_t i = 0; i < moved; ++i) {
    auto& from = pages_[number];
    auto* n = from.keys.back();
    from.keys.pop_back();
    from.key_bytes -= n->key_size;
    put(*n, fresh);
  }
  list(number);
  touch(fresh);
  return fresh;
}

std::vector<std::uint32_t> key_pages::take_changed() {
  for (const auto number : to_store_) changed_[number] = 0;
  return std::exchange(to_store_, {});
}

}  // namespace threshold_alert
