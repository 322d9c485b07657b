// SPDX-License-Identifier: Apache-2.0
// Every record of a replay's window is read, whatever happens while its partitions are assigned.
#include "intercepted_kafka.hpp"
#include "mock_kafka.hpp"

#include <kafka_common/client.hpp>

#include <set>
#include <span>
#include <thread>

using namespace kafka::test;

namespace {

constexpr int partitions = 4, count = 50;

std::span<const rd_kafka_topic_partition_t> elements(const rd_kafka_topic_partition_list_t& list) {
  return {list.elems, static_cast<std::size_t>(list.cnt)};
}

kafka::queue_ptr queue_of(rd_kafka_t* client, const rd_kafka_topic_partition_t& p) {
  return kafka::queue_ptr(rd_kafka_queue_get_partition(client, p.topic, p.partition));
}

// Wait until most of the topic is in the queue to which its partitions are forwarded, whichever that is.
void wait_until_fetched(rd_kafka_t* client, const rd_kafka_topic_partition_list_t& list) {
  const auto queue = queue_of(client, elements(list).front());
  const auto deadline = std::chrono::steady_clock::now() + 1min;
  while (rd_kafka_queue_length(queue.get()) < partitions * count / 2) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    std::this_thread::sleep_for(1ms);
  }
}

void forward_to_events(rd_kafka_t* client, const rd_kafka_topic_partition_list_t& list) {
  const kafka::queue_ptr events(rd_kafka_queue_get_consumer(client));
  for (const auto& p : elements(list)) rd_kafka_queue_forward(queue_of(client, p).get(), events.get());
}

struct topic {
  topic() {
    kafka.create("iot-stream", partitions);
    for (int p = 0; p < partitions; ++p) kafka.produce_numbers("iot-stream", p, 0, count);
    kafka.flush();
    r = std::make_unique<reader>(
        kafka.servers(), pl::testing::config_fields{{"topic", "iot-stream"}, {"instance", "dynamic"}}, state.path());
  }
  // Replay the windows [first, next) of all partitions. Return whether the source reported their end.
  bool replay(std::uint64_t first, std::uint64_t next) {
    const auto& c = component();
    const auto* table = static_cast<const pl_ext_replay*>(c.extension(r->source->self(), pl::borrow(PL_EXT_REPLAY)));
    std::vector<pl_window> windows;
    std::vector<std::string> names;
    for (int p = 0; p < partitions; ++p) names.push_back("iot-stream/" + std::to_string(p));
    for (const auto& name : names) windows.push_back({pl::borrow(name), first, next, 0, count});
    REQUIRE(table->select(r->source->self(), windows.data(), partitions) == PL_OK);
    r->start();
    const auto deadline = std::chrono::steady_clock::now() + 2min;
    pl_status status = PL_AGAIN;
    while ((status == PL_OK || status == PL_AGAIN) && std::chrono::steady_clock::now() < deadline) status = r->poll();
    return status == PL_END;
  }
  [[nodiscard]] std::set<std::pair<std::string, std::uint64_t>> positions() const {
    std::set<std::pair<std::string, std::uint64_t>> all;
    for (const auto& row : r->rows) all.emplace(row.stream, row.position);
    return all;
  }
  void check_all_read(std::uint64_t first, std::uint64_t next) {
    CHECK(r->rows.size() == partitions * (next - first));
    CHECK(positions().size() == r->rows.size());
    for (int p = 0; p < partitions; ++p) CHECK(r->next("iot-stream/" + std::to_string(p)) == next);
  }

  mock_kafka kafka;
  scratch_directory state;
  std::unique_ptr<reader> r;
};

}  // namespace

TEST_CASE("records that are fetched before the assignment returns are replayed") {
  topic t;
  const intercepted calls;
  calls->after_assign = wait_until_fetched;
  CHECK(t.replay(0, count));
  t.check_all_read(0, count);
}

TEST_CASE("records that arrive among the client's events are fetched again") {
  topic t;
  const intercepted calls;
  int assignments = 0;
  calls->before_assign = [&](auto* client, const auto& list) {
    if (++assignments == 1) forward_to_events(client, list);
  };
  calls->after_assign = [&](auto* client, const auto& list) {
    if (assignments == 1) wait_until_fetched(client, list);
  };
  SUBCASE("by a replay") {
    CHECK(t.replay(10, 40));
    t.check_all_read(10, 40);
    CHECK(assignments == 2);
  }
  SUBCASE("by a member of the group") {
    t.r->start();
    REQUIRE(t.r->poll_rows(partitions * count));
    t.check_all_read(0, count);
  }
}

TEST_CASE("a window whose records were not received is read again") {
  topic t;
  const intercepted calls;
  int assignments = 0;
  calls->before_assign = [&](auto&&...) { ++assignments; };
  SUBCASE("all records of one partition") {
    calls->is_missing = [&](const auto& m) { return assignments == 1 && m.partition == 2; };
  }
  SUBCASE("the first records of each partition") {
    calls->is_missing = [&](const auto& m) { return assignments == 1 && m.offset < 20; };
  }
  SUBCASE("the last records of each partition") {
    calls->is_missing = [&](const auto& m) { return assignments == 1 && m.offset >= 30; };
  }
  CHECK(t.replay(0, count));
  t.check_all_read(0, count);
  CHECK(assignments == 2);
}

TEST_CASE("positions without a record do not keep a replay from its end") {
  topic t;
  const intercepted calls;
  std::set<std::int64_t> gone;
  SUBCASE("at the begin, within and at the end") { gone = {10, 11, 20, 38, 39}; }
  SUBCASE("at the end of the partition") { gone = {38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49}; }
  SUBCASE("everywhere") {
    for (int i = 0; i < count; ++i) gone.insert(i);
  }
  calls->is_missing = [&](const auto& m) { return gone.contains(m.offset); };
  CHECK(t.replay(10, 40));
  std::size_t left = 0;
  for (std::int64_t at = 10; at < 40; ++at) left += gone.contains(at) ? 0 : 1;
  CHECK(t.positions().size() == partitions * left);
  CHECK(t.r->rows.size() == partitions * left);
  for (int p = 0; p < partitions; ++p) CHECK(t.r->next("iot-stream/" + std::to_string(p)) == 40);
}
