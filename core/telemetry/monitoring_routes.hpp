// SPDX-License-Identifier: Apache-2.0
//
// The responses of the monitoring endpoint: GET /metrics, /health/live, /health/ready, /health/accepting, /alerts and a
// short index at /. There is no authentication and no TLS: listen on the loopback address by default, and return nothing
// secret.
#pragma once

#include "telemetry/http_server.hpp"
#include "telemetry/readiness.hpp"

#include <functional>
#include <string>

namespace pl::telemetry {

// Called from the server's handler threads, possibly concurrently, under the rules of http_server.hpp.
struct monitoring_callbacks {
  std::function<std::string()> metrics = nullptr;  // Prometheus text
  std::function<readiness()> ready = nullptr;      // unset: ready
  std::function<readiness()> accepting = nullptr;  // unset: accepting
  std::function<bool()> live = nullptr;            // unset: live as long as the server responds
  std::function<std::string()> alerts = nullptr;   // open alerts, as JSON
};

http_handler monitoring_routes(monitoring_callbacks callbacks);

}  // namespace pl::telemetry
