// SPDX-License-Identifier: Apache-2.0
// A stream reads and writes a connection, with or without TLS. Each wait has a deadline and ends early on a stop.
#pragma once

#include <pipeline/freed_by.hpp>
#include <pipeline/posix.hpp>
#include <pipeline/result.hpp>

#include <openssl/ssl.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

namespace pl::http {

// An eventfd. After it is raised, every poll on it returns at once.
class flag {
 public:
  flag();
  void raise() const noexcept;
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  pl::descriptor fd_;
};

using deadline = std::chrono::steady_clock::time_point;
enum class wait_result { ready, late, stopped };
[[nodiscard]] wait_result wait_for(int fd, short events, int stop_fd, deadline until) noexcept;

using tls_session = std::unique_ptr<SSL, pl::freed_by<SSL_free>>;
using tls_settings = std::unique_ptr<SSL_CTX, pl::freed_by<SSL_CTX_free>>;

// Load certificate and key of a server. With `ca`, clients must present a certificate of one of these authorities.
[[nodiscard]] pl::result<tls_settings> load_tls(const std::string& cert, const std::string& key,
                                                const std::string& key_password, const std::string& ca);

class stream {
 public:
  enum class status { ok, closed, late, stopped, failed };
  explicit stream(pl::descriptor fd, SSL_CTX* tls = nullptr);
  ~stream();
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  // Do the TLS handshake; without TLS, return at once.
  status open(deadline until, int stop_fd);
  // Wait for input and append it to `to`, at least one byte.
  status read(std::string& to, deadline until, int stop_fd);
  status write(std::string_view bytes, deadline until, int stop_fd);
  // Close the connection so that the client can read the last response. A client that is still sending would get a
  // connection reset otherwise and lose the response.
  void hang_up(deadline until, int stop_fd) noexcept;
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }

 private:
  status wait(int code, deadline until, int stop_fd);  // for the event that SSL_* requires
  pl::descriptor fd_;
  tls_session tls_;
  std::string failure_;
};

}  // namespace pl::http
