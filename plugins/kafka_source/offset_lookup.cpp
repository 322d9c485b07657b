// SPDX-License-Identifier: Apache-2.0
#include "offset_lookup.hpp"

namespace kafka {

namespace {

constexpr int timeout_ms = 5000;

pl::failure no_answer(const std::string& question, rd_kafka_resp_err_t code) {
  return pl::retry("no answer to the question for " + question + ": " + text_of(code));
}

}  // namespace

pl::result<void> offset_lookup::committed(std::span<partition* const> of) const {
  const auto list = make_partition_list(static_cast<int>(of.size()));
  for (const auto* p : of) rd_kafka_topic_partition_list_add(list.get(), p->topic.c_str(), p->number);
  if (const auto code = rd_kafka_committed(handle_, list.get(), timeout_ms); code != RD_KAFKA_RESP_ERR_NO_ERROR)
    return no_answer("committed offsets", code);
  for (std::size_t i = 0; i < of.size(); ++i) {
    const auto& answer = list->elems[i];
    if (answer.err != RD_KAFKA_RESP_ERR_NO_ERROR)
      return no_answer("the committed offset of " + of[i]->stream, answer.err);
    of[i]->committed = answer.offset >= 0 ? answer.offset : unknown_offset;
    of[i]->committed_with.assign(static_cast<const char*>(answer.metadata), answer.metadata_size);
  }
  return {};
}

pl::result<watermarks> offset_lookup::ends(const partition& of) const {
  watermarks found{};
  const auto code =
      rd_kafka_query_watermark_offsets(handle_, of.topic.c_str(), of.number, &found.low, &found.high, timeout_ms);
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return no_answer("the first and last offset of " + of.stream, code);
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
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return no_answer("the offset at a time in " + of.stream, code);
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
