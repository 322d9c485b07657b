// SPDX-License-Identifier: Apache-2.0
#include "host/http_get.hpp"

#include <pipeline/posix.hpp>

#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <system_error>

namespace pl::host {

namespace {

using clock = std::chrono::steady_clock;
constexpr std::size_t max_response = 256U << 20U;

struct free_addresses {
  void operator()(addrinfo* a) const noexcept { ::freeaddrinfo(a); }
};

failure system_failure(std::string_view what, int error) {
  return fatal(fmt::format("{}: {}", what, std::generic_category().message(error)));
}

// Wait until the socket is ready. False: the deadline has passed.
bool wait_for(int fd, short events, clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - clock::now());
    if (left.count() <= 0) return false;
    pollfd waiting{fd, events, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(left.count()));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

result<descriptor> connect_to(const addrinfo& at, clock::time_point deadline) {
  descriptor fd(::socket(at.ai_family, at.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, at.ai_protocol));
  if (!fd) return system_failure("socket", errno);
  if (::connect(fd.get(), at.ai_addr, at.ai_addrlen) == 0) return fd;
  if (errno != EINPROGRESS) return system_failure("connect", errno);
  if (!wait_for(fd.get(), POLLOUT, deadline)) return fatal("no response");
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return system_failure("connect", error);
  return fd;
}

result<void> send_all(int fd, std::string_view bytes, clock::time_point deadline) {
  while (!bytes.empty()) {
    const auto n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0)
      bytes.remove_prefix(static_cast<std::size_t>(n));
    else if (errno == EAGAIN && !wait_for(fd, POLLOUT, deadline))
      return fatal("no response");
    else if (errno != EAGAIN && errno != EINTR)
      return system_failure("send", errno);
  }
  return {};
}

result<std::string> receive_all(int fd, clock::time_point deadline) {
  std::string all;
  std::array<char, 65536> part;
  while (all.size() < max_response) {
    const auto n = ::recv(fd, part.data(), part.size(), 0);
    if (n == 0) return all;
    if (n > 0)
      all.append(part.data(), static_cast<std::size_t>(n));
    else if (errno == EAGAIN && !wait_for(fd, POLLIN, deadline))
      return fatal("no response");
    else if (errno != EAGAIN && errno != EINTR)
      return system_failure("receive", errno);
  }
  return fatal("the response is too large");
}

result<std::string> body_of(const std::string& response) {
  const auto end = response.find("\r\n\r\n");
  const auto status = std::string_view(response).substr(0, response.find("\r\n"));
  if (end == std::string::npos || !status.starts_with("HTTP/1.")) return fatal("the response is not HTTP");
  if (status.substr(std::min<std::size_t>(9, status.size())).substr(0, 3) != "200")
    return fatal(fmt::format("the response is '{}'", status));
  return response.substr(end + 4);
}

}  // namespace

result<std::string> http_get(const std::string& host, std::uint16_t port, std::string_view path,
                             std::chrono::milliseconds timeout) {
  const auto deadline = clock::now() + timeout;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  if (const int code = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &raw); code != 0)
    return fatal(::gai_strerror(code));
  const std::unique_ptr<addrinfo, free_addresses> found(raw);
  result<descriptor> connected = fatal("no address");
  for (const auto* at = found.get(); at != nullptr && !connected.ok(); at = at->ai_next)
    connected = connect_to(*at, deadline);
  if (!connected.ok()) return connected.why();
  const auto request = fmt::format("GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", path, host);
  if (auto sent = send_all(connected->get(), request, deadline); !sent.ok()) return sent.why();
  auto response = receive_all(connected->get(), deadline);
  if (!response.ok()) return response.why();
  return body_of(*response);
}

}  // namespace pl::host
