// SPDX-License-Identifier: Apache-2.0
#include "engine/writer_choice.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <vector>

using namespace std::chrono_literals;

namespace pl::engine {
namespace {

using time = writer_choice::time;

std::string partition(int n) { return "iot-stream/" + std::to_string(n); }

TEST_CASE("the partitions of a topic are divided evenly among the writers, and keep theirs") {
  for (const auto* topic : {"iot-stream", "telemetry", "bench"})
    for (const std::size_t writers : {2, 3, 4}) {
      writer_choice choice(writers);
      std::vector<int> streams(writers);
      std::vector<std::size_t> first;
      for (int p = 0; p < 12; ++p) {
        first.push_back(choice.of(topic + std::string("/") + std::to_string(p), time{}));
        ++streams[first.back()];
      }
      for (const auto n : streams) CHECK(n == static_cast<int>(12 / writers));
      for (int p = 11; p >= 0; --p)
        CHECK(choice.of(topic + std::string("/") + std::to_string(p), time{} + 1h) ==
              first[static_cast<std::size_t>(p)]);
    }
}

TEST_CASE("streams that another host reads now do not count, and return to their writer") {
  writer_choice choice(2);
  CHECK(choice.of(partition(0), time{}) == 0);
  CHECK(choice.of(partition(1), time{}) == 1);
  CHECK(choice.of(partition(2), time{}) == 0);
  CHECK(choice.of(partition(1), time{} + 5min) == 1);
  CHECK(choice.of(partition(3), time{} + 5min) == 0);
  CHECK(choice.of(partition(2), time{} + 6min) == 0);
}

TEST_CASE("a sink that takes over queues continues with their streams") {
  writer_choice before(2), after(2);
  CHECK(before.of(partition(0), time{}) == 0);
  CHECK(before.of(partition(1), time{}) == 1);
  after.take_over(before.take());
  CHECK(after.of(partition(1), time{}) == 1);
  CHECK(after.of(partition(0), time{}) == 0);
}

TEST_CASE("very many streams need bounded memory, and each has one writer") {
  writer_choice choice(3);
  std::vector<std::size_t> first;
  for (int p = 0; p < 1200; ++p) first.push_back(choice.of(partition(p), time{}));
  for (int p = 0; p < 1200; p += 7) CHECK(choice.of(partition(p), time{} + 1h) == first[static_cast<std::size_t>(p)]);
  CHECK(choice.take().size() == 1000);
}

}  // namespace
}  // namespace pl::engine
