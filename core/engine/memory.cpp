// SPDX-License-Identifier: Apache-2.0
#include "engine/memory.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace pl::engine {

block_pool::~block_pool() {
  for (auto& list : free_)
    for (void* b : list) std::free(b);
}

void* block_pool::take(std::size_t bytes, std::size_t& size) noexcept {
  size = bytes <= small_block ? small_block : std::max(bytes, large_block);
  void* block = nullptr;
  if (size <= large_block) {
    std::scoped_lock lock(mutex_);
    auto& list = free_[size == large_block];
    if (!list.empty()) {
      block = list.back();
      list.pop_back();
    }
  }
  if (block == nullptr) block = std::malloc(size);
  if (block != nullptr) budget_.add(size);
  return block;
}

void block_pool::put_back(void* block, std::size_t size) noexcept {
  budget_.sub(size);
  if (size == small_block || size == large_block) {
    std::scoped_lock lock(mutex_);
    auto& list = free_[size == large_block];
    if (list.capacity() == 0) list.reserve(keep_bytes / size);
    if (list.size() < list.capacity()) {
      list.push_back(block);
      return;
    }
  }
  std::free(block);
}

arena::~arena() {
  while (newest_ != nullptr) {
    auto* b = newest_;
    newest_ = b->before;
    pool_.put_back(b, b->size);
  }
}

bool arena::grow(std::size_t bytes) noexcept {
  // A batch that outgrows its first, small block is large: use fewer, larger blocks.
  const auto wanted =
      std::max(bytes + sizeof(block), newest_ == nullptr ? block_pool::small_block : block_pool::large_block);
  std::size_t size = 0;
  auto* b = static_cast<block*>(pool_.take(wanted, size));
  if (b == nullptr) return false;
  b->before = newest_;
  b->size = size;
  newest_ = b;
  at_ = reinterpret_cast<std::byte*>(b) + sizeof(block);
  end_ = reinterpret_cast<std::byte*>(b) + size;
  bytes_ += size;
  return true;
}

void* arena::alloc(std::size_t bytes, std::size_t align) noexcept {
  const auto place = [&]() -> void* {
    void* p = at_;
    auto left = static_cast<std::size_t>(end_ - at_);
    return std::align(align, bytes, p, left);
  };
  auto* p = place();
  if (p == nullptr) {
    if (bytes > SIZE_MAX / 2 || !grow(bytes + align)) return nullptr;
    p = place();
  }
  at_ = static_cast<std::byte*>(p) + bytes;
  return p;
}

bool arena::contains(const void* memory, std::size_t bytes) const noexcept {
  const auto at = reinterpret_cast<std::uintptr_t>(memory);
  for (const auto* b = newest_; b != nullptr; b = b->before) {
    const auto begin = reinterpret_cast<std::uintptr_t>(b), end = begin + b->size;
    if (at >= begin && at <= end && bytes <= end - at) return true;
  }
  return false;
}

}  // namespace pl::engine
