// SPDX-License-Identifier: Apache-2.0
#include "recent_records.hpp"

#include <algorithm>
#include <cstring>

namespace kafka {

namespace {

constexpr std::size_t most = 131'072;  // 2 MiB for each partition, and only while it is read at a high rate

constexpr std::uint64_t mixed(std::uint64_t hash, std::uint64_t with) noexcept {
  hash = (hash ^ with) * 0x9E3779B97F4A7C15U;
  return hash ^ (hash >> 29U);
}

std::uint64_t word_at(const char* from, std::size_t size) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, from, std::min(size, sizeof word));
  return word;
}

}  // namespace

void recent_records::add(std::int64_t offset, std::uint64_t fingerprint) {
  while (!records_.empty() && records_.back().offset >= offset) records_.pop_back();
  if (records_.size() == most) records_.erase(records_.begin(), records_.begin() + most / 2);
  records_.push_back({offset, fingerprint});
}

void recent_records::confirm(std::int64_t next) {
  const auto first = std::ranges::lower_bound(records_, confirmed_, {}, &record::offset);
  records_.erase(records_.begin(), first);
  confirmed_ = next;
}

bool recent_records::contains(std::int64_t offset, std::uint64_t fingerprint) const {
  const auto at = std::ranges::lower_bound(records_, offset, {}, &record::offset);
  return at != records_.end() && at->offset == offset && at->fingerprint == fingerprint;
}

std::uint64_t fingerprint_of(const rd_kafka_message_t& message) noexcept {
  constexpr std::size_t word = sizeof(std::uint64_t);
  auto hash = mixed(message.len, static_cast<std::uint64_t>(rd_kafka_message_timestamp(&message, nullptr)));
  hash = mixed(hash, message.key_len);
  if (message.payload == nullptr || message.len == 0) return hash;
  const auto* value = static_cast<const char*>(message.payload);
  hash = mixed(hash, word_at(value, message.len));
  if (message.len <= word) return hash;
  hash = mixed(hash, word_at(value + message.len - word, word));
  return message.len < 4 * word
             ? hash
             : mixed(mixed(hash, word_at(value + message.len / 2, word)), word_at(value + message.len / 4, word));
}

}  // namespace kafka
