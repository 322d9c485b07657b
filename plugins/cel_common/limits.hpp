// SPDX-License-Identifier: Apache-2.0
// Upper bounds that keep the cost of an expression predictable, for every author and every record.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pl::cel::limits {

// Compilation.
inline constexpr std::size_t text_bytes = 64 * 1024;  // size of an expression
inline constexpr std::uint32_t depth = 250;           // nesting of parentheses, calls, lists, operators
inline constexpr std::uint32_t nodes = 20'000;        // operators, literals and names

// One evaluation, which is the evaluation for one row.
inline constexpr std::int64_t steps = 1'000'000;              // operations, iterations and elements visited
inline constexpr std::size_t memory_bytes = 8 * 1024 * 1024;  // strings, lists and maps that it creates
inline constexpr std::uint32_t list_size = 100'000;           // elements of a list, entries of a map
inline constexpr std::uint32_t value_depth = 100;             // nesting of lists and maps that are compared or printed
inline constexpr std::int64_t format_precision = 100;         // digits of %.100f

// Regular expressions (RE2 matches in time linear in the text).
inline constexpr std::size_t pattern_bytes = 4 * 1024;
inline constexpr std::int64_t pattern_memory = 1024 * 1024;
inline constexpr std::size_t cached_patterns = 16;  // patterns that are not constants, kept for each evaluator

}  // namespace pl::cel::limits
