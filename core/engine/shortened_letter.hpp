// SPDX-License-Identifier: Apache-2.0
// What a shortened dead letter lacks. Its column `record` has a JSON object with the length and the SHA-256 of each part
// that was cut or left out:
//
//   {"$shortened":{"value":{"bytes":800000,"sha256":"9f86d0…"},"headers":{"bytes":310,"sha256":"60303a…"}}}
//
// Pure functions; they depend on the SDK and OpenSSL alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

struct missing_part {
  std::string name;  // of the column
  std::uint64_t bytes = 0;
  std::string sha256;  // in hexadecimal digits
};

[[nodiscard]] std::string sha256_of(std::string_view bytes);
[[nodiscard]] missing_part missing(std::string_view name, std::string_view bytes);

[[nodiscard]] std::string shortened_record(const std::vector<missing_part>& parts);
// Return nothing if the column's value is not of a shortened dead letter.
[[nodiscard]] std::optional<std::vector<missing_part>> parse_shortened(std::string_view record);

}  // namespace pl::engine
