// SPDX-License-Identifier: Apache-2.0
// Where a test kills the process: at a named step of a protocol. Does something in builds with PIPELINE_FAILPOINTS only.
//
//   PIPELINE_FAILPOINT=copy.after:3      SIGKILL when that step is reached for the third time
#pragma once

#include <string_view>

#ifdef PIPELINE_FAILPOINTS
#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#endif

namespace pl {

#ifdef PIPELINE_FAILPOINTS

namespace detail {

struct armed_failpoint {
  std::string_view name;
  std::uint64_t at = 1;
  std::atomic<std::uint64_t> reached{0};
  armed_failpoint() {
    const char* text = std::getenv("PIPELINE_FAILPOINT");
    if (text == nullptr) return;
    name = text;
    if (const auto colon = name.find(':'); colon != std::string_view::npos) {
      std::from_chars(name.data() + colon + 1, name.data() + name.size(), at);
      name = name.substr(0, colon);
    }
  }
};

}  // namespace detail

inline void failpoint(std::string_view name) {
  static detail::armed_failpoint armed;
  if (name == armed.name && ++armed.reached == armed.at) std::raise(SIGKILL);
}

#else

inline void failpoint(std::string_view /*name*/) {}

#endif

}  // namespace pl
