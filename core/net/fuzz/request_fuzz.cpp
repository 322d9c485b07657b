// SPDX-License-Identifier: Apache-2.0
// Fuzz target: any bytes as a request. An accepted head is unambiguous, and a chunked body is the same for any size of
// the pieces in which it arrives.
//
// Input: a byte for the size of the pieces, then a head, if it is complete, then a chunked body.
#include <pipeline/json.hpp>

#include <http/request.hpp>

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
  std::fprintf(stderr, "violated property: %s\n", what);
  std::abort();
}

bool has_controls(std::string_view s) {
  return std::any_of(s.begin(), s.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return (u < 0x20 && c != '\t') || u == 0x7F;
  });
}

void check_refusal(const pl::http::refusal& why) {
  must(why.status >= 400 && why.status < 600, "a refusal has a status of an error");
  must(!why.why.empty() && pl::is_utf8(why.why) && !has_controls(why.why), "a refusal has a reason");
}

void check_head(std::string_view text) {
  pl::http::request_head head, same;
  const auto refused = pl::http::parse_head(text, head);
  must(refused || !pl::http::parse_head(text, same, {.host_required = false}), "fewer rules do not refuse more");
  if (refused) return check_refusal(*refused);
  must(!pl::http::has_bare_line_feed(text), "each line of an accepted head ends with CR LF");
  must(!(head.chunked && head.length), "a body has one length");
  must(!head.method.empty() && !has_controls(head.method), "a method is a word");
  must(!has_controls(head.path) && head.path.find(' ') == std::string_view::npos, "a path has no spaces");
  must(head.path.find_first_of("?#") == std::string_view::npos, "a path has no query");
  must(head.headers.size() <= pl::http::most_headers, "the number of headers is limited");
  std::size_t lengths = 0;
  for (const auto& h : head.headers) {
    must(h.name.find_first_of(" \t:") == std::string_view::npos && !h.name.empty(), "a header has a name");
    must(!has_controls(h.value), "a header has no control characters");
    must(h.value.empty() || (h.value.front() != ' ' && h.value.back() != ' '), "a value has no space around it");
    must(head.find(h.name).has_value(), "a header is found by its name");
    lengths += pl::http::same_word(h.name, "content-length") ? 1 : 0;
  }
  must(head.length.has_value() == (lengths != 0), "a length comes from its header");
  if (const auto decoded = pl::http::percent_decoded(head.path))
    must(pl::is_utf8(*decoded) && decoded->size() <= head.path.size(), "a path is text");
}

struct unchunked {
  pl::http::chunked_body::state last = pl::http::chunked_body::state::more;
  std::string body;
  std::size_t eaten = 0;
};

unchunked unchunk(std::string_view text, std::size_t piece) {
  unchunked u;
  pl::http::chunked_body chunks;
  while (u.eaten < text.size() && u.last == pl::http::chunked_body::state::more) {
    auto in = text.substr(u.eaten, piece);
    const auto before = in.size();
    std::string_view payload;
    u.last = chunks.next(in, payload);
    must(in.size() < before, "each call consumes input");
    u.eaten += before - in.size();
    u.body += payload;
  }
  return u;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  // A copy of the exact size, so that the sanitizer detects an out-of-bounds read.
  const std::vector<char> copy(data + 1, data + size);
  const std::string_view text(copy.data(), copy.size());
  const auto head = pl::http::head_size(text);
  if (head != 0) check_head(text.substr(0, head));
  check_head(text);
  const auto body = text.substr(head);
  const auto whole = unchunk(body, std::max<std::size_t>(body.size(), 1)), cut = unchunk(body, data[0] % 17U + 1);
  must(whole.last == cut.last && whole.body == cut.body, "a body does not depend on the pieces");
  if (whole.last == pl::http::chunked_body::state::done)
    must(whole.eaten == cut.eaten, "the end of a body does not depend on the pieces");
  return 0;
}
