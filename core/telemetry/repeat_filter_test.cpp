// SPDX-License-Identifier: Apache-2.0
#include "telemetry/repeat_filter.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

namespace pl::telemetry {
namespace {

using namespace std::chrono_literals;

const repeat_filter::clock::time_point start{1000s};

log_message warn(std::string_view text, std::string_view node = "store") {
  return {log_level::warn, "iot", node, text};
}

TEST_CASE("a repeated message is logged once, then as a count") {
  repeat_filter filter{log_options{}};
  CHECK(filter.admit(warn("connection refused"), start));
  for (int i = 0; i < 412; ++i) CHECK_FALSE(filter.admit(warn("connection refused"), start + 1s));
  CHECK(filter.admit(warn("something else"), start + 1s));
  CHECK(filter.admit(warn("connection refused", "notify"), start + 1s));
  CHECK_FALSE(filter.anything_due(start + 9s));
  CHECK(filter.anything_due(start + 10s));

  const auto notes = filter.due(start + 10s);
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].text == "connection refused (repeated 412 times)");
  CHECK(notes[0].pipeline == "iot");
  CHECK(notes[0].node == "store");
  CHECK(notes[0].level == log_level::warn);
}

TEST_CASE("the pause doubles while the message repeats, and is reset afterwards") {
  repeat_filter filter{log_options{}};
  CHECK(filter.admit(warn("x"), start));
  auto now = start;
  std::size_t lines = 1;
  for (int second = 0; second < 3600; ++second) {
    now += 1s;
    CHECK_FALSE(filter.admit(warn("x"), now));
    if (filter.anything_due(now)) lines += filter.due(now).size();
  }
  CHECK(lines < 50);
  CHECK(lines > 40);
  filter.due(now + 80s);   // reports the last repeats
  filter.due(now + 200s);  // no further repeats: the filter discards the message
  CHECK_FALSE(filter.anything_due(now + 10'000s));
  CHECK(filter.admit(warn("x"), now + 201s));
}

TEST_CASE("different messages of a node have a budget for each level") {
  repeat_filter filter{log_options{.burst = 5, .rate = 1}};
  int admitted = 0;
  for (int i = 0; i < 100; ++i) admitted += filter.admit(warn(fmt::format("offset {}", i)), start);
  CHECK(admitted == 5);
  CHECK(filter.admit(warn("another node", "notify"), start));
  CHECK(filter.admit({log_level::error, "iot", "store", "an error still shows"}, start));
  CHECK(filter.admit(warn("after a while"), start + 2s));

  const auto notes = filter.due(start + 11s);
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].text == "(95 more messages dropped: limit is 1 per second)");
}

TEST_CASE("trace and debug are never suppressed") {
  repeat_filter filter{log_options{.burst = 1, .rate = 0}};
  for (int i = 0; i < 10; ++i) CHECK(filter.admit({log_level::debug, "iot", "store", "same"}, start));
}

TEST_CASE("limits can be disabled") {
  repeat_filter filter{log_options{.repeat_pause = 0ms, .burst = 0}};
  for (int i = 0; i < 1000; ++i) CHECK(filter.admit(warn("same"), start));
  CHECK_FALSE(filter.anything_due(start + 1h));
}

TEST_CASE("memory is bounded, and counts of evicted messages are reported") {
  repeat_filter filter{log_options{.burst = 0}};
  CHECK(filter.admit(warn("first"), start));
  CHECK_FALSE(filter.admit(warn("first"), start));
  for (std::size_t i = 0; i < 10 * repeat_filter::max_remembered; ++i) {
    CHECK(filter.admit(warn(fmt::format("{}", i)), start + 1s));
  }
  REQUIRE(filter.anything_due(start + 1s));
  const auto notes = filter.due(start + 1s);
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].text == "first (repeated once)");
}

TEST_CASE("remaining counts are reported at the end") {
  repeat_filter filter{log_options{}};
  CHECK(filter.admit(warn("x"), start));
  CHECK(filter.rest().empty());
  CHECK(filter.admit(warn("x"), start));
  CHECK_FALSE(filter.admit(warn("x"), start));
  REQUIRE(filter.rest().size() == 1);
}

}  // namespace
}  // namespace pl::telemetry
