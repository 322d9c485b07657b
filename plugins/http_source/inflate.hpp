// SPDX-License-Identifier: Apache-2.0
// gzip, piece by piece.
#pragma once

#include <zlib.h>

#include <array>
#include <cstddef>
#include <functional>
#include <string_view>

namespace http {

class inflater {
 public:
  inflater();
  ~inflater();
  inflater(const inflater&) = delete;
  inflater& operator=(const inflater&) = delete;

  // What a piece becomes; take answers false where it won't have any more.
  using sink = std::function<bool(std::string_view piece)>;
  enum class result { ok, broken, refused };
  result feed(std::string_view in, const sink& take);
  // Whether what was fed ends where a file ends.
  [[nodiscard]] bool at_end() const noexcept { return ended_; }

 private:
  z_stream stream_{};
  bool ended_ = true;
  std::array<char, std::size_t{16} * 1024> out_{};
};

}  // namespace http
