// SPDX-License-Identifier: Apache-2.0
#include "telemetry/readiness.hpp"

#include "telemetry/text.hpp"

namespace pl::telemetry {
namespace {

std::int64_t now_ns() noexcept {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void append_nodes(std::string& out, std::string_view name, const std::vector<not_ready>& nodes) {
  out += ',';
  append_json_string(out, name);
  out += ":[";
  for (const not_ready& one : nodes) {
    out += out.back() == '[' ? R"({"pipeline":)" : R"(,{"pipeline":)";
    append_json_string(out, one.pipeline);
    if (!one.node.empty()) {
      out += R"(,"node":)";
      append_json_string(out, one.node);
    }
    out += R"(,"reason":)";
    append_json_string(out, one.reason);
    out += '}';
  }
  out += ']';
}

}  // namespace

std::string to_json(const readiness& state, std::string_view word) {
  std::string out = "{";
  append_json_string(out, word);
  out += state.ready() ? ":true" : ":false";
  append_nodes(out, "waiting", state.waiting);
  if (!state.degraded.empty()) append_nodes(out, "degraded", state.degraded);
  return out + '}';
}

void heartbeat::beat() noexcept { last_.store(now_ns(), std::memory_order_relaxed); }

bool heartbeat::alive(std::chrono::nanoseconds within) const noexcept {
  return now_ns() - last_.load(std::memory_order_relaxed) <= within.count();
}

}  // namespace pl::telemetry
