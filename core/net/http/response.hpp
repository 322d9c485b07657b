// SPDX-License-Identifier: Apache-2.0
// Responses, and their text on the connection.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pl::http {

// The writer of a response that has no end, such as server-sent events.
class body_stream {
 public:
  virtual ~body_stream() = default;
  // Send a piece. Return false if the client is gone, does not read, or the server stops: then return from `stream`.
  virtual bool send(std::string_view piece) = 0;
  // Return whether the server stops. Look at it at least every second while there is nothing to send.
  [[nodiscard]] virtual bool stopping() const noexcept = 0;
};

struct response {
  int status = 200;
  std::string body = {};
  std::vector<std::pair<std::string, std::string>> headers = {};  // in addition to the usual ones
  std::string_view content_type = "application/json";             // of static storage duration
  // If it is set, it is called after the head has been sent, on the connection's thread, and writes the body. The
  // connection ends when it returns. `body` must be empty.
  std::function<void(body_stream&)> stream = nullptr;
};

[[nodiscard]] std::string_view reason_of(int status) noexcept;

// Return the status line and the headers, with the empty line after them.
[[nodiscard]] std::string head_of(const response& a, bool keeps_alive);

}  // namespace pl::http
