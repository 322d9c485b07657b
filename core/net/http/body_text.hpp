// SPDX-License-Identifier: Apache-2.0
// The memory of request bodies, and of what is built from them. It returns to the system when it is released.
//
// malloc raises the size from which it maps blocks separately to that of the largest freed block. Further blocks come
// from the heaps of the threads (eight for each processor), each of which keeps up to twice that size when it is free:
// with many connections, several times the limit of all requests together.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <limits>
#include <memory>
#include <new>
#include <string>

namespace pl::http {

template <class T>
class mapped_allocator {
 public:
  using value_type = T;

  mapped_allocator() noexcept = default;
  template <class U>
  mapped_allocator(const mapped_allocator<U>& /*other*/) noexcept {}

  T* allocate(std::size_t count) {
    if (count > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_alloc();
    const auto bytes = count * sizeof(T);
    if (bytes < mapped_from) return std::allocator<T>().allocate(count);
    void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    return static_cast<T*>(at);
  }
  void deallocate(T* at, std::size_t count) noexcept {
    if (count * sizeof(T) < mapped_from)
      std::allocator<T>().deallocate(at, count);
    else
      ::munmap(at, count * sizeof(T));
  }
  template <class U>
  bool operator==(const mapped_allocator<U>& /*other*/) const noexcept {
    return true;
  }

 private:
  static constexpr std::size_t mapped_from = std::size_t{128} * 1024;
};

using body_text = std::basic_string<char, std::char_traits<char>, mapped_allocator<char>>;

}  // namespace pl::http
