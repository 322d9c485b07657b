// SPDX-License-Identifier: Apache-2.0
// What is kept of a window, as bytes: the stream's hash key, and its slices. Versioned, and the same on each machine.
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

// Entries of the state sort by them as slices do.
[[nodiscard]] std::string slice_name(std::uint64_t number);
[[nodiscard]] std::optional<std::uint64_t> slice_number(std::string_view name);

[[nodiscard]] std::string encode(const identity& hash_key);
[[nodiscard]] pl::result<identity> decode_hash_key(std::string_view bytes);

// 16 bytes for each identity, and one or two for its position.
struct kept_slice {
  slice about;
  std::vector<entry> entries;
};
[[nodiscard]] std::string encode(const slice& about, std::span<const entry> entries);
[[nodiscard]] pl::result<kept_slice> decode_slice(std::uint64_t number, std::string_view bytes);

}  // namespace deduplicate
