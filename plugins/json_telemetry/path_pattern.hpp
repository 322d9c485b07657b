// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pipeline/result.hpp>

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace json_telemetry {

// "users/{user_id}/devices/{device_id}/telemetry", to be matched against a topic or a key. A placeholder is one
// character or more, no slash, up to the first occurrence of what follows it.
class path_pattern {
 public:
  // find_field: which field a placeholder's name means.
  using field_finder = std::function<std::optional<std::uint16_t>(std::string_view)>;
  static pl::result<path_pattern> parse(std::string_view source, const field_finder& find_field);

  // values[field] of each placeholder, as views into the subject; untouched where the subject doesn't match.
  bool match(std::string_view subject, std::span<std::string_view> values) const noexcept;

  [[nodiscard]] const std::vector<std::uint16_t>& fields() const noexcept { return fields_; }

 private:
  struct piece {
    std::string literal;                 // what comes before the placeholder
    std::optional<std::uint16_t> field;  // nothing: anything
  };
  // Where the placeholder before `next` ends.
  static std::size_t end_of_value(std::string_view rest, std::string_view next, bool is_last) noexcept;

  std::vector<piece> pieces_;
  std::string tail_;  // behind the last placeholder
  std::vector<std::uint16_t> fields_;
};

}  // namespace json_telemetry
