// SPDX-License-Identifier: Apache-2.0
#include "client.hpp"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <zlib.h>

#include <array>
#include <cstdlib>
#include <stdexcept>
#include <utility>

namespace pl::http::testing {

client::client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
    throw std::runtime_error("cannot connect to 127.0.0.1:" + std::to_string(port));
}

// Errors are ignored: the server may send its response and stop reading before it has received all bytes.
void client::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

void client::close_sending() { ::shutdown(fd_.get(), SHUT_WR); }

client::got client::fill() {
  std::array<char, 4096> buffer{};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  if (wait_for(fd_.get(), POLLIN, -1, deadline) != wait_result::ready) return got::nothing;
  const auto n = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
  if (n <= 0) return got::end;
  in_.append(buffer.data(), static_cast<std::size_t>(n));
  return got::data;
}

std::string client::receive_some() {
  if (in_.empty()) fill();
  return std::exchange(in_, {});
}

bool client::ended() { return in_.empty() && fill() == got::end; }

reply client::receive() {
  reply r;
  std::size_t end = 0;
  while ((end = in_.find("\r\n\r\n")) == std::string::npos)
    if (fill() != got::data) return r;
  r.status = std::atoi(in_.c_str() + 9);
  for (auto at = in_.find("\r\n"); at < end; at = in_.find("\r\n", at + 2)) {
    const auto line = in_.substr(at + 2, in_.find("\r\n", at + 2) - at - 2);
    const auto colon = line.find(':');
    r.headers[line.substr(0, colon)] = line.substr(colon + 2);
  }
  const auto size = r.headers.contains("Content-Length") ? std::stoul(r.headers["Content-Length"]) : 0;
  while (in_.size() < end + 4 + size)
    if (fill() != got::data) return {};
  r.body = in_.substr(end + 4, size);
  in_.erase(0, end + 4 + size);
  return r;
}

std::string post(std::string_view body, std::string_view headers, std::string_view path) {
  return "POST " + std::string(path) + " HTTP/1.1\r\nHost: h\r\n" + std::string(headers) +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

std::string gzipped(std::string_view plain) {
  z_stream s{};
  deflateInit2(&s, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&s, static_cast<uLong>(plain.size())) + 32, '\0');
  s.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  s.avail_in = static_cast<uInt>(plain.size());
  s.next_out = reinterpret_cast<Bytef*>(out.data());
  s.avail_out = static_cast<uInt>(out.size());
  deflate(&s, Z_FINISH);
  out.resize(s.total_out);
  deflateEnd(&s);
  return out;
}

}  // namespace pl::http::testing
