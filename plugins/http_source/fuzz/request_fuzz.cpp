// SPDX-License-Identifier: Apache-2.0
// Any bytes as a request: a head that is taken has one meaning, and a body in chunks is the same however it is cut.
//
// Input: a byte for the size of the pieces, then a head, if it has an end, then a body in chunks.
#include "../request.hpp"

#include <pipeline/json.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

bool has_controls(std::string_view s) {
  return std::any_of(s.begin(), s.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return (u < 0x20 && c != '\t') || u == 0x7F;
  });
}

void check_refusal(const http::refusal& why) {
  must(why.status >= 400 && why.status < 600, "a refusal has a status of an error");
  must(!why.why.empty() && pl::is_utf8(why.why) && !has_controls(why.why), "a refusal is told");
}

void check_head(std::string_view text) {
  http::request_head head;
  if (const auto refused = http::parse_head(text, head)) return check_refusal(*refused);
  must(!(head.chunked && head.length), "a body has one length");
  must(!head.method.empty() && !has_controls(head.method), "a method is a word");
  must(!has_controls(head.path) && head.path.find(' ') == std::string_view::npos, "a path has no spaces");
  must(head.path.find_first_of("?#") == std::string_view::npos, "a path has no query");
  must(head.headers.size() <= http::most_headers, "no more headers than may be");
  std::size_t lengths = 0;
  for (const auto& h : head.headers) {
    must(h.name.find_first_of(" \t:") == std::string_view::npos && !h.name.empty(), "a header has a name");
    must(!has_controls(h.value), "a header has no control characters");
    must(h.value.empty() || (h.value.front() != ' ' && h.value.back() != ' '), "a value has no space around it");
    must(head.find(h.name).has_value(), "a header is found by its name");
    lengths += http::same_word(h.name, "content-length") ? 1 : 0;
  }
  must(head.length.has_value() == (lengths != 0), "a length comes from its header");
  if (const auto decoded = http::percent_decoded(head.path))
    must(pl::is_utf8(*decoded) && decoded->size() <= head.path.size(), "a path is text");
}

struct unchunked {
  http::chunked_body::state last = http::chunked_body::state::more;
  std::string body;
  std::size_t eaten = 0;
};

unchunked unchunk(std::string_view text, std::size_t piece) {
  unchunked u;
  http::chunked_body chunks;
  while (u.eaten < text.size() && u.last == http::chunked_body::state::more) {
    auto in = text.substr(u.eaten, piece);
    const auto before = in.size();
    std::string_view payload;
    u.last = chunks.next(in, payload);
    must(in.size() < before, "each call eats something");
    u.eaten += before - in.size();
    u.body += payload;
  }
  return u;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  // A copy of its own size, so that the sanitizer sees a byte read too far.
  const std::vector<char> copy(data + 1, data + size);
  const std::string_view text(copy.data(), copy.size());
  const auto head = http::head_size(text);
  if (head != 0) check_head(text.substr(0, head));
  check_head(text);
  const auto body = text.substr(head);
  const auto whole = unchunk(body, std::max<std::size_t>(body.size(), 1)), cut = unchunk(body, data[0] % 17U + 1);
  must(whole.last == cut.last && whole.body == cut.body, "a body is the same however it is cut");
  if (whole.last == http::chunked_body::state::done) must(whole.eaten == cut.eaten, "and ends in the same place");
  return 0;
}
