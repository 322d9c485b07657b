// SPDX-License-Identifier: Apache-2.0
//
// The endpoint for monitoring: GET /metrics, /health/live, /health/ready and a short index at /. No authentication and
// no TLS: it listens on the loopback address unless told otherwise, and shows nothing secret.
//
// Ownership: whoever calls start owns the server; destroying it stops it, within milliseconds, and waits for callbacks
//            that are running.
// Threads:   one accepts, four answer. The callbacks are called from those, several at a time. They mustn't block, nor
//            take a lock that is held while the server is destroyed.
// Errors:    start returns them. Later ones (no more file descriptors) are ridden out. A throwing callback gives 500.
// Limits:    one request a connection, 16 KiB, 2 seconds to send it, 5 in all; 32 connections wait, more are closed at
//            once: clients can't take the host's memory, threads or descriptors.
#pragma once

#include "telemetry/result.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pl::telemetry {

// Whether all pipelines do their work: `waiting` names what isn't ready and why; empty: ready.
struct not_ready {
  std::string pipeline, node, reason;  // node may be empty
};
struct readiness {
  std::vector<not_ready> waiting;
  bool ready() const noexcept { return waiting.empty(); }
};
std::string to_json(const readiness& state);  // {"ready":false,"waiting":[{"pipeline":...,"node":...,"reason":...}]}

// Main's sign of life, for /health/live: main calls beat() in its loop, any thread asks alive().
class heartbeat {
 public:
  heartbeat() noexcept { beat(); }
  void beat() noexcept;
  bool alive(std::chrono::nanoseconds within = std::chrono::seconds(30)) const noexcept;

 private:
  std::atomic<std::int64_t> last_{0};
};

struct http_handlers {
  std::function<std::string()> metrics = nullptr;
  std::function<readiness()> ready = nullptr;  // unset: ready
  std::function<bool()> live = nullptr;        // unset: live as long as it answers
};

// `http.listen`: "127.0.0.1:9464", "[::1]:9464", "localhost:0" (any free port), ":9464" (all IPv4 addresses), "off".
struct listen_address {
  std::string host;
  std::uint16_t port = 0;
  bool off = false;
  bool operator==(const listen_address&) const = default;
};
result<listen_address> parse_listen(std::string_view text);
std::string to_string(const listen_address& address);

class http_server {
 public:
  // Binds, and answers from when it returns. The message says what to do when that fails.
  static result<std::unique_ptr<http_server>> start(const listen_address& where, http_handlers handlers);
  static result<std::unique_ptr<http_server>> start(std::string_view where, http_handlers handlers);
  ~http_server();
  http_server(const http_server&) = delete;
  http_server& operator=(const http_server&) = delete;

  const listen_address& address() const noexcept;  // with the port that it got

 private:
  class state;
  explicit http_server(std::unique_ptr<state> running) noexcept;
  std::unique_ptr<state> state_;
};

}  // namespace pl::telemetry
