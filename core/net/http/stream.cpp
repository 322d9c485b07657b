// SPDX-License-Identifier: Apache-2.0
#include "stream.hpp"

#include <pipeline/tls.hpp>

#include <openssl/err.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <system_error>

namespace pl::http {

namespace {

constexpr std::size_t read_size = std::size_t{16} * 1024;  // also the maximum size of a TLS record

std::string tls_error() {
  std::array<char, 256> text{};
  const auto code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "TLS failed";
  if (const char* reason = ERR_reason_error_string(code)) return reason;
  ERR_error_string_n(code, text.data(), text.size());
  return text.data();
}

int give_password(char* to, int size, int /*writing*/, void* password) {
  const auto& text = *static_cast<const std::string*>(password);
  if (text.size() > static_cast<std::size_t>(size)) return 0;
  std::copy(text.begin(), text.end(), to);
  return static_cast<int>(text.size());
}

}  // namespace

flag::flag() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!fd_) throw std::system_error(errno, std::generic_category(), "eventfd");
}

void flag::raise() const noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(fd_.get(), &one, sizeof one);
}

wait_result wait_for(int fd, short events, int stop_fd, deadline until) noexcept {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    std::array<pollfd, 2> both{{{fd, events, 0}, {stop_fd, POLLIN, 0}}};
    const int ready = ::poll(both.data(), both.size(), static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 30)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return wait_result::late;
    // Data that is already available takes precedence over a stop.
    return both[0].revents != 0 ? wait_result::ready : wait_result::stopped;
  }
}

pl::result<tls_settings> load_tls(const std::string& cert, const std::string& key, const std::string& key_password,
                                  const std::string& ca) {
  tls_settings made(SSL_CTX_new(TLS_server_method()));
  if (!made) return pl::retry("TLS: " + tls_error());
  auto* ctx = made.get();
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  if (SSL_CTX_set_cipher_list(ctx, pl::tls_1_2_ciphers) != 1) return pl::retry("TLS: " + tls_error());
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_default_passwd_cb(ctx, give_password);
  SSL_CTX_set_default_passwd_cb_userdata(ctx, const_cast<std::string*>(&key_password));
  const auto& key_file = key.empty() ? cert : key;
  if (SSL_CTX_use_certificate_chain_file(ctx, cert.c_str()) != 1)
    return pl::bad_option("tls.cert", "cannot use " + cert + ": " + tls_error());
  if (SSL_CTX_use_PrivateKey_file(ctx, key_file.c_str(), SSL_FILETYPE_PEM) != 1)
    return pl::bad_option("tls.key", "cannot use " + key_file + ": " + tls_error());
  SSL_CTX_set_default_passwd_cb_userdata(ctx, nullptr);  // the password is valid only during this call
  SSL_CTX_set_default_passwd_cb(ctx, nullptr);
  if (SSL_CTX_check_private_key(ctx) != 1) return pl::bad_option("tls.key", key_file + " is not the key of " + cert);
  if (ca.empty()) return made;
  auto* names = SSL_load_client_CA_file(ca.c_str());
  if (names == nullptr || SSL_CTX_load_verify_locations(ctx, ca.c_str(), nullptr) != 1)
    return pl::bad_option("tls.ca", "cannot use " + ca + ": " + tls_error());
  SSL_CTX_set_client_CA_list(ctx, names);
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  // OpenSSL resumes sessions of clients with certificates only if a session id context is set.
  static constexpr std::string_view context = "pipeline-host";
  SSL_CTX_set_session_id_context(ctx, reinterpret_cast<const unsigned char*>(context.data()), context.size());
  return made;
}

stream::stream(pl::descriptor fd, SSL_CTX* tls) : fd_(std::move(fd)) {
  if (tls == nullptr) return;
  tls_.reset(SSL_new(tls));
  if (!tls_ || SSL_set_fd(tls_.get(), fd_.get()) != 1) throw std::bad_alloc();
}

stream::~stream() {
  if (tls_) (void)SSL_shutdown(tls_.get());  // send close_notify if that does not block
}

// After a failed SSL_* call, wait until the socket is ready for it. The result ok means: repeat the call.
stream::status stream::wait(int code, deadline until, int stop_fd) {
  const int why = SSL_get_error(tls_.get(), code);
  if (why == SSL_ERROR_ZERO_RETURN) return status::closed;
  if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
    failure_ = why == SSL_ERROR_SYSCALL && ERR_peek_error() == 0 ? "the client closed the connection" : tls_error();
    ERR_clear_error();
    return status::failed;
  }
  switch (wait_for(fd_.get(), why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, stop_fd, until)) {
    case wait_result::ready:
      return status::ok;
    case wait_result::late:
      return status::late;
    default:
      return status::stopped;
  }
}

stream::status stream::open(deadline until, int stop_fd) {
  if (!tls_) return status::ok;
  while (true) {
    const int code = SSL_accept(tls_.get());
    if (code == 1) return status::ok;
    if (const auto s = wait(code, until, stop_fd); s != status::ok) return s;
  }
}

stream::status stream::read(std::string& to, deadline until, int stop_fd) {
  std::array<char, read_size> buffer;
  while (true) {
    const auto n = tls_ ? static_cast<ssize_t>(SSL_read(tls_.get(), buffer.data(), static_cast<int>(buffer.size())))
                        : ::recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n > 0) {
      to.append(buffer.data(), static_cast<std::size_t>(n));
      return status::ok;
    }
    if (tls_) {
      if (const auto s = wait(static_cast<int>(n), until, stop_fd); s != status::ok) return s;
      continue;
    }
    if (n == 0) return status::closed;
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return status::failed;
    const auto w = wait_for(fd_.get(), POLLIN, stop_fd, until);
    if (w != wait_result::ready) return w == wait_result::late ? status::late : status::stopped;
  }
}

stream::status stream::write(std::string_view bytes, deadline until, int stop_fd) {
  while (!bytes.empty()) {
    const auto n = tls_ ? static_cast<ssize_t>(SSL_write(tls_.get(), bytes.data(), static_cast<int>(bytes.size())))
                        : ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    if (tls_) {
      if (const auto s = wait(static_cast<int>(n), until, stop_fd); s != status::ok) return s;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return status::failed;
    const auto w = wait_for(fd_.get(), POLLOUT, stop_fd, until);
    if (w != wait_result::ready) return w == wait_result::late ? status::late : status::stopped;
  }
  return status::ok;
}

void stream::hang_up(deadline until, int stop_fd) noexcept {
  if (tls_) (void)SSL_shutdown(tls_.get());
  ::shutdown(fd_.get(), SHUT_WR);
  std::array<char, read_size> ignored;
  while (wait_for(fd_.get(), POLLIN, stop_fd, until) == wait_result::ready)
    if (::recv(fd_.get(), ignored.data(), ignored.size(), MSG_DONTWAIT) <= 0) break;
}

}  // namespace pl::http
