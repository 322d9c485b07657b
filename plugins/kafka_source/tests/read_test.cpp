// SPDX-License-Identifier: Apache-2.0
// What comes out of the topics, against a mock cluster.
#include "mock_kafka.hpp"

#include <algorithm>
#include <set>

using namespace kafka::test;
using pl::testing::list;
using pl::testing::object;

namespace {

// Each stream's values count up from `first`, nothing missing, nothing twice.
void check_consecutive(const std::vector<row>& rows, std::map<std::string, int> first) {
  for (const auto& r : rows) CHECK(r.value == std::to_string(first[r.stream]++));
}

struct one_topic {
  explicit one_topic(int partitions = 1) { kafka.create("iot-stream", partitions); }
  std::unique_ptr<reader> make_reader(pl::testing::config_fields more = {}) {
    more.emplace_back("topic", "iot-stream");
    more.emplace_back("instance", "dynamic");
    return std::make_unique<reader>(kafka.servers(), std::move(more), state.path());
  }
  mock_kafka kafka;
  scratch_directory state;
};

bool logged(const pl::testing::fake_host& host, int level, std::string_view part) {
  const auto logs = host.logs();
  return std::any_of(logs.begin(), logs.end(),
                     [&](const auto& l) { return l.level == level && l.message.find(part) != std::string::npos; });
}

}  // namespace

TEST_CASE("headers with a column of their own") {
  one_topic topic;
  topic.kafka.produce(
      "iot-stream",
      {.value = "1", .key = "k", .headers = {{"message_id", "a"}, {"raw", "\xFF"}, {"message_id", "b"}, {"nil", {}}}});
  topic.kafka.produce("iot-stream", {.value = "2", .key = "k", .headers = {}});
  topic.kafka.flush();
  auto r = topic.make_reader({{"header_columns", list({"message_id", "raw", "nil", "none"})}});
  std::vector<std::string> seen;
  r->on_batch = [&](pl::batch_view b) {
    for (const auto i : b.selection())
      for (const auto* name : {"message_id", "raw", "nil", "none"}) {
        std::string json;
        pl::append_json(json, b.at(*b.find(name), i));
        seen.push_back(json);
      }
  };
  r->start();
  REQUIRE(r->poll_rows(2));
  CHECK(seen == std::vector<std::string>{R"("b")", R"({"base64":"/w=="})", "null", "null",  //
                                         "null", "null", "null", "null"});
}

TEST_CASE("every column of a record, and its place") {
  one_topic topic(2);
  topic.kafka.produce("iot-stream", {.value = "{\"t\":1}",
                                     .key = "users/u/devices/d",
                                     .partition = 1,
                                     .time_ms = 1'700'000'000'123,
                                     .headers = {{"trace", "abc"}, {"trace", "\xFF"}, {"empty", std::nullopt}}});
  topic.kafka.produce("iot-stream", {.value = std::nullopt, .key = "", .partition = 1, .headers = {}});
  topic.kafka.flush();
  auto r = topic.make_reader();
  std::vector<std::string> seen;
  r->on_batch = [&](pl::batch_view b) {
    for (const auto i : b.selection()) {
      std::string json;
      pl::append_json_row(json, b, i);
      seen.push_back(json);
      CHECK(b.at(*b.find("value"), i).kind == (b.position(i) == 0 ? PL_BYTES : PL_NULL));
      CHECK(b.at(*b.find("key"), i).kind == PL_BYTES);
    }
  };
  r->start();
  REQUIRE(r->poll_rows(2));
  CHECK(seen[0] ==
        R"({"value":"{\"t\":1}","key":"users/u/devices/d","time":"2023-11-14T22:13:20.123Z","topic":"iot-stream",)"
        R"("partition":1,"offset":0,"headers":[["trace","abc"],["trace",{"base64":"/w=="}],["empty",null]]})");
  CHECK(r->rows[1].stream == "iot-stream/1");
  CHECK(r->rows[1].position == 1);
  CHECK(r->host.assigned_streams().size() == 2);
  CHECK(r->source->stop() == PL_OK);
  CHECK(r->host.live_batches() == 0);
}

TEST_CASE("several partitions in one batch; limits of rows and bytes; keep-alive loses and reorders nothing") {
  constexpr int count = 3000;
  one_topic topic(4);
  for (int p = 0; p < 4; ++p) topic.kafka.produce_numbers("iot-stream", p, 0, count);
  topic.kafka.flush();
  auto r = topic.make_reader();
  std::size_t most_ranges = 0;
  r->on_batch = [&](pl::batch_view b) {
    CHECK(b.rows() <= 700);
    most_ranges = std::max(most_ranges, b.ranges().size());
    for (const auto& range : b.ranges()) CHECK((range.end == count || range.end == count + 1000));
  };
  r->start();
  REQUIRE(r->poll_until([&] { return !r->rows.empty(); }, 700));
  while (r->rows.size() < 4 * count) {
    const auto before = r->rows.size();
    for (int k = 0; k < 3; ++k) CHECK(r->poll(0, 0, 5ms) == PL_AGAIN);
    CHECK(r->rows.size() == before);
    REQUIRE(r->poll(700, 1 << 20, 5s) == PL_OK);
  }
  CHECK(r->rows.size() == 4 * count);
  check_consecutive(r->rows, {});
  CHECK(most_ranges > 1);

  // Bytes: small batches where there is little room.
  topic.kafka.produce_numbers("iot-stream", 0, count, 1000);
  topic.kafka.flush();
  while (r->rows.size() < 4 * count + 1000) {
    const auto before = r->rows.size();
    REQUIRE(r->poll(1000, 200, 5s) == PL_OK);
    CHECK(r->rows.size() - before <= 200);
  }
}

TEST_CASE("commits what is settled, with a mark, and goes on from there after a restart") {
  one_topic topic;
  topic.kafka.produce_numbers("iot-stream", 0, 0, 100);
  topic.kafka.flush();
  {
    auto r = topic.make_reader();
    r->start();
    REQUIRE(r->poll_until([&] { return r->rows.size() >= 40; }, 10));
    r->source->settle("iot-stream/0", 0, 30);
    REQUIRE(r->poll_until([&] { return topic.kafka.committed("g", "iot-stream", 0).first == 30; }, 0));
    r->source->settle("iot-stream/0", 30, 40);
    CHECK(r->source->stop() == PL_OK);  // commits the rest
    CHECK(r->host.lost_streams() == std::vector<std::string>{"iot-stream/0"});
  }
  CHECK(topic.kafka.committed("g", "iot-stream", 0) ==
        std::pair{std::int64_t{40}, std::string("pipeline-host:test:40")});
  auto r = topic.make_reader();
  r->start();
  REQUIRE(r->poll_rows(60));
  check_consecutive(r->rows, {{"iot-stream/0", 40}});
  CHECK(r->rows.size() == 60);
}

TEST_CASE("the host says where to begin, and can go back") {
  one_topic topic;
  topic.kafka.produce_numbers("iot-stream", 0, 0, 50);
  topic.kafka.flush();
  auto r = topic.make_reader();
  r->host.resume_at("iot-stream/0", 20);
  r->start();
  REQUIRE(r->poll_rows(30));
  check_consecutive(r->rows, {{"iot-stream/0", 20}});
  for (const int back_to : {5, 45, 0}) {
    r->rows.clear();
    r->next_of.clear();
    REQUIRE(r->source->seek("iot-stream/0", static_cast<std::uint64_t>(back_to)) == PL_OK);
    REQUIRE(r->poll_rows(static_cast<std::size_t>(50 - back_to)));
    check_consecutive(r->rows, {{"iot-stream/0", back_to}});
  }
  CHECK(r->source->seek("iot-stream/7", 1) == PL_OK);  // not ours: nothing to do
}

TEST_CASE("start: latest skips what is there, and does so once") {
  one_topic topic;
  topic.kafka.produce_numbers("iot-stream", 0, 0, 10);
  topic.kafka.flush();
  {
    auto r = topic.make_reader({{"start", "latest"}});
    r->start();
    REQUIRE(r->poll_until([&] { return topic.kafka.committed("g", "iot-stream", 0).first == 10; }));
    CHECK(r->rows.empty());
    REQUIRE(r->source->stop() == PL_OK);
  }
  topic.kafka.produce_numbers("iot-stream", 0, 10, 5);
  topic.kafka.flush();
  auto r = topic.make_reader({{"start", "latest"}});
  r->start();
  REQUIRE(r->poll_rows(5));
  check_consecutive(r->rows, {{"iot-stream/0", 10}});
}

TEST_CASE("tombstones: skip leaves them out, the range covers them") {
  one_topic topic;
  topic.kafka.produce("iot-stream", {.value = "a", .key = "k", .headers = {}});
  topic.kafka.produce("iot-stream", {.value = std::nullopt, .key = "k", .headers = {}});
  topic.kafka.produce("iot-stream", {.value = "", .key = "k", .headers = {}});  // empty is no tombstone
  topic.kafka.produce("iot-stream", {.value = std::nullopt, .key = "k", .headers = {}});
  topic.kafka.flush();
  auto r = topic.make_reader({{"tombstones", "skip"}});
  r->start();
  REQUIRE(r->poll_until([&] { return r->next("iot-stream/0") == 4; }));
  REQUIRE(r->rows.size() == 2);
  CHECK(r->rows[1].position == 2);
  CHECK(r->host.sum("kafka_tombstones_skipped_total") == 2);
}

TEST_CASE("topics by regular expression") {
  mock_kafka kafka;
  scratch_directory state;
  for (const auto* name : {"devices-a", "devices-b", "other"}) {
    kafka.create(name, 1);
    kafka.produce_numbers(name, 0, 0, 3);
  }
  kafka.flush();
  reader r(kafka.servers(), {{"topics", list({"^devices-"})}, {"instance", "dynamic"}}, state.path());
  r.start();
  REQUIRE(r.poll_rows(6));
  std::set<std::string> streams;
  for (const auto& row : r.rows) streams.insert(row.stream);
  CHECK(streams == std::set<std::string>{"devices-a/0", "devices-b/0"});
}

TEST_CASE("a batch outlives the source that made it") {
  one_topic topic;
  topic.kafka.produce_numbers("iot-stream", 0, 0, 10);
  topic.kafka.flush();
  auto r = topic.make_reader();
  r->start();
  std::vector<pl::batch> kept;
  r->on_batch = [&](pl::batch_view b) { kept.push_back(pl::batch::retained(&r->host.raw(), b)); };
  REQUIRE(r->poll_rows(10));
  REQUIRE(r->source->stop() == PL_OK);
  r->source.reset();
  int expected = 0;
  for (const auto& b : kept)
    for (const auto i : b.get().selection()) CHECK(pl::bytes_of(b.get().at(0, i)) == std::to_string(expected++));
  CHECK(expected == 10);
  kept.clear();
  CHECK(r->host.live_batches() == 0);
}

TEST_CASE("brokers that go down are waited for") {
  one_topic topic;
  topic.kafka.produce_numbers("iot-stream", 0, 0, 10);
  topic.kafka.flush();
  auto r = topic.make_reader();
  r->start();
  REQUIRE(r->poll_rows(10));
  rd_kafka_mock_broker_set_down(topic.kafka.cluster(), -1);
  REQUIRE(r->poll_until([&] { return logged(r->host, PL_LOG_WARN, "no broker of "); }));
  rd_kafka_mock_broker_set_up(topic.kafka.cluster(), -1);
  topic.kafka.produce_numbers("iot-stream", 0, 10, 10);
  topic.kafka.flush();
  REQUIRE(r->poll_rows(20));
  check_consecutive(r->rows, {});

  rd_kafka_mock_broker_set_down(topic.kafka.cluster(), -1);
  const auto begin = std::chrono::steady_clock::now();
  CHECK(r->source->stop() == PL_OK);
  CHECK(std::chrono::steady_clock::now() - begin < 60s);
}

TEST_CASE("destroyed without a stop, in the middle of anything: nothing hangs, nothing is committed") {
  one_topic topic(4);
  topic.kafka.produce_numbers("iot-stream", 0, 0, 100);
  topic.kafka.flush();
  {
    auto joining = topic.make_reader();
    joining->start();
    joining->poll();
  }
  auto r = topic.make_reader();
  r->start();
  REQUIRE(r->poll_rows(100));
  r->settle_all();
  r.reset();
}

TEST_CASE("records that retention took are reported with their numbers") {
  one_topic topic;
  const std::string large(100'000, 'x');  // the mock keeps 5 MB of a partition
  for (int i = 0; i < 100; ++i) topic.kafka.produce("iot-stream", {.value = large, .key = {}, .headers = {}});
  topic.kafka.flush();
  SUBCASE("earliest: on with what is left") {
    auto r = topic.make_reader();
    r->host.resume_at("iot-stream/0", 1);
    r->start();
    REQUIRE(r->poll_until([&] { return r->next("iot-stream/0") == 100; }));
    const auto first = r->rows.front().position;
    CHECK(first > 1);
    CHECK(r->rows.size() == 100 - first);
    CHECK(r->host.sum("kafka_lost_records_total{topic=iot-stream,partition=0}") == static_cast<double>(first - 1));
    CHECK(logged(r->host, PL_LOG_ERROR, "LOST: records 1 to " + std::to_string(first - 1) + " of iot-stream/0"));
  }
  SUBCASE("latest: to the end, and the position moves on at once") {
    auto r = topic.make_reader({{"on_out_of_range", "latest"}});
    r->host.resume_at("iot-stream/0", 1);
    r->start();
    REQUIRE(r->poll_until([&] { return r->next("iot-stream/0") == 100; }));
    CHECK(r->rows.empty());
    topic.kafka.produce("iot-stream", {.value = "after", .key = {}, .headers = {}});
    topic.kafka.flush();
    REQUIRE(r->poll_rows(1));
    CHECK(r->rows[0].value == "after");
  }
  SUBCASE("stop: a fatal status with the way out") {
    auto r = topic.make_reader({{"on_out_of_range", "stop"}});
    r->host.resume_at("iot-stream/0", 1);
    r->start();
    CHECK_FALSE(r->poll_until([] { return false; }));
    CHECK(r->rows.empty());
    CHECK(r->host.error_text().find("on_out_of_range: stop. Reset the group's offset") != std::string::npos);
  }
}

TEST_CASE("a topic that was created anew: positions lie beyond its end") {
  one_topic topic;
  topic.kafka.produce_numbers("iot-stream", 0, 0, 10);
  topic.kafka.flush();
  topic.kafka.commit("g", "iot-stream", 0, 5000);
  SUBCASE("the host follows") {
    auto r = topic.make_reader();
    r->start();
    REQUIRE(r->poll_rows(10));
    check_consecutive(r->rows, {});
    CHECK(logged(r->host, PL_LOG_ERROR, "position 5000 of iot-stream/0 lies beyond the partition's end"));
    CHECK(r->host.lost_streams() == std::vector<std::string>{"iot-stream/0"});
    r->settle_all();
    REQUIRE(r->poll_until([&] { return topic.kafka.committed("g", "iot-stream", 0).first == 10; }));
  }
  SUBCASE("the host's sink stood there, too: it follows, by order") {
    auto r = topic.make_reader();
    r->host.resume_at("iot-stream/0", 5000);
    r->start();
    REQUIRE(r->poll_rows(10));
    CHECK(r->host.assigned_because().back() == PL_BY_ORDER);
  }
}

TEST_CASE("what a start rests on: nothing, or our own mark") {
  one_topic topic;
  topic.kafka.produce_numbers("iot-stream", 0, 0, 10);
  topic.kafka.flush();
  const auto why = [&](std::size_t rows) {
    auto r = topic.make_reader();
    r->start();
    REQUIRE(r->poll_rows(rows));
    r->settle_all();
    const auto because = r->host.assigned_because();
    REQUIRE(r->source->stop() == PL_OK);
    REQUIRE(because.size() == 1);
    return because.front();
  };
  CHECK(why(10) == PL_BY_POLICY);
  CHECK(topic.kafka.committed("g", "iot-stream", 0) ==
        std::pair{std::int64_t{10}, std::string("pipeline-host:test:10")});
  topic.kafka.produce_numbers("iot-stream", 0, 10, 10);
  topic.kafka.flush();
  CHECK(why(10) == PL_BY_PROGRESS);
}

TEST_CASE("an offset without our mark is an order, and marked before the first record is read") {
  one_topic topic;
  topic.kafka.produce_numbers("iot-stream", 0, 0, 10);
  topic.kafka.flush();
  topic.kafka.commit("g", "iot-stream", 0, 5);  // as Kafka's tools do it
  auto r = topic.make_reader();
  r->start();
  REQUIRE(r->poll_rows(5));
  CHECK(r->rows.front().position == 5);
  CHECK(r->host.assigned_because() == std::vector<std::uint32_t>{PL_BY_ORDER});
  CHECK(topic.kafka.committed("g", "iot-stream", 0) == std::pair{std::int64_t{5}, std::string("pipeline-host:test:5")});
}

TEST_CASE("a host that can't take a stream yet: nothing is read before it can") {
  one_topic topic;
  topic.kafka.produce_numbers("iot-stream", 0, 0, 10);
  topic.kafka.flush();
  auto r = topic.make_reader();
  r->host.answer_streams_with(PL_RETRY);
  r->start();
  const auto until = std::chrono::steady_clock::now() + 2s;
  while (std::chrono::steady_clock::now() < until) REQUIRE(r->poll() == PL_AGAIN);
  CHECK(r->rows.empty());
  r->host.answer_streams_with(PL_OK);
  CHECK(r->poll_rows(10));
}

TEST_CASE("a topic that is not there: start says so, and knows the nearest one") {
  one_topic topic;
  // The mock creates what it is asked for, unless it is told to refuse.
  rd_kafka_mock_topic_set_error(topic.kafka.cluster(), "iot-straem", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
  reader r(topic.kafka.servers(), {{"topic", "iot-straem"}}, topic.state.path());
  CHECK(r.source->check() == PL_RETRY);
  CHECK(r.host.error_text() == "there is no topic 'iot-straem' at " + topic.kafka.servers() +
                                   "; did you mean 'iot-stream'? (create it, or correct the name)");
  CHECK(r.source->start() == PL_RETRY);
}

TEST_CASE("no broker: start says so") {
  scratch_directory state;
  reader r("127.0.0.1:1", {{"topic", "iot-stream"}}, state.path());
  CHECK(r.source->start() == PL_RETRY);
  CHECK(r.host.error_text().find("no Kafka broker at 127.0.0.1:1 answers") == 0);
}
