// SPDX-License-Identifier: Apache-2.0
// A connection that sends exactly the bytes that it is told to, and reads whole answers.
#pragma once

#include "../stream.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace http::testing {

struct reply {
  int status = 0;  // 0: the connection ended without an answer
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
  // Nothing more comes: the other side has closed.
  bool ended();

 private:
  bool fill();
  descriptor fd_;
  std::string in_;
};

// POST /t with such headers ("Name: value\r\n"...) and body.
std::string post(std::string_view body, std::string_view headers = "Content-Type: application/json\r\n",
                 std::string_view path = "/t");
std::string gzipped(std::string_view plain);

}  // namespace http::testing
