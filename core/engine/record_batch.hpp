// SPDX-License-Identifier: Apache-2.0
// The host's side of a pl_batch: who holds it, whose memory it lives in, and what happens when it is gone.
#pragma once

#include "engine/memory.hpp"
#include "engine/stream_state.hpp"

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

// Waits until batches are gone. Any thread.
class departure {
 public:
  void expect() {
    std::scoped_lock lock(mutex_);
    ++expected_;
  }
  void gone() {
    std::scoped_lock lock(mutex_);
    --expected_;
    changed_.notify_all();
  }
  // False: time is up.
  bool wait(std::chrono::nanoseconds timeout) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [&] { return expected_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t expected_ = 0;
};

// Reference-counted. A derived batch holds its parent, so a root (a batch as a source read it) is gone when everything made
// of it is gone; then, and unless it was marked undelivered, its ranges are settled.
//
// Threads: the counters are atomic; everything else is written by the thread that derived the batch, before it hands it on.
class record_batch : public pl_batch {
 public:
  record_batch(block_pool& pool, record_batch* parent, const pl_schema* schema, std::uint32_t rows);
  record_batch(const record_batch&) = delete;
  record_batch& operator=(const record_batch&) = delete;

  static record_batch& of(pl_batch* b) noexcept { return *static_cast<record_batch*>(b); }

  void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept;

  void* alloc(std::size_t bytes, std::size_t align) noexcept { return memory_.alloc(bytes, align); }
  void pin(void* mem, std::size_t bytes, void (*free_it)(void*));

  [[nodiscard]] block_pool& pool() noexcept { return memory_.pool(); }
  [[nodiscard]] record_batch& root() noexcept;

  // Roots: the ranges are in flight, and their fate is reported there.
  void track(settlement_inbox& inbox, std::vector<flight> flights) noexcept {
    inbox_ = &inbox;
    flights_ = std::move(flights);
  }
  void mark_undelivered() noexcept { root().undelivered_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool undelivered() noexcept { return root().undelivered_.load(std::memory_order_relaxed); }
  void mark_fenced() noexcept {
    root().fenced_.store(true, std::memory_order_relaxed);
    mark_undelivered();
  }

  // Somebody waits until this batch is gone.
  void report_departure(std::shared_ptr<departure> to) {
    to->expect();
    departure_ = std::move(to);
  }

  // Memory that this batch keeps alive, its parents' included.
  [[nodiscard]] std::size_t footprint() const noexcept;
  // Bytes of data in the selected rows: text by length, all else 8 a cell. Counted once.
  [[nodiscard]] std::uint64_t payload_bytes() noexcept;
  [[nodiscard]] batch_view view() noexcept { return batch_view(this); }

 private:
  struct pinned {
    void* mem;
    void (*release)(void*);
  };
  ~record_batch();

  std::atomic<std::uint32_t> references_{1};
  std::atomic<bool> undelivered_{false}, fenced_{false};
  record_batch* parent_;
  arena memory_;
  std::size_t pinned_bytes_ = 0;
  std::uint64_t payload_bytes_ = UINT64_MAX;
  std::vector<pinned> pins_;
  std::vector<flight> flights_;
  settlement_inbox* inbox_ = nullptr;
  std::shared_ptr<departure> departure_;
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
  explicit operator bool() const noexcept { return batch_ != nullptr; }

 private:
  record_batch* batch_ = nullptr;
};

// The same rows of the same columns, of which only `rows` (ascending) count. Ranges as they are. Null: no memory.
batch_ref select_rows(block_pool& pool, record_batch& of, std::span<const std::uint32_t> rows);

// What of a batch belongs to the ranges for which `take` is true: their rows, and they alone as ranges, with their changes.
// Null: no memory.
batch_ref select_ranges(block_pool& pool, record_batch& of, const std::vector<bool>& take);

// Sets a batch's changes; what they point to isn't copied. False: no memory.
bool carry(record_batch& to, std::span<const pl_change> changes);

}  // namespace pl::engine
