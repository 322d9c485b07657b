// SPDX-License-Identifier: Apache-2.0
// Requests by libcurl, one after the other, over connections that stay open. Used by one thread at a time.
#pragma once

#include "options.hpp"

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
  int status = 0;           // 0: there was none
  std::string text;         // why there was none; else the beginning of the answer's body
  std::string location;     // of a redirect
  bool is_setting = false;  // it can't be had with these options: a file that isn't there
  std::string option;       // then: which
  std::chrono::seconds retry_after{0};
  std::chrono::duration<double> took{0};
  long connects = 0;  // connections made for it
};

class requester {
 public:
  requester(const options& o, const target& to);
  // A connection, with TLS and its certificates, and nothing sent on it.
  reply connect(const std::string& url);
  reply send(const request& r);

 private:
  struct easy_free {
    void operator()(CURL* c) const noexcept { curl_easy_cleanup(c); }
  };
  using handle = std::unique_ptr<CURL, easy_free>;
  handle make() const;
  reply perform(CURL* with, reply& into) const;

  const options& options_;
  const target& target_;
  handle kept_;  // with its connection
};

[[nodiscard]] std::string gzipped(std::string_view plain);

}  // namespace http_sink
