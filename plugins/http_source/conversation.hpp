// SPDX-License-Identifier: Apache-2.0
// One connection: its requests, one after the other. On a thread of its own.
#pragma once

#include "inflate.hpp"
#include "server.hpp"

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

namespace http {

class conversation {
 public:
  conversation(server& at, stream& with, const std::string& remote, std::atomic<std::int64_t>& idle);
  ~conversation() { give_memory_back(); }
  conversation(const conversation&) = delete;
  conversation& operator=(const conversation&) = delete;
  void hold();

 private:
  enum class next { request, end };

  bool await_request();
  next one_request();
  std::optional<refusal> read_head(deadline until, std::string& head, bool& gone);
  next respond(const answer& a, bool keeps_alive);
  bool skip_body(const request_head& head, deadline until);
  // The body as the service gets it; a refusal, or `gone`: the client is.
  std::optional<refusal> read_body(const request_head& head, deadline until, bool& gone);
  std::optional<refusal> take_piece(std::string_view piece);
  std::optional<refusal> append(std::string_view piece);
  std::optional<refusal> read_more(deadline until, bool& gone);
  void give_memory_back() noexcept;

  server& server_;
  stream& stream_;
  const std::string& remote_;
  std::atomic<std::int64_t>& idle_;
  std::string in_;  // read, not used yet
  std::string body_;
  std::size_t reserved_ = 0, received_ = 0;
  std::optional<inflater> inflate_;
  std::chrono::steady_clock::time_point began_{};
};

}  // namespace http
