// SPDX-License-Identifier: Apache-2.0
// Fuzz target: parses any bytes as a broker URL. An accepted URL has a host and a port. The message for a rejected
// URL contains no part of the URL, because any part may be a password.
#include "../broker_url.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

void check_message(const std::string& message) {
  static std::set<std::string> all;
  if (!message.starts_with("unknown scheme '")) all.insert(message);
  must(all.size() <= 10, "messages contain no input");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of the exact size, so that the sanitizer detects reads past the end.
  const std::vector<char> copy(data, data + size);
  const auto url = mqtt::parse_broker_url(std::string_view(copy.data(), copy.size()));
  if (!url.ok()) return check_message(url.why().message), 0;
  must(!url->host.empty() && url->port != 0, "a URL has a host and a port");
  must(url->name().find(url->host) != std::string::npos, "the name contains the host");
  return 0;
}
