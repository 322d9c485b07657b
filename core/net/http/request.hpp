// SPDX-License-Identifier: Apache-2.0
// These functions parse HTTP/1.1 requests (RFC 9112): heads, and chunked bodies. They reject everything that two
// servers could interpret differently, to prevent request smuggling. They do not use sockets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pl::http {

constexpr std::size_t longest_head = std::size_t{16} * 1024;
constexpr std::size_t most_headers = 100;

struct header {
  std::string_view name, value;
};

// The status and the reason of the response to a rejected request.
struct refusal {
  int status = 400;
  std::string why;
};

// A parsed head; its members are views into the text.
struct request_head {
  std::string_view method, path;  // path: in its original form, without the query
  std::vector<header> headers;
  std::optional<std::uint64_t> length;
  bool chunked = false;
  bool keeps_alive = true;
  bool expects_continue = false;

  // Return the first header of that name, ignoring case.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view name) const noexcept;
  [[nodiscard]] bool has_body() const noexcept { return chunked || (length && *length > 0); }
};

[[nodiscard]] bool same_word(std::string_view a, std::string_view b) noexcept;  // ignores the case of ASCII letters

// Return the size of the head at the beginning of `text`, with the empty line after it; 0 if it is incomplete.
[[nodiscard]] std::size_t head_size(std::string_view text) noexcept;

// Return whether a line feed in `text` does not follow a carriage return. Such a head never becomes valid.
[[nodiscard]] bool has_bare_line_feed(std::string_view text) noexcept;

struct head_rules {
  bool host_required = true;  // in HTTP/1.1, as RFC 9112 demands
};

// Parse a head with its empty line into `to`. Return a refusal if it is invalid.
[[nodiscard]] std::optional<refusal> parse_head(std::string_view text, request_head& to, const head_rules& rules = {});

// Decode percent escapes: "a%2Fb" becomes "a/b". Return nothing for broken escapes, a NUL, or invalid UTF-8.
[[nodiscard]] std::optional<std::string> percent_decoded(std::string_view text);

// chunked_body decodes a chunked body (RFC 9112, 7.1) piece by piece. It skips extensions and trailers.
class chunked_body {
 public:
  enum class state { more, done, broken };
  // Consume input from the front of `in`. `payload` is a view of the next piece of the body, or empty if there is none
  // yet. Call it until `in` is empty or the result is not `more`.
  state next(std::string_view& in, std::string_view& payload);

 private:
  enum class part {
    size,
    space,  // after the size, before an extension
    extension,
    size_end,
    data,
    data_cr,
    data_lf,
    line_begin,
    trailer,
    trailer_end,
    end_lf,
    done
  };
  state step(char c);
  state begin_data();

  part part_ = part::size;
  std::uint64_t left_ = 0;  // bytes left in the chunk
  std::size_t digits_ = 0, skipped_ = 0;
};

}  // namespace pl::http
