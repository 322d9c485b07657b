// SPDX-License-Identifier: Apache-2.0
// Memory for records: a budget for everything in flight, pooled blocks, and arenas of blocks. The comment on
// each class states which threads may use it.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace pl::engine {

// Counts the bytes held by records in flight. Thread-safe. The budget is not enforced here: a lane checks `full` before
// it reads more.
class memory_budget {
 public:
  explicit memory_budget(std::uint64_t limit) noexcept : limit_(limit) {}
  void add(std::size_t bytes) noexcept { used_.fetch_add(bytes, std::memory_order_relaxed); }
  void sub(std::size_t bytes) noexcept { used_.fetch_sub(bytes, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t used() const noexcept {
    return used_.load(std::memory_order_relaxed) + std::min(state(), state_limit());
  }
  [[nodiscard]] std::uint64_t limit() const noexcept { return limit_.load(std::memory_order_relaxed); }
  void set_limit(std::uint64_t bytes) noexcept { limit_.store(bytes, std::memory_order_relaxed); }
  [[nodiscard]] bool full() const noexcept { return used() >= limit(); }

  // The state of transforms. It is a part of `used`, up to its own limit, so that records always have the rest.
  void change_state(std::uint64_t before, std::uint64_t now) noexcept {
    state_.fetch_add(now - before, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t state() const noexcept { return state_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t state_limit() const noexcept { return limit() / 4 * 3; }

 private:
  std::atomic<std::uint64_t> used_{0}, state_{0};
  std::atomic<std::uint64_t> limit_;
};

// Keeps blocks of two sizes for the next batch; larger requests go straight to the allocator. Thread-safe.
class block_pool {
 public:
  static constexpr std::size_t small_block = std::size_t{16} * 1024;
  static constexpr std::size_t large_block = std::size_t{256} * 1024;

  explicit block_pool(memory_budget& budget) noexcept : budget_(budget) {}
  ~block_pool();
  block_pool(const block_pool&) = delete;
  block_pool& operator=(const block_pool&) = delete;

  // Return a block of at least `bytes`, or null. size: receives the real size, to be passed to `put_back`.
  void* take(std::size_t bytes, std::size_t& size) noexcept;
  void put_back(void* block, std::size_t size) noexcept;
  [[nodiscard]] memory_budget& budget() noexcept { return budget_; }

 private:
  // Free blocks beyond this many bytes of each size go back to the allocator.
  static constexpr std::size_t keep_bytes = std::size_t{16} * 1024 * 1024;

  memory_budget& budget_;
  std::mutex mutex_;
  std::array<std::vector<void*>, 2> free_;
};

// The memory that a pipeline's records live in. After a reload, the new pipeline shares the memory of the old one.
struct pipeline_memory {
  explicit pipeline_memory(std::uint64_t limit) : budget(limit), pool(budget) {}
  memory_budget budget;
  block_pool pool;
};

// Allocates from blocks, and frees the blocks together. Not thread-safe.
class arena {
 public:
  explicit arena(block_pool& pool) noexcept : pool_(pool) {}
  ~arena();
  arena(const arena&) = delete;
  arena& operator=(const arena&) = delete;

  // Return null if memory is exhausted. align: a power of two.
  void* alloc(std::size_t bytes, std::size_t align) noexcept;
  // Return whether memory of this arena contains all of these bytes.
  [[nodiscard]] bool contains(const void* memory, std::size_t bytes) const noexcept;
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] memory_budget& budget() noexcept { return pool_.budget(); }
  [[nodiscard]] block_pool& pool() noexcept { return pool_; }

 private:
  struct block {
    block* before;
    std::size_t size;
  };
  bool grow(std::size_t bytes) noexcept;

  block_pool& pool_;
  block* newest_ = nullptr;
  std::byte *at_ = nullptr, *end_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace pl::engine
