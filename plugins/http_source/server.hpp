// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 server for requests with bodies: one thread a connection, so that many can wait for one sync of the disk.
//
// Threads:   one accepts; each connection has its own, and calls the service from it.
// Limits:    connections, a request's bytes (compressed and not), its time, and the bytes that all of them hold. A new
//            connection takes the place of the one that has been idle for longest.
// Stopping:  requests that have begun are read and answered, within `patience`; then all connections are closed.
#pragma once

#include "request.hpp"
#include "stream.hpp"

#include <pipeline/result.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace http {

struct answer {
  int status = 200;
  std::string body;                                          // JSON
  std::vector<std::pair<std::string, std::string>> headers;  // more than the usual ones
};
[[nodiscard]] std::string_view reason_of(int status) noexcept;
[[nodiscard]] std::string text_of(const answer& a, bool keeps_alive);

// What the requests are for. Called from many threads at once.
class service {
 public:
  virtual ~service() = default;
  // Before the body is read: an answer that refuses it, or nothing.
  virtual std::optional<answer> admit(const request_head& head) = 0;
  // The body, decompressed.
  virtual answer take(const request_head& head, std::string_view remote, std::string_view body) = 0;
  // The answer to what the server itself refuses: broken requests, too large ones.
  virtual answer refuse(const refusal& why) = 0;
  // Every answer, before it is sent.
  virtual void answered(int status, std::chrono::nanoseconds after) = 0;
  virtual void connections(std::size_t open) = 0;
  virtual void handshake_failed(std::string_view remote, std::string_view why) = 0;
};

struct server_settings {
  std::string host;
  std::uint16_t port = 0;
  bool shared_port = false;  // with other instances (SO_REUSEPORT)
  std::size_t max_body = 0, max_connections = 0, max_memory = 0;
  std::chrono::nanoseconds request_timeout{}, idle_timeout{};
  std::chrono::nanoseconds patience = std::chrono::seconds(5);
};

// "127.0.0.1:8080", "[::1]:8080", ":8080" (all addresses).
struct address {
  std::string host;
  std::uint16_t port = 0;
};
[[nodiscard]] std::optional<address> parse_address(std::string_view text);

class server {
 public:
  // Listens, and answers from when it returns. `tls` answers the settings for the next connection; null: none.
  using tls_source = std::function<std::shared_ptr<SSL_CTX>()>;
  static pl::result<std::unique_ptr<server>> start(server_settings given, service& to, tls_source tls);
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;
  [[nodiscard]] const std::string& bound() const noexcept { return bound_; }  // address and port

 private:
  struct connection;
  struct forget_descriptor;
  using connections = std::list<connection>;

  server(server_settings given, service& to, tls_source tls, descriptor listening);
  void accept_all();
  bool accept_one();
  void serve(descriptor fd, std::string remote);
  void reap();
  bool make_room();
  void run(connections::iterator me, descriptor fd, const std::string& remote);

  friend class conversation;
  const server_settings settings_;
  service& service_;
  const tls_source tls_;
  descriptor listening_;
  std::string bound_;
  const flag stopping_, killing_;  // stopping: begin nothing; killing: end everything
  std::atomic<bool> ends_{false};
  std::atomic<std::size_t> memory_{0};

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  connections open_, done_;
  std::thread acceptor_;
};

}  // namespace http
