// SPDX-License-Identifier: Apache-2.0
#include "conversation.hpp"

#include <algorithm>
#include <functional>
#include <utility>

namespace pl::http {

namespace {

using clock = std::chrono::steady_clock;

constexpr auto time_to_shake_hands = std::chrono::seconds(5);
constexpr auto time_to_hang_up = std::chrono::seconds(1);
constexpr std::uint64_t largest_skipped = std::uint64_t{64} * 1024;
constexpr std::string_view continue_response = "HTTP/1.1 100 Continue\r\n\r\n";

constexpr std::size_t small_response = std::size_t{16} * 1024;  // sent together with its head

std::int64_t now_in_ticks() { return clock::now().time_since_epoch().count(); }

// Sends the pieces of a response that has no end.
class sending_stream final : public body_stream {
 public:
  using sender = std::function<stream::status(std::string_view)>;
  sending_stream(sender send, const std::atomic<bool>& ends) : send_(std::move(send)), ends_(ends) {}
  bool send(std::string_view piece) override { return !ends_ && send_(piece) == stream::status::ok; }
  [[nodiscard]] bool stopping() const noexcept override { return ends_; }

 private:
  const sender send_;
  const std::atomic<bool>& ends_;
};

}  // namespace

conversation::conversation(server& at, stream& with, server::connection& of)
    : server_(at), stream_(with), me_(of), waits_(of.waits), memory_(at.memory_, at.settings_.max_memory) {}

void conversation::run() {
  const auto time = std::min<std::chrono::nanoseconds>(server_.settings_.request_timeout, time_to_shake_hands);
  const auto opened = stream_.open(clock::now() + time, server_.stopping_.fd());
  if (opened != stream::status::ok) {
    if (opened == stream::status::late) server_.service_.closed_early(early_close::handshake_timeout);
    if (opened == stream::status::failed) server_.service_.handshake_failed(me_.remote, stream_.failure());
    return;
  }
  while (await_request() && one_request() == next::request) {
  }
  if (!hangs_up_) return;
  waits_.idle = now_in_ticks();
  stream_.hang_up(clock::now() + time_to_hang_up, server_.killing_.fd());
}

// Wait for the first byte of the next request. Return false if the connection ends without one. Until its first request,
// a connection counts as incomplete, not as idle.
bool conversation::await_request() {
  bool skipped = false;  // one empty line, which some clients send after a request (RFC 9112, 2.2)
  while (true) {
    if (!skipped && in_.starts_with("\r\n")) {
      in_.erase(0, 2);
      skipped = true;
    }
    if (!in_.empty() && (skipped || in_ != "\r")) return true;
    if (served_) waits_.idle = now_in_ticks();
    const auto s = stream_.read(in_, clock::now() + server_.settings_.idle_timeout, server_.stopping_.fd());
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
  if (served_) waits_.incomplete = now_in_ticks();
  waits_.idle = 0;
  auto refused = read_head(until, head_text, gone);
  waits_.incomplete = 0;
  served_ = true;
  if (gone) return next::end;
  if (me_.evicted) {
    // Requests that had already arrived are no longer in the server's counts. Responses that were sent still arrive.
    hangs_up_ = true;
    return next::end;
  }
  if (!refused) refused = parse_head(head_text, head, server_.settings_.rules);
  if (refused) return refuse(*refused);
  auto& service = server_.service_;
  const server::request_slot slot(server_, me_, service.is_urgent(head));
  if (!slot) return refuse({503, std::string(too_many_requests)});
  const bool keeps_alive = head.keeps_alive && server_.settings_.keep_alive, head_only = head.method == "HEAD";
  if (const auto a = service.admit(head)) return respond(*a, keeps_alive && skip_body(head), head_only);
  refused = read_body(head, until, gone);
  if (gone) return next::end;
  if (refused) return refuse(*refused);
  const auto a = service.take(head, me_.remote, body_, memory_);
  release_memory();
  return respond(a, keeps_alive, head_only);
}

// Skip the body of a request that was rejected by its head, so that the connection can be used for another request.
// Return false if the body is large, has no known length, may not be sent, or has not arrived: a client without
// authentication must not delay the response.
bool conversation::skip_body(const request_head& head) {
  if (!head.has_body()) return true;
  if (head.chunked || head.expects_continue || *head.length > largest_skipped) return false;
  auto left = static_cast<std::size_t>(*head.length);
  while (true) {
    const auto skipped = std::min(left, in_.size());
    in_.erase(0, skipped);
    left -= skipped;
    if (left == 0) return true;
    if (stream_.read(in_, clock::now(), server_.killing_.fd()) != stream::status::ok) return false;
  }
}

std::optional<refusal> conversation::read_head(deadline until, std::string& head, bool& gone) {
  std::size_t size = 0;
  while ((size = head_size(in_)) == 0) {
    if (in_.size() > longest_head) return refusal{431, "the head of the request has more than 16 KiB"};
    if (in_.starts_with("\r\n")) return refusal{400, "the first line is empty"};
    if (has_bare_line_feed(in_)) return refusal{400, "a line of the head does not end with CR LF"};
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
  if (head.expects_continue && in_.empty() && head.has_body()) {
    // The wait begins before the client has the response. Otherwise this thread, if it is delayed, would appear to wait
    // for less time than a younger connection.
    waits_.receiving = now_in_ticks();
    gone = stream_.write(continue_response, until, server_.killing_.fd()) != stream::status::ok;
    if (gone) return std::nullopt;
  }
  longest_ = inflate_ || head.chunked ? limit : static_cast<std::size_t>(head.length.value_or(0));
  chunked_body chunks;
  auto left = head.chunked ? std::size_t{1} : static_cast<std::size_t>(head.length.value_or(0));
  while (left != 0) {
    if (in_.empty()) {
      if (waits_.receiving == 0) waits_.receiving = now_in_ticks();
      auto r = read_more(until, gone);
      waits_.receiving = 0;
      if (r || gone) return r;
    }
    std::string_view rest = in_;
    if (head.chunked) {
      if (auto r = take_chunks(chunks, rest, left)) return r;
    } else {
      const auto piece = rest.substr(0, left);
      rest.remove_prefix(piece.size());
      left -= piece.size();
      if (auto r = take_piece(piece)) return r;
    }
    in_.erase(0, in_.size() - rest.size());
  }
  if (inflate_ && !inflate_->at_end()) return refusal{400, "the body ends in the middle of its gzip stream"};
  return std::nullopt;
}

// Take all chunks that have arrived, so that their bytes are removed from the input only once: chunks may be tiny.
std::optional<refusal> conversation::take_chunks(chunked_body& chunks, std::string_view& rest, std::size_t& left) {
  while (left != 0 && !rest.empty()) {
    std::string_view piece;
    const auto s = chunks.next(rest, piece);
    if (s == chunked_body::state::broken) return refusal{400, "the body is not correctly chunked"};
    left = s == chunked_body::state::done ? 0 : 1;
    if (auto r = take_piece(piece)) return r;
  }
  return std::nullopt;
}

std::optional<refusal> conversation::take_piece(std::string_view piece) {
  received_ += piece.size();
  if (received_ > server_.settings_.max_body)
    return refusal{413, "the body has more bytes than max_body, " + std::to_string(server_.settings_.max_body)};
  if (!inflate_) return append(piece);
  std::optional<refusal> refused;
  const auto r = inflate_->feed(piece, [&](std::string_view plain) { return !(refused = append(plain)); });
  return r == inflater::result::broken ? refusal{400, "the body is not valid gzip"} : refused;
}

std::optional<refusal> conversation::append(std::string_view piece) {
  if (piece.size() > server_.settings_.max_body - body_.size())
    return refusal{413,
                   "the decompressed body has more bytes than max_body, " + std::to_string(server_.settings_.max_body)};
  // Reserve the memory that the text allocates, which grows in larger steps.
  if (const auto size = body_.size() + piece.size(); size > claimed_) {
    const auto grown = std::max(size, std::min(2 * size, longest_));
    if (!memory_.more(grown - claimed_)) return refusal{503, std::string(too_many_requests)};
    claimed_ = grown;
    body_.reserve(grown);
  }
  body_ += piece;
  return std::nullopt;
}

void conversation::release_memory() noexcept {
  memory_.release();
  claimed_ = 0;
  body_.clear();
  if (body_.capacity() > (1U << 16U)) body_.shrink_to_fit();
}

conversation::next conversation::refuse(const refusal& why) {
  release_memory();
  const auto a = server_.service_.refuse(why);
  return a ? respond(*a, false) : next::end;
}

conversation::next conversation::respond(const response& a, bool keeps_alive, bool head_only) {
  keeps_alive = keeps_alive && !server_.ends_ && !a.stream;
  // Count the response before sending it, so that the metrics include it when the client receives it.
  server_.service_.responded(a.status, clock::now() - began_);
  // When the client has the response, the connection is idle: a new connection may replace it.
  if (keeps_alive) waits_.idle = now_in_ticks();
  const auto sent = send(a, keeps_alive, head_only);
  if (sent != stream::status::ok) return next::end;
  hangs_up_ = !keeps_alive;
  return keeps_alive ? next::request : next::end;
}

stream::status conversation::send(const response& a, bool keeps_alive, bool head_only) {
  const auto write = [this](std::string_view bytes) {
    waits_.sending = now_in_ticks();
    const auto s = stream_.write(bytes, clock::now() + server_.settings_.response_timeout, server_.killing_.fd());
    waits_.sending = 0;
    return s;
  };
  const bool has_body = !head_only && a.status != 204;
  auto text = head_of(a, keeps_alive);
  if (has_body && a.body.size() <= small_response) text += a.body;
  auto s = write(text);
  if (s == stream::status::ok && has_body && a.body.size() > small_response) s = write(a.body);
  if (s != stream::status::ok || !has_body || !a.stream) return s;
  sending_stream pieces(write, server_.ends_);
  a.stream(pieces);
  return stream::status::ok;
}

}  // namespace pl::http
