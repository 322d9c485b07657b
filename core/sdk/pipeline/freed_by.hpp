// SPDX-License-Identifier: Apache-2.0
// Objects of C libraries in std::unique_ptr: std::unique_ptr<SSL_CTX, pl::freed_by<SSL_CTX_free>>.
#pragma once

namespace pl {

// Deleter for std::unique_ptr that calls the function Free.
template <auto Free>
struct freed_by {
  template <class T>
  void operator()(T* p) const noexcept {
    Free(p);
  }
};

}  // namespace pl
