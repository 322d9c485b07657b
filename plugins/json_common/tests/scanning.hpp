// SPDX-License-Identifier: Apache-2.0
// Helpers for tests and fuzz targets: the verdicts of the scanner and of RapidJSON on a whole document.
#pragma once

#include "../json_scanner.hpp"

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace json::testing {

// Memory for text_arena that lives as long as this object.
class memory_blocks {
 public:
  text_arena::block_source source() {
    return [this](std::size_t n) { return blocks_.emplace_back(n, '\0').data(); };
  }

 private:
  std::deque<std::string> blocks_;
};

constexpr scan_limits no_limits{400, UINT32_MAX, false};

// Return the scanner's reason for rejecting the document; empty if the document is valid.
inline std::string verdict(std::string_view document, const scan_limits& limits = no_limits) {
  memory_blocks memory;
  text_arena arena;
  arena.begin(memory.source());
  json_scanner scanner(limits, arena);
  scanner.begin(document);
  json_value v;
  return scanner.value(v) && scanner.finish() ? std::string{} : scanner.explain();
}

// Return RapidJSON's verdict; unsure where RapidJSON deviates: it rejects numbers beyond the range of a double, and
// accepts lone surrogates.
enum class referee { accepts, refuses, unsure };
referee rapidjson_verdict(std::string_view document);

}  // namespace json::testing
