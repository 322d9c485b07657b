// SPDX-License-Identifier: Apache-2.0
// Encodes the state of a window: the stream's hash key and its slices. The encoding is versioned and independent of the
// machine.
#pragma once

#include "window.hpp"

#include <pipeline/result.hpp>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace deduplicate {

constexpr std::string_view hash_key_name = "key";

// Convert a slice's number to the name of its state entry and back. Names sort in the order of the numbers.
[[nodiscard]] std::string slice_name(std::uint64_t number);
[[nodiscard]] std::optional<std::uint64_t> slice_number(std::string_view name);

// The key of a window's hash, and the options under which its identities and times were computed. 0: not known, because
// version 1 did not store it.
struct stored_key {
  identity hash_key;
  std::uint32_t by = 0, time_column = 0;  // fingerprints
  bool operator==(const stored_key&) const = default;
};
[[nodiscard]] std::string encode(const stored_key& key);
[[nodiscard]] pl::result<stored_key> decode_key(std::string_view bytes);

// A decoded slice. In encoded form, each identity takes 16 bytes and its position usually one or two.
struct stored_slice {
  slice about;
  std::vector<entry> entries;
};
[[nodiscard]] std::string encode(const slice& about, std::span<const entry> entries);
[[nodiscard]] pl::result<stored_slice> decode_slice(std::uint64_t number, std::string_view bytes);

}  // namespace deduplicate
