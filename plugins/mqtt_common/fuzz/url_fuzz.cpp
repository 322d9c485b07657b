// SPDX-License-Identifier: Apache-2.0
// Any bytes as a broker's URL. One that is taken has a host and a port; no part of one that isn't is in the message, since it
// may be a password.
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
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

void check_message(const std::string& message) {
  static std::set<std::string> all;
  if (!message.starts_with("unknown scheme '")) all.insert(message);
  must(all.size() <= 10, "messages are always the same ones");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of its own size, so that the sanitizer sees a byte read too far.
  const std::vector<char> copy(data, data + size);
  const auto url = mqtt::parse_broker_url(std::string_view(copy.data(), copy.size()));
  if (!url.ok()) return check_message(url.why().message), 0;
  must(!url->host.empty() && url->port != 0, "a URL has a host and a port");
  must(url->name().find(url->host) != std::string::npos, "the name has the host in it");
  return 0;
}
