// SPDX-License-Identifier: Apache-2.0
#include "engine/writer_share.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <set>
#include <string>
#include <vector>

namespace pl::engine {
namespace {

// Return how many partitions the writer with the most of them has more than the one with the fewest.
std::ptrdiff_t difference(const std::string& topic, std::size_t writers, int first, int step, int count) {
  std::vector<std::ptrdiff_t> streams(writers);
  for (int i = 0; i < count; ++i) ++streams[writer_of(topic + "/" + std::to_string(first + i * step), writers)];
  const auto [least, most] = std::ranges::minmax_element(streams);
  return *most - *least;
}

TEST_CASE("the partitions of a topic are divided evenly among the writers") {
  for (const auto* topic : {"iot-stream", "telemetry", "bench", "plain", "a/b"}) {
    for (const auto writers : std::initializer_list<std::size_t>{2, 3, 4, 8})
      for (const int partitions : {1, 2, 3, 4}) {
        const auto count = partitions * static_cast<int>(writers);
        CHECK_MESSAGE(difference(topic, writers, 0, 1, count) == 0, topic << " " << writers << " " << count);
      }
    // Another host reads each second partition, or three others read three of four.
    for (const int hosts : {2, 4})
      for (int first = 0; first < hosts; ++first) CHECK(difference(topic, 2, first, hosts, 4) == 0);
    CHECK(difference(topic, 4, 0, 2, 16) <= 2);
  }
}

TEST_CASE("streams that are not numbered, and with one writer") {
  std::set<std::size_t> used;
  for (const auto* name : {"spool", "logs/a.log", "logs/b.log", "x/", "x/-1", "x/1a", "x/99999999999999999999", ""}) {
    used.insert(writer_of(name, 3));
    CHECK(writer_of(name, 3) < 3);
    CHECK(writer_of(name, 3) == writer_of(std::string(name), 3));
    CHECK(writer_of(name, 1) == 0);
  }
  CHECK(writer_of("t/18446744073709551615", 1) == 0);
  CHECK(used.size() > 1);
}

}  // namespace
}  // namespace pl::engine
