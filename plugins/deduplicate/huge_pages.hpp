// SPDX-License-Identifier: Apache-2.0
// Allocates memory for random access on huge pages if the kernel supports them. Otherwise address translation takes
// most of the time of an access.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <vector>

namespace deduplicate {

template <class T>
struct huge_allocator {
  using value_type = T;
  static constexpr std::size_t page = std::size_t{2} << 20U;

  huge_allocator() = default;
  template <class U>
  huge_allocator(const huge_allocator<U>&) noexcept {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] T* allocate(std::size_t n) {
    const auto bytes = n * sizeof(T);
    if (bytes < page) return static_cast<T*>(::operator new(bytes));
    void* at = ::operator new(bytes, std::align_val_t(page));
    (void)::madvise(at, bytes, MADV_HUGEPAGE);  // a hint; failure is harmless
    return static_cast<T*>(at);
  }
  void deallocate(T* at, std::size_t n) noexcept {
    if (n * sizeof(T) < page) return ::operator delete(at);
    ::operator delete(at, std::align_val_t(page));
  }
  bool operator==(const huge_allocator&) const = default;
};

template <class T>
using huge_vector = std::vector<T, huge_allocator<T>>;

}  // namespace deduplicate
