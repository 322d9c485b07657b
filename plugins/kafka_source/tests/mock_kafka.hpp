// SPDX-License-Identifier: Apache-2.0
// A Kafka cluster in this process (librdkafka's mock) and a source under a fake host.
#pragma once

#include <pipeline/json.hpp>
#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <doctest/doctest.h>
#include <kafka_common/handles.hpp>
#include <librdkafka/rdkafka_mock.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace kafka::test {

using namespace std::chrono_literals;

struct record {
  std::optional<std::string> value, key;
  std::int32_t partition = 0;
  std::int64_t time_ms = 0;
  std::vector<std::pair<std::string, std::optional<std::string>>> headers;
};

class mock_kafka {
 public:
  explicit mock_kafka(int brokers = 1) {
    auto* conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
    char why[512];
    for (const auto& [name, value] : {std::pair{"test.mock.num.brokers", std::to_string(brokers)}, {"linger.ms", "1"}})
      if (rd_kafka_conf_set(conf, name, value.c_str(), why, sizeof why) != RD_KAFKA_CONF_OK)
        throw std::runtime_error(why);
    producer_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (producer_ == nullptr) throw std::runtime_error(why);
    cluster_ = rd_kafka_handle_mock_cluster(producer_);
  }
  mock_kafka(const mock_kafka&) = delete;
  mock_kafka& operator=(const mock_kafka&) = delete;
  ~mock_kafka() { rd_kafka_destroy(producer_); }

  [[nodiscard]] std::string servers() const { return rd_kafka_mock_cluster_bootstraps(cluster_); }
  [[nodiscard]] rd_kafka_mock_cluster_t* cluster() const { return cluster_; }
  void create(const std::string& topic, int partitions) {
    REQUIRE(rd_kafka_mock_topic_create(cluster_, topic.c_str(), partitions, 1) == RD_KAFKA_RESP_ERR_NO_ERROR);
  }

  void produce(const std::string& topic, const record& r) {
    rd_kafka_headers_t* headers = r.headers.empty() ? nullptr : rd_kafka_headers_new(4);
    for (const auto& [name, value] : r.headers)
      rd_kafka_header_add(headers, name.c_str(), -1, value ? value->data() : nullptr,
                          value ? static_cast<ssize_t>(value->size()) : 0);
    const auto bytes = [](const std::optional<std::string>& s) {
      return std::pair<void*, std::size_t>(s ? const_cast<char*>(s->data()) : nullptr, s ? s->size() : 0);
    };
    const auto value = bytes(r.value), key = bytes(r.key);
    rd_kafka_resp_err_t code;
    while ((code = rd_kafka_producev(producer_, RD_KAFKA_V_TOPIC(topic.c_str()), RD_KAFKA_V_PARTITION(r.partition),
                                     RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                     RD_KAFKA_V_VALUE(value.first, value.second), RD_KAFKA_V_KEY(key.first, key.second),
                                     RD_KAFKA_V_TIMESTAMP(r.time_ms), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END)) ==
           RD_KAFKA_RESP_ERR__QUEUE_FULL)
      rd_kafka_poll(producer_, 10);
    REQUIRE(code == RD_KAFKA_RESP_ERR_NO_ERROR);
  }
  // Produce the values "first", "first+1", ... to one partition.
  void produce_numbers(const std::string& topic, std::int32_t partition, int first, int count) {
    for (int i = 0; i < count; ++i)
      produce(topic, {.value = std::to_string(first + i), .key = {}, .partition = partition, .headers = {}});
  }
  void flush() { REQUIRE(rd_kafka_flush(producer_, 30'000) == RD_KAFKA_RESP_ERR_NO_ERROR); }

  // Call `use` with a client that has the group id but does not join the group.
  template <class Use>
  auto with_consumer(const std::string& group, Use&& use) const {
    auto* conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", servers().c_str(), nullptr, 0);
    rd_kafka_conf_set(conf, "group.id", group.c_str(), nullptr, 0);
    rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
    auto* consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, nullptr, 0);
    auto result = use(consumer);
    rd_kafka_destroy(consumer);
    return result;
  }
  // Return the committed offset of `group` (-1: none) and its metadata.
  std::pair<std::int64_t, std::string> committed(const std::string& group, const std::string& topic,
                                                 std::int32_t partition) {
    return with_consumer(group, [&](rd_kafka_t* consumer) {
      const auto list = make_partition_list();
      rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition);
      REQUIRE(rd_kafka_committed(consumer, list.get(), 10'000) == RD_KAFKA_RESP_ERR_NO_ERROR);
      const auto& e = list->elems[0];
      return std::pair{e.offset < 0 ? -1 : e.offset,
                       std::string(static_cast<const char*>(e.metadata), e.metadata_size)};
    });
  }
  void commit(const std::string& group, const std::string& topic, std::int32_t partition, std::int64_t offset) {
    with_consumer(group, [&](rd_kafka_t* consumer) {
      const auto list = make_partition_list();
      rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = offset;
      REQUIRE(rd_kafka_commit(consumer, list.get(), 0) == RD_KAFKA_RESP_ERR_NO_ERROR);
      return 0;
    });
  }

 private:
  rd_kafka_t* producer_;
  rd_kafka_mock_cluster_t* cluster_;
};

// A temporary directory that is removed at the end of the test.
class scratch_directory {
 public:
  scratch_directory() {
    std::string path = (std::filesystem::temp_directory_path() / "kafka_source_test.XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = path;
  }
  scratch_directory(const scratch_directory&) = delete;
  scratch_directory& operator=(const scratch_directory&) = delete;
  ~scratch_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline const pl_component& component() {
  const auto* found = pl::testing::find_component(pl_plugin_v1, "kafka_source");
  REQUIRE(found != nullptr);
  return *found;
}

struct row {
  std::string stream;
  std::uint64_t position;
  std::string value;
};

// One source with its host; collects the rows that it polls.
class reader {
 public:
  reader(const std::string& servers, pl::testing::config_fields more, const std::string& state) : state_(state) {
    host.raw().state_dir = pl::borrow(state_);
    pl::testing::config_fields options;
    options.emplace_back("brokers", servers);
    options.emplace_back("group", "g");
    options.emplace_back("commit_interval", std::chrono::nanoseconds(10ms));
    for (auto& field : more) options.push_back(std::move(field));
    source = std::make_unique<pl::testing::instance>(host, component(), options);
    REQUIRE_MESSAGE(source->create() == PL_OK, host.error_text());
    REQUIRE(pl::testing::ask_columns(component(), source->self(), {}, 0, stated) == PL_OK);
  }
  void start() { REQUIRE_MESSAGE(source->start() == PL_OK, host.error_text()); }

  pl_status poll(std::uint32_t max_rows = 1000, std::size_t max_bytes = 1 << 20,
                 std::chrono::nanoseconds timeout = 100ms) {
    pl::batch batch;
    const auto status = source->poll(batch, max_rows, max_bytes, timeout);
    forget_revoked();
    if (status != PL_OK) return status;
    pl::testing::problems wrong;
    pl::testing::detail::check_stated("a batch", batch.get(), stated, wrong);
    CHECK(wrong.empty());
    take(batch.get());
    return status;
  }
  // Poll until `done` returns true; return false after two minutes.
  bool poll_until(const std::function<bool()>& done, std::uint32_t max_rows = 1000) {
    const auto deadline = std::chrono::steady_clock::now() + 2min;
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      if (const auto status = poll(max_rows); status != PL_OK && status != PL_AGAIN) return false;
    }
    return true;
  }
  [[nodiscard]] std::uint64_t next(const std::string& stream) const {
    const auto found = next_of.find(stream);
    return found == next_of.end() ? 0 : found->second;
  }
  bool poll_rows(std::size_t count) {
    return poll_until([&] { return rows.size() >= count; });
  }
  void settle_all() {
    for (const auto& [stream, next] : next_of) source->settle(stream, 0, next);
  }

  pl::testing::fake_host host;
  std::unique_ptr<pl::testing::instance> source;
  pl::column_set stated;  // what the source declares
  std::vector<row> rows;
  std::map<std::string, std::uint64_t> next_of;  // per stream
  std::function<void(pl::batch_view)> on_batch;

 private:
  // A revoked stream must not be settled: another member may have read further.
  void forget_revoked() {
    const auto revoked = host.revoked_streams();  // in the order of revocation
    for (; revocations_ < revoked.size(); ++revocations_) next_of.erase(revoked[revocations_]);
  }
  void take(pl::batch_view b) {
    pl::testing::problems problems;
    pl::testing::detail::check_batch("a polled batch", b, problems);
    for (const auto& p : problems) FAIL_CHECK(p);
    for (const auto& range : b.ranges()) {
      const std::string stream(pl::view(range.stream));
      // The ranges of a stream are contiguous.
      if (const auto last = next_of.find(stream); last != next_of.end()) CHECK(range.first == last->second);
      next_of[stream] = range.next;
    }
    const auto value = *b.find("value");
    for (const auto r : b.selection())
      rows.push_back({std::string(b.stream(r)), b.position(r), std::string(pl::bytes_of(b.at(value, r)))});
    if (on_batch) on_batch(b);
  }
  std::string state_;
  std::size_t revocations_ = 0;  // of streams, handled so far
};

}  // namespace kafka::test
