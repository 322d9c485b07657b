// SPDX-License-Identifier: Apache-2.0
// Sockets that listen, and the text of their addresses.
#pragma once

#include <pipeline/host_port.hpp>
#include <pipeline/posix.hpp>

#include <sys/socket.h>

#include <optional>
#include <string>

namespace pl::http {

struct listen_problem {
  int code = 0;  // an errno
  std::string why;
};

// Listen on an address; an empty host: all addresses, IPv6 and IPv4. `shared`: share the port with other sockets
// (SO_REUSEPORT). Return a problem, or set `to`.
[[nodiscard]] std::optional<listen_problem> listen_on(const host_port& at, bool shared, descriptor& to);

// Return the text of an address, without the prefix of mapped IPv4 addresses.
[[nodiscard]] std::string text_of(const sockaddr_storage& at, socklen_t size, bool with_port);
// Return the address and port of a bound socket.
[[nodiscard]] std::string bound_address(int fd);

}  // namespace pl::http
