// SPDX-License-Identifier: Apache-2.0
// requester sends requests with libcurl, one after the other, over persistent connections. Not thread-safe.
#pragma once

#include "options.hpp"

#include <pipeline/freed_by.hpp>

#include <curl/curl.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace http_sink {

struct request {
  std::string url;
  std::string_view body;
  std::vector<std::string> headers;  // "Name: value"
  const char* method = "POST";
};

struct reply {
  int status = 0;           // 0: there was no response
  std::string text;         // without a response: the error; otherwise the beginning of the response's body
  std::string location;     // of a redirect
  bool is_setting = false;  // an option causes the error, such as a missing file
  std::string option;       // the option that causes the error
  std::chrono::seconds retry_after{0};
  std::chrono::duration<double> took{0};
  long connects = 0;  // connections opened for this request
};

class requester {
 public:
  requester(const options& o, const target& to);
  // Open a connection, with the TLS handshake, without sending a request.
  reply connect(const std::string& url);
  reply send(const request& r);

 private:
  using handle = std::unique_ptr<CURL, pl::freed_by<curl_easy_cleanup>>;
  handle make() const;
  reply perform(CURL* with, reply& into) const;

  const options& options_;
  const target& target_;
  handle kept_;  // keeps its connection open
};

[[nodiscard]] std::string gzipped(std::string_view plain);

}  // namespace http_sink
