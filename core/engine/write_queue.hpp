// SPDX-License-Identifier: Apache-2.0
// The queue of one writer, which also determines when a write is due. Any thread may push; only the writer's thread
// takes batches.
#pragma once

#include "config/pipeline.hpp"
#include "engine/disk_patience.hpp"
#include "engine/queued_group.hpp"
#include "telemetry/metrics.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace pl::engine {

// A push never fails: a lane checks `full` before it reads more, so a queue exceeds its limit by at most the output of
// one read of each lane. What has no room in memory goes to disk, if that is configured and lanes should not wait
// (disk_patience), and is loaded again when it is taken. With another policy than `block`, the queue is never full, and a
// push removes groups for which there is no room in either.
class write_queue {
 public:
  using batches = batch_refs;
  using amount = queue_amount;

  // Bytes of memory at which the queue is full, and at which a push removes groups, with another policy than `block`. How
  // long lanes wait for a write before the disk is used.
  struct limits {
    std::uint64_t full, remove;
    std::chrono::nanoseconds wait{};
  };
  // Of the bytes in memory that are not written, and of the batches on disk. Each queue of a sink adds its part.
  struct gauges {
    telemetry::gauge bytes, on_disk;
  };
  write_queue(const config::batch_settings& batch, limits of_memory, gauges meters, block_pool& pool,
              std::unique_ptr<disk_queue> disk)
      : batch_(batch),
        max_bytes_(of_memory.full),
        remove_at_(std::min(of_memory.full, of_memory.remove)),
        patience_(of_memory.wait),
        meter_(std::move(meters.bytes)),
        disk_meter_(std::move(meters.on_disk)),
        pool_(pool),
        disk_(std::move(disk)) {}
  ~write_queue();
  write_queue(const write_queue&) = delete;
  write_queue& operator=(const write_queue&) = delete;

  // Queue batches that must be written together. `removed` receives each group that has no room, in order: groups that
  // were queued before, or this one. It is called without the lock, on this thread.
  using remover = std::function<void(queued_group)>;
  void push(batches group, const remover& removed);
  void when_full(config::full_policy policy);  // initially: block
  [[nodiscard]] std::uint64_t removes_at() const noexcept { return remove_at_; }
  // Queue a group that another queue has not written.
  void adopt(queued_group group);

  // Wait until a write is due (batch.rows, batch.delay, or a flush), and take what is queued, up to batch.max_bytes and
  // batch.max_rows. One group is taken whole, whatever its size: the writer cuts it.
  // Empty: the queue is closed and empty, or held.
  batches take();
  // Return the batches of a group, which may be on disk. Empty: they are not to be written, or are read again.
  batches load(queued_group group);
  // Take what is due now, without waiting, for the write after the one that is in progress. Empty: nothing is due, or it must
  // first be read from disk. It is then loaded, or put back before everything else.
  std::vector<queued_group> take_next();
  batches load(std::vector<queued_group> groups);
  void put_back(std::vector<queued_group> next);
  // What was taken is written, but for `unwritten`, which is queued again before everything else. What `take_next` returned and
  // was not put back is taken now.
  void taken_is_done(std::vector<batches> unwritten);

  // Wait between two attempts. Return what to do then: `hold`, `abandon`, and `close` if nothing is to be written, end the
  // wait.
  enum class next_step { attempt, leave_queued, give_up };
  // lost: of what is being written; it ends the wait, too (see `release_lost`).
  next_step wait_before_retry(
      std::chrono::nanoseconds time, const std::function<bool()>& lost = [] { return false; });
  // Join groups on disk that this lane has read, so that their entries need less memory. The lane's thread.
  void join_stored(const settlement_inbox& lane);
  // Release what is read again, so that the lane need not wait for a sink that does not work.
  void release_lost();

  // Do not wait for batch.rows or batch.delay, until each caller that passed true has passed false.
  void flush(bool on);
  void close();    // `take` returns nothing once everything is taken
  void abandon();  // no further attempts: wakes a writer that waits for one
  [[nodiscard]] bool abandoned() const;
  // `take` returns nothing, and no further attempts are made. Everything stays queued, for `take_all`.
  void hold();
  bool release();  // true: `take` has returned nothing, so that the writer ends
  [[nodiscard]] bool held() const;
  std::vector<queued_group> take_all();  // in order

  [[nodiscard]] bool full() const;
  [[nodiscard]] bool has_room_on_disk() const { return disk_->has_room(); }
  [[nodiscard]] bool half_empty() const;   // in memory and on disk
  [[nodiscard]] amount unwritten() const;  // with what was taken and is not done
  [[nodiscard]] std::uint64_t disk_bytes() const noexcept { return disk_->bytes(); }  // of the files

 private:
  using group = queued_group;
  [[nodiscard]] bool due() const;
  [[nodiscard]] std::uint64_t full_at() const;
  [[nodiscard]] std::uint64_t memory_limit() const;
  [[nodiscard]] std::uint64_t unbegun_bytes() const { return waiting_size_.bytes + next_size_.bytes; }
  [[nodiscard]] std::uint64_t memory_of_write() const;
  void enqueue(group g);
  void put_first(group g);
  [[nodiscard]] std::uint64_t memory_share() const;
  [[nodiscard]] bool has_memory_for(std::uint64_t bytes) const;
  [[nodiscard]] bool waits() const;
  [[nodiscard]] bool keeps_in_memory(const group& g) const;
  bool store(group& g);
  [[nodiscard]] bool may_store() const;
  [[nodiscard]] std::vector<group> add(group g);
  [[nodiscard]] std::vector<group> remove_file(std::uint64_t more);
  [[nodiscard]] std::vector<group> remove_entries();
  [[nodiscard]] std::vector<group> remove_from_memory();
  std::vector<group> take_groups();
  [[nodiscard]] std::vector<group> take_due(amount& to, bool in_memory);
  void count(amount& to, const amount& size, int sign);
  void count_stored(const group& g, int sign);
  [[nodiscard]] bool may_join(const group& first, const group& later) const;
  group remove(group& from);
  void free_if_drained();

  const config::batch_settings batch_;
  const std::uint64_t max_bytes_, remove_at_;
  disk_patience patience_;
  const telemetry::gauge meter_, disk_meter_;  // disk_meter_: groups
  block_pool& pool_;
  const std::unique_ptr<disk_queue> disk_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<group> waiting_;
  amount waiting_size_, taken_size_, next_size_;  // next_size_: see take_next
  std::size_t stored_ = 0;                        // waiting groups that are on disk
  config::full_policy when_full_ = config::full_policy::block;
  int flushing_ = 0;
  bool closed_ = false, abandoned_ = false, held_ = false, ended_ = false;
};

}  // namespace pl::engine
