// SPDX-License-Identifier: Apache-2.0
// A partition that is ours, and where we are in it.
#pragma once

#include <pipeline/context.hpp>

#include <kafka_common/handles.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kafka {

constexpr std::int64_t unknown_offset = -1;
constexpr std::int64_t no_limit = std::numeric_limits<std::int64_t>::max();

enum class phase {
  unplaced,     // nobody has said yet where to begin: messages that come are dropped
  moving,       // must be fetched from `fetch_from`: messages that come are dropped until that is under way
  reading,      // what comes is handed on
  out_of_range  // the broker has no such offset: fetching has stopped
};

struct partition {
  std::string topic;
  std::int32_t number = 0;
  std::string stream;  // "topic/number"
  phase now = phase::unplaced;

  std::int64_t next = unknown_offset;         // the first position not handed on yet
  std::int64_t fetch_from = unknown_offset;   // for phase::moving
  std::int64_t empty_until = unknown_offset;  // [next, empty_until) has no records for us (markers, retention)

  std::int64_t until = no_limit;  // what lies there or beyond isn't wanted (the end of a replay's window)

  std::int64_t settled = unknown_offset;     // delivered up to here
  std::int64_t committed = unknown_offset;   // what the broker has, as far as we know
  std::string committed_with;                // the metadata that came with it when we asked
  std::int64_t committing = unknown_offset;  // on its way to the broker

  std::chrono::steady_clock::time_point retry_at{};  // of placing, moving, repairing
  bool delivering = false;  // something of the present assignment has come: a record, or its end
  queue_ptr queue;
  pl::gauge lag;
  pl::counter lost;

  [[nodiscard]] bool uncommitted() const noexcept { return settled >= 0 && settled != committed; }
};

[[nodiscard]] inline std::string stream_name(std::string_view topic, std::int32_t number) {
  return std::string(topic) + "/" + std::to_string(number);
}

// All that are ours.
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
