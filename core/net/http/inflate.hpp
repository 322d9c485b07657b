// SPDX-License-Identifier: Apache-2.0
// inflater decompresses gzip piece by piece.
#pragma once

#include <zlib.h>

#include <array>
#include <cstddef>
#include <functional>
#include <string_view>

namespace pl::http {

class inflater {
 public:
  inflater();
  ~inflater();
  inflater(const inflater&) = delete;
  inflater& operator=(const inflater&) = delete;

  // Decompress `in` and pass the output to `take`, which returns false to stop (result::refused).
  using sink = std::function<bool(std::string_view piece)>;
  enum class result { ok, broken, refused };
  result feed(std::string_view in, const sink& take);
  // Return whether the input so far ends at the end of a gzip member.
  [[nodiscard]] bool at_end() const noexcept { return ended_; }

 private:
  z_stream stream_{};
  bool ended_ = true;
  std::array<char, std::size_t{16} * 1024> out_{};
};

}  // namespace pl::http
