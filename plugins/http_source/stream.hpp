// SPDX-License-Identifier: Apache-2.0
// A connection's bytes, with or without TLS: each wait has a deadline, and ends when it is time to stop.
#pragma once

#include <pipeline/result.hpp>

#include <openssl/ssl.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

namespace http {

class descriptor {
 public:
  explicit descriptor(int fd = -1) noexcept : fd_(fd) {}
  descriptor(descriptor&& o) noexcept : fd_(o.fd_) { o.fd_ = -1; }
  descriptor& operator=(descriptor&& o) noexcept;
  ~descriptor() { close(); }
  void close() noexcept;
  [[nodiscard]] int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_;
};

// An eventfd: once raised, every poll on it is ready.
class flag {
 public:
  flag();
  void raise() const noexcept;
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  descriptor fd_;
};

using deadline = std::chrono::steady_clock::time_point;
enum class wait_result { ready, late, stopped };
[[nodiscard]] wait_result wait_for(int fd, short events, int stop_fd, deadline until) noexcept;

struct ssl_free {
  void operator()(SSL* s) const noexcept { SSL_free(s); }
  void operator()(SSL_CTX* c) const noexcept { SSL_CTX_free(c); }
};
using tls_session = std::unique_ptr<SSL, ssl_free>;
using tls_settings = std::unique_ptr<SSL_CTX, ssl_free>;

// Certificate and key of a server; with `ca`, clients must show a certificate of one of these authorities.
[[nodiscard]] pl::result<tls_settings> load_tls(const std::string& cert, const std::string& key,
                                                const std::string& key_password, const std::string& ca);

class stream {
 public:
  enum class status { ok, closed, late, stopped, failed };
  explicit stream(descriptor fd, SSL_CTX* tls = nullptr);
  ~stream();
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  // TLS's handshake; nothing without it.
  status open(deadline until, int stop_fd);
  // Appends what comes next, at least a byte.
  status read(std::string& to, deadline until, int stop_fd);
  status write(std::string_view bytes, deadline until, int stop_fd);
  // So that the last answer is read: a reset would take it away from a client that is still sending.
  void hang_up(deadline until, int stop_fd) noexcept;
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }

 private:
  status wait(int code, deadline until, int stop_fd);  // for what SSL_* want
  descriptor fd_;
  tls_session tls_;
  std::string failure_;
};

}  // namespace http
