// SPDX-License-Identifier: Apache-2.0
// Text that stands for a time, a number or a UUID: read strictly, or not at all.
#pragma once

#include "byte_buffer.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace timescale {

// Microseconds since 1970 of RFC 3339 text (2026-11-24T18:10:23.5Z, +01:00; a space for the T), rounded as PostgreSQL
// does.
[[nodiscard]] std::optional<std::int64_t> parse_time(std::string_view text);
// Days since 1970 of 2026-11-24.
[[nodiscard]] std::optional<std::int64_t> parse_date(std::string_view text);

[[nodiscard]] std::optional<std::array<char, 16>> parse_uuid(std::string_view text);

// How many characters a text has that counts against varchar(n): spaces at the end don't.
[[nodiscard]] std::size_t characters(std::string_view utf8);

// What PostgreSQL would say about a text.
enum class text_fault { none, nul, not_utf8 };
[[nodiscard]] text_fault check_text(std::string_view text) noexcept;

// Whether a JSON document has the escape for a NUL in a string, which jsonb refuses.
[[nodiscard]] bool has_escaped_nul(std::string_view document) noexcept;

// PostgreSQL's binary numeric of a decimal number of any length (-12.50, 1e400), with its length in front; false, and
// nothing written, where the text is none or beyond what numeric can hold. Digits are neither lost nor rounded.
class numeric_encoder {
 public:
  [[nodiscard]] bool append(byte_buffer& out, std::string_view text);

 private:
  [[nodiscard]] bool read(std::string_view text);
  std::string digits_;         // without leading or trailing zeros
  std::int64_t point_ = 0;     // 0.digits_ * 10^point_
  std::int64_t fraction_ = 0;  // digits shown behind the point
  bool negative_ = false;
};

}  // namespace timescale
