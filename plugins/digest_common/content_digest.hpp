// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>

namespace digest {

// The first 16 bytes of SHA-256 (FIPS 180-4) of the concatenated parts: the same content has the same digest everywhere.
// Ids of stored records and idempotency keys are made of it, so it must never change.
class content_digest {
 public:
  using bytes = std::array<char, 16>;

  // Begins a digest. A thread has at most one at a time, because they share the thread's OpenSSL context.
  content_digest();
  content_digest(const content_digest&) = delete;
  content_digest& operator=(const content_digest&) = delete;
  ~content_digest() = default;

  void add(std::string_view part);
  [[nodiscard]] bytes finish();
};

}  // namespace digest
