// SPDX-License-Identifier: Apache-2.0
// Strict parsers for times, numbers and UUIDs in text form.
#pragma once

#include "byte_buffer.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace timescale {

// Parse RFC 3339 text (2026-11-24T18:10:23.5Z, +01:00; a space instead of the T) to microseconds since 1970, rounded as
// PostgreSQL rounds.
[[nodiscard]] std::optional<std::int64_t> parse_time(std::string_view text);
// Parse a date such as 2026-11-24 to days since 1970.
[[nodiscard]] std::optional<std::int64_t> parse_date(std::string_view text);

[[nodiscard]] std::optional<std::array<char, 16>> parse_uuid(std::string_view text);

// Return the number of characters that count towards varchar(n). Trailing spaces do not count.
[[nodiscard]] std::size_t characters(std::string_view utf8);

// The reason why PostgreSQL would reject a text.
enum class text_fault { none, nul, not_utf8 };
[[nodiscard]] text_fault check_text(std::string_view text) noexcept;

// Return whether a JSON document contains an escaped NUL in a string, which jsonb rejects.
[[nodiscard]] bool has_escaped_nul(std::string_view document) noexcept;

// Encodes a decimal number of any length (-12.50, 1e400) as PostgreSQL's binary numeric, prefixed with its length.
// Digits are neither lost nor rounded. Returns false and writes nothing if the text is not a number or exceeds
// numeric's range.
class numeric_encoder {
 public:
  [[nodiscard]] bool append(byte_buffer& out, std::string_view text);

 private:
  [[nodiscard]] bool read(std::string_view text);
  std::string digits_;         // without leading or trailing zeros
  std::int64_t point_ = 0;     // 0.digits_ * 10^point_
  std::int64_t fraction_ = 0;  // digits after the decimal point
  bool negative_ = false;
};

}  // namespace timescale
