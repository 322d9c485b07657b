// SPDX-License-Identifier: Apache-2.0
#include "log_ends.hpp"

#include <kafka_common/handles.hpp>

#include <algorithm>

namespace kafka {

std::vector<log_end> ends_at_leader(rd_kafka_t* client, std::span<const end_target> of, int timeout_ms) {
  const auto list = make_partition_list(static_cast<int>(of.size()));
  for (const auto& t : of)
    rd_kafka_topic_partition_list_add(list.get(), t.topic.c_str(), t.partition)->offset = t.query;
  // Despite its name, the call requests any offset that ListOffsets can return, and the ends of many partitions at once.
  if (rd_kafka_offsets_for_times(client, list.get(), timeout_ms) != RD_KAFKA_RESP_ERR_NO_ERROR) return {};
  std::vector<log_end> found;
  for (const auto& entry : std::span(list->elems, static_cast<std::size_t>(list->cnt)))
    if (entry.err == RD_KAFKA_RESP_ERR_NO_ERROR && entry.offset >= RD_KAFKA_OFFSET_END)
      found.push_back({entry.topic, entry.partition, entry.offset});
  return found;
}

void for_each_leader(std::span<const end_target> sorted,
                     const std::function<void(std::span<const end_target>)>& visit) {
  while (!sorted.empty()) {
    const auto next = std::ranges::find_if(sorted, [&](const auto& t) { return t.leader != sorted.front().leader; });
    const auto count = static_cast<std::size_t>(next - sorted.begin());
    visit(sorted.first(count));
    sorted = sorted.subspan(count);
  }
}

std::vector<log_end> log_ends(rd_kafka_t* client, std::vector<end_target> of, int timeout_ms) {
  std::ranges::stable_sort(of, {}, &end_target::leader);
  std::vector<log_end> all;
  for_each_leader(of, [&](std::span<const end_target> group) {
    for (auto& found : ends_at_leader(client, group, timeout_ms)) all.push_back(std::move(found));
  });
  return all;
}

}  // namespace kafka
