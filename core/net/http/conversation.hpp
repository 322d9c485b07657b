// SPDX-License-Identifier: Apache-2.0
// A conversation serves the requests of one connection, one after the other, on the connection's thread.
#pragma once

#include "body_text.hpp"
#include "connection.hpp"
#include "inflate.hpp"

#include <cstddef>
#include <optional>
#include <string>

namespace pl::http {

class conversation {
 public:
  conversation(server& at, stream& with, server::connection& of);
  ~conversation() = default;
  conversation(const conversation&) = delete;
  conversation& operator=(const conversation&) = delete;
  void run();

 private:
  enum class next { request, end };

  bool await_request();
  next one_request();
  std::optional<refusal> read_head(deadline until, std::string& head, bool& gone);
  next refuse(const refusal& why);
  next respond(const response& a, bool keeps_alive, bool head_only = false);
  stream::status send(const response& a, bool keeps_alive, bool head_only);
  bool skip_body(const request_head& head);
  // Read the body and decompress it. Return a refusal, or set `gone` if the client has closed the connection.
  std::optional<refusal> read_body(const request_head& head, deadline until, bool& gone);
  std::optional<refusal> take_chunks(chunked_body& chunks, std::string_view& rest, std::size_t& left);
  std::optional<refusal> take_piece(std::string_view piece);
  std::optional<refusal> append(std::string_view piece);
  std::optional<refusal> read_more(deadline until, bool& gone);
  void release_memory() noexcept;

  server& server_;
  stream& stream_;
  server::connection& me_;
  activity& waits_;
  std::string in_;  // bytes that were read and not consumed yet
  body_text body_;
  memory_claim memory_;
  std::size_t received_ = 0, claimed_ = 0;  // claimed_: memory for body_
  std::size_t longest_ = 0;                 // that body_ can become
  std::optional<inflater> inflate_;
  bool served_ = false;    // at least one request
  bool hangs_up_ = false;  // the last response was sent
  std::chrono::steady_clock::time_point began_{};
};

}  // namespace pl::http
