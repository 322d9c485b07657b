// SPDX-License-Identifier: Apache-2.0
#include "server.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <stdexcept>

namespace http_sink::testing {

server::server(handler h) : handler_(h ? std::move(h) : [](const received&) { return response{}; }) {
  listening_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  if (::bind(listening_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 || ::listen(listening_, 16) != 0 ||
      ::getsockname(listening_, reinterpret_cast<sockaddr*>(&at), &size) != 0)
    throw std::runtime_error("cannot listen");
  port_ = ntohs(at.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

server::~server() {
  stopping_ = true;
  ::shutdown(listening_, SHUT_RDWR);
  acceptor_.join();
  ::close(listening_);
  {
    const std::scoped_lock lock(mutex_);
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
  }
  for (auto& t : threads_) t.join();
}

std::vector<received> server::all() const {
  const std::scoped_lock lock(mutex_);
  return all_;
}

std::vector<received> server::taken() const {
  const std::scoped_lock lock(mutex_);
  return taken_;
}

void server::accept_all() {
  while (!stopping_) {
    const int fd = ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    const std::scoped_lock lock(mutex_);
    open_.push_back(fd);
    threads_.emplace_back([this, fd] { serve(fd); });
  }
}

// Read head and body. Only Content-Length is supported, because the sink does not send chunked bodies.
bool server::read_request(int fd, std::string& in, received& to) {
  std::array<char, 16384> buffer{};
  const auto more = [&] {
    const auto n = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (n > 0) in.append(buffer.data(), static_cast<std::size_t>(n));
    return n > 0;
  };
  while (in.find("\r\n\r\n") == std::string::npos)
    if (!more()) return false;
  const auto end = in.find("\r\n\r\n");
  const auto line = in.substr(0, in.find("\r\n"));
  to.method = line.substr(0, line.find(' '));
  to.target = line.substr(to.method.size() + 1, line.rfind(' ') - to.method.size() - 1);
  for (auto at = in.find("\r\n"); at < end; at = in.find("\r\n", at + 2)) {
    const auto header = in.substr(at + 2, in.find("\r\n", at + 2) - at - 2);
    auto name = header.substr(0, header.find(':'));
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    auto value = header.substr(header.find(':') + 1);
    value.erase(0, value.find_first_not_of(' '));
    to.headers[name] = value;
  }
  const auto size = to.headers.contains("content-length") ? std::stoul(to.headers["content-length"]) : 0;
  in.erase(0, end + 4);
  while (in.size() < size)
    if (!more()) return false;
  to.body = in.substr(0, size);
  in.erase(0, size);
  return true;
}

void server::serve(int fd) {
  std::string in;
  bool first = true;
  for (received r; read_request(fd, in, r); r = {}) {
    if (std::exchange(first, false)) ++connections_;
    response a;
    {
      const std::scoped_lock lock(mutex_);
      all_.push_back(r);
      a = handler_(r);
      if (a.status >= 200 && a.status < 300) taken_.push_back(r);
    }
    if (a.status == 0) break;
    if (a.status < 0) continue;
    auto text = "HTTP/1.1 " + std::to_string(a.status) + " Status\r\nContent-Length: " + std::to_string(a.body.size());
    for (const auto& [name, value] : a.headers) text.append("\r\n").append(name).append(": ").append(value);
    text += "\r\n\r\n" + a.body;
    if (::send(fd, text.data(), text.size(), MSG_NOSIGNAL) < 0) break;
  }
  const std::scoped_lock lock(mutex_);
  std::erase(open_, fd);
  ::close(fd);
}

}  // namespace http_sink::testing
