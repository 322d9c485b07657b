// SPDX-License-Identifier: Apache-2.0
#include "plugin.hpp"

#include <doctest/doctest.h>

TEST_CASE("passes the conformance tests") {
  for (const auto& problem : pl::testing::check_plugin(timescale_test::plugin())) FAIL_CHECK(problem);
  // Writing needs a server: timescale_sink_it tests it.
  for (const auto& problem :
       pl::testing::check_life(timescale_test::component(), {{"url", "postgresql://127.0.0.1:1/x"}}, {"time"}, false))
    FAIL_CHECK(problem);
}
