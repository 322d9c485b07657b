// SPDX-License-Identifier: Apache-2.0
// Room below max_bytes for records that are about to be appended.
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>
#include <spool_common/spool.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::uint64_t limit = 100'000;

std::unique_ptr<spool::log> open(const pl::testing::temp_dir& in) {
  auto made = spool::log::open(
      {.folder = in / "log", .fsync = spool::durability::never, .max_bytes = limit, .segment_bytes = 10'000},
      [](auto&&...) {});
  REQUIRE(made.ok());
  return std::move(*made);
}

void append(spool::log& to, std::size_t bytes) {
  const std::string body(bytes - spool::record_header, 'x');
  const spool::log::parts parts{body, {}};
  REQUIRE(to.append_all({&parts, 1}).ok());
}

}  // namespace

TEST_CASE("has_room compares what will be written with max_bytes") {
  const pl::testing::temp_dir dir;
  const auto log = open(dir);
  CHECK(log->has_room(limit - spool::segment_header));
  CHECK_FALSE(log->has_room(limit - spool::segment_header + 1));
  CHECK_FALSE(log->has_room(UINT64_MAX));
  append(*log, 60'000);
  CHECK(log->has_room(limit - spool::segment_header - 60'000));
  CHECK_FALSE(log->has_room(limit - 60'000));
}

TEST_CASE(
    "settled records of the last file are deleted if an append found no room, although max_bytes is not reached") {
  const pl::testing::temp_dir dir;
  const auto log = open(dir);
  append(*log, 60'000);
  log->settle(1);
  CHECK(log->bytes() > 60'000);  // the file is kept as long as there is room
  CHECK_FALSE(log->has_room(50'000));
  log->free_settled();
  CHECK(log->bytes() <= 2 * spool::segment_header);
  CHECK(log->has_room(50'000));
  append(*log, 50'000);
  CHECK(log->end() == 2);
  std::vector<std::uint64_t> numbers;
  CHECK(log->read(
               0, 10, [&](std::uint64_t n, std::string_view) { return numbers.push_back(n), true; }, [](auto&&...) {})
            .ok());
  CHECK(numbers == std::vector<std::uint64_t>{1});
}

TEST_CASE("records that are not settled are kept although an append found no room") {
  const pl::testing::temp_dir dir;
  const auto log = open(dir);
  append(*log, 60'000);
  append(*log, 10'000);
  log->settle(1);
  CHECK_FALSE(log->has_room(90'000));
  log->free_settled();
  CHECK(log->begin() <= 1);
  CHECK(log->end() == 2);
  log->settle(2);
  CHECK(log->has_room(90'000));
}
