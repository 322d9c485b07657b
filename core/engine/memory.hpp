// SPDX-License-Identifier: Apache-2.0
// Memory for records: a budget that everything in flight counts against, pooled blocks, and arenas made of them.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace pl::engine {

// Bytes held by records in flight. Any thread. A limit, not a wall: who reads checks `full` before reading more.
class memory_budget {
 public:
  explicit memory_budget(std::uint64_t limit) noexcept : limit_(limit) {}
  void add(std::size_t bytes) noexcept { used_.fetch_add(bytes, std::memory_order_relaxed); }
  void sub(std::size_t bytes) noexcept { used_.fetch_sub(bytes, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t used() const noexcept { return used_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t limit() const noexcept { return limit_.load(std::memory_order_relaxed); }
  void set_limit(std::uint64_t bytes) noexcept { limit_.store(bytes, std::memory_order_relaxed); }
  [[nodiscard]] bool full() const noexcept { return used() >= limit(); }

 private:
  std::atomic<std::uint64_t> used_{0};
  std::atomic<std::uint64_t> limit_;
};

// Blocks of two sizes, kept for the next batch; larger requests go straight to the allocator. Any thread.
class block_pool {
 public:
  static constexpr std::size_t small_block = std::size_t{16} * 1024;
  static constexpr std::size_t large_block = std::size_t{256} * 1024;

  explicit block_pool(memory_budget& budget) noexcept : budget_(budget) {}
  ~block_pool();
  block_pool(const block_pool&) = delete;
  block_pool& operator=(const block_pool&) = delete;

  // At least `bytes`; null when there is no memory. `size` is what it is, and what `give` must be told.
  void* take(std::size_t bytes, std::size_t& size) noexcept;
  void give(void* block, std::size_t size) noexcept;
  [[nodiscard]] memory_budget& budget() noexcept { return budget_; }

 private:
  // Free blocks beyond this many bytes of each size go back to the allocator.
  static constexpr std::size_t keep_bytes = std::size_t{16} * 1024 * 1024;

  memory_budget& budget_;
  std::mutex mutex_;
  std::array<std::vector<void*>, 2> free_;
};

// Allocates forward, frees all at once. One thread at a time.
class arena {
 public:
  explicit arena(block_pool& pool) noexcept : pool_(pool) {}
  ~arena();
  arena(const arena&) = delete;
  arena& operator=(const arena&) = delete;

  // Null when there is no memory. align: a power of two.
  void* alloc(std::size_t bytes, std::size_t align) noexcept;
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
