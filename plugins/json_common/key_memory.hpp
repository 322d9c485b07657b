// SPDX-License-Identifier: Apache-2.0
// Most documents of a stream have the same keys in the same order, or are of a few kinds. key_memory remembers the keys in
// the order in which they were first seen, so that a scanner usually recognises a key by one comparison of its bytes, and its
// user needs no look-up.
#pragma once

#include "plain_text.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

namespace json {

class key_memory {
 public:
  // A place in the order of the keys.
  struct place {
    std::uint32_t next = 0;
  };

  // What the user notes about a key; 0 once the key was remembered.
  using note = std::uint64_t;

  struct known_key {
    std::array<std::uint64_t, 4> bytes{};  // with its quotes and the colon, then zeros
    std::uint16_t length = 0;              // 0: none
    std::uint16_t earlier = none;          // the key before it with the same hash
    note about = 0;

    [[nodiscard]] bool is_at(const char* at, const char* end) const noexcept {
      const auto left = static_cast<std::size_t>(end - at);
      if (length <= longest / 2 && left >= longest / 2) return length != 0 && differing(at, 0) == 0;
      if (left >= longest) return (differing(at, 0) | differing(at + longest / 2, 2)) == 0;
      return length != 0 && left >= length && std::memcmp(at, bytes.data(), length) == 0;
    }

   private:
    [[nodiscard]] std::uint64_t differing(const char* at, std::size_t word) const noexcept {
      const auto& mask = masks[length];
      return ((eight_bytes(at) ^ bytes[word]) & mask[word]) |
             ((eight_bytes(at + 8) ^ bytes[word + 1]) & mask[word + 1]);
    }
  };

  void begin_document() noexcept { next_ = 0; }
  [[nodiscard]] place here() const noexcept { return {next_}; }
  void go_back(place to) noexcept { next_ = to.next; }

  // Return the key that begins at `at`, if it is remembered; else null. It may also return null for a key that begins like
  // several others, and does not follow the last one.
  [[nodiscard]] known_key* match(const char* at, const char* end) noexcept {
    for (auto i = next_; i != next_ + look_ahead; ++i)
      if (keys_[i].is_at(at, end)) return &pass(i);
    if (end - at < shortest) return nullptr;
    auto i = first_[hash(at)];
    for (auto tries = look_ahead; i != none && tries != 0; --tries, i = keys_[i].earlier)
      if (keys_[i].is_at(at, end)) return &pass(i);
    return nullptr;
  }

  // Remember a key, in its original text with the colon after it. Return null if it is too long or too short.
  known_key* remember(std::string_view with_colon) noexcept {
    if (with_colon.size() > longest || with_colon.size() < static_cast<std::size_t>(shortest)) return nullptr;
    if (count_ == capacity) forget();
    auto& key = keys_[count_];
    auto& first = first_[hash(with_colon.data())];
    key.bytes = {};
    std::memcpy(key.bytes.data(), with_colon.data(), with_colon.size());
    key.length = static_cast<std::uint16_t>(with_colon.size());
    key.earlier = std::exchange(first, static_cast<std::uint16_t>(count_));
    key.about = 0;
    next_ = ++count_;
    return &key;
  }

 private:
  static constexpr std::size_t longest = 32;
  static constexpr std::ptrdiff_t shortest = 4;  // a quote, a character, a quote and the colon
  static constexpr std::uint32_t capacity = 512;
  static constexpr std::uint32_t look_ahead = 3;  // a document may lack some of the keys
  static constexpr std::uint16_t none = capacity;

  known_key& pass(std::uint32_t i) noexcept {
    next_ = i + 1;
    return keys_[i];
  }
  static std::uint32_t hash(const char* at) noexcept {
    std::uint32_t first_bytes;
    std::memcpy(&first_bytes, at, sizeof first_bytes);
    return first_bytes * 0x9E3779B1U >> 24U;
  }
  // Forget all keys: those of a stream whose keys change all the time.
  void forget() noexcept {
    for (auto& key : keys_) key.length = 0;
    first_.fill(none);
    count_ = next_ = 0;
  }

  // For each length, the bytes of a key that count.
  static constexpr auto masks = [] {
    std::array<std::array<std::uint64_t, longest / 8>, longest + 1> all{};
    for (std::size_t length = 0; length <= longest; ++length) {
      std::array<std::uint8_t, longest> bytes{};
      for (std::size_t i = 0; i < length; ++i) bytes[i] = 0xFF;
      all[length] = std::bit_cast<std::array<std::uint64_t, longest / 8>>(bytes);
    }
    return all;
  }();

  std::array<known_key, capacity + look_ahead> keys_{};  // the last ones stay empty
  std::array<std::uint16_t, 256> first_ = [] {           // by hash, the key that was remembered last
    std::array<std::uint16_t, 256> all{};
    all.fill(none);
    return all;
  }();
  std::uint32_t count_ = 0;
  std::uint32_t next_ = 0;  // the key that is expected
};

}  // namespace json
