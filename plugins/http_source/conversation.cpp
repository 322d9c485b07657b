// SPDX-License-Identifier: Apache-2.0
#include "conversation.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>

namespace http {

namespace {

using clock = std::chrono::steady_clock;

constexpr auto time_to_answer = std::chrono::seconds(10);
constexpr auto time_to_hang_up = std::chrono::seconds(1);
constexpr std::uint64_t largest_skipped = std::uint64_t{64} * 1024;
constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";

std::string http_date() {
  const auto now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 40> text{};
  static constexpr std::array<const char*, 7> days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::snprintf(text.data(), text.size(), "%s, %02d %s %d %02d:%02d:%02d GMT",
                days[static_cast<std::size_t>(utc.tm_wday)], utc.tm_mday, months[static_cast<std::size_t>(utc.tm_mon)],
                utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
  return text.data();
}

}  // namespace

std::string_view reason_of(int status) noexcept {
  static constexpr std::array<std::pair<int, std::string_view>, 16> reasons{{{200, "OK"},
                                                                             {204, "No Content"},
                                                                             {400, "Bad Request"},
                                                                             {401, "Unauthorized"},
                                                                             {404, "Not Found"},
                                                                             {405, "Method Not Allowed"},
                                                                             {408, "Request Timeout"},
                                                                             {413, "Content Too Large"},
                                                                             {415, "Unsupported Media Type"},
                                                                             {417, "Expectation Failed"},
                                                                             {429, "Too Many Requests"},
                                                                             {431, "Request Header Fields Too Large"},
                                                                             {500, "Internal Server Error"},
                                                                             {501, "Not Implemented"},
                                                                             {503, "Service Unavailable"},
                                                                             {505, "HTTP Version Not Supported"}}};
  for (const auto& [code, reason] : reasons)
    if (code == status) return reason;
  return "Unknown";
}

std::string text_of(const answer& a, bool keeps_alive) {
  auto text =
      "HTTP/1.1 " + std::to_string(a.status) + " " + std::string(reason_of(a.status)) + "\r\nDate: " + http_date();
  if (a.status != 204) text += "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(a.body.size());
  for (const auto& [name, value] : a.headers) text.append("\r\n").append(name).append(": ").append(value);
  if (!keeps_alive) text += "\r\nConnection: close";
  text += "\r\n\r\n";
  if (a.status != 204) text += a.body;
  return text;
}

conversation::conversation(server& at, stream& with, const std::string& remote, std::atomic<std::int64_t>& idle)
    : server_(at), stream_(with), remote_(remote), idle_(idle) {}

void conversation::hold() {
  const auto opened = stream_.open(clock::now() + server_.settings_.request_timeout, server_.stopping_.fd());
  if (opened != stream::status::ok) {
    if (opened == stream::status::failed) server_.service_.handshake_failed(remote_, stream_.failure());
    return;
  }
  while (await_request() && one_request() == next::request) {
  }
}

// Until the first byte of the next request. False: there won't be one.
bool conversation::await_request() {
  while (true) {
    // Some clients end a request with an empty line too many (RFC 9112, 2.2).
    while (in_.starts_with("\r\n")) in_.erase(0, 2);
    if (!in_.empty() && in_ != "\r") return true;
    idle_ = clock::now().time_since_epoch().count();
    const auto s = stream_.read(in_, clock::now() + server_.settings_.idle_timeout, server_.stopping_.fd());
    idle_ = 0;
    if (s != stream::status::ok) return false;
  }
}

conversation::next conversation::one_request() {
  const auto until = clock::now() + server_.settings_.request_timeout;
  began_ = clock::now();
  received_ = 0;
  std::string head_text;
  request_head head;
  bool gone = false;
  auto refused = read_head(until, head_text, gone);
  if (gone) return next::end;
  if (!refused) refused = parse_head(head_text, head);
  if (refused) return respond(server_.service_.refuse(*refused), false);
  if (auto a = server_.service_.admit(head)) return respond(*a, skip_body(head, until) && head.keeps_alive);
  refused = read_body(head, until, gone);
  if (gone) return next::end;
  const auto a = refused ? server_.service_.refuse(*refused) : server_.service_.take(head, remote_, body_);
  give_memory_back();
  return respond(a, head.keeps_alive && !refused);
}

// Past the body of a request that was refused before it came, where that is small and surely comes: then the connection is
// good for another request.
bool conversation::skip_body(const request_head& head, deadline until) {
  if (!head.has_body()) return true;
  if (head.chunked || head.expects_continue || *head.length > largest_skipped) return false;
  bool gone = false;
  while (in_.size() < *head.length)
    if (read_more(until, gone) || gone) return false;
  in_.erase(0, static_cast<std::size_t>(*head.length));
  return true;
}

std::optional<refusal> conversation::read_head(deadline until, std::string& head, bool& gone) {
  std::size_t size = 0;
  while ((size = head_size(in_)) == 0) {
    if (in_.size() > longest_head) return refusal{431, "the head of the request has more than 16 KiB"};
    if (auto r = read_more(until, gone); r || gone) return r;
  }
  if (size > longest_head) return refusal{431, "the head of the request has more than 16 KiB"};
  head = in_.substr(0, size);
  in_.erase(0, size);
  return std::nullopt;
}

std::optional<refusal> conversation::read_more(deadline until, bool& gone) {
  const auto s = stream_.read(in_, until, server_.killing_.fd());
  if (s == stream::status::late) return refusal{408, "the request did not arrive in time (timeout)"};
  gone = s != stream::status::ok;
  return std::nullopt;
}

std::optional<refusal> conversation::read_body(const request_head& head, deadline until, bool& gone) {
  const auto limit = server_.settings_.max_body;
  if (head.length && *head.length > limit)
    return refusal{413,
                   "the body has " + std::to_string(*head.length) + " bytes; max_body is " + std::to_string(limit)};
  inflate_.reset();
  if (const auto coding = head.find("content-encoding"); coding && !same_word(*coding, "identity")) inflate_.emplace();
  if (head.expects_continue && in_.empty() && head.has_body() &&
      stream_.write(go_on, until, server_.killing_.fd()) != stream::status::ok) {
    gone = true;
    return std::nullopt;
  }
  chunked_body chunks;
  auto left = head.chunked ? std::size_t{1} : static_cast<std::size_t>(head.length.value_or(0));
  while (left != 0) {
    if (in_.empty())
      if (auto r = read_more(until, gone); r || gone) return r;
    std::string_view rest = in_, piece;
    if (head.chunked) {
      const auto s = chunks.next(rest, piece);
      if (s == chunked_body::state::broken) return refusal{400, "the body is not in chunks as its head says"};
      left = s == chunked_body::state::done ? 0 : 1;
    } else {
      piece = rest.substr(0, left);
      rest.remove_prefix(piece.size());
      left -= piece.size();
    }
    if (auto r = take_piece(piece)) return r;
    in_.erase(0, in_.size() - rest.size());
  }
  if (inflate_ && !inflate_->at_end()) return refusal{400, "the body ends in the middle of its gzip stream"};
  return std::nullopt;
}

std::optional<refusal> conversation::take_piece(std::string_view piece) {
  received_ += piece.size();
  if (received_ > server_.settings_.max_body)
    return refusal{413, "the body has more bytes than max_body, " + std::to_string(server_.settings_.max_body)};
  if (!inflate_) return append(piece);
  std::optional<refusal> refused;
  const auto r = inflate_->feed(piece, [&](std::string_view plain) { return !(refused = append(plain)); });
  return r == inflater::result::broken ? refusal{400, "the body is no gzip"} : refused;
}

std::optional<refusal> conversation::append(std::string_view piece) {
  if (piece.size() > server_.settings_.max_body - body_.size())
    return refusal{
        413, "the body has more bytes, decompressed, than max_body, " + std::to_string(server_.settings_.max_body)};
  reserved_ += piece.size();
  if (server_.memory_.fetch_add(piece.size()) + piece.size() > server_.settings_.max_memory)
    return refusal{503, "too many requests are on their way; send it again later"};
  body_ += piece;
  return std::nullopt;
}

void conversation::give_memory_back() noexcept {
  server_.memory_ -= std::exchange(reserved_, 0);
  body_.clear();
  if (body_.capacity() > (1U << 20U)) body_.shrink_to_fit();
}

conversation::next conversation::respond(const answer& a, bool keeps_alive) {
  keeps_alive = keeps_alive && !server_.ends_;
  server_.service_.answered(a.status, clock::now() - began_);  // before: whoever has the answer finds it counted
  const auto sent = stream_.write(text_of(a, keeps_alive), clock::now() + time_to_answer, server_.killing_.fd());
  if (sent != stream::status::ok) return next::end;
  if (keeps_alive) return next::request;
  stream_.hang_up(clock::now() + time_to_hang_up, server_.killing_.fd());
  return next::end;
}

}  // namespace http
