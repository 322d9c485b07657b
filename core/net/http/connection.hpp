// SPDX-License-Identifier: Apache-2.0
// The server's data of a connection. Internal to the server and its conversations.
#pragma once

#include "server.hpp"

namespace pl::http {

// The server's mutex guards `fd` and `now`, and the changes of `evicted`.
struct server::connection {
  enum class request { none, ordinary, urgent };

  descriptor accepted = {};  // until a thread serves it
  int fd = -1;               // -1: the connection's thread is closing it
  std::string remote = {};
  std::atomic<bool> evicted{false};  // it serves no further request
  request now = request::none;
  activity waits = {};
};

// A place for one request among max_requests.
class server::request_slot {
 public:
  request_slot(server& of, connection& c, bool urgent) : of_(of), c_(c), granted_(of.begin_request(c, urgent)) {}
  ~request_slot() {
    if (!granted_ || of_.settings_.max_requests == 0) return;
    const std::scoped_lock lock(of_.mutex_);
    c_.now = connection::request::none;
  }
  request_slot(const request_slot&) = delete;
  request_slot& operator=(const request_slot&) = delete;
  explicit operator bool() const noexcept { return granted_; }

 private:
  server& of_;
  connection& c_;
  const bool granted_;
};

}  // namespace pl::http
