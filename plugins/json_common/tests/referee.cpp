// SPDX-License-Identifier: Apache-2.0
// RapidJSON has its own file because it fails the undefined-behaviour sanitizer and is compiled without it.
#include "scanning.hpp"

#include <rapidjson/reader.h>

namespace json::testing {

referee rapidjson_verdict(std::string_view document) {
  struct handler : rapidjson::BaseReaderHandler<rapidjson::UTF8<>, handler> {
    bool doubtful = false;
    bool text(const char* s, rapidjson::SizeType n) {
      // RapidJSON returns an escaped lone surrogate as ED A0..BF xx.
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
  // MemoryStream treats a NUL as the end of the document.
  if (h.doubtful || document.find('\0') != std::string_view::npos) return referee::unsure;
  return referee::accepts;
}

}  // namespace json::testing
