// SPDX-License-Identifier: Apache-2.0
// The identity of a record: a 128-bit keyed hash of some of its cells.
//
// Why 128 bits: a record is dropped by mistake if its identity equals one in the window although its cells differ. With
// n identities in the window, the probability is n / 2^bits for each record. For a million identities and a billion
// records a day:
//   64 bits   10^6 * 10^9 / 2^64  = 5e-5 a day: once in 54 years for one such host, weekly for thousands of hosts
//   128 bits  10^6 * 10^9 / 2^128 = 3e-24 a day
// Why a key: devices choose the hashed bytes. Without a secret key, a device could send a record with the identity of a
// record that another device is about to send, so that the other record would be dropped.
#pragma once

#include <pipeline/batch.hpp>

#include <bit>
#include <cstdint>
#include <cstring>

namespace deduplicate {

struct identity {
  std::uint64_t low = 0, high = 0;
  bool operator==(const identity&) const = default;
};

// SipHash with 128 bits of output. The input consists of whole 64-bit words.
template <int rounds_each, int rounds_end>
class sip_hash {
 public:
  explicit sip_hash(const identity& key) noexcept
      : a_(key.low ^ 0x736f6d6570736575),
        b_(key.high ^ 0x646f72616e646f6d ^ 0xee),
        c_(key.low ^ 0x6c7967656e657261),
        d_(key.high ^ 0x7465646279746573) {}

  void add(std::uint64_t word) noexcept {
    d_ ^= word;
    rounds(rounds_each);
    a_ ^= word;
  }
  [[nodiscard]] identity finish() noexcept {
    identity made;
    c_ ^= 0xee;
    rounds(rounds_end);
    made.low = a_ ^ b_ ^ c_ ^ d_;
    b_ ^= 0xdd;
    rounds(rounds_end);
    made.high = a_ ^ b_ ^ c_ ^ d_;
    return made;
  }

 private:
  void rounds(int n) noexcept {
    for (int i = 0; i < n; ++i) {
      a_ += b_, b_ = std::rotl(b_, 13) ^ a_, a_ = std::rotl(a_, 32);
      c_ += d_, d_ = std::rotl(d_, 16) ^ c_;
      a_ += d_, d_ = std::rotl(d_, 21) ^ a_;
      c_ += b_, b_ = std::rotl(b_, 17) ^ c_, c_ = std::rotl(c_, 32);
    }
  }
  std::uint64_t a_, b_, c_, d_;
};

// SipHash-1-3, the variant for hash tables. It is sufficient because the hash values are not visible from outside.
using cell_hash = sip_hash<1, 3>;

// Add a cell. Kind and length come first, so that different lists of cells are different sequences of words.
inline void add_cell(cell_hash& to, const pl::cell& c) noexcept {
  to.add(c.kind | std::uint64_t{c.len} << 8U);
  if (!pl::has_bytes(c)) return to.add(std::bit_cast<std::uint64_t>(c.as.i));
  const char* at = c.as.p;
  std::size_t left = c.len;
  for (std::uint64_t word = 0; left >= 8; at += 8, left -= 8) {
    std::memcpy(&word, at, 8);
    to.add(word);
  }
  if (left == 0) return;
  std::uint64_t word = 0;
  std::memcpy(&word, at, left);
  to.add(word);
}

}  // namespace deduplicate
