// SPDX-License-Identifier: Apache-2.0
// The part of a writer's queue that is on disk (`queue.disk`): groups of batches that have no room in memory, in files
// of a fixed size. It extends the memory and is not a log. Nothing is synced, and the files of earlier runs are removed
// at a start: records that are not settled are read from the source again.
#pragma once

#include "config/pipeline.hpp"
#include "engine/memory.hpp"
#include "engine/outage.hpp"
#include "engine/queue_segment.hpp"
#include "telemetry/log.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pl::engine {

// A group on disk, or several that were joined. What is destroyed without being read is not delivered.
class stored_group {
 public:
  stored_group() = default;
  stored_group(std::shared_ptr<queue_segment> file, std::uint64_t offset, std::uint32_t bytes, std::uint32_t checksum,
               settlement_list settles, memory_budget& budget);
  stored_group(stored_group&&) noexcept = default;
  stored_group& operator=(stored_group&& other) noexcept;
  ~stored_group() { drop(); }

  explicit operator bool() const noexcept { return file_ != nullptr; }
  [[nodiscard]] std::uint64_t bytes() const noexcept;  // on disk
  [[nodiscard]] queue_segment& file() const noexcept { return *file_; }
  // Return whether a stream of these records is read again, so that they must not be written.
  [[nodiscard]] bool lost() const noexcept;
  // Return whether all of these records, or none of them, were read by this lane. Nothing: some were, or a stream is
  // revoked, so that this lane may read records of it that must stay behind these.
  [[nodiscard]] std::optional<bool> is_of(const settlement_inbox& lane) const noexcept;
  // Take a group that was queued after this one, so that both need one entry. Both are in one file, and of one lane.
  // Call `join_settlements` after the last one.
  void append(stored_group&& later);
  // Let records that no other sink needs any more settle together, which takes less memory. The lane's thread.
  void join_settlements();
  // Return the batches. The group is then no longer on disk. A failure: it is damaged, and its lanes read again.
  result<batch_refs> load(block_pool& pool);
  void mark_lost() noexcept;
  void drop() noexcept;
  void settle() noexcept { release(); }  // nothing of it is written, and its records count as delivered

 private:
  struct part {
    std::uint64_t offset;
    std::uint32_t bytes, checksum, settlements;
  };
  template <class Function>
  void each_settlement(Function call) const;
  void count_memory();
  void release() noexcept;
  failure damaged(failure why);
  result<void> load(const part& from, settlement_span settles, block_pool& pool, batch_refs& to);

  std::shared_ptr<queue_segment> file_;
  std::vector<part> parts_;  // in the order in which they were queued
  settlement_list settles_;  // of the parts, in order; joined ones are repeated
  memory_budget* budget_ = nullptr;
  std::size_t footprint_ = 0;  // of what stays in memory
};

// Return the size of a queue's files: 16 MiB. A small queue has four files, and a large one has 64, because each file is
// an open descriptor.
[[nodiscard]] constexpr std::uint64_t segment_bytes(std::uint64_t queue_bytes) noexcept {
  return std::max(std::min(std::uint64_t{16} << 20U, queue_bytes / 4), queue_bytes / 64);
}

struct disk_queue_settings {
  std::string state_dir, pipeline, sink;
  unsigned writer = 0;
  std::uint64_t max_bytes = 0;  // 0: nothing is stored on disk
  config::full_policy when_full = config::full_policy::block;
};

// Thread-safe.
class disk_queue {
 public:
  using log_function = std::function<void(telemetry::log_level, std::string_view)>;
  // usage: what the files take, also after they were passed to another queue.
  disk_queue(disk_queue_settings settings, std::shared_ptr<disk_usage> usage, block_pool& pool, log_function log);

  [[nodiscard]] bool enabled() const noexcept { return settings_.max_bytes != 0; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return usage_->bytes(); }
  [[nodiscard]] std::uint64_t limit() const noexcept { return settings_.max_bytes; }
  // Return whether the entries of groups on disk take so much memory that sources would soon wait for it.
  [[nodiscard]] bool entries_full() const noexcept;
  // Return whether rows that are removed, because their sink was given up, become dead letters.
  [[nodiscard]] bool removes_to_dead_letters() const noexcept {
    return settings_.when_full == config::full_policy::block;
  }
  // Write a group to disk and release its batches. Nothing: they stay in memory, because there is no room on disk or
  // because they cannot be written to a file.
  std::optional<stored_group> store(batch_refs& group);
  // Return whether the last group was refused because the files take what they may: it has room once one is removed.
  [[nodiscard]] bool at_limit();
  // Return whether there is room for further groups. After a failure, another attempt is made at most once a second.
  bool has_room();
  // Groups were removed: the next attempt after a failure need not wait.
  void freed();
  // Take over a group that another queue of this process stored.
  void adopt(stored_group& from);
  // Log that a group could not be loaded, and store nothing for some time: its records are read again, and a disk that fails
  // would damage them once more.
  void report_damage(const failure& why, std::uint64_t rows);
  // Nothing that is queued is on disk: remove the file that is kept for the next groups. If a group in it is not queued yet,
  // or was just removed, the file stays for as long as that group, and is used for the next ones.
  void drained();

 private:
  using clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds retry_interval{1}, longest_pause{64};
  bool room_again();
  bool make_room(std::size_t bytes);
  std::optional<settlement_list> encode_into_file(const batch_refs& group);
  bool refuse(const std::string& why, std::size_t bytes);
  [[nodiscard]] std::string_view consequence() const;  // of a queue that is full in memory and on disk
  void recovered();

  const disk_queue_settings settings_;
  const std::shared_ptr<disk_usage> usage_;
  block_pool& pool_;
  const log_function log_;
  std::mutex mutex_;
  std::shared_ptr<queue_segment> current_;
  std::weak_ptr<queue_segment> drained_;  // the former `current_`, if a group is still in it
  std::uint64_t next_number_ = 0;
  std::string encoded_;
  bool full_ = false;              // since the queue was last empty
  std::size_t refused_bytes_ = 0;  // of the group that stays in memory since there was no room; 0: there is room
  bool at_limit_ = false;          // the limit was the reason
  outage failing_;
  clock::time_point next_attempt_{}, damaged_at_{};
  std::chrono::seconds pause_{0};  // after the last damage
};

}  // namespace pl::engine
