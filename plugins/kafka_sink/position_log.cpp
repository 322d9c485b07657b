// SPDX-License-Identifier: Apache-2.0
#include "position_log.hpp"

#include "connection.hpp"

#include <algorithm>
#include <array>
#include <span>

namespace kafka {

namespace {

constexpr int request_timeout_ms = 5000;
// How long a reader waits for transactions of other streams, and for a response from the broker.
constexpr auto transaction_wait = std::chrono::milliseconds(1500), response_wait = std::chrono::milliseconds(10'000);

using new_topic_ptr = std::unique_ptr<rd_kafka_NewTopic_t, pl::freed_by<rd_kafka_NewTopic_destroy>>;
using resource_ptr = std::unique_ptr<rd_kafka_ConfigResource_t, pl::freed_by<rd_kafka_ConfigResource_destroy>>;
using event_ptr = std::unique_ptr<rd_kafka_event_t, pl::freed_by<rd_kafka_event_destroy>>;
using metadata_ptr = std::unique_ptr<const rd_kafka_metadata_t, pl::freed_by<rd_kafka_metadata_destroy>>;

std::string_view payload_of(const rd_kafka_message_t& m) { return {static_cast<const char*>(m.payload), m.len}; }

bool is_transient(rd_kafka_resp_err_t code) {
  return code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
         code == RD_KAFKA_RESP_ERR__RESOLVE;
}

}  // namespace

position_log::~position_log() {
  topic_.reset();
  if (reader_) reader_->cut_log();
  if (observer_) observer_->cut_log();
}

pl::failure position_log::failed(std::string_view what, std::string_view why) const {
  return pl::retry("topic '" + options_.positions_topic + "' at " + options_.brokers + ": " + std::string(what) + ": " +
                   std::string(why));
}

pl::result<void> position_log::open() {
  if (topic_ && topic_is_there_) return {};
  if (auto connected = connect(); !connected.ok()) return connected;
  return make_topic();
}

pl::result<void> position_log::connect() {
  if (observer_) return {};
  if (auto readable = check_files(options_.tls); !readable.ok()) return readable.why();
  auto observer = client::create(RD_KAFKA_PRODUCER, observer_conf(options_, ctx_), ctx_);
  if (!observer.ok()) return observer.why();
  auto reader = client::create(RD_KAFKA_CONSUMER, reader_conf(options_, ctx_), ctx_);
  if (!reader.ok()) return reader.why();
  observer_ = *observer;
  reader_ = *reader;
  topic_.reset(rd_kafka_topic_new(reader_->get(), options_.positions_topic.c_str(), nullptr));
  if (!topic_) return pl::fatal("topic '" + options_.positions_topic + "': " + text_of(rd_kafka_last_error()));
  return {};
}

pl::result<bool> position_log::topic_exists() {
  const rd_kafka_metadata_t* raw = nullptr;
  if (const auto code = rd_kafka_metadata(observer_->get(), 1, nullptr, &raw, request_timeout_ms))
    return failed("querying whether it exists", text_of(code));
  const metadata_ptr metadata(raw);
  const std::span topics(metadata->topics, static_cast<std::size_t>(metadata->topic_cnt));
  return std::ranges::any_of(topics, [&](const auto& t) { return options_.positions_topic == t.topic; });
}

pl::result<void> position_log::make_topic() {
  std::array<char, 512> why{};
  const new_topic_ptr wanted(
      rd_kafka_NewTopic_new(options_.positions_topic.c_str(), positions_partitions, -1, why.data(), why.size()));
  if (!wanted) return pl::bad_option("positions_topic", why.data());
  rd_kafka_NewTopic_set_config(wanted.get(), "cleanup.policy", "compact");
  rd_kafka_NewTopic_set_config(wanted.get(), "segment.bytes",
                               "16777216");  // small segments, so that compaction covers most of the topic
  rd_kafka_NewTopic_set_config(wanted.get(), "min.cleanable.dirty.ratio", "0.1");
  const topic_ptr known(rd_kafka_topic_new(observer_->get(), options_.positions_topic.c_str(), nullptr));
  const rd_kafka_metadata_t* raw = nullptr;
  if (const auto code = rd_kafka_metadata(observer_->get(), 0, known.get(), &raw, request_timeout_ms))
    return pl::retry("no response from any Kafka broker at " + options_.brokers + " (" + text_of(code) +
                     "); check the option 'brokers', the network, and, with TLS or SASL, the credentials");
  const metadata_ptr metadata(raw);
  const auto& found = metadata->topics[0];
  if (found.err == RD_KAFKA_RESP_ERR_NO_ERROR) {
    if (found.partition_cnt < positions_partitions)
      return failed("it has " + std::to_string(found.partition_cnt) + " partitions",
                    "positions are spread over " + std::to_string(positions_partitions) +
                        ": let the sink create the topic, or create it with as many, compacted");
    return check_cleanup();
  }
  const queue_ptr queue(rd_kafka_queue_new(observer_->get()));
  auto* topic = wanted.get();
  rd_kafka_CreateTopics(observer_->get(), &topic, 1, nullptr, queue.get());
  const event_ptr response(rd_kafka_queue_poll(queue.get(), request_timeout_ms));
  const auto* made = response ? rd_kafka_event_CreateTopics_result(response.get()) : nullptr;
  if (made == nullptr) return failed("it does not exist and cannot be created", "the brokers do not respond");
  std::size_t n = 0;
  const auto* const* results = rd_kafka_CreateTopics_result_topics(made, &n);
  const auto code = n == 1 ? rd_kafka_topic_result_error(results[0]) : rd_kafka_event_error(response.get());
  if (code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) return failed("it was just created", "checking again");
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
    return failed("it does not exist and cannot be created",
                  text_of(code) +
                      "; give the user the right to create topics, or create it: kafka-topics.sh "
                      "--create --topic " +
                      options_.positions_topic + " --partitions " + std::to_string(positions_partitions) +
                      " --config cleanup.policy=compact");
  ctx_.info("created topic '" + options_.positions_topic + "' for the positions of streams");
  return wait_for_topic();
}

// Wait until both clients have the metadata of the new topic, which spreads from broker to broker.
pl::result<void> position_log::wait_for_topic() {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::milliseconds(request_timeout_ms);
  for (auto* handle : {observer_->get(), reader_->get()}) {
    const topic_ptr topic(rd_kafka_topic_new(handle, options_.positions_topic.c_str(), nullptr));
    for (bool known = false; !known;) {
      const rd_kafka_metadata_t* raw = nullptr;
      if (rd_kafka_metadata(handle, 0, topic.get(), &raw, request_timeout_ms) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const metadata_ptr metadata(raw);
        const auto& found = metadata->topics[0];
        known = found.partition_cnt >= positions_partitions &&
                std::none_of(found.partitions, found.partitions + found.partition_cnt,
                             [](const auto& p) { return p.err != RD_KAFKA_RESP_ERR_NO_ERROR; });
      }
      if (!known && std::chrono::steady_clock::now() > give_up) return failed("it was just created", "checking again");
    }
  }
  topic_is_there_ = true;
  return {};
}

// Reject a topic that is not compacted: old positions would be deleted, and all records written again.
pl::result<void> position_log::check_cleanup() {
  const resource_ptr topic(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, options_.positions_topic.c_str()));
  const queue_ptr queue(rd_kafka_queue_new(observer_->get()));
  auto* asked = topic.get();
  rd_kafka_DescribeConfigs(observer_->get(), &asked, 1, nullptr, queue.get());
  const event_ptr response(rd_kafka_queue_poll(queue.get(), request_timeout_ms));
  const auto* described = response ? rd_kafka_event_DescribeConfigs_result(response.get()) : nullptr;
  if (described == nullptr) return failed("reading its settings", "the brokers do not respond");
  std::size_t n = 0;
  const auto** resources = rd_kafka_DescribeConfigs_result_resources(described, &n);
  const auto code = n == 1 ? rd_kafka_ConfigResource_error(resources[0]) : rd_kafka_event_error(response.get());
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
    ctx_.warn("cannot check whether topic '" + options_.positions_topic + "' is compacted (" + text_of(code) +
              "): it must be compacted, otherwise old positions are deleted");
    topic_is_there_ = true;
    return {};
  }
  std::size_t count = 0;
  const auto** settings = rd_kafka_ConfigResource_configs(resources[0], &count);
  for (const auto* setting : std::span(settings, count))
    if (std::string_view(rd_kafka_ConfigEntry_name(setting)) == "cleanup.policy") {
      const char* value = rd_kafka_ConfigEntry_value(setting);
      if (value == nullptr || std::string_view(value) != "compact")
        return failed("its cleanup.policy is '" + std::string(value == nullptr ? "" : value) + "'",
                      "old positions would be deleted; change it: kafka-configs.sh --alter --topic " +
                          options_.positions_topic + " --add-config cleanup.policy=compact");
    }
  topic_is_there_ = true;
  return {};
}

// ------------------------------------------------------------------------------------------------------- reading ---

pl::result<stream_position> position_log::read_committed(const stream_id& of) {
  if (auto ready = open(); !ready.ok()) return ready.why();
  return find(of, std::nullopt);
}

pl::result<stream_position> position_log::read_latest(const stream_id& of) {
  if (auto ready = open(); !ready.ok()) return ready.why();
  const auto end = end_of(partition_of(of));
  if (!end.ok()) return end.why();
  return find(of, *end);
}

pl::result<position_log::entries> position_log::state_of(const stream_id& of) {
  if (auto ready = open(); !ready.ok()) return ready.why();
  const auto end = end_of(partition_of(of));
  if (!end.ok()) return end.why();
  entries found;
  auto read = scan(partition_of(of), RD_KAFKA_OFFSET_BEGINNING, *end,
                   [&](std::string_view key, std::optional<std::string_view> value) {
                     const auto entry = entry_of(of, key);
                     if (!entry) return;
                     if (value)
                       found.insert_or_assign(*entry, std::string(*value));
                     else
                       found.erase(*entry);
                   });
  if (!read.ok()) return read.why();
  return found;
}

pl::result<std::set<std::string>> position_log::streams(const stream_id& of_source) {
  std::set<std::string> found;
  if (auto connected = connect(); !connected.ok()) return connected.why();
  const auto exists = topic_exists();
  if (!exists.ok()) return exists.why();
  if (!*exists) return found;
  if (auto ready = open(); !ready.ok()) return ready.why();
  for (std::int32_t partition = 0; partition < positions_partitions; ++partition) {
    const auto end = end_of(partition);
    if (!end.ok()) return end.why();
    auto read =
        scan(partition, RD_KAFKA_OFFSET_BEGINNING, *end, [&](std::string_view key, std::optional<std::string_view>) {
          if (auto stream = stream_of(of_source, key)) found.insert(*std::move(stream));
        });
    if (!read.ok()) return read.why();
  }
  return found;
}

// Return the end of the partition, including open transactions.
pl::result<std::int64_t> position_log::end_of(std::int32_t partition) {
  std::int64_t low = 0, high = 0;
  const auto code = rd_kafka_query_watermark_offsets(observer_->get(), options_.positions_topic.c_str(), partition,
                                                     &low, &high, request_timeout_ms);
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return failed("querying its end", text_of(code));
  return high;
}

// Search from the end of the partition: the position of an active stream is near it.
pl::result<stream_position> position_log::find(const stream_id& of, std::optional<std::int64_t> until) {
  constexpr std::int64_t first_look = 4096, widening = 32;
  std::int64_t low = 0, high = 0;
  const auto code = rd_kafka_query_watermark_offsets(reader_->get(), options_.positions_topic.c_str(), partition_of(of),
                                                     &low, &high, request_timeout_ms);
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return failed("querying its end", text_of(code));
  for (auto window = first_look;; window *= widening) {
    const auto from = std::max(low, high - window);
    auto found = last_position(of, from, until);
    if (!found.ok()) return found.why();
    if (*found) return **found;
    if (from == low) return stream_position{};
  }
}

pl::result<std::optional<stream_position>> position_log::last_position(const stream_id& of, std::int64_t from,
                                                                       std::optional<std::int64_t> until) {
  const auto wanted = position_key(of);
  std::optional<stream_position> found;
  std::string broken;
  auto read = scan(partition_of(of), from, until, [&](std::string_view key, std::optional<std::string_view> value) {
    if (key != wanted) return;
    found = value ? parse_position(*value) : stream_position{};
    broken = found ? "" : std::string(value.value_or(""));
  });
  if (!read.ok()) return read.why();
  if (!broken.empty())
    return pl::fatal("topic '" + options_.positions_topic + "': the position of '" + of.stream +
                     "' is not readable: " + broken + "; check whether another program writes to this topic");
  return found;
}

pl::result<void> position_log::scan(std::int32_t partition, std::int64_t from, std::optional<std::int64_t> until,
                                    const take& each) {
  if (rd_kafka_consume_start(topic_.get(), partition, from) == -1)
    return failed("reading partition " + std::to_string(partition), text_of(rd_kafka_last_error()));
  // Also if `each` throws: destroying the client while a partition is read would block forever.
  const std::unique_ptr<rd_kafka_topic_t, std::function<void(rd_kafka_topic_t*)>> reading(
      topic_.get(), [partition](rd_kafka_topic_t* topic) { rd_kafka_consume_stop(topic, partition); });
  return read_on(partition, until, each);
}

pl::result<void> position_log::read_on(std::int32_t partition, std::optional<std::int64_t> until, const take& each) {
  using clock = std::chrono::steady_clock;
  constexpr int step_ms = 100;
  auto give_up = clock::now() + response_wait;
  bool at_end = false;
  while (clock::now() < give_up) {
    const message_ptr m(rd_kafka_consume(topic_.get(), partition, step_ms));
    if (!m) continue;
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      if (!until || m->offset >= *until) return {};
      if (!std::exchange(at_end, true)) give_up = clock::now() + transaction_wait;
      continue;
    }
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      if (is_transient(m->err)) continue;
      return failed("reading partition " + std::to_string(partition), text_of(m->err));
    }
    each({static_cast<const char*>(m->key), m->key_len},
         m->payload == nullptr ? std::nullopt : std::optional(payload_of(*m)));
    if (until && m->offset + 1 >= *until) return {};
    if (!at_end) give_up = clock::now() + response_wait;
  }
  return failed("reading partition " + std::to_string(partition),
                at_end ? "a transaction of another stream is not finished; it ends when its stream is taken over, or "
                         "after 'transaction_timeout'"
                       : "the brokers do not respond");
}

}  // namespace kafka
