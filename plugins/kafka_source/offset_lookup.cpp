// SPDX-License-Identifier: Apache-2.0
#include "offset_lookup.hpp"

namespace kafka {

namespace {

constexpr int timeout_ms = 5000;
constexpr int short_timeout_ms = 2000;  // for queries that delay a stop or a rebalance

pl::failure query_failed(const std::string& what, rd_kafka_resp_err_t code) {
  return pl::retry("the brokers did not return " + what + ": " + text_of(code));
}

}  // namespace

pl::result<void> offset_lookup::committed(std::span<partition* const> of) const {
  const auto list = make_partition_list(static_cast<int>(of.size()));
  for (const auto* p : of) rd_kafka_topic_partition_list_add(list.get(), p->topic.c_str(), p->number);
  if (const auto code = rd_kafka_committed(handle_, list.get(), timeout_ms); code != RD_KAFKA_RESP_ERR_NO_ERROR)
    return query_failed("the committed offsets of the group", code);
  for (std::size_t i = 0; i < of.size(); ++i) {
    const auto& found = list->elems[i];
    if (found.err != RD_KAFKA_RESP_ERR_NO_ERROR)
      return query_failed("the committed offset of " + of[i]->stream, found.err);
    of[i]->committed = found.offset >= 0 ? found.offset : unknown_offset;
    of[i]->committed_with.assign(static_cast<const char*>(found.metadata), found.metadata_size);
  }
  return {};
}

pl::result<std::vector<partition*>> offset_lookup::without_commit(const std::vector<partition*>& of) const {
  const auto list = make_partition_list(static_cast<int>(of.size()));
  for (const auto* p : of) rd_kafka_topic_partition_list_add(list.get(), p->topic.c_str(), p->number);
  if (const auto code = rd_kafka_committed(handle_, list.get(), short_timeout_ms); code != RD_KAFKA_RESP_ERR_NO_ERROR)
    return query_failed("the committed offsets of the group", code);
  std::vector<partition*> missing;
  for (std::size_t i = 0; i < of.size(); ++i) {
    const auto& found = list->elems[i];
    if (found.err != RD_KAFKA_RESP_ERR_NO_ERROR)
      return query_failed("the committed offset of " + of[i]->stream, found.err);
    if (found.offset < 0) missing.push_back(of[i]);
  }
  return missing;
}

pl::result<std::int32_t> offset_lookup::partition_count(const std::string& topic) const {
  const topic_ptr asked(rd_kafka_topic_new(handle_, topic.c_str(), nullptr));
  const rd_kafka_metadata_t* raw = nullptr;
  const auto code = rd_kafka_metadata(handle_, 0, asked.get(), &raw, short_timeout_ms);
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return query_failed("the partitions of topic '" + topic + "'", code);
  const std::unique_ptr<const rd_kafka_metadata_t, pl::freed_by<rd_kafka_metadata_destroy>> metadata(raw);
  if (metadata->topic_cnt != 1 || metadata->topics[0].err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) return 0;
  if (metadata->topics[0].err != RD_KAFKA_RESP_ERR_NO_ERROR)
    return query_failed("the partitions of topic '" + topic + "'", metadata->topics[0].err);
  return metadata->topics[0].partition_cnt;
}

pl::result<std::vector<std::unique_ptr<partition>>> offset_lookup::partitions_of(const std::string& topic) const {
  const auto count = partition_count(topic);
  if (!count.ok()) return count.why();
  std::vector<std::unique_ptr<partition>> all;
  std::vector<partition*> those;
  for (std::int32_t n = 0; n < count.value(); ++n) {
    auto& p = *all.emplace_back(std::make_unique<partition>());
    p.topic = topic;
    p.number = n;
    p.stream = stream_name(topic, n);
    those.push_back(&p);
  }
  if (auto found = committed(those); !found.ok()) return found.why();
  return all;
}

pl::result<watermarks> offset_lookup::ends(const partition& of, std::chrono::milliseconds timeout) const {
  watermarks found{};
  const auto code = rd_kafka_query_watermark_offsets(handle_, of.topic.c_str(), of.number, &found.low, &found.high,
                                                     static_cast<int>(timeout.count()));
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return query_failed("the first and last offset of " + of.stream, code);
  return found;
}

pl::result<std::int64_t> offset_lookup::start(const partition& of, const start_policy& policy) const {
  if (policy.where == start_policy::kind::time) return at_time(of, policy.time_ms);
  const auto found = ends(of);
  if (!found.ok()) return found.why();
  return policy.where == start_policy::kind::earliest ? found.value().low : found.value().high;
}

pl::result<std::int64_t> offset_lookup::at_time(const partition& of, std::int64_t time_ms) const {
  const auto list = make_partition_list(1);
  auto* asked = rd_kafka_topic_partition_list_add(list.get(), of.topic.c_str(), of.number);
  asked->offset = time_ms;
  auto code = rd_kafka_offsets_for_times(handle_, list.get(), timeout_ms);
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) code = asked->err;
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return query_failed("the offset at a time in " + of.stream, code);
  if (asked->offset >= 0) return asked->offset;
  const auto found = ends(of);  // all records are older
  if (!found.ok()) return found.why();
  return found.value().high;
}

std::int64_t offset_lookup::known_end(const partition& of) const noexcept {
  std::int64_t low = unknown_offset, high = unknown_offset;
  const auto code = rd_kafka_get_watermark_offsets(handle_, of.topic.c_str(), of.number, &low, &high);
  return code == RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0 ? high : unknown_offset;
}

}  // namespace kafka
