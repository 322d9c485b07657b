// SPDX-License-Identifier: Apache-2.0
#include "request.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <array>
#include <charconv>

namespace pl::http {

namespace {

constexpr std::size_t most_skipped = std::size_t{8} * 1024;  // bytes of extensions and trailers in a body
constexpr std::size_t most_digits = 15;                      // of a chunk's size; prevents overflow

using byte_set = std::array<bool, 256>;

template <class Predicate>
constexpr byte_set bytes_where(Predicate holds) {
  byte_set set{};
  for (std::size_t i = 0; i < set.size(); ++i) set[i] = holds(static_cast<unsigned char>(i));
  return set;
}

constexpr byte_set token_bytes = bytes_where([](unsigned char c) {
  const auto lower = c | 0x20;
  return (c >= '0' && c <= '9') || (c < 0x80 && lower >= 'a' && lower <= 'z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
});
// A header's value must not contain control characters other than a tab.
constexpr byte_set field_bytes = bytes_where([](unsigned char c) { return c >= 0x20 ? c != 0x7F : c == '\t'; });
constexpr byte_set visible_bytes = bytes_where([](unsigned char c) { return c > 0x20 && c < 0x7F; });

bool consists_of(const byte_set& set, std::string_view s) noexcept {
  return std::all_of(s.begin(), s.end(), [&](char c) { return set[static_cast<unsigned char>(c)]; });
}

bool is_token(std::string_view s) noexcept { return !s.empty() && consists_of(token_bytes, s); }
bool is_visible(std::string_view s) noexcept { return !s.empty() && consists_of(visible_bytes, s); }

bool has_word(std::string_view list, std::string_view word) noexcept {
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    if (same_word(pl::trim(list.substr(0, comma), " \t"), word)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

// Return the path of a request target: "/a/b" for "/a/b?c" and for "http://host/a/b?c".
std::string_view path_of(std::string_view target) noexcept {
  const auto scheme = target.find("://");
  if (!target.starts_with('/') && scheme != std::string_view::npos) {
    const auto slash = target.find_first_of("/?", scheme + 3);
    target = slash == std::string_view::npos || target[slash] == '?' ? std::string_view("/") : target.substr(slash);
  }
  return target.substr(0, target.find_first_of("?#"));
}

std::optional<refusal> parse_request_line(std::string_view line, request_head& to) {
  const auto first = line.find(' ');
  const auto second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos) return refusal{400, "the first line is not an HTTP request line"};
  to.method = line.substr(0, first);
  const auto target = line.substr(first + 1, second - first - 1);
  const auto version = line.substr(second + 1);
  if (!is_token(to.method) || !is_visible(target)) return refusal{400, "the first line is not an HTTP request line"};
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    if (version.starts_with("HTTP/")) return refusal{505, "unsupported HTTP version; use HTTP/1.1"};
    return refusal{400, "the first line is not an HTTP request line"};
  }
  to.path = path_of(target);
  to.keeps_alive = version == "HTTP/1.1";
  return std::nullopt;
}

std::optional<refusal> parse_header(std::string_view line, request_head& to) {
  const auto colon = line.find(':');
  // Servers differ in how they read space before the colon and lines that begin with space, so both are rejected.
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
    return refusal{400, "a header is not of the form name: value"};
  const auto value = pl::trim(line.substr(colon + 1), " \t");
  if (!consists_of(field_bytes, value)) return refusal{400, "a header has a control character in its value"};
  if (to.headers.size() == most_headers) return refusal{431, "more than 100 headers"};
  to.headers.push_back({line.substr(0, colon), value});
  return std::nullopt;
}

std::optional<refusal> read_length(std::string_view value, request_head& to) {
  std::uint64_t n = 0;
  const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), n);
  if (value.empty() || failed != std::errc() || end != value.data() + value.size())
    return refusal{400, "Content-Length is not a number"};
  if (to.length && *to.length != n) return refusal{400, "two different Content-Length headers"};
  to.length = n;
  return std::nullopt;
}

// Servers differ in which of several such headers they use.
std::optional<refusal> find_repeated(const request_head& head) {
  for (const std::string_view name : {"content-encoding", "content-type", "authorization"})
    if (std::count_if(head.headers.begin(), head.headers.end(),
                      [&](const header& h) { return same_word(h.name, name); }) > 1)
      return refusal{400, "the header " + std::string(name) + " is given more than once"};
  return std::nullopt;
}

// Evaluate the headers about the body and the connection.
std::optional<refusal> interpret(request_head& to, const head_rules& rules) {
  const bool is_1_0 = !to.keeps_alive;
  bool asks_to_keep = false, asks_to_close = false;
  std::size_t hosts = 0;
  for (const auto& [name, value] : to.headers) {
    if (same_word(name, "content-length")) {
      if (auto r = read_length(value, to)) return r;
    } else if (same_word(name, "transfer-encoding")) {
      if (to.chunked || is_1_0 || !same_word(value, "chunked"))
        return refusal{is_1_0 || to.chunked ? 400 : 501, "Transfer-Encoding must be chunked, given once, in HTTP/1.1"};
      to.chunked = true;
    } else if (same_word(name, "connection")) {
      asks_to_keep |= has_word(value, "keep-alive");
      asks_to_close |= has_word(value, "close");
    } else if (same_word(name, "expect")) {
      if (!same_word(value, "100-continue")) return refusal{417, "Expect must be 100-continue"};
      to.expects_continue = !is_1_0;
    } else if (same_word(name, "host")) {
      ++hosts;
    }
  }
  if (to.chunked && to.length) return refusal{400, "both Transfer-Encoding and Content-Length"};
  if (hosts > 1 || (hosts == 0 && !is_1_0 && rules.host_required))
    return refusal{400, "a request must have exactly one Host header"};
  to.keeps_alive = !asks_to_close && (!is_1_0 || asks_to_keep);
  return find_repeated(to);
}

}  // namespace

bool same_word(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return pl::to_lower(x) == pl::to_lower(y); });
}

std::optional<std::string_view> request_head::find(std::string_view name) const noexcept {
  for (const auto& h : headers)
    if (same_word(h.name, name)) return h.value;
  return std::nullopt;
}

std::size_t head_size(std::string_view text) noexcept {
  const auto end = text.find("\r\n\r\n");
  return end == std::string_view::npos ? 0 : end + 4;
}

bool has_bare_line_feed(std::string_view text) noexcept {
  for (auto at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1))
    if (at == 0 || text[at - 1] != '\r') return true;
  return false;
}

std::optional<refusal> parse_head(std::string_view text, request_head& to, const head_rules& rules) {
  to = {};
  to.headers.reserve(16);
  bool first = true;
  while (true) {
    const auto end = text.find("\r\n");
    if (end == std::string_view::npos) return refusal{400, "the head has no end"};
    const auto line = text.substr(0, end);
    text.remove_prefix(end + 2);
    if (line.find('\r') != std::string_view::npos || line.find('\n') != std::string_view::npos)
      return refusal{400, "a line of the head does not end with CR LF"};
    if (line.empty() && !first) break;
    if (auto r = first ? parse_request_line(line, to) : parse_header(line, to)) return r;
    first = false;
  }
  if (!text.empty()) return refusal{400, "the head continues after its end"};
  return interpret(to, rules);
}

std::optional<std::string> percent_decoded(std::string_view text) {
  auto out = pl::percent_decode(text);
  if (!out || !pl::is_utf8(*out) || out->find('\0') != std::string::npos) return std::nullopt;
  return out;
}

// ---------------------------------------------------------------------------------------------------------- chunks ---

chunked_body::state chunked_body::next(std::string_view& in, std::string_view& payload) {
  payload = {};
  while (!in.empty() && part_ != part::done) {
    if (part_ == part::data) {
      payload = in.substr(0, std::min<std::uint64_t>(left_, in.size()));
      in.remove_prefix(payload.size());
      left_ -= payload.size();
      if (left_ == 0) part_ = part::data_cr;
      return state::more;
    }
    const char c = in.front();
    in.remove_prefix(1);
    if (step(c) == state::broken) return state::broken;
  }
  return part_ == part::done ? state::done : state::more;
}

chunked_body::state chunked_body::step(char c) {
  const auto go = [this](part to) {
    part_ = to;
    return state::more;
  };
  const auto only = [&](char wanted, part to) { return c == wanted ? go(to) : state::broken; };
  const bool skips =
      part_ == part::space || part_ == part::extension || part_ == part::line_begin || part_ == part::trailer;
  const bool is_field = field_bytes[static_cast<unsigned char>(c)];
  if (skips && ++skipped_ > most_skipped) return state::broken;
  switch (part_) {
    case part::size:
      if (pl::hex_value(c) >= 0) {
        if (++digits_ > most_digits) return state::broken;
        left_ = left_ * 16 + static_cast<std::uint64_t>(pl::hex_value(c));
        return state::more;
      }
      if (digits_ == 0) return state::broken;
      [[fallthrough]];
    case part::space:
      if (c == ';') return go(part::extension);
      if (c == '\r') return go(part::size_end);
      return c == ' ' || c == '\t' ? go(part::space) : state::broken;
    case part::extension:
      if (c == '\r') return go(part::size_end);
      return is_field ? state::more : state::broken;
    case part::size_end:
      return c == '\n' ? begin_data() : state::broken;
    case part::data_cr:
      return only('\r', part::data_lf);
    case part::data_lf:
      return only('\n', part::size);
    case part::line_begin:
      if (c == '\r') return go(part::end_lf);
      return is_field ? go(part::trailer) : state::broken;
    case part::trailer:
      if (c == '\r') return go(part::trailer_end);
      return is_field ? state::more : state::broken;
    case part::trailer_end:
      return only('\n', part::line_begin);
    case part::end_lf:
      return only('\n', part::done);
    default:
      return state::broken;
  }
}

chunked_body::state chunked_body::begin_data() {
  digits_ = 0;
  part_ = left_ == 0 ? part::line_begin : part::data;
  return state::more;
}

}  // namespace pl::http
