// SPDX-License-Identifier: Apache-2.0
#include <pipeline/testing/fake_host.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>
#include <spool_common/spooled.hpp>

#include <array>
#include <chrono>

using namespace std::chrono_literals;

// Without the pause, the lane would wake up for each record.
TEST_CASE("a read after a read of few records gathers for a while, unless it must not wait") {
  pl::testing::temp_dir dir;
  pl::testing::fake_host host;
  const auto state = dir.path().string();
  host.raw().state_dir = pl::borrow(state);
  spool::options given;
  given.fsync = spool::durability::never;
  spool::spooled source(pl::context(&host.raw()), given, "test");
  REQUIRE(source.open().ok());
  const auto* schema = pl::context(&host.raw()).schema({"value"});
  const auto rows = [&](std::chrono::nanoseconds timeout) {
    const std::array<std::string_view, 1> record{"r"};
    REQUIRE(source.own()->append(record).ok());
    const auto b = source.read({4096, 1 << 20, timeout}, schema, [](auto&&...) { return INT64_MIN; });
    return b.ok() ? b->get().rows() : 0;
  };
  const auto began = std::chrono::steady_clock::now();
  CHECK(rows(1min) == 1);
  CHECK(rows(1min) == 1);
  CHECK(std::chrono::steady_clock::now() - began >= 2ms);
  CHECK(rows(0ns) == 1);
  source.close();
}
