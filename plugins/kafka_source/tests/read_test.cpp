// SPDX-License-Identifier: Apache-2.0
// Tests of reading from topics of a mock cluster.
#include "mock_kafka.hpp"

#include <algorithm>
#include <set>

using namespace kafka::test;
using pl::testing::list;
using pl::testing::object;

namespace {

// Check that the values of each stream count up from `first` without gaps or duplicates.
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

TEST_CASE("header columns hold the last header of the name") {
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

TEST_CASE("every column of a record, and its stream position") {
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

TEST_CASE("headers are made on demand, each those of its row, also after a record that was skipped") {
  one_topic topic;
  topic.kafka.produce("iot-stream", {.value = "1", .key = "k", .headers = {{"trace", "a"}}});
  topic.kafka.produce("iot-stream", {.value = std::nullopt, .key = "k", .headers = {{"trace", "skipped"}}});
  topic.kafka.produce("iot-stream", {.value = "2", .key = "k", .headers = {{"trace", "b"}, {"trace", "\xFF"}}});
  topic.kafka.produce("iot-stream", {.value = "3", .key = "k", .headers = {}});
  topic.kafka.flush();
  pl::testing::fake_host host;
  host.set_offers_on_demand(true);
  host.raw().state_dir = pl::borrow(topic.state.path());
  pl::testing::instance source(host, component(),
                               {{"brokers", topic.kafka.servers()},
                                {"group", "g"},
                                {"topic", "iot-stream"},
                                {"instance", "dynamic"},
                                {"tombstones", "skip"},
                                {"header_columns", list({"trace"})}});
  REQUIRE_MESSAGE(source.create() == PL_OK, host.error_text());
  REQUIRE_MESSAGE(source.start() == PL_OK, host.error_text());
  std::vector<std::string> values, headers;
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  while (values.size() < 3 && std::chrono::steady_clock::now() < deadline) {
    pl::batch batch;
    if (source.poll(batch, 1000, 1 << 20, 100ms) != PL_OK) continue;
    const auto b = batch.get();
    for (const auto row : b.selection()) {
      CHECK(pl::is_null(b.at(*b.find("headers"), row)));
      values.emplace_back(pl::bytes_of(b.at(*b.find("value"), row)));
      headers.push_back(host.make_late_cell(batch, *b.find("headers"), row));
      std::string column;
      pl::append_json(column, b.at(*b.find("trace"), row));
      headers.push_back(column);
    }
  }
  CHECK(values == std::vector<std::string>{"1", "2", "3"});
  CHECK(headers == std::vector<std::string>{R"([["trace","a"]])", R"("a")",  //
                                            R"([["trace","b"],["trace",{"base64":"/w=="}]])", R"({"base64":"/w=="})",
                                            "null", "null"});
}

TEST_CASE("several partitions in one batch; row and byte limits; keep-alive polls neither lose nor reorder records") {
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

  // With a small byte limit the batches are small.
  topic.kafka.produce_numbers("iot-stream", 0, count, 1000);
  topic.kafka.flush();
  while (r->rows.size() < 4 * count + 1000) {
    const auto before = r->rows.size();
    REQUIRE(r->poll(1000, 200, 5s) == PL_OK);
    CHECK(r->rows.size() - before <= 200);
  }
}

TEST_CASE("settled offsets are committed with metadata, and a restart continues there") {
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
    CHECK(r->host.revoked_streams() == std::vector<std::string>{"iot-stream/0"});
  }
  CHECK(topic.kafka.committed("g", "iot-stream", 0) ==
        std::pair{std::int64_t{40}, std::string("pipeline-host:test:40")});
  auto r = topic.make_reader();
  r->start();
  REQUIRE(r->poll_rows(60));
  check_consecutive(r->rows, {{"iot-stream/0", 40}});
  CHECK(r->rows.size() == 60);
}

TEST_CASE("the host selects the start position") {
  one_topic topic;
  topic.kafka.produce_numbers("iot-stream", 0, 0, 50);
  topic.kafka.flush();
  auto r = topic.make_reader();
  r->host.resume_at("iot-stream/0", 20);
  r->start();
  REQUIRE(r->poll_rows(30));
  check_consecutive(r->rows, {{"iot-stream/0", 20}});
}

TEST_CASE("start: latest skips the existing records, only at the first start") {
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

TEST_CASE("tombstones: skip drops them, and the range covers them") {
  one_topic topic;
  topic.kafka.produce("iot-stream", {.value = "a", .key = "k", .headers = {}});
  topic.kafka.produce("iot-stream", {.value = std::nullopt, .key = "k", .headers = {}});
  topic.kafka.produce("iot-stream", {.value = "", .key = "k", .headers = {}});  // an empty value is not a tombstone
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

TEST_CASE("reading continues after the brokers were down") {
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

TEST_CASE("destruction without a stop neither hangs nor commits") {
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

TEST_CASE("records deleted by retention are reported with their numbers") {
  one_topic topic;
  const std::string large(100'000, 'x');  // the mock retains 5 MB per partition
  for (int i = 0; i < 100; ++i) topic.kafka.produce("iot-stream", {.value = large, .key = {}, .headers = {}});
  topic.kafka.flush();
  SUBCASE("earliest: continues at the first remaining record") {
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
  SUBCASE("latest: continues at the end, and the position advances at once") {
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
  SUBCASE("stop: a fatal status whose message has the remedy") {
    auto r = topic.make_reader({{"on_out_of_range", "stop"}});
    r->host.resume_at("iot-stream/0", 1);
    r->start();
    CHECK_FALSE(r->poll_until([] { return false; }));
    CHECK(r->rows.empty());
    CHECK(r->host.error_text().find("stopping (on_out_of_range: stop). Reset the group's offset") != std::string::npos);
  }
}

TEST_CASE("a topic that was created again: positions lie beyond its end") {
  one_topic topic;
  topic.kafka.produce_numbers("iot-stream", 0, 0, 10);
  topic.kafka.flush();
  topic.kafka.commit("g", "iot-stream", 0, 5000);
  SUBCASE("the host has no position") {
    auto r = topic.make_reader();
    r->start();
    REQUIRE(r->poll_rows(10));
    check_consecutive(r->rows, {});
    CHECK(logged(r->host, PL_LOG_ERROR, "position 5000 of iot-stream/0 lies beyond the partition's end"));
    CHECK(r->host.revoked_streams() == std::vector<std::string>{"iot-stream/0"});
    r->settle_all();
    REQUIRE(r->poll_until([&] { return topic.kafka.committed("g", "iot-stream", 0).first == 10; }));
  }
  SUBCASE("the host's sink has the position, too: the start is an offset reset") {
    auto r = topic.make_reader();
    r->host.resume_at("iot-stream/0", 5000);
    r->start();
    REQUIRE(r->poll_rows(10));
    CHECK(r->host.start_reasons().back() == PL_START_RESET);
  }
}

TEST_CASE("the start reason is the start policy, or a committed offset with metadata") {
  one_topic topic;
  topic.kafka.produce_numbers("iot-stream", 0, 0, 10);
  topic.kafka.flush();
  const auto why = [&](std::size_t rows) {
    auto r = topic.make_reader();
    r->start();
    REQUIRE(r->poll_rows(rows));
    r->settle_all();
    const auto because = r->host.start_reasons();
    REQUIRE(r->source->stop() == PL_OK);
    REQUIRE(because.size() == 1);
    return because.front();
  };
  CHECK(why(10) == PL_START_POLICY);
  CHECK(topic.kafka.committed("g", "iot-stream", 0) ==
        std::pair{std::int64_t{10}, std::string("pipeline-host:test:10")});
  topic.kafka.produce_numbers("iot-stream", 0, 10, 10);
  topic.kafka.flush();
  CHECK(why(10) == PL_START_COMMITTED);
}

TEST_CASE("an offset without metadata is an offset reset, committed with metadata before the first record is read") {
  one_topic topic;
  topic.kafka.produce_numbers("iot-stream", 0, 0, 10);
  topic.kafka.flush();
  topic.kafka.commit("g", "iot-stream", 0, 5);  // without metadata, like Kafka's tools
  auto r = topic.make_reader();
  r->start();
  REQUIRE(r->poll_rows(5));
  CHECK(r->rows.front().position == 5);
  CHECK(r->host.start_reasons() == std::vector<std::uint32_t>{PL_START_RESET});
  CHECK(topic.kafka.committed("g", "iot-stream", 0) == std::pair{std::int64_t{5}, std::string("pipeline-host:test:5")});
}

TEST_CASE("nothing is read while the host cannot accept the stream") {
  one_topic topic;
  topic.kafka.produce_numbers("iot-stream", 0, 0, 10);
  topic.kafka.flush();
  auto r = topic.make_reader();
  r->host.set_stream_status(PL_RETRY);
  r->start();
  const auto until = std::chrono::steady_clock::now() + 2s;
  while (std::chrono::steady_clock::now() < until) REQUIRE(r->poll() == PL_AGAIN);
  CHECK(r->rows.empty());
  r->host.set_stream_status(PL_OK);
  CHECK(r->poll_rows(10));
}

TEST_CASE("a missing topic: start fails and suggests the nearest name") {
  one_topic topic;
  // The mock creates every topic that a client requests, unless an error is set.
  rd_kafka_mock_topic_set_error(topic.kafka.cluster(), "iot-straem", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
  reader r(topic.kafka.servers(), {{"topic", "iot-straem"}}, topic.state.path());
  CHECK(r.source->check() == PL_RETRY);
  CHECK(r.host.error_text() == "there is no topic 'iot-straem' at " + topic.kafka.servers() +
                                   "; did you mean 'iot-stream'? (create it, or correct the name)");
  CHECK(r.source->start() == PL_RETRY);
}

TEST_CASE("start fails if no broker responds") {
  scratch_directory state;
  reader r("127.0.0.1:1", {{"topic", "iot-stream"}}, state.path());
  CHECK(r.source->start() == PL_RETRY);
  CHECK(r.host.error_text().find("no response from any Kafka broker at 127.0.0.1:1: ") == 0);
}
