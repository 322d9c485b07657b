// SPDX-License-Identifier: Apache-2.0
#include "telemetry/monitoring_routes.hpp"

#include "telemetry/engine_metrics.hpp"
#include "telemetry/http_test_client.hpp"
#include "telemetry/metrics.hpp"
#include "telemetry/test_timing.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <stdexcept>
#include <thread>

namespace pl::telemetry {
namespace {

using namespace std::chrono_literals;
using testing::fetch;

std::unique_ptr<http_server> start(std::string_view where, monitoring_callbacks callbacks = {}) {
  auto started = http_server::start(where, monitoring_routes(std::move(callbacks)));
  REQUIRE_MESSAGE(started, (started ? "" : started.why().message));
  return std::move(*started);
}

TEST_CASE("/metrics") {
  metrics all;
  all.get(engine_metrics::build_info, "0.1.0").set(1);
  const auto server = start("127.0.0.1:0", {.metrics = [&] { return all.render(); }});
  CHECK(server->address().port != 0);
  const auto response = fetch(*server, "/metrics");
  REQUIRE(response);
  CHECK(response->status == 200);
  CHECK(response->header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8");
  CHECK(response->header("Connection") == "close");
  CHECK(response->body.find("pipeline_build_info{version=\"0.1.0\"} 1\n") != std::string::npos);
  CHECK(fetch(*server, "/metrics?name[]=up")->body == response->body);
}

TEST_CASE("/metrics is compressed for clients that accept gzip, as Prometheus does") {
  const std::string body(100'000, 'x');
  const auto server = start("127.0.0.1:0", {.metrics = [&] { return body; }});
  const auto response = fetch(*server, "/metrics", {.accept_encoding = "gzip"});
  REQUIRE(response);
  CHECK(response->body == body);
  CHECK(response->header("Content-Encoding") == "gzip");
}

TEST_CASE("/health/live follows the heartbeat") {
  heartbeat beat;
  std::atomic<bool> strict = false;
  const auto server =
      start("127.0.0.1:0", {.live = [&] { return beat.alive(strict ? 0ns : std::chrono::nanoseconds(10s)); }});
  CHECK(fetch(*server, "/health/live")->status == 200);
  strict = true;
  std::this_thread::sleep_for(1ms);
  CHECK(fetch(*server, "/health/live")->status == 503);
}

TEST_CASE("/health/ready lists the nodes that are not ready") {
  readiness now;
  const auto server = start("127.0.0.1:0", {.ready = [&] { return now; }});
  auto response = fetch(*server, "/health/ready");
  REQUIRE(response);
  CHECK(response->status == 200);
  CHECK(response->body == "{\"ready\":true,\"waiting\":[]}\n");

  now.waiting = {{"iot", "store", "connecting to \"db\""}, {"bridge", "", "starting"}};
  response = fetch(*server, "/health/ready");
  REQUIRE(response);
  CHECK(response->status == 503);
  CHECK(response->header("Content-Type") == "application/json");
  CHECK(response->body ==
        "{\"ready\":false,\"waiting\":[{\"pipeline\":\"iot\",\"node\":\"store\",\"reason\":\"connecting to "
        "\\\"db\\\"\"},{\"pipeline\":\"bridge\",\"reason\":\"starting\"}]}\n");
}

TEST_CASE("/health/ready is 200 while only nodes do not work for which nothing waits, and lists them") {
  readiness now;
  now.degraded = {{"iot", "hook", "gave up"}};
  const auto server = start("127.0.0.1:0", {.ready = [&] { return now; }});
  const auto response = fetch(*server, "/health/ready");
  REQUIRE(response);
  CHECK(response->status == 200);
  CHECK(response->body ==
        "{\"ready\":true,\"waiting\":[],\"degraded\":[{\"pipeline\":\"iot\",\"node\":\"hook\",\"reason\":\"gave "
        "up\"}]}\n");
}

TEST_CASE("/health/accepting is independent of /health/ready") {
  readiness intake;
  const auto server = start("127.0.0.1:0", {.ready =
                                                [] {
                                                  return readiness{{{"iot", "store", "retrying: away"}}};
                                                },
                                            .accepting = [&] { return intake; }});
  CHECK(fetch(*server, "/health/ready")->status == 503);
  auto response = fetch(*server, "/health/accepting");
  REQUIRE(response);
  CHECK(response->status == 200);
  CHECK(response->body == "{\"accepting\":true,\"waiting\":[]}\n");
  intake.waiting = {{"iot", "posted", "the spool is full"}};
  response = fetch(*server, "/health/accepting");
  REQUIRE(response);
  CHECK(response->status == 503);
  CHECK(response->body ==
        "{\"accepting\":false,\"waiting\":[{\"pipeline\":\"iot\",\"node\":\"posted\",\"reason\":\"the spool is "
        "full\"}]}\n");
}

TEST_CASE("the index and unknown paths") {
  const auto server = start("127.0.0.1:0", {.metrics = []() -> std::string { throw std::runtime_error("secret"); }});
  CHECK(fetch(*server, "/")->body.find("/metrics") != std::string::npos);
  CHECK(fetch(*server, "/nowhere")->status == 404);
  CHECK(fetch(*server, "/nowhere")->body == "not found; see /\n");
  CHECK(fetch(*server, "/", {.method = "HEAD"})->status == 200);
  CHECK(fetch(*server, "/metrics", {.method = "POST", .body = "x"})->status == 404);
  const auto failed = fetch(*server, "/metrics");
  REQUIRE(failed);
  CHECK(failed->status == 500);
  CHECK(failed->body == "internal error\n");
  CHECK(failed->head.find("secret") == std::string::npos);
}

TEST_CASE("health probes succeed while many idle connections are open") {
  CHECK(testing::once_within(1s, [] {
    const auto server = start("127.0.0.1:0");
    std::vector<std::unique_ptr<testing::raw_client>> idle;
    for (int i = 0; i < 60; ++i) {
      idle.push_back(std::make_unique<testing::raw_client>(*server));
      idle.back()->send("G");
    }
    const auto begin = std::chrono::steady_clock::now();
    const auto response = fetch(*server, "/health/live");
    REQUIRE(response);
    CHECK(response->status == 200);
    return std::chrono::steady_clock::now() - begin;
  }));
}

}  // namespace
}  // namespace pl::telemetry
