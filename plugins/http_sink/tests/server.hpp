// SPDX-License-Identifier: Apache-2.0
// A test HTTP server that returns the handler's responses and records all requests.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace http_sink::testing {

struct received {
  std::string method, target, body;
  std::map<std::string, std::string> headers;  // names in lower case
};

struct response {
  int status = 200;  // 0: close the connection; negative: send no response
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string body = {};
};

class server {
 public:
  using handler = std::function<response(const received&)>;
  explicit server(handler h = nullptr);
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::vector<received> all() const;
  [[nodiscard]] std::vector<received> taken() const;  // answered with 2xx
  [[nodiscard]] int connections() const { return connections_; }

 private:
  void accept_all();
  void serve(int fd);
  bool read_request(int fd, std::string& in, received& to);

  handler handler_;
  int listening_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> connections_{0};
  mutable std::mutex mutex_;
  std::vector<received> all_, taken_;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace http_sink::testing
