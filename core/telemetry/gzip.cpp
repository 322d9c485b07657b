// SPDX-License-Identifier: Apache-2.0
#include "telemetry/gzip.hpp"

#include <zlib.h>

#include <limits>
#include <new>
#include <stdexcept>
#include <utility>

namespace pl::telemetry {
namespace {

// Metrics are repetitive: higher levels save few bytes at several times the CPU.
constexpr int level = Z_BEST_SPEED, window_bits = 15, gzip_format = 16, memory_level = 8;
constexpr std::size_t most_kept = 2;

}  // namespace

class gzip::deflater {
 public:
  deflater() {
    const int failed =
        deflateInit2(&stream_, level, Z_DEFLATED, window_bits + gzip_format, memory_level, Z_DEFAULT_STRATEGY);
    if (failed != Z_OK) throw std::bad_alloc();
  }
  ~deflater() { deflateEnd(&stream_); }
  deflater(const deflater&) = delete;
  deflater& operator=(const deflater&) = delete;

  std::string compress(std::string_view text) {
    deflateReset(&stream_);
    std::string out(deflateBound(&stream_, text.size()), '\0');
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));  // zlib does not write to it
    stream_.avail_in = static_cast<uInt>(text.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    deflate(&stream_, Z_FINISH);  // cannot fail: `out` has room for the worst case
    out.resize(stream_.total_out);
    return out;
  }

 private:
  z_stream stream_{};
};

gzip::gzip() { kept_.reserve(most_kept); }
gzip::~gzip() = default;

std::unique_ptr<gzip::deflater> gzip::take() {
  {
    const std::scoped_lock lock(mutex_);
    if (!kept_.empty()) {
      auto one = std::move(kept_.back());
      kept_.pop_back();
      return one;
    }
  }
  return std::make_unique<deflater>();
}

std::string gzip::compress(std::string_view text) {
  constexpr std::size_t max_text =
      std::numeric_limits<uInt>::max() - (std::size_t{16} << 20);  // leaves room for the bound
  if (text.size() > max_text) throw std::length_error("text too long for gzip");
  auto one = take();
  auto out = one->compress(text);
  const std::scoped_lock lock(mutex_);
  if (kept_.size() < most_kept) kept_.push_back(std::move(one));
  return out;
}

}  // namespace pl::telemetry
