// SPDX-License-Identifier: Apache-2.0
#include "telemetry/http_server.hpp"

#include "telemetry/gzip.hpp"

#include <pipeline/text.hpp>

#include <fmt/format.h>
#include <http/listen.hpp>
#include <http/server.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

namespace pl::telemetry {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t handler_calls = 2;  // at once
constexpr std::size_t max_requests = 32;
constexpr std::size_t max_connections = 128 + 2 * max_requests;
constexpr std::string_view urgent_paths = "/health/";
constexpr std::size_t min_compressed = 1024;
constexpr std::string_view text_type = "text/plain; charset=utf-8";

bool is_zero(std::string_view quality) noexcept { return quality.find_first_not_of("0.") == quality.npos; }

// Remove the text before `separator`, and the separator, from `rest`. Return the text without spaces around it.
std::string_view next_part(std::string_view& rest, char separator) {
  const auto end = std::min(rest.find(separator), rest.size());
  const auto part = trim(rest.substr(0, end), " \t");
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return part;
}

bool accepts_gzip(std::string_view accept_encoding) {
  while (!accept_encoding.empty()) {
    auto parameters = next_part(accept_encoding, ',');
    if (!http::same_word(next_part(parameters, ';'), "gzip")) continue;
    while (!parameters.empty()) {
      auto value = next_part(parameters, ';');
      if (http::same_word(next_part(value, '='), "q")) return !is_zero(value);
    }
    return true;
  }
  return false;
}

// Limits the number of concurrent calls.
class gate {
 public:
  class pass {
   public:
    explicit pass(gate& of) : of_(of) {
      std::unique_lock lock(of_.mutex_);
      of_.changed_.wait(lock, [&] { return of_.inside_ < handler_calls; });
      ++of_.inside_;
    }
    ~pass() {
      {
        const std::scoped_lock lock(of_.mutex_);
        --of_.inside_;
      }
      of_.changed_.notify_one();
    }
    pass(const pass&) = delete;
    pass& operator=(const pass&) = delete;

   private:
    gate& of_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t inside_ = 0;
};

// Passes requests to the handler.
class endpoint final : public http::service {
 public:
  explicit endpoint(http_handler handler) : handler_(std::move(handler)) {}

  void stop() noexcept { stops_ = true; }  // requests that wait for their turn are no longer processed

  std::optional<http::response> admit(const http::request_head& head) override {
    std::optional<gate::pass> turn;
    if (!is_urgent(head)) turn.emplace(calls_);
    if (stops_) return fixed(503, "the server stops\n");
    const http_request asked{head.method == "HEAD" ? "GET" : head.method, head.path};
    try {
      return compressed(handler_(asked), accepts_gzip(head.find("accept-encoding").value_or("")));
    } catch (...) {  // what() is not for clients
      return fixed(500, "internal error\n");
    }
  }

  http::response take(const http::request_head&, std::string_view, std::string_view, http::memory_claim&) override {
    return fixed(501, "bodies are not supported\n");  // not called: admit always returns a response
  }

  std::optional<http::response> refuse(const http::refusal& why) override {
    if (why.status == 408) return std::nullopt;
    if (why.status == 431) return fixed(431, "request too large\n");
    return why.status == 503 ? fixed(503, "too many requests\n") : fixed(400, "bad request\n");
  }

  bool is_urgent(const http::request_head& head) override { return head.path.starts_with(urgent_paths); }

 private:
  static http::response fixed(int status, std::string body) {
    return {.status = status, .body = std::move(body), .content_type = text_type};
  }

  http::response compressed(http_response from, bool compress) {
    http::response to{.status = static_cast<int>(from.status), .content_type = from.content_type};
    if (from.body.size() >= min_compressed) {
      to.headers.emplace_back("Vary", "Accept-Encoding");
      if (compress) {
        to.headers.emplace_back("Content-Encoding", "gzip");
        from.body = gzip_.compress(from.body);
      }
    }
    to.body = std::move(from.body);
    return to;
  }

  const http_handler handler_;
  gate calls_;
  gzip gzip_;
  std::atomic<bool> stops_{false};
};

http::server_settings settings() {
  http::server_settings s;
  s.max_connections = max_connections;
  s.max_requests = max_requests;
  s.keep_alive = false;
  s.rules.host_required = false;  // simple probes often leave it out
  s.request_timeout = s.idle_timeout = 2s;
  s.response_timeout = 5s;
  s.patience = 0s;
  return s;
}

std::string advice_for(int code) {
  if (code == EADDRINUSE) return "another host may be running. Set http.listen to another port, or http.listen: off";
  if (code == EACCES) return "ports below 1024 need privileges. Set http.listen to a higher port, or http.listen: off";
  if (code == EADDRNOTAVAIL)
    return "this machine does not have this address. Change http.listen, or set http.listen: off";
  return "change http.listen, or set http.listen: off";
}

failure cannot_listen(const listen_address& where, std::string_view why, std::string_view advice) {
  return fatal(fmt::format("can't listen on {}: {}: {}", to_string(where), why, advice));
}

}  // namespace

class http_server::state {
 public:
  state(const listen_address& where, http_handler handler, descriptor listening)
      : where_(where),
        endpoint_(std::move(handler)),
        server_(http::server::start(settings(), endpoint_, nullptr, std::move(listening))) {
    if (const auto bound = parse_host_port(server_->bound())) where_.port = bound->port;
  }
  ~state() { endpoint_.stop(); }
  state(const state&) = delete;
  state& operator=(const state&) = delete;

  const listen_address& address() const noexcept { return where_; }

 private:
  listen_address where_;
  endpoint endpoint_;
  std::unique_ptr<http::server> server_;  // the last member: its destructor ends the calls of the endpoint
};

http_server::http_server(std::unique_ptr<state> running) noexcept : state_(std::move(running)) {}
http_server::~http_server() = default;

const listen_address& http_server::address() const noexcept { return state_->address(); }

result<std::unique_ptr<http_server>> http_server::start(const listen_address& where, http_handler handler) {
  if (where.off) return fatal("http.listen is off: there is no server to start");
  descriptor listening;
  if (const auto problem = http::listen_on({where.host, where.port}, false, listening))
    return cannot_listen(where, problem->why, advice_for(problem->code));
  try {
    auto running = std::make_unique<state>(where, std::move(handler), std::move(listening));
    return std::unique_ptr<http_server>(new http_server(std::move(running)));
  } catch (const std::exception& failure) {
    return cannot_listen(where, failure.what(), "raise the limits of open files and threads (ulimit -n, ulimit -u)");
  }
}

result<std::unique_ptr<http_server>> http_server::start(std::string_view where, http_handler handler) {
  const auto address = parse_listen(where);
  if (!address) return address.why();
  return start(*address, std::move(handler));
}

}  // namespace pl::telemetry
