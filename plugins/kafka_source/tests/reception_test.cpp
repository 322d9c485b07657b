// SPDX-License-Identifier: Apache-2.0
#include "reception.hpp"

#include <doctest/doctest.h>

using namespace std::chrono_literals;

namespace {

const kafka::reception::time start{};

}  // namespace

TEST_CASE("reception: a consumer receives nothing until it has joined the group") {
  kafka::reception r("a:9092", "g");
  CHECK(r.why_not(true, start, start) == "joining the group 'g'");
  r.note_join_failure("Broker: Inconsistent group protocol");
  CHECK(r.why_not(true, start + 1s, start + 1s) == "joining the group 'g': Broker: Inconsistent group protocol");
  CHECK(r.why_not(false, start + 2s, start + 2s) == "joining the group 'g': Broker: Inconsistent group protocol");
  r.note_assignment();
  CHECK(r.why_not(false, start + 3s, start + 3s).empty());
}

TEST_CASE("reception: a member that joins again is not ready if that takes long") {
  kafka::reception r("a:9092", "g");
  r.note_assignment();
  CHECK(r.why_not(true, start, start).empty());
  CHECK(r.why_not(true, start + 10s, start + 10s).empty());
  CHECK(r.why_not(true, start + 11s, start + 11s) == "joining the group 'g' again");
  CHECK(r.why_not(false, start + 12s, start + 12s).empty());
  CHECK(r.why_not(true, start + 13s, start + 13s).empty());
}

TEST_CASE("reception: without any broker nothing is received, until one responds") {
  kafka::reception r("a:9092", "g");
  r.note_assignment();
  r.note_brokers_down("2/2 brokers are down", start + 5s);
  CHECK(r.why_not(false, start + 5s, start + 6s) == "no broker of a:9092 can be reached: 2/2 brokers are down");
  CHECK(r.why_not(false, start + 7s, start + 8s).empty());
  CHECK(r.why_not(false, start + 7s, start + 9s).empty());
}

TEST_CASE("reception: a broker that is connected and does not respond") {
  kafka::reception r("a:9092", "g");
  r.note_assignment();
  CHECK(r.why_not(false, start, start + 10s).empty());
  CHECK(r.why_not(false, start, start + 12345ms) == "no broker of a:9092 has responded for 12 s");
  CHECK(r.why_not(false, start + 13s, start + 13s).empty());
}

TEST_CASE("reception: a refused connection is the reason, until a broker responds") {
  kafka::reception r("a:9092", "g");
  r.note_assignment();
  r.note_refusal("the certificate has expired", start + 2s);
  CHECK(r.why_not(false, start + 1s, start + 3s).empty());  // another broker may respond
  r.note_brokers_down("1/1 brokers are down", start + 5s);
  CHECK(r.why_not(false, start + 1s, start + 6s) == "no broker of a:9092 can be reached: the certificate has expired");
  CHECK(r.why_not(false, start + 7s, start + 7s).empty());
  CHECK(r.why_not(false, start + 7s, start + 18s) == "no broker of a:9092 has responded for 11 s");
  r.note_refusal("the certificate has expired", start + 19s);
  CHECK(r.why_not(false, start + 7s, start + 19s) ==
        "no broker of a:9092 has responded for 12 s: the certificate has expired");
}
