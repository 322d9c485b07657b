// SPDX-License-Identifier: Apache-2.0
#include "listen.hpp"

#include <pipeline/freed_by.hpp>

#include <netdb.h>
#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <memory>
#include <system_error>

namespace pl::http {

namespace {

constexpr int backlog = 1024;

// SO_REUSEADDR permits a restart to use the port while connections of the predecessor linger on it.
descriptor listen_on(const addrinfo& at, bool shared, int& failure) {
  descriptor fd(::socket(at.ai_family, at.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at.ai_protocol));
  const int yes = 1, no = 0;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (shared) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
  if (at.ai_family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  if (fd && ::bind(fd.get(), at.ai_addr, at.ai_addrlen) == 0 && ::listen(fd.get(), backlog) == 0) return fd;
  failure = errno;
  return descriptor();
}

}  // namespace

std::string text_of(const sockaddr_storage& at, socklen_t size, bool with_port) {
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&at), size, host.data(), host.size(), port.data(), port.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return {};
  std::string text = host.data();
  if (text.starts_with("::ffff:") && text.find('.') != std::string::npos) text.erase(0, 7);
  if (!with_port) return text;
  if (text.find(':') != std::string::npos) text = "[" + text + "]";
  return text + ":" + port.data();
}

std::string bound_address(int fd) {
  sockaddr_storage at{};
  socklen_t size = sizeof at;
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) == 0 ? text_of(at, size, true) : std::string();
}

std::optional<listen_problem> listen_on(const host_port& at, bool shared, descriptor& to) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int unknown =
      ::getaddrinfo(at.host.empty() ? nullptr : at.host.c_str(), std::to_string(at.port).c_str(), &hints, &list);
  if (unknown != 0) return listen_problem{EADDRNOTAVAIL, ::gai_strerror(unknown)};
  const std::unique_ptr<addrinfo, freed_by<::freeaddrinfo>> owned(list);
  int failure = EADDRNOTAVAIL;
  // For all addresses, an IPv6 socket accepts IPv4 connections, too.
  for (const int family : {AF_INET6, AF_INET})
    for (const auto* one = list; one != nullptr; one = one->ai_next)
      if (one->ai_family == family)
        if ((to = listen_on(*one, shared, failure))) return std::nullopt;
  return listen_problem{failure, std::generic_category().message(failure)};
}

}  // namespace pl::http
