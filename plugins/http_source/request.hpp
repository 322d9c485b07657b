// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 requests (RFC 9112), as text: heads, and bodies in chunks. Strict where readers differ, since what two servers in
// a row read differently is how a request is smuggled past the first. Knows no sockets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace http {

constexpr std::size_t longest_head = std::size_t{16} * 1024;
constexpr std::size_t most_headers = 100;

struct header {
  std::string_view name, value;
};

// Why a request isn't taken, as its sender hears it.
struct refusal {
  int status = 400;
  std::string why;
};

// Views into the text that was parsed.
struct request_head {
  std::string_view method, path;  // path: without the query, as it was sent
  std::vector<header> headers;
  std::optional<std::uint64_t> length;
  bool chunked = false;
  bool keeps_alive = true;
  bool expects_continue = false;

  // The first header of that name; names are told apart without regard to case.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view name) const noexcept;
  [[nodiscard]] bool has_body() const noexcept { return chunked || (length && *length > 0); }
};

[[nodiscard]] bool same_word(std::string_view a, std::string_view b) noexcept;  // ASCII letters in any case

// How many bytes the head at the beginning of `text` has, with the empty line behind it; 0: it isn't all there.
[[nodiscard]] std::size_t head_size(std::string_view text) noexcept;

// A head, with the empty line. Nothing: it is in `to`.
[[nodiscard]] std::optional<refusal> parse_head(std::string_view text, request_head& to);

// "a%2Fb" as "a/b". Nothing: broken escapes, a NUL, or no UTF-8.
[[nodiscard]] std::optional<std::string> percent_decoded(std::string_view text);

// A body that comes in chunks (RFC 9112, 7.1), piece by piece. Extensions and trailers are passed over.
class chunked_body {
 public:
  enum class state { more, done, broken };
  // Eats from the front of `in`; `payload` is the next piece of the body, a view into it, and empty where there is none yet.
  // Call it again until nothing is left of `in`, or it is done.
  state next(std::string_view& in, std::string_view& payload);

 private:
  enum class part { size, extension, size_end, data, data_cr, data_lf, line_begin, trailer, trailer_end, end_lf, done };
  state step(char c);
  state begin_data();

  part part_ = part::size;
  std::uint64_t left_ = 0;  // of the chunk
  std::size_t digits_ = 0, passed_over_ = 0;
};

}  // namespace http
