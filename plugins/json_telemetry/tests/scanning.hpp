// SPDX-License-Identifier: Apache-2.0
// For tests and fuzz targets: the scanner's verdict on a whole document, and RapidJSON's.
#pragma once

#include "../json_scanner.hpp"

#include <rapidjson/document.h>
#include <rapidjson/reader.h>

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
inline referee rapidjson_verdict(std::string_view document) {
  struct handler : rapidjson::BaseReaderHandler<rapidjson::UTF8<>, handler> {
    bool doubtful = false;
    bool text(const char* s, rapidjson::SizeType n) {
      // An escaped half surrogate comes out as ED A0..BF xx
      for (rapidjson::SizeType i = 0; i + 1 < n; ++i)
        doubtful |= static_cast<unsigned char>(s[i]) == 0xED && static_cast<unsigned char>(s[i + 1]) >= 0xA0;
      return true;
    }
    bool String(const char* s, rapidjson::SizeType n, bool) { return text(s, n); }
    bool Key(const char* s, rapidjson::SizeType n, bool) { return text(s, n); }
  };
  rapidjson::Reader reader;
  rapidjson::MemoryStream stream(document.data(), document.size());
  handler h;
  const auto got = reader.Parse<rapidjson::kParseValidateEncodingFlag | rapidjson::kParseIterativeFlag>(stream, h);
  if (got.IsError()) return got.Code() == rapidjson::kParseErrorNumberTooBig ? referee::unsure : referee::refuses;
  // MemoryStream ends at a NUL as at its end.
  if (h.doubtful || document.find('\0') != std::string_view::npos) return referee::unsure;
  return referee::accepts;
}

}  // namespace json_telemetry::testing
