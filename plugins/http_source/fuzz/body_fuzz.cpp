// SPDX-License-Identifier: Apache-2.0
// Fuzz target: any bytes as a body lead to records or to a reason, never to both. Each record is JSON and a part of the
// body.
//
// Input: a byte that selects the form, whether to check, and the maximum number of records; then the body.
#include "../body.hpp"

#include <pipeline/json.hpp>
#include <pipeline/json_members.hpp>

#include <http/inflate.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace {

using records = std::vector<std::string_view>;

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated property: %s\n", what);
  std::abort();
}

void check_pieces(std::string_view body, const records& found) {
  const char* at = body.data();
  for (const auto r : found) {
    must(r.data() >= at && r.data() + r.size() <= body.data() + body.size(),
         "records are pieces of the body, in order");
    must(!r.empty(), "no record is empty");
    at = r.data() + r.size();
  }
}

// Check that joining the records and splitting them again results in the same records.
void check_again(const records& found, http::form as) {
  std::string together = as == http::form::json ? "[" : "";
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (i != 0) together += as == http::form::json ? ',' : '\n';
    if (as == http::form::ndjson)
      pl::append_json_line(together, found[i]);
    else
      together += found[i];
  }
  if (as == http::form::json) together += ']';
  records again;
  must(!http::split(together, as, {.max_records = found.size() + 1}, again), "joined records are a body");
  must(again.size() == found.size(), "joined records are split into the same number");
  if (as == http::form::json) must(again == found, "joined records are split into the same records");
}

void check(std::string_view body, http::form as, const http::split_limits& limits) {
  records found;
  if (const auto problem = http::split(body, as, limits, found)) {
    must(found.empty(), "records or a reason");
    must(!problem->why.empty() && pl::is_utf8(problem->why) && problem->why.size() < 1000, "a reason is given");
    must(limits.check || problem->too_many || as == http::form::raw, "an unchecked body is not rejected");
    return;
  }
  must(found.size() <= limits.max_records || as == http::form::raw, "the number of records is at most max_records");
  check_pieces(body, found);
  if (as == http::form::raw) return must(found.size() == 1 && found[0] == body, "bytes are one record");
  if (!limits.check) return;
  for (const auto r : found) must(pl::is_json(r) && pl::is_utf8(r), "a record is JSON");
  check_again(found, as);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  // A copy of the exact size, so that the sanitizer detects an out-of-bounds read.
  const std::vector<char> copy(data + 1, data + size);
  const std::string_view body(copy.data(), copy.size());
  const http::split_limits limits{.max_records = 1 + data[0] / 8U, .check = (data[0] & 4U) == 0};
  static constexpr http::form forms[] = {http::form::json, http::form::ndjson, http::form::raw, http::form::json};
  check(body, forms[data[0] & 3U], limits);
  (void)http::form_of(body);
  pl::http::inflater gzip;
  std::size_t plain = 0;
  (void)gzip.feed(body, [&](std::string_view piece) { return (plain += piece.size()) < 1'000'000; });
  return 0;
}
