// SPDX-License-Identifier: Apache-2.0
//
// The state that the health probes report: whether the pipelines are ready, whether their sources can take records, and
// whether the main loop runs.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pl::telemetry {

// `waiting` lists the nodes and pipelines that are not ready, with the reason. Empty: all pipelines are ready.
struct not_ready {
  std::string pipeline, node, reason;  // node may be empty
};
// `degraded` lists the nodes that do not work, but for which nothing waits: they do not make the pipelines not ready.
struct readiness {
  std::vector<not_ready> waiting;
  std::vector<not_ready> degraded = {};
  bool ready() const noexcept { return waiting.empty(); }
};
// {"ready":false,"waiting":[{"pipeline":...,"node":...,"reason":...}]}; `word` in place of "ready". "degraded" has the same
// form as "waiting", and is left out if it is empty.
std::string to_json(const readiness& state, std::string_view word = "ready");

// The main loop calls beat() in each iteration; any thread may call alive().
class heartbeat {
 public:
  heartbeat() noexcept { beat(); }
  void beat() noexcept;
  bool alive(std::chrono::nanoseconds within = std::chrono::seconds(30)) const noexcept;

 private:
  std::atomic<std::int64_t> last_{0};
};

}  // namespace pl::telemetry
