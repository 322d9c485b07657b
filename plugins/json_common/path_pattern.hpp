// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pipeline/result.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace json {

// A pattern such as "users/{user_id}/devices/{device_id}/telemetry" that is matched against a topic or a key. A
// placeholder matches one or more characters other than '/', up to the first occurrence of the literal that follows.
class path_pattern {
 public:
  // find_field maps the name of a placeholder to a field.
  using field_finder = std::function<std::optional<std::uint16_t>(std::string_view)>;
  static pl::result<path_pattern> parse(std::string_view source, const field_finder& find_field);

  // Set values[field] of each placeholder to a view into the subject. Leave `values` unchanged if nothing matches.
  bool match(std::string_view subject, std::span<std::string_view> values) const noexcept;

  [[nodiscard]] const std::vector<std::uint16_t>& fields() const noexcept { return fields_; }

 private:
  struct piece {
    std::string literal;                 // precedes the placeholder
    std::optional<std::uint16_t> field;  // unset: the value is discarded
  };
  // Return the end of the placeholder that precedes `next`.
  static std::size_t end_of_value(std::string_view rest, std::string_view next, bool is_last) noexcept;

  std::vector<piece> pieces_;
  std::string tail_;  // literal after the last placeholder
  std::vector<std::uint16_t> fields_;
};

}  // namespace json
