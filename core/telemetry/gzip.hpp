// SPDX-License-Identifier: Apache-2.0
//
// Compression of HTTP responses. Internal to telemetry.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace pl::telemetry {

// Compresses texts. May be called from several threads. Keeps the memory of up to two compressions, 256 KiB each, for the
// next ones: to allocate it takes as long as to compress.
class gzip {
 public:
  gzip();
  ~gzip();
  gzip(const gzip&) = delete;
  gzip& operator=(const gzip&) = delete;

  // Throws std::bad_alloc if memory is exhausted, and std::length_error for a text of 4 GiB or more.
  std::string compress(std::string_view text);

 private:
  class deflater;
  std::unique_ptr<deflater> take();

  std::mutex mutex_;
  std::vector<std::unique_ptr<deflater>> kept_;
};

}  // namespace pl::telemetry
