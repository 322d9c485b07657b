// SPDX-License-Identifier: Apache-2.0
#include "request.hpp"

#include <pipeline/json.hpp>

#include <algorithm>
#include <charconv>

namespace http {

namespace {

constexpr std::size_t most_passed_over = std::size_t{8} * 1024;  // extensions and trailers of a body
constexpr std::size_t most_digits = 15;                          // of a chunk's size: no overflow

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

int hex_value(char c) noexcept {
  if (is_digit(c)) return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool is_token(std::string_view s) noexcept {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) {
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

// What may stand in a header's value: anything but control characters.
bool is_field_text(std::string_view s) noexcept {
  return std::all_of(s.begin(), s.end(),
                     [](char c) { return static_cast<unsigned char>(c) >= 0x20 ? c != 0x7F : c == '\t'; });
}

bool is_visible(std::string_view s) noexcept {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return u > 0x20 && u < 0x7F;
  });
}

std::string_view trimmed(std::string_view s) noexcept {
  const auto first = s.find_first_not_of(" \t");
  return first == std::string_view::npos ? std::string_view() : s.substr(first, s.find_last_not_of(" \t") - first + 1);
}

bool has_word(std::string_view list, std::string_view word) noexcept {
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    if (same_word(trimmed(list.substr(0, comma)), word)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

// "/a/b?c" and "http://host/a/b?c" as "/a/b".
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
  if (second == std::string_view::npos) return refusal{400, "the first line is not that of an HTTP request"};
  to.method = line.substr(0, first);
  const auto target = line.substr(first + 1, second - first - 1);
  const auto version = line.substr(second + 1);
  if (!is_token(to.method) || !is_visible(target)) return refusal{400, "the first line is not that of an HTTP request"};
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    if (version.starts_with("HTTP/")) return refusal{505, "HTTP/1.1 is spoken here"};
    return refusal{400, "the first line is not that of an HTTP request"};
  }
  to.path = path_of(target);
  to.keeps_alive = version == "HTTP/1.1";
  return std::nullopt;
}

std::optional<refusal> parse_header(std::string_view line, request_head& to) {
  const auto colon = line.find(':');
  // Space before the colon, and lines that begin with space, are how one server reads a header and the next one doesn't.
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
    return refusal{400, "a header is not of the form name: value"};
  const auto value = trimmed(line.substr(colon + 1));
  if (!is_field_text(value)) return refusal{400, "a header has a control character in its value"};
  if (to.headers.size() == most_headers) return refusal{431, "more than 100 headers"};
  to.headers.push_back({line.substr(0, colon), value});
  return std::nullopt;
}

std::optional<refusal> read_length(std::string_view value, request_head& to) {
  std::uint64_t n = 0;
  const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), n);
  if (value.empty() || failed != std::errc() || end != value.data() + value.size())
    return refusal{400, "Content-Length is no number"};
  if (to.length && *to.length != n) return refusal{400, "two different Content-Length"};
  to.length = n;
  return std::nullopt;
}

// What the headers say about the body and the connection.
std::optional<refusal> interpret(request_head& to) {
  const bool is_1_0 = !to.keeps_alive;
  bool asks_to_keep = false, asks_to_close = false;
  std::size_t hosts = 0;
  for (const auto& [name, value] : to.headers) {
    if (same_word(name, "content-length")) {
      if (auto r = read_length(value, to)) return r;
    } else if (same_word(name, "transfer-encoding")) {
      if (to.chunked || is_1_0 || !same_word(value, "chunked"))
        return refusal{is_1_0 || to.chunked ? 400 : 501, "Transfer-Encoding can be chunked, once, in HTTP/1.1"};
      to.chunked = true;
    } else if (same_word(name, "connection")) {
      asks_to_keep |= has_word(value, "keep-alive");
      asks_to_close |= has_word(value, "close");
    } else if (same_word(name, "expect")) {
      if (!same_word(value, "100-continue")) return refusal{417, "Expect can be 100-continue"};
      to.expects_continue = !is_1_0;
    } else if (same_word(name, "host")) {
      ++hosts;
    }
  }
  if (to.chunked && to.length) return refusal{400, "both Transfer-Encoding and Content-Length"};
  if (hosts > 1 || (hosts == 0 && !is_1_0)) return refusal{400, "a request names one Host"};
  to.keeps_alive = !asks_to_close && (!is_1_0 || asks_to_keep);
  return std::nullopt;
}

}  // namespace

bool same_word(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
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

std::optional<refusal> parse_head(std::string_view text, request_head& to) {
  to = {};
  bool first = true;
  while (true) {
    const auto end = text.find("\r\n");
    if (end == std::string_view::npos) return refusal{400, "the head has no end"};
    const auto line = text.substr(0, end);
    text.remove_prefix(end + 2);
    if (line.find_first_of("\r\n") != std::string_view::npos)
      return refusal{400, "a line of the head ends in something else than CR LF"};
    if (line.empty() && !first) break;
    if (auto r = first ? parse_request_line(line, to) : parse_header(line, to)) return r;
    first = false;
  }
  if (!text.empty()) return refusal{400, "the head goes on behind its end"};
  return interpret(to);
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1, low = high < 0 ? -1 : hex_value(text[i + 2]);
    if (low < 0) return std::nullopt;
    out.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  if (!pl::is_utf8(out) || out.find('\0') != std::string::npos) return std::nullopt;
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
  const bool passes_over = part_ == part::extension || part_ == part::line_begin || part_ == part::trailer;
  if (passes_over && ++passed_over_ > most_passed_over) return state::broken;
  switch (part_) {
    case part::size:
      if (hex_value(c) >= 0) {
        if (++digits_ > most_digits) return state::broken;
        left_ = left_ * 16 + static_cast<std::uint64_t>(hex_value(c));
        return state::more;
      }
      if (digits_ == 0) return state::broken;
      if (c == '\r') return go(part::size_end);
      return c == ';' || c == ' ' || c == '\t' ? go(part::extension) : state::broken;
    case part::extension:
      if (c == '\r') return go(part::size_end);
      return c == '\n' ? state::broken : state::more;
    case part::size_end:
      return c == '\n' ? begin_data() : state::broken;
    case part::data_cr:
      return only('\r', part::data_lf);
    case part::data_lf:
      return only('\n', part::size);
    case part::line_begin:
      if (c == '\r') return go(part::end_lf);
      return c == '\n' ? state::broken : go(part::trailer);
    case part::trailer:
      if (c == '\r') return go(part::trailer_end);
      return c == '\n' ? state::broken : state::more;
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

}  // namespace http
