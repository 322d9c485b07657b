// SPDX-License-Identifier: Apache-2.0
// For tests and fuzz targets: the scanner's verdict on a whole document, and RapidJSON's.
#pragma once

#include "../json_scanner.hpp"

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace json_telemetry::testing {

// Memory for text_arena that lives as long as this.
class memory_blocks {
 public:
  text_arena::block_source source() {
    return [this](std::size_t n) { return blocks_.emplace_back(n, '\0').data(); };
  }

 private:
  std::deque<std::string> blocks_;
};

constexpr scan_limits no_limits{400, UINT32_MAX, false};

// Empty: valid. Else the reason.
inline std::string verdict(std::string_view document, const scan_limits& limits = no_limits) {
  memory_blocks memory;
  text_arena arena;
  arena.begin(memory.source());
  json_scanner scanner(limits, arena);
  scanner.begin(document);
  json_value v;
  return scanner.value(v) && scanner.finish() ? std::string{} : scanner.explain();
}

// What RapidJSON says, where it is to be believed: it refuses numbers beyond a double, and takes half surrogates.
enum class referee { accepts, refuses, unsure };
referee rapidjson_verdict(std::string_view document);

}  // namespace json_telemetry::testing
