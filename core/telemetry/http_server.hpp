// SPDX-License-Identifier: Apache-2.0
//
// The HTTP server of the monitoring endpoint, for small requests without a body: <http/server.hpp> with the limits below.
// What a path returns is decided by the handler (monitoring_routes.hpp).
//
// Ownership: the caller of start owns the server. The destructor waits for running calls of the handler and otherwise
//            returns within milliseconds. The handler is never called afterwards.
// Threads:   each connection has a thread. At most two of them call the handler at once; calls for paths below /health/
//            do not count, so that probes do not wait for other requests. The handler must be thread-safe and may block
//            for some milliseconds. It must not take a lock that is held while the server is destroyed.
// Errors:    start returns them. If file descriptors run out later, the server pauses and continues. A request that is
//            not valid HTTP gets status 400. A head over 16 KiB gets 431, and an exception of the handler 500.
// Limits:    one request per connection; 2 seconds until its first byte, 2 more for the rest, and 5 seconds for the
//            client to read the response. 192 connections: a further one replaces the oldest incomplete one, which has at
//            least 50 ms to send its request; until then, new connections wait. 32 requests may be processed or
//            answered, and 32 more below /health/: a further one replaces the oldest connection that does not read its
//            response. If there is none, it gets status 503. Clients use at most the memory of 64 responses.
// Bodies:    request bodies are not read. Response bodies from 1 KiB are compressed for clients that accept gzip.
#pragma once

#include "telemetry/listen_address.hpp"

#include <pipeline/result.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace pl::telemetry {

// Valid during the call of the handler.
struct http_request {
  std::string_view method;  // GET for HEAD as well: the server leaves out the body
  std::string_view path;    // as sent, without the query
};

struct http_response {
  unsigned status = 200;
  std::string_view content_type;  // of static storage duration
  std::string body;
};

using http_handler = std::function<http_response(const http_request&)>;

class http_server {
 public:
  // Bind and accept connections. The message of an error includes the remedy.
  static result<std::unique_ptr<http_server>> start(const listen_address& where, http_handler handler);
  static result<std::unique_ptr<http_server>> start(std::string_view where, http_handler handler);
  ~http_server();
  http_server(const http_server&) = delete;
  http_server& operator=(const http_server&) = delete;

  const listen_address& address() const noexcept;  // with the actual port

 private:
  class state;
  explicit http_server(std::unique_ptr<state> running) noexcept;
  std::unique_ptr<state> state_;
};

}  // namespace pl::telemetry
