// SPDX-License-Identifier: Apache-2.0
//
// HTTP clients for tests: libcurl for valid requests, and a raw connection for invalid ones.
#pragma once

#include "telemetry/http_server.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl::telemetry::testing {

struct http_reply {
  long status = 0;
  std::string head, body;                           // decompressed
  std::string header(std::string_view name) const;  // empty if missing
};

struct http_options {
  std::string method = "GET";        // GET, HEAD or POST
  std::string accept_encoding = {};  // empty: none
  std::vector<std::string> headers = {};
  std::string body = {};  // of a POST
};

// Returns nothing when the connection fails or the response is not valid.
std::optional<http_reply> fetch(const http_server& server, std::string_view path, const http_options& options = {});

// A connection to an IPv4 server.
class raw_client {
 public:
  raw_client();  // not yet connected
  explicit raw_client(const http_server& server);
  ~raw_client();
  raw_client(const raw_client&) = delete;
  raw_client& operator=(const raw_client&) = delete;

  void connect(const http_server& server) const;
  bool send(std::string_view bytes) const;
  void end_of_input() const;  // sends no more
  std::string receive(std::size_t at_most) const;
  std::string receive_all() const;
  bool closed_within(int milliseconds) const;  // by the server; it sends nothing else
  void reset() const;                          // the destructor resets the connection instead of closing it

 private:
  int fd_;
};

// Send the bytes and return everything that the server sends until the connection ends.
std::string reply_to(const http_server& server, std::string_view bytes);

}  // namespace pl::telemetry::testing
