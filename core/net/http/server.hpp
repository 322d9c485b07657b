// SPDX-License-Identifier: Apache-2.0
// The HTTP/1.1 server of the monitoring endpoint and of http_source, with or without TLS.
//
// Threads:   one thread accepts connections. Each connection has a thread, which calls the service, so that many requests
//            can wait for the same disk sync, and none delays another. A thread whose connection has ended waits some
//            seconds for another one.
// Limits:    the number of connections, in total and for each client address, of requests in progress, the size of a
//            request (compressed and decompressed), the duration of a TLS handshake, of a request and of sending its
//            response, and the memory of all requests together.
// At the limit of connections, a new connection replaces one that has not completed its TLS handshake or the head of a
//            request within a second, otherwise the one that has been idle for longest, otherwise the oldest incomplete
//            one, which has had at least 50 ms, otherwise one that does not read its response for a second, otherwise
//            one that has sent nothing of its request's body for two seconds. If all are busy, new connections wait.
// Stopping:  requests that have begun are read and completed, within `patience`; then all connections are closed. The
//            destructor waits for running calls of the service. The service is never called afterwards.
#pragma once

#include "request.hpp"
#include "response.hpp"
#include "stream.hpp"

#include <pipeline/posix.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace pl::http {

// memory_claim reserves the memory of one request from the limit of all requests, before the memory is used.
class memory_claim {
 public:
  memory_claim(std::atomic<std::size_t>& used, std::size_t limit) noexcept : used_(used), limit_(limit) {}
  ~memory_claim() { release(); }
  memory_claim(const memory_claim&) = delete;
  memory_claim& operator=(const memory_claim&) = delete;

  // Reserve more. Return false, and reserve nothing, if the limit would be exceeded.
  [[nodiscard]] bool more(std::size_t bytes) noexcept {
    if (used_.fetch_add(bytes) + bytes > limit_) {
      used_ -= bytes;
      return false;
    }
    mine_ += bytes;
    return true;
  }
  void release() noexcept { used_ -= std::exchange(mine_, 0); }

 private:
  std::atomic<std::size_t>& used_;
  const std::size_t limit_;
  std::size_t mine_ = 0;
};

// Why the server closed a connection whose client was not done.
enum class early_close { handshake_timeout, evicted, address_limit };

inline constexpr std::string_view too_many_requests = "too many requests are in flight; send it again later";

// The handler of the requests. It is called from many threads at once.
class service {
 public:
  virtual ~service() = default;
  // Called before the body is read. Return the response, or nothing to read the body.
  virtual std::optional<response> admit(const request_head& head) = 0;
  // Process a request that was admitted; `body` is decompressed. Reserve what the request needs beyond its body from
  // `memory`.
  virtual response take(const request_head& head, std::string_view remote, std::string_view body,
                        memory_claim& memory) = 0;
  // Return the response to a request that the server itself rejects, such as a broken or too large one. Return nothing
  // to close the connection without a response.
  virtual std::optional<response> refuse(const refusal& why) = 0;
  // Urgent requests have a limit of their own: see max_requests.
  virtual bool is_urgent(const request_head&) { return false; }
  // Called for every response before it is sent.
  virtual void responded(int /*status*/, std::chrono::nanoseconds /*after*/) {}
  virtual void connections(std::size_t /*open*/) {}
  virtual void closed_early(early_close /*why*/) {}
  virtual void handshake_failed(std::string_view /*remote*/, std::string_view /*why*/) {}
};

struct server_settings {
  std::size_t max_body = 0, max_memory = 0;
  std::size_t max_connections = 0;
  std::size_t max_per_address = 0;  // connections of one client address; 0: no limit
  // Requests that are processed or answered at once, and as many urgent ones. A further one replaces the oldest whose
  // client does not read the response; if there is none, it gets status 503. 0: no limit.
  std::size_t max_requests = 0;
  bool keep_alive = true;  // false: one request per connection
  head_rules rules = {};
  std::chrono::nanoseconds request_timeout{}, idle_timeout{};
  std::chrono::nanoseconds response_timeout = std::chrono::seconds(10);
  std::chrono::nanoseconds patience = std::chrono::seconds(5);
};

// When a connection's current wait began; 0: it does not wait. Steady clock, in its ticks.
struct activity {
  std::atomic<std::int64_t> idle{0};        // for the first byte of a further request
  std::atomic<std::int64_t> incomplete{0};  // for the rest of the TLS handshake or of a request's head
  std::atomic<std::int64_t> receiving{0};   // for the next bytes of a request's body
  std::atomic<std::int64_t> sending{0};     // for the client to read a response
};

class server {
 public:
  // Accept connections of `listening` (listen.hpp). `tls` returns the TLS settings for the next connection; null: no
  // TLS. Throws std::system_error if there are too few threads or descriptors.
  using tls_source = std::function<std::shared_ptr<SSL_CTX>()>;
  static std::unique_ptr<server> start(server_settings given, service& to, tls_source tls, descriptor listening);
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;
  [[nodiscard]] const std::string& bound() const noexcept { return bound_; }  // address and port

 private:
  struct connection;
  struct clear_descriptor;
  class request_slot;
  using connections = std::list<connection>;
  using threads = std::list<std::thread>;

  server(server_settings given, service& to, tls_source tls, descriptor listening);
  void accept_all();
  bool accept_one();
  void serve(descriptor fd, std::string remote);
  void reap();
  bool make_room();
  [[nodiscard]] bool replaced_one_ends() const;
  connection* victim(std::string_view remote);
  bool has_room_for(std::string_view remote);
  void evict(connection& c, int how);
  bool begin_request(connection& c, bool urgent);
  void work(threads::iterator me);
  void run(connection& c);

  friend class conversation;
  const server_settings settings_;
  service& service_;
  const tls_source tls_;
  descriptor listening_;
  std::string bound_;
  const flag stopping_, killing_;  // stopping: begin no new request; killing: end all connections
  std::atomic<bool> ends_{false};
  std::atomic<std::size_t> memory_{0};

  std::mutex mutex_;  // guards the members below
  std::condition_variable changed_, accepted_;
  connections open_;
  std::deque<connections::iterator> waiting_;  // accepted, and no thread serves them yet
  threads workers_, done_;                     // done_: to be joined
  std::size_t idle_workers_ = 0;               // wait for a connection
  connection* replaced_ = nullptr;             // the one that make_room has closed last, until it has ended
  std::chrono::steady_clock::time_point replaced_at_{};
  std::thread acceptor_;
};

}  // namespace pl::http
