// SPDX-License-Identifier: Apache-2.0
// Named steps of a protocol at which a test can kill or freeze the process. Failpoints have no effect without
// PIPELINE_FAILPOINTS.
//
//   PIPELINE_FAILPOINT=copy.after:3         SIGKILL when that step is reached for the third time
//   PIPELINE_FAILPOINT=copy.after:3:freeze  SIGSTOP; the test continues the process with SIGCONT
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
  int signal = SIGKILL;
  std::atomic<std::uint64_t> reached{0};
  armed_failpoint() {
    const char* text = std::getenv("PIPELINE_FAILPOINT");
    if (text == nullptr) return;
    name = text;
    if (const auto colon = name.find(':'); colon != std::string_view::npos) {
      const auto* const end = std::from_chars(name.data() + colon + 1, name.data() + name.size(), at).ptr;
      if (std::string_view(end) == ":freeze") signal = SIGSTOP;
      name = name.substr(0, colon);
    }
  }
};

}  // namespace detail

inline void failpoint(std::string_view name) {
  static detail::armed_failpoint armed;
  if (name == armed.name && ++armed.reached == armed.at) std::raise(armed.signal);
}

#else

inline void failpoint(std::string_view /*name*/) {}

#endif

}  // namespace pl
