// SPDX-License-Identifier: Apache-2.0
// An assigned partition with its read position, and the table of all assigned partitions.
#pragma once

#include "log_identity.hpp"
#include "recent_records.hpp"

#include <pipeline/context.hpp>

#include <kafka_common/handles.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kafka {

constexpr std::int64_t unknown_offset = -1;
constexpr std::int64_t no_limit = std::numeric_limits<std::int64_t>::max();

enum class phase {
  unplaced,      // the start position is not known yet: messages are dropped
  moving,        // a seek to `fetch_from` is pending: messages are dropped until it succeeds
  reading,       // messages become rows
  out_of_range,  // the broker does not have the offset: fetching has stopped
  recreated      // the topic was deleted and created again, and its new stream has not begun: messages are dropped
};

struct partition {
  std::string topic;
  std::int32_t number = 0;
  std::string stream;  // "topic/number"
  phase now = phase::unplaced;

  std::int64_t next = unknown_offset;         // the first position that is not in a batch yet
  std::int64_t fetch_from = unknown_offset;   // for phase::moving
  std::int64_t empty_until = unknown_offset;  // [next, empty_until) has no records (markers, retention)

  std::int64_t until = no_limit;  // end of a replay's window (exclusive)

  std::int64_t settled = unknown_offset;     // settled up to this offset
  std::int64_t committed = unknown_offset;   // last committed offset that is known
  std::string committed_with;                // metadata of that commit, as the query returned it
  std::int64_t committing = unknown_offset;  // sent to the broker, response pending
  std::int64_t first = unknown_offset;       // start by the start policy, for a partition without a committed offset

  bool asked = false;  // whether its committed offset still exists; response pending
  std::optional<std::chrono::steady_clock::time_point> confirmed;  // when; empty once it is committed again
  std::int64_t asked_at = unknown_offset;                          // `next` at that time
  std::int64_t known_end = unknown_offset;                         // end of the partition when it was last confirmed
  bool watched = false;                                            // by such checks: note what is read
  recent_records recent;                                           // what was read since the last checks
  std::int64_t deleted_at = unknown_offset;  // `next` when it was noticed that the topic had been created again
  bool was_recreated = false;                // since it was assigned
  bool log_differs = false;                  // that was noticed by the log: its end, or the times of its records
  log_identity log;                          // what is known of the log that is read
  std::uint64_t confirmed_by = 0;            // number of the last check that confirmed the topic
  std::uint64_t begun_after = 0;             // number of the last check that was sent before the stream began
  recent_records again;                      // what was read of a topic that was created again, before that was noticed

  std::chrono::steady_clock::time_point retry_at{};  // for placing, moving, repairing
  std::int32_t leader = -1;                          // id of the broker; -1: unknown
  bool delivering = false;                           // a record or an end event has arrived since the last assign
  queue_ptr queue;
  pl::gauge lag;
  pl::counter lost;

  // Note that the topic was deleted and created again: its new stream has to be begun.
  void recreate() {
    if (now == phase::recreated) return;
    now = phase::recreated;
    was_recreated = true;
    deleted_at = next;
    retry_at = {};
    asked = false;
  }
  [[nodiscard]] bool uncommitted() const noexcept {
    return settled >= 0 && settled != committed && now != phase::recreated;
  }
};

[[nodiscard]] inline std::string stream_name(std::string_view topic, std::int32_t number) {
  return std::string(topic) + "/" + std::to_string(number);
}

// The table of assigned partitions, indexed by topic and number and by stream name.
class partition_table {
 public:
  partition& add(std::string topic, std::int32_t number) {
    auto fresh = std::make_unique<partition>();
    fresh->topic = std::move(topic);
    fresh->number = number;
    fresh->stream = stream_name(fresh->topic, number);
    auto& p = *fresh;
    by_number_[{p.topic, number}] = &p;
    by_stream_[p.stream] = std::move(fresh);
    return p;
  }
  void remove(const partition& gone) {
    by_number_.erase({gone.topic, gone.number});
    by_stream_.erase(by_stream_.find(gone.stream));
  }
  [[nodiscard]] partition* find(std::string_view topic, std::int32_t number) const {
    const auto found = by_number_.find({topic, number});
    return found == by_number_.end() ? nullptr : found->second;
  }
  [[nodiscard]] partition* find(std::string_view stream) const {
    const auto found = by_stream_.find(stream);
    return found == by_stream_.end() ? nullptr : found->second.get();
  }
  [[nodiscard]] std::size_t size() const noexcept { return by_stream_.size(); }
  template <class Visit>
  void each(Visit&& visit) const {
    for (const auto& [stream, p] : by_stream_) visit(*p);
  }

 private:
  std::map<std::pair<std::string_view, std::int32_t>, partition*> by_number_;  // views into the partitions
  std::map<std::string, std::unique_ptr<partition>, std::less<>> by_stream_;
};

}  // namespace kafka
