// SPDX-License-Identifier: Apache-2.0
#include "inflate.hpp"

#include <new>

namespace pl::http {

inflater::inflater() {
  constexpr int gzip_alone = 16;
  if (inflateInit2(&stream_, MAX_WBITS + gzip_alone) != Z_OK) throw std::bad_alloc();
}

inflater::~inflater() { inflateEnd(&stream_); }

// The input may consist of several gzip members (RFC 1952, 2.2).
inflater::result inflater::feed(std::string_view in, const sink& take) {
  stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
  stream_.avail_in = static_cast<uInt>(in.size());
  bool more_out = false;
  while (stream_.avail_in != 0 || more_out) {
    if (ended_) {
      inflateReset(&stream_);
      ended_ = false;
    }
    stream_.next_out = reinterpret_cast<Bytef*>(out_.data());
    stream_.avail_out = static_cast<uInt>(out_.size());
    const int code = ::inflate(&stream_, Z_NO_FLUSH);
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) return result::broken;
    const auto made = out_.size() - stream_.avail_out;
    if (made != 0 && !take({out_.data(), made})) return result::refused;
    ended_ = code == Z_STREAM_END;
    more_out = !ended_ && stream_.avail_out == 0;
    if (code == Z_BUF_ERROR && made == 0) break;
  }
  return result::ok;
}

}  // namespace pl::http
