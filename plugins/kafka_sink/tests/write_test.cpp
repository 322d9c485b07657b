// SPDX-License-Identifier: Apache-2.0
// Tests of the messages that the sink writes to a mock cluster.
#include "mock_topic.hpp"

#include <algorithm>
#include <map>
#include <set>

using namespace kafka::test;
using namespace std::chrono_literals;
using pl::testing::object;

namespace {

constexpr std::int16_t produce_request = 0;

std::vector<pl::cell> texts(const std::vector<std::string>& from) {
  std::vector<pl::cell> cells;
  for (const auto& t : from) cells.push_back(pl::text_cell(t));
  return cells;
}

}  // namespace

TEST_CASE("rows as JSON, with key, headers and time") {
  mock_topic topic;
  writer w(topic.servers(), {{"key", "users/{user_id}"},
                             {"time", "time"},
                             {"headers", object({{"severity", "{severity}!"}, {"fixed", "x"}})}});
  const auto batch = w.host.make_batch({{"time", {pl::time_cell(1'700'000'000'123'456'789), pl::null_cell()}},
                                        {"user_id", texts({"u1", "ü2"})},
                                        {"severity", texts({"critical", "minor"})},
                                        {"value", {pl::real_cell(81.5), pl::null_cell()}}});
  REQUIRE_MESSAGE(w.sink->write(batch.get()) == PL_OK, w.host.error_text());
  const auto got = topic.read();
  REQUIRE(got.size() == 2);
  CHECK(got[0].value ==
        R"({"time":"2023-11-14T22:13:20.123456789Z","user_id":"u1","severity":"critical","value":81.5})");
  CHECK(got[0].key == "users/u1");
  CHECK(got[0].time_ms == 1'700'000'000'123);
  CHECK(got[0].headers == std::vector<std::pair<std::string, std::string>>{{"fixed", "x"}, {"severity", "critical!"}});
  CHECK(got[1].value == R"({"user_id":"ü2","severity":"minor"})");
  CHECK(got[1].time_ms > 1'700'000'000'123);  // the time of sending
}

TEST_CASE("raw: unchanged bytes; null becomes a tombstone, empty does not") {
  mock_topic topic;
  writer w(topic.servers(), {{"format", "raw"}, {"key", "k"}});
  const std::string odd("\0\xFF\n", 3);
  const auto batch =
      w.host.make_batch({{"value", {pl::bytes_cell(odd), pl::null_cell(), pl::bytes_cell(""), pl::int_cell(7)}}});
  REQUIRE(w.sink->write(batch.get()) == PL_OK);
  const auto got = topic.read();
  REQUIRE(got.size() == 4);
  CHECK(got[0].value == odd);
  CHECK_FALSE(got[1].value);
  CHECK(got[2].value == "");
  CHECK(got[3].value == "7");
}

TEST_CASE("records with the same key stay in one partition in order, over many batches and with every codec") {
  for (const auto* codec : {"none", "gzip", "snappy", "lz4", "zstd"}) {
    CAPTURE(codec);
    mock_topic topic(4);
    writer w(topic.servers(), {{"format", "raw"}, {"key", "{id}"}, {"compression", codec}});
    for (int b = 0; b < 20; ++b) {
      std::vector<std::string> ids, values;
      for (int i = 0; i < 200; ++i) {
        ids.push_back("device-" + std::to_string(i % 7));
        values.push_back(std::to_string(b * 200 + i));
      }
      const auto batch = w.host.make_batch({{"id", texts(ids)}, {"value", texts(values)}});
      REQUIRE(w.sink->write(batch.get()) == PL_OK);
    }
    const auto got = topic.read();
    CHECK(got.size() == 4000);
    std::map<std::string, std::set<std::int32_t>> partitions;
    std::map<std::string, int> last;
    for (const auto& m : got) {
      partitions[*m.key].insert(m.partition);
      const int value = std::stoi(*m.value);
      if (last.contains(*m.key)) CHECK(value > last[*m.key]);
      last[*m.key] = value;
    }
    CHECK(partitions.size() == 7);
    for (const auto& [key, where] : partitions) CHECK(where.size() == 1);
  }
}

TEST_CASE("only selected rows of several batches are written") {
  mock_topic topic;
  writer w(topic.servers(), {{"format", "raw"}});
  auto whole = w.host.make_batch({{"value", texts({"a", "b", "c"})}});
  pl::batch_builder some(&w.host.raw(), whole.get(), &whole.get().schema(), 3);
  some.share_column(0, whole.get().column(0));
  const std::uint32_t selected[] = {0, 2};
  some.select(selected);
  const auto part = std::move(some).finish();
  const auto other = w.host.make_batch({{"value", texts({"d"})}});
  REQUIRE(w.sink->write({part.get(), other.get()}) == PL_OK);
  std::vector<std::string> values;
  for (const auto& m : topic.read()) values.push_back(*m.value);
  CHECK(values == std::vector<std::string>{"a", "c", "d"});
}

TEST_CASE("a record that is too large goes to the dead letters, and the others are written") {
  mock_topic topic;
  writer w(topic.servers(), {{"format", "raw"}, {"properties", object({{"message.max.bytes", 10'000}})}});
  const auto batch = w.host.make_batch({{"value", texts({"a", std::string(20'000, 'x'), "b"})}}, "in/3", 70);
  REQUIRE(w.sink->write(batch.get()) == PL_OK);
  CHECK(topic.read().size() == 2);
  const auto rejects = w.host.rejects();
  REQUIRE(rejects.size() == 1);
  CHECK(rejects[0].stream == "in/3");
  CHECK(rejects[0].position == 71);
  CHECK(rejects[0].reason ==
        "the record is too large for topic 'out' (20000 bytes of key and value); raise the topic's max.message.bytes, "
        "and message.max.bytes in 'properties'");
}

TEST_CASE("a set that the broker rejects because of one record is bisected") {
  mock_topic topic;
  writer w(topic.servers(), {{"format", "raw"}});
  // The responses to the requests: the set of four records fails, its first half passes, its second half fails. Of the
  // second half, the first record passes and the second one fails.
  rd_kafka_mock_push_request_errors(topic.cluster(), produce_request, 5, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                    RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                    RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
  const auto batch = w.host.make_batch({{"value", texts({"a", "b", "c", "d"})}});
  const auto status = w.sink->write(batch.get());
  CAPTURE(w.host.error_text());
  REQUIRE(status == PL_OK);
  std::vector<std::string> values;
  for (const auto& m : topic.read()) values.push_back(*m.value);
  CHECK(values == std::vector<std::string>{"a", "b", "c"});
  REQUIRE(w.host.rejects().size() == 1);
  CHECK(w.host.rejects()[0].row == 3);
}

TEST_CASE("while the broker is down writes return retry and reject nothing; afterwards all records are written") {
  mock_topic topic;
  writer w(topic.servers(), {{"format", "raw"}, {"delivery_timeout", std::chrono::nanoseconds(5s)}});
  rd_kafka_mock_broker_set_down(topic.cluster(), -1);
  const auto batch = w.host.make_batch({{"value", texts({"a", "b"})}});
  CHECK(w.sink->write(batch.get()) == PL_RETRY);
  CHECK(w.host.error_text().find("2 records were not acknowledged by the brokers at " + topic.servers()) == 0);
  CHECK(w.host.rejects().empty());
  rd_kafka_mock_broker_set_up(topic.cluster(), -1);
  const auto until = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  pl_status status = PL_RETRY;
  while (status == PL_RETRY && std::chrono::steady_clock::now() < until) status = w.sink->write(batch.get());
  CHECK(status == PL_OK);
  CHECK(topic.read().size() == 2);
}

TEST_CASE("a batch without rows may have other columns, or none") {
  mock_topic topic;
  writer w(topic.servers(), {{"format", "raw"}, {"key", "{id}"}});
  const auto rows = w.host.make_batch({{"id", texts({"a", "b"})}, {"value", texts({"1", "2"})}});
  const auto none = w.host.make_batch({{"other", {}}});
  REQUIRE(w.sink->write({rows.get(), none.get()}) == PL_OK);
  REQUIRE(w.sink->write({none.get(), rows.get()}) == PL_OK);
  const auto got = topic.read();
  REQUIRE(got.size() == 4);
  for (const auto& m : got) CHECK(m.key == (m.value == "1" ? "a" : "b"));
}

TEST_CASE("a missing column is reported") {
  mock_topic topic;
  writer w(topic.servers(), {{"key", "{device}"}});
  const auto batch = w.host.make_batch({{"device_id", texts({"d"})}});
  CHECK(w.sink->write(batch.get()) == PL_FATAL);
  CHECK(w.host.error_text() == "key: the input has no column 'device'; its columns are: 'device_id'");
  CHECK(topic.read().empty());
}

TEST_CASE("a missing topic: check fails with a suggestion") {
  mock_topic topic;
  rd_kafka_mock_topic_set_error(topic.cluster(), "outt", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
  pl::testing::fake_host host;
  pl::testing::instance sink(host, component(), {{"brokers", topic.servers()}, {"topic", "outt"}});
  REQUIRE(sink.create() == PL_OK);
  CHECK(sink.check() == PL_RETRY);
  CHECK(host.error_text().find("there is no topic 'outt' at") == 0);
  CHECK(host.error_text().find("did you mean 'out'?") != std::string::npos);
}
