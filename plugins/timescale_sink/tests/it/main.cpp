// SPDX-License-Identifier: Apache-2.0
// Tests of the sink with a real server:
//
//   DATABASE_URL=postgresql://... PIPELINE_PLUGIN_DIR=build/lib/pipeline-host/plugins timescale_sink_it
//
// DATABASE_URL may lead through PgBouncer. In this case set DATABASE_DIRECT_URL, a direct connection for the queries of
// the tests. All tests use their own schemas, which are dropped afterwards.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  if (!std::getenv("DATABASE_URL") || !std::getenv("PIPELINE_PLUGIN_DIR")) {
    std::fputs("timescale_sink_it: set DATABASE_URL to a server, and PIPELINE_PLUGIN_DIR to the built plugins\n",
               stderr);
    return 1;
  }
  return doctest::Context(argc, argv).run();
}
