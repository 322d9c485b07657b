// SPDX-License-Identifier: Apache-2.0
#include "telemetry/monitoring_routes.hpp"

#include <utility>

namespace pl::telemetry {
namespace {

constexpr std::string_view metrics_type = "text/plain; version=0.0.4; charset=utf-8";
constexpr std::string_view text_type = "text/plain; charset=utf-8";
constexpr std::string_view json_type = "application/json";
constexpr const char* index_text =
    "pipeline-host\n\n"
    "/metrics           for Prometheus\n"
    "/health/live       200 while the program runs\n"
    "/health/ready      200 if all pipelines are ready, else 503 with the reasons\n"
    "/health/accepting  200 if all sources can take records, else 503 with the reasons\n"
    "/alerts            open alerts, as JSON\n";

http_response metrics_response(const monitoring_callbacks& callbacks) {
  return {200, metrics_type, callbacks.metrics ? callbacks.metrics() : std::string()};
}

http_response live_response(const monitoring_callbacks& callbacks) {
  const bool live = !callbacks.live || callbacks.live();
  return {live ? 200U : 503U, json_type, live ? "{\"live\":true}\n" : "{\"live\":false}\n"};
}

http_response ready_response(const monitoring_callbacks& callbacks) {
  const readiness now = callbacks.ready ? callbacks.ready() : readiness{};
  return {now.ready() ? 200U : 503U, json_type, to_json(now) + "\n"};
}

http_response accepting_response(const monitoring_callbacks& callbacks) {
  const readiness now = callbacks.accepting ? callbacks.accepting() : readiness{};
  return {now.ready() ? 200U : 503U, json_type, to_json(now, "accepting") + "\n"};
}

}  // namespace

http_handler monitoring_routes(monitoring_callbacks callbacks) {
  return [callbacks = std::move(callbacks)](const http_request& request) -> http_response {
    if (request.method == "GET") {
      if (request.path == "/") return {200, text_type, index_text};
      if (request.path == "/metrics") return metrics_response(callbacks);
      if (request.path == "/health/live") return live_response(callbacks);
      if (request.path == "/health/ready") return ready_response(callbacks);
      if (request.path == "/health/accepting") return accepting_response(callbacks);
      if (request.path == "/alerts" && callbacks.alerts) return {200, json_type, callbacks.alerts() + "\n"};
    }
    return {404, text_type, "not found; see /\n"};
  };
}

}  // namespace pl::telemetry
