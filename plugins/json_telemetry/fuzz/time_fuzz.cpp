// SPDX-License-Identifier: Apache-2.0
// Fuzz target: any bytes as a time never lead to a crash. A parsed time, formatted as RFC 3339, is parsed as the same
// time.
#include "../time_text.hpp"

#include <pipeline/time.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <vector>

using namespace json_telemetry;

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated property: %s\n", what);
  std::abort();
}

void check(const time_result& t) {
  if (!t.problem.empty()) return must(t.problem.size() > 5, "a problem is described");
  const auto again = time_of_iso8601(pl::rfc3339(t.ns), {true, 0});
  must(again.problem.empty() && again.ns == t.ns, "a formatted time is parsed as the same time");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<char> copy(data, data + size);
  const std::string_view text(copy.data(), copy.size());
  constexpr std::array units = {time_unit::automatic,    time_unit::seconds,     time_unit::milliseconds,
                                time_unit::microseconds, time_unit::nanoseconds, time_unit::iso8601};
  for (const auto unit : units) check(time_of_text(text, unit, {}));
  check(time_of_text(text, time_unit::automatic, {false, 19'800}));
  check(time_of_text(text, time_unit::automatic, {true, 0}));
  (void)parse_zone_policy(text);
  return 0;
}
