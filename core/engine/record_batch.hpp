// SPDX-License-Identifier: Apache-2.0
// The host's side of a pl_batch: its references, its memory, and what happens when the last reference is released.
// Any thread may hold a batch; the comment on the class lists which thread writes what.
#pragma once

#include "engine/late_columns.hpp"
#include "engine/memory.hpp"
#include "engine/settlement.hpp"

#include <pipeline/batch.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

namespace pl::engine {

// Waits until batches are released. Any thread.
class release_latch {
 public:
  void add() {
    std::scoped_lock lock(mutex_);
    ++pending_;
  }
  void count_down() {
    std::scoped_lock lock(mutex_);
    --pending_;
    changed_.notify_all();
  }
  // False: the timeout has passed.
  bool wait(std::chrono::nanoseconds timeout) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [&] { return pending_ == 0; });
  }
  void end_wait() noexcept { awaited_ = false; }  // nobody waits any longer
  [[nodiscard]] bool awaited() const noexcept { return awaited_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t pending_ = 0;
  std::atomic<bool> awaited_{true};
};

// A reference-counted batch. It holds its parent, so a root (a batch as a source read it) is released after everything
// derived from it; the root's ranges are then settled, unless it was marked undelivered. Threads: the counters are
// atomic; the thread that derived the batch writes everything else before it passes the batch on.
class record_batch : public pl_batch {
 public:
  record_batch(block_pool& pool, record_batch* parent, const pl_schema* schema, std::uint32_t rows);
  record_batch(const record_batch&) = delete;
  record_batch& operator=(const record_batch&) = delete;

  static record_batch& of(pl_batch* b) noexcept { return *static_cast<record_batch*>(b); }
  // Return the batch that a plugin passed; null: no such batch exists, or no longer. The address alone is looked up.
  static record_batch* find(const pl_batch* b) noexcept;

  // References that plugins hold, so that a plugin cannot release the references of others.
  void lend() noexcept { lent_.fetch_add(1, std::memory_order_relaxed); }
  // False: no plugin holds a reference.
  bool take_back() noexcept;
  [[nodiscard]] bool lent() const noexcept { return lent_.load(std::memory_order_relaxed) != 0; }

  void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept;

  void* alloc(std::size_t bytes, std::size_t align) noexcept { return memory_.alloc(bytes, align); }
  void pin(void* mem, std::size_t bytes, void (*free_it)(void*));

  [[nodiscard]] block_pool& pool() noexcept { return memory_.pool(); }
  [[nodiscard]] record_batch& root() noexcept;
  [[nodiscard]] const record_batch* parent() const noexcept { return parent_; }

  // For the rules of batches: as the batch was made, and what its memory and that of its parents contains.
  [[nodiscard]] bool keeps_its_tables() const noexcept {
    return size == sizeof(pl_batch) && schema == made_schema_ && cols == made_cols_;
  }
  [[nodiscard]] std::uint32_t rows_made() const noexcept { return rows_made_; }
  [[nodiscard]] bool contains(const void* memory, std::size_t bytes) const noexcept;
  // The batch conforms to the rules: its columns need no check in the batches that derive from it.
  [[nodiscard]] bool checked() const noexcept { return checked_; }
  void set_checked() noexcept { checked_ = true; }

  // Roots: a column that the source makes on demand. Its cells are null until then. Throws std::bad_alloc.
  void make_later(column_index column, void* mem, pl_make_cell make);
  [[nodiscard]] late_columns* late() const noexcept { return late_.get(); }  // null: none

  // Roots: the ranges are in flight, and are reported once nothing holds the settlement.
  void track(std::shared_ptr<settlement> in_flight) noexcept { settlement_ = std::move(in_flight); }
  // Return the settlement of the root; null: its ranges are not tracked.
  [[nodiscard]] const std::shared_ptr<settlement>& settles() noexcept { return root().settlement_; }
  void mark_undelivered() noexcept {
    root().undelivered_.store(true, std::memory_order_relaxed);
    if (const auto& in_flight = settles()) in_flight->mark_undelivered();
  }
  [[nodiscard]] bool undelivered() noexcept {
    return root().undelivered_.load(std::memory_order_relaxed) || (settles() && settles()->undelivered());
  }
  void mark_fenced() noexcept {
    mark_undelivered();
    if (const auto& in_flight = settles()) in_flight->mark_fenced();
  }
  // Return whether a stream of these records is read again, so that this batch must not be written. A dead letter that a
  // writer awaits is written in any case: that writer continues once it is released.
  [[nodiscard]] bool lost() noexcept { return settles() != nullptr && settles()->lost() && !awaited(); }
  void mark_lost() noexcept {
    if (const auto& in_flight = settles()) in_flight->mark_lost();
  }

  // A dead letter with one row that replaces one which the dead-letter sink rejects: the original one, which is an ancestor
  // of this batch, and how often it was made smaller.
  struct replacement {
    record_batch* original = nullptr;
    std::uint32_t row = 0;
    unsigned times = 0;
  };
  void replaces(const replacement& what) noexcept { replaces_ = what; }
  // Return it for this batch or its nearest ancestor that has one; times 0: there is none.
  [[nodiscard]] replacement replaced() const noexcept;

  // Return whether somebody waits until this batch, or one that it derives from, is released.
  [[nodiscard]] bool awaited() const noexcept;
  // Counts the latch down when this batch is released.
  void count_release(std::shared_ptr<release_latch> to) {
    to->add();
    release_latch_ = std::move(to);
  }

  // Bytes that this batch keeps allocated, with its parents' bytes: all of them, or its share.
  [[nodiscard]] std::size_t footprint() const noexcept;
  // Several writers have a part of the parent: count the parent's bytes for this one in proportion to its rows.
  void share_parent() noexcept { shares_parent_ = true; }
  // Bytes of data in the selected rows: the length of text, 8 for each other cell that is not null. Computed once.
  [[nodiscard]] std::uint64_t payload_bytes() noexcept { return measured().text + 8 * measured().numbers; }
  // Size of the selected rows in a write, for `batch.max_bytes`: their cells, and the length of text. Computed once.
  [[nodiscard]] std::uint64_t write_bytes() noexcept {
    return measured().text + sizeof(pl_cell) * schema->ncols * nsel;
  }
  [[nodiscard]] batch_view view() noexcept { return batch_view(this); }

 private:
  struct pinned {
    void* mem;
    std::size_t bytes;
    void (*release)(void*);
  };
  struct amount {
    std::uint64_t text = UINT64_MAX, numbers = 0;  // bytes of text; other cells that are not null
  };
  ~record_batch();
  const amount& measured() noexcept;

  std::atomic<std::uint32_t> references_{1}, lent_{0};
  std::atomic<bool> undelivered_{false};
  record_batch* parent_;
  arena memory_;
  const pl_schema* made_schema_;
  const pl_cell** made_cols_ = nullptr;
  std::uint32_t rows_made_;
  bool checked_ = false;
  std::size_t pinned_bytes_ = 0;
  bool shares_parent_ = false;
  amount measured_;
  std::vector<pinned> pins_;
  std::shared_ptr<settlement> settlement_;
  replacement replaces_;
  std::unique_ptr<late_columns> late_;
  std::shared_ptr<release_latch> release_latch_;
};

// An owned reference.
class batch_ref {
 public:
  batch_ref() = default;
  explicit batch_ref(record_batch* owned) noexcept : batch_(owned) {}
  static batch_ref share(record_batch& b) noexcept { return b.retain(), batch_ref(&b); }
  batch_ref(batch_ref&& o) noexcept : batch_(std::exchange(o.batch_, nullptr)) {}
  batch_ref& operator=(batch_ref&& o) noexcept {
    std::swap(batch_, o.batch_);
    return *this;
  }
  batch_ref(const batch_ref&) = delete;
  batch_ref& operator=(const batch_ref&) = delete;
  ~batch_ref() {
    if (batch_ != nullptr) batch_->release();
  }
  record_batch* operator->() const noexcept { return batch_; }
  record_batch& operator*() const noexcept { return *batch_; }
  [[nodiscard]] record_batch* get() const noexcept { return batch_; }
  // Pass the reference to the caller.
  [[nodiscard]] record_batch* release() noexcept { return std::exchange(batch_, nullptr); }
  explicit operator bool() const noexcept { return batch_ != nullptr; }

 private:
  record_batch* batch_ = nullptr;
};

// Return a child with the same columns and ranges, in which only `rows` (ascending) are selected. Null: out of memory.
batch_ref select_rows(block_pool& pool, record_batch& of, std::span<const std::uint32_t> rows);

// Return the part of a batch that belongs to the ranges for which `take` is true: these ranges, their rows and their
// changes. Null: out of memory.
batch_ref select_ranges(block_pool& pool, record_batch& of, const std::vector<bool>& take);

// Set a batch's changes; the text that they point to is not copied. False: out of memory.
bool set_changes(record_batch& to, std::span<const pl_state_change> changes);

}  // namespace pl::engine
