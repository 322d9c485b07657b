// SPDX-License-Identifier: Apache-2.0
#include "../path_pattern.hpp"

#include <doctest/doctest.h>

#include <array>
#include <string>

using namespace json;

namespace {

std::optional<std::uint16_t> known(std::string_view name) {
  if (name == "user_id") return 0;
  if (name == "device_id") return 1;
  return std::nullopt;
}

std::string matched(std::string_view pattern, std::string_view subject) {
  const auto p = path_pattern::parse(pattern, known);
  if (!p.ok()) return p.why().message;
  std::array<std::string_view, 2> values{};
  if (!p.value().match(subject, values)) return values[0].empty() && values[1].empty() ? "no" : "no, but it wrote";
  return std::string(values[0]) + "|" + std::string(values[1]);
}

}  // namespace

TEST_CASE("ids in topics") {
  CHECK(matched("users/{user_id}/devices/{device_id}/telemetry", "users/u1/devices/d7/telemetry") == "u1|d7");
  CHECK(matched("users/{user_id}/devices/{device_id}/telemetry", "users/u1/devices/d7/telemetry/more") == "no");
  CHECK(matched("users/{user_id}/devices/{device_id}/telemetry", "users//devices/d7/telemetry") == "no");
  CHECK(matched("users/{user_id}/devices/{device_id}/telemetry", "users/u1/x/devices/d7/telemetry") == "no");
  CHECK(matched("users/{user_id}/devices/{device_id}/telemetry", "users/u1/devices/d/7/telemetry") == "no");
  CHECK(matched("users/{user_id}/devices/{device_id}/telemetry", "") == "no");
  CHECK(matched("{user_id}:{device_id}", "u1:d:7") == "u1|d:7");
  CHECK(matched("{user_id}:{device_id}", "u1") == "no");
  CHECK(matched("{user_id}:{device_id}", ":d") == "no");
  CHECK(matched("{user_id}:{device_id}", "u1:") == "no");
  CHECK(matched("site/{}/{device_id}", "site/north/d7") == "|d7");
  CHECK(matched("telemetry.{device_id}", "telemetry.a.b") == "|a.b");
  CHECK(matched("{device_id}-telemetry", "a-telemetry-telemetry") == "|a-telemetry");
  CHECK(matched("{device_id}-telemetry", "-telemetry") == "no");
  CHECK(matched("{device_id}", "\xC3\xBC b+#$") == "|\xC3\xBC b+#$");
  CHECK(matched("users/{user", "").find("not closed") != std::string::npos);
  CHECK(matched("users/}", "").find("no '{' before") != std::string::npos);
  CHECK(matched("users/{tenant}", "").find("'tenant' is not a column of type text") != std::string::npos);
  CHECK(matched("{user_id}{device_id}", "").find("between them") != std::string::npos);
  CHECK(matched("{user_id}/{user_id}", "").find("twice") != std::string::npos);
  CHECK(matched("users", "").find("no {column}") != std::string::npos);
}
