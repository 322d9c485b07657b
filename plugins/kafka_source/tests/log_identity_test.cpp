// SPDX-License-Identifier: Apache-2.0
#include "log_identity.hpp"

#include <doctest/doctest.h>

using kafka::log_identity;

TEST_CASE("log_identity: nothing is looked up before a record with a time was read") {
  log_identity log;
  CHECK(!log.ask(0));
  log.add(-1);
  CHECK(!log.ask(1));
  log.add(500);
  CHECK_FALSE(log.established());
  CHECK(log.ask(2) == 501);
  CHECK(log.matches(std::nullopt));
  log.confirm(-1);
  CHECK(log.established());
}

TEST_CASE("log_identity: a later record at a lower offset than was possible shows another log") {
  log_identity log;
  for (int n = 0; n < 25; ++n) log.add(1000 + n);
  CHECK(log.ask(25) == 1025);
  CHECK(log.matches(-1));
  log.confirm(-1);                               // no later record: the next one has offset 25 or more
  for (int n = 25; n < 100; ++n) log.add(9000);  // these may be of the new log
  CHECK(log.ask(100) == 1025);
  CHECK(log.matches(25));
  CHECK(log.matches(-1));
  CHECK(!log.matches(0));
}

TEST_CASE("log_identity: records before the first position may be later than those that are read") {
  log_identity log;
  log.add(1000);
  CHECK(log.ask(5001) == 1001);
  CHECK(log.matches(7));  // written by a producer whose clock was ahead
  log.confirm(7);
  log.add(2000);
  (void)log.ask(5002);
  CHECK(log.matches(7));
  CHECK(log.matches(8));
  CHECK(!log.matches(6));
}

TEST_CASE("log_identity: without a response, nothing is concluded, and commits wait only for a few lookups") {
  log_identity log;
  log.add(1000);
  (void)log.ask(1);
  CHECK(log.queried());
  for (int attempt = 1; attempt < 3; ++attempt) (void)log.ask(1);
  CHECK_FALSE(log.established());
  log.add(2000);
  CHECK(log.ask(2) == 2001);
  CHECK(log.established());
  CHECK(log.matches(0));
  log.confirm(1);
  CHECK(log.ask(3) == 2001);
  CHECK(log.established());
  CHECK(!log.matches(0));
}
