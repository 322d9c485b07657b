// SPDX-License-Identifier: Apache-2.0
#include "dead_letters.hpp"

#include "fleet.hpp"

#include <fmt/format.h>
#include <librdkafka/rdkafka.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string_view>
#include <utility>

namespace pl::load {
namespace {

constexpr std::string_view kafka_scheme = "kafka://";
constexpr int timeout_ms = 10'000;
using seq_handler = std::function<void(std::uint64_t)>;

struct topic_location {
  std::string brokers, topic;
};

topic_location split(std::string_view location) {
  location.remove_prefix(kafka_scheme.size());
  const auto slash = location.find('/');
  if (slash == std::string_view::npos) return {std::string(location), {}};
  return {std::string(location.substr(0, slash)), std::string(location.substr(slash + 1))};
}

std::string read_file(const std::string& path, const std::string& run, const seq_handler& seq) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return {};
  std::ifstream in(path);
  if (!in) return fmt::format("cannot read the dead letters in {}; check the path and its permissions", path);
  for (std::string line; std::getline(in, line);)
    if (const auto found = find_seq(line, run)) seq(*found);
  return {};
}

struct destroy_kafka {
  void operator()(rd_kafka_t* k) const noexcept { rd_kafka_destroy(k); }
  void operator()(rd_kafka_message_t* m) const noexcept { rd_kafka_message_destroy(m); }
  void operator()(rd_kafka_topic_partition_list_t* l) const noexcept { rd_kafka_topic_partition_list_destroy(l); }
  void operator()(const rd_kafka_metadata_t* m) const noexcept { rd_kafka_metadata_destroy(m); }
  void operator()(rd_kafka_topic_t* t) const noexcept { rd_kafka_topic_destroy(t); }
};
template <class T>
using kafka_ptr = std::unique_ptr<T, destroy_kafka>;

// Create a consumer that joins no group: its partitions are assigned manually, and it commits nothing.
kafka_ptr<rd_kafka_t> make_consumer(const std::string& brokers, std::string& error) {
  std::array<char, 512> why{};
  auto* conf = rd_kafka_conf_new();
  for (const auto& [name, value] :
       std::initializer_list<std::pair<const char*, const char*>>{{"bootstrap.servers", brokers.c_str()},
                                                                  {"group.id", "load-tester"},
                                                                  {"enable.auto.commit", "false"},
                                                                  {"enable.partition.eof", "true"},
                                                                  {"log_level", "0"}}) {
    if (rd_kafka_conf_set(conf, name, value, why.data(), why.size()) == RD_KAFKA_CONF_OK) continue;
    error = why.data();
    rd_kafka_conf_destroy(conf);
    return nullptr;
  }
  kafka_ptr<rd_kafka_t> consumer(rd_kafka_new(RD_KAFKA_CONSUMER, conf, why.data(), why.size()));
  if (!consumer) {
    error = why.data();
    rd_kafka_conf_destroy(conf);
    return nullptr;
  }
  rd_kafka_poll_set_consumer(consumer.get());
  return consumer;
}

// Assign all partitions from their beginning. Return their number; 0 if the topic does not exist yet.
int assign_all(rd_kafka_t* consumer, const std::string& topic, std::string& error) {
  const kafka_ptr<rd_kafka_topic_t> handle(rd_kafka_topic_new(consumer, topic.c_str(), nullptr));
  const rd_kafka_metadata_t* found = nullptr;
  const auto code = rd_kafka_metadata(consumer, 0, handle.get(), &found, timeout_ms);
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
    error = fmt::format("cannot read the dead letters in topic {}: {}", topic, rd_kafka_err2str(code));
    return 0;
  }
  const kafka_ptr<const rd_kafka_metadata_t> metadata(found);
  const int count = metadata->topic_cnt == 1 ? metadata->topics[0].partition_cnt : 0;
  const kafka_ptr<rd_kafka_topic_partition_list_t> list(rd_kafka_topic_partition_list_new(count));
  for (int p = 0; p < count; ++p)
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), p)->offset = RD_KAFKA_OFFSET_BEGINNING;
  if (count > 0) rd_kafka_assign(consumer, list.get());
  return count;
}

std::string read_topic(const topic_location& location, const std::string& run, const seq_handler& seq) {
  std::string error;
  const auto consumer = make_consumer(location.brokers, error);
  if (!consumer) return error;
  int open = assign_all(consumer.get(), location.topic, error);
  while (error.empty() && open > 0) {
    const kafka_ptr<rd_kafka_message_t> m(rd_kafka_consumer_poll(consumer.get(), timeout_ms));
    if (!m) {
      error = fmt::format("topic {} at {}: the broker sent no records for {} s; check the broker", location.topic,
                          location.brokers, timeout_ms / 1000);
    } else if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      --open;
    } else if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      error = fmt::format("cannot read the dead letters in topic {} at {}: {}", location.topic, location.brokers,
                          rd_kafka_err2str(m->err));
    } else if (m->payload != nullptr) {
      if (const auto found = find_seq({static_cast<const char*>(m->payload), m->len}, run)) seq(*found);
    }
  }
  rd_kafka_consumer_close(consumer.get());
  return error;
}

}  // namespace

std::string check_location(const std::string& location) {
  if (!location.starts_with(kafka_scheme)) return {};
  const auto parts = split(location);
  if (!parts.brokers.empty() && !parts.topic.empty()) return {};
  return fmt::format("{} has no broker or no topic; write kafka://broker:9092/topic", location);
}

std::string read_dead_letters(const std::string& location, const std::string& run, const seq_handler& seq) {
  return location.starts_with(kafka_scheme) ? read_topic(split(location), run, seq) : read_file(location, run, seq);
}

}  // namespace pl::load
