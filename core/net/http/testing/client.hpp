// SPDX-License-Identifier: Apache-2.0
// A test client that sends exactly the given bytes and reads complete responses.
#pragma once

#include <http/stream.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace pl::http::testing {

struct reply {
  int status = 0;  // 0: the connection ended without a response
  std::map<std::string, std::string> headers;
  std::string body;
};

class client {
 public:
  explicit client(std::uint16_t port);
  void send(std::string_view bytes);
  reply receive();
  reply ask(std::string_view bytes) { return send(bytes), receive(); }
  void close_sending();
  std::string receive_some();  // empty: the connection has ended
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  // Wait for further input, for two minutes at most. Return whether the server has closed the connection instead.
  bool ended();

 private:
  enum class got { data, end, nothing };
  got fill();
  pl::descriptor fd_;
  std::string in_;
};

// Return a POST request with these headers ("Name: value\r\n"...) and this body.
std::string post(std::string_view body, std::string_view headers = "Content-Type: application/json\r\n",
                 std::string_view path = "/t");
std::string gzipped(std::string_view plain);

}  // namespace pl::http::testing
