// SPDX-License-Identifier: Apache-2.0
// Tests of several group members: partitions move between them, and no record is lost or read twice.
#include "intercepted_kafka.hpp"
#include "mock_kafka.hpp"

#include <algorithm>
#include <set>
#include <thread>
#include <utility>

using namespace kafka::test;

namespace {

constexpr std::int16_t heartbeat_request = 12;
constexpr std::int16_t offset_fetch_request = 9;
constexpr std::int16_t sync_group_request = 14;

// A reader that settles at once, as with a fast sink, and reports settled positions when a stream is revoked.
struct settling_reader : reader {
  using reader::reader;
  void step() {
    poll(50, 1 << 20, 20ms);
    for (const auto& [stream, next] : next_of) host.settled(stream, next);
    settle_all();
  }
};

std::size_t owned(const reader& r) { return static_cast<std::size_t>(r.host.last("kafka_assigned_partitions")); }

}  // namespace

TEST_CASE("a second member takes partitions and returns them: each record is read exactly once") {
  constexpr int partitions = 4, count = 2000;
  mock_kafka kafka;
  scratch_directory state;
  kafka.create("t", partitions);
  for (int p = 0; p < partitions; ++p) kafka.produce_numbers("t", p, 0, count / 2);
  kafka.flush();
  const pl::testing::config_fields options{
      {"topic", "t"},
      {"instance", "dynamic"},
      {"properties", pl::testing::object({{"session.timeout.ms", 6000}, {"heartbeat.interval.ms", 200}})}};
  settling_reader a(kafka.servers(), options, state.path()), b(kafka.servers(), options, state.path());
  const auto both_until = [&](const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + 2min;
    while (!done()) {
      REQUIRE(std::chrono::steady_clock::now() < deadline);
      a.step();
      b.step();
    }
  };
  a.start();
  REQUIRE(a.poll_until([&] { return owned(a) == partitions; }));
  b.start();
  both_until([&] { return owned(a) == 2 && owned(b) == 2; });
  CHECK(a.host.revoked_streams().size() == 2);
  for (int p = 0; p < partitions; ++p) kafka.produce_numbers("t", p, count / 2, count / 2);
  kafka.flush();
  both_until([&] { return b.rows.size() >= 100; });
  CHECK(b.source->stop() == PL_OK);
  const auto distinct = [&] {
    std::set<std::string> all;
    for (const auto* r : {&a, &b})
      for (const auto& row : r->rows) all.insert(row.stream + ":" + row.value);
    return all.size();
  };
  REQUIRE(a.poll_until([&] {
    a.step();
    return a.rows.size() + b.rows.size() >= partitions * count && distinct() == partitions * count;
  }));
  // A member commits before it leaves. Records are read twice only if the broker rejected that commit.
  if (a.host.sum("kafka_commit_failures_total") + b.host.sum("kafka_commit_failures_total") == 0)
    CHECK(a.rows.size() + b.rows.size() == partitions * count);
}

// librdkafka pauses all partitions during a rebalance. Records that arrive meanwhile, on a partition that was read to its
// end, are lost if librdkafka's position after the end is wrong; see assignment::rewind_kept.
TEST_CASE("a partition that was read to its end continues there when a rebalance ends") {
  constexpr int partitions = 4, count = 100;
  mock_kafka kafka;
  scratch_directory state;
  kafka.create("t", partitions);
  for (int p = 0; p < partitions; ++p) kafka.produce_numbers("t", p, 0, count);
  kafka.flush();
  const pl::testing::config_fields options{{"topic", "t"}, {"instance", "dynamic"}};
  settling_reader a(kafka.servers(), options, state.path()), b(kafka.servers(), options, state.path());
  static std::function<void()> during_rebalance;
  static void (*revoked)(void*, pl_str, std::uint64_t*);
  revoked = a.host.raw().revoked;
  a.host.raw().revoked = [](void* ctx, pl_str stream, std::uint64_t* settled) {
    if (const auto once = std::exchange(during_rebalance, nullptr)) once();
    revoked(ctx, stream, settled);
  };
  during_rebalance = [&] {
    for (int p = 0; p < partitions; ++p) kafka.produce_numbers("t", p, count, count);
    kafka.flush();
  };
  a.start();
  REQUIRE(a.poll_rows(partitions * count));
  for (int i = 0; i < 50; ++i) a.step();  // the end-of-partition events follow the records
  b.start();
  const auto distinct = [&] {
    std::set<std::string> all;
    for (const auto* r : {&a, &b})
      for (const auto& row : r->rows) all.insert(row.stream + ":" + row.value);
    return all.size();
  };
  const auto deadline = std::chrono::steady_clock::now() + 2min;
  while (distinct() < 2 * partitions * count && std::chrono::steady_clock::now() < deadline) {
    a.step();
    b.step();
  }
  CHECK(!during_rebalance);
  CHECK(distinct() == 2 * partitions * count);
  during_rebalance = nullptr;  // it refers to this test's variables
}

TEST_CASE("a fenced instance fails with PL_FENCED") {
  mock_kafka kafka;
  scratch_directory state;
  kafka.create("t", 1);
  reader r(
      kafka.servers(),
      {{"topic", "t"}, {"instance", "pod-1"}, {"properties", pl::testing::object({{"heartbeat.interval.ms", 100}})}},
      state.path());
  r.start();
  REQUIRE(r.poll_until([&] { return owned(r) == 1; }));
  rd_kafka_mock_push_request_errors(kafka.cluster(), heartbeat_request, 1, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID);
  pl_status status = PL_AGAIN;
  const auto deadline = std::chrono::steady_clock::now() + 2min;
  while (status == PL_AGAIN && std::chrono::steady_clock::now() < deadline) status = r.poll();
  CHECK(status == PL_FENCED);
  CHECK(r.host.error_text().find("another live process has joined the group 'g' as instance 'pod-1.") == 0);
  CHECK(r.source->stop() == PL_OK);
}

TEST_CASE("the source stops or is destroyed between the JoinGroup response and the first assignment") {
  const auto let_in = [](const reader& r) {
    const auto logs = r.host.logs();
    return std::any_of(logs.begin(), logs.end(), [](const auto& line) {
      return line.message.find("changed join state wait-metadata -> wait-sync") != std::string::npos;
    });
  };
  for (const bool orderly : {true, false}) {
    CAPTURE(orderly);
    mock_kafka kafka;
    scratch_directory state;
    kafka.create("t", 1);
    rd_kafka_mock_broker_push_request_error_rtts(kafka.cluster(), 1, sync_group_request, 1, RD_KAFKA_RESP_ERR_NO_ERROR,
                                                 30'000);
    reader r(kafka.servers(),
             {{"topic", "t"}, {"instance", "dynamic"}, {"properties", pl::testing::object({{"debug", "cgrp"}})}},
             state.path());
    r.start();
    REQUIRE(r.poll_until([&] { return let_in(r); }));
    CHECK(owned(r) == 0);
    if (orderly) CHECK(r.source->stop() == PL_OK);
  }
}

TEST_CASE("a stop does not need the rebalance protocol") {
  mock_kafka kafka;
  scratch_directory state;
  kafka.create("t", 2);
  kafka.produce_numbers("t", 0, 0, 10);
  kafka.flush();
  reader r(kafka.servers(), {{"topic", "t"}, {"instance", "dynamic"}}, state.path());
  r.start();
  REQUIRE(r.poll_rows(10));
  r.settle_all();
  const intercepted calls;
  calls->without_protocol = true;
  CHECK(r.source->stop() == PL_OK);
  CHECK(r.host.revoked_streams().size() == 2);
  CHECK(kafka.committed("g", "t", 0).first == 10);
}

TEST_CASE("nothing is read before the committed offsets are known") {
  mock_kafka kafka;
  scratch_directory state;
  kafka.create("t", 1);
  kafka.produce_numbers("t", 0, 0, 20);
  kafka.flush();
  kafka.commit("g", "t", 0, 15);
  reader r(kafka.servers(), {{"topic", "t"}, {"instance", "dynamic"}}, state.path());
  r.start();
  std::vector<rd_kafka_resp_err_t> refusals(4, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
  rd_kafka_mock_push_request_errors_array(kafka.cluster(), offset_fetch_request, refusals.size(), refusals.data());
  REQUIRE(r.poll_rows(5));
  CHECK(r.rows.front().value == "15");
  CHECK(r.rows.size() == 5);
}

TEST_CASE("keep-alive polls keep the membership; a host that does not poll is removed and rejoins") {
  mock_kafka kafka;
  scratch_directory state;
  kafka.create("t", 1);
  kafka.produce_numbers("t", 0, 0, 10);
  kafka.flush();
  reader r(kafka.servers(),
           {{"topic", "t"},
            {"instance", "dynamic"},
            {"properties", pl::testing::object({{"max.poll.interval.ms", 9000}, {"session.timeout.ms", 9000}})}},
           state.path());
  r.start();
  REQUIRE(r.poll_rows(10));
  // A keep-alive poll counts as a poll, so the membership does not time out under back-pressure.
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (std::chrono::steady_clock::now() < until) CHECK(r.poll(0, 0, 200ms) == PL_AGAIN);
  CHECK(r.host.revoked_streams().empty());
  CHECK(owned(r) == 1);

  std::this_thread::sleep_for(10s);  // longer than max.poll.interval.ms without a poll
  kafka.produce_numbers("t", 0, 10, 10);
  kafka.flush();
  REQUIRE(r.poll_until([&] { return !r.rows.empty() && r.rows.back().value == "19"; }));
  CHECK(r.host.revoked_streams().size() == 1);
  CHECK(owned(r) == 1);
}
