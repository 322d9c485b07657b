// SPDX-License-Identifier: Apache-2.0
// Numbers that no record of a log has, because the log skipped them: the file "skipped" in its folder.
#pragma once

#include <pipeline/result.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace spool {

struct number_gap {
  std::uint64_t begin, end;
};
using number_gaps = std::vector<number_gap>;

[[nodiscard]] pl::result<number_gaps> load_gaps(const std::filesystem::path& folder);
// Durable when it returns.
[[nodiscard]] pl::result<void> store_gaps(const std::filesystem::path& folder, const number_gaps& gaps);
// Return how many numbers from `from` on and below `end` are not in a gap.
[[nodiscard]] std::uint64_t count_between(const number_gaps& gaps, std::uint64_t from, std::uint64_t end);

// Read a small file of lines. No lines: it does not exist. Fail if it cannot be read.
[[nodiscard]] pl::result<std::vector<std::string>> lines_of(const std::filesystem::path& path);
[[nodiscard]] std::optional<std::uint64_t> number_of(std::string_view text);

}  // namespace spool
