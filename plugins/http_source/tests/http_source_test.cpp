// SPDX-License-Identifier: Apache-2.0
#include "running.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using http::testing::client;
using http::testing::component;
using http::testing::gzipped;
using http::testing::post;
using http::testing::reply;
using http::testing::running;
using pl::testing::config_fields;

namespace {

// The head of a request whose client waits for the response 100 before it sends the body.
constexpr const char* expecting = "POST /t HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
constexpr const char* ndjson = "Content-Type: application/x-ndjson\r\n";
constexpr const char* json = "Content-Type: application/json\r\n";

using texts = std::vector<std::string>;

}  // namespace

TEST_CASE("the built plugin passes the conformance and lifecycle checks") {
  const auto* directory = std::getenv("PIPELINE_PLUGIN_DIR");
  std::string error;
  for (const auto& problem :
       pl::testing::check_plugin(*pl::testing::load_plugin(std::string(directory) + "/http_source.so", error)))
    FAIL_CHECK(problem);
  for (const auto& problem : pl::testing::check_life(component(), {{"listen", "127.0.0.1:0"}})) FAIL_CHECK(problem);
}

TEST_CASE("invalid options are reported") {
  const auto refusal = [](const config_fields& options) {
    pl::testing::fake_host host;
    pl::testing::instance i(host, component(), options);
    CHECK(i.create() == PL_FATAL);
    return host.errors().empty() ? std::string() : host.errors().back().option;
  };
  CHECK(refusal({{"listen", "8080"}}) == "listen");
  CHECK(refusal({{"listen", "::1:80"}}) == "listen");
  CHECK(refusal({{"listen", "h:99999"}}) == "listen");
  CHECK(refusal({{"path", "telemetry"}}) == "path");
  CHECK(refusal({{"path", "/a?b"}}) == "path");
  CHECK(refusal({{"path", "/{a}{b}"}}) == "path");
  CHECK(refusal({{"path", "/{time}"}}) == "path");
  CHECK(refusal({{"path", "/{a"}}) == "path");
  CHECK(refusal({{"token", ""}}) == "token");
  CHECK(refusal({{"password", "x"}}) == "password");
  CHECK(refusal({{"id_header", "a b"}}) == "id_header");
  CHECK(refusal({{"headers", pl::testing::object({{"id", "X-Id"}})}}) == "headers.id");
}

TEST_CASE("records are read from a document, an array, lines and raw bytes") {
  running s;
  CHECK(s.ask(post("{\"a\": 1}", json)).body == "{\"taken\":1}\n");
  CHECK(s.ask(post("[{\"a\":2}, {\"a\":3}]", json)).body == "{\"taken\":2}\n");
  CHECK(s.ask(post("{\"a\":4}\n{\"a\":5}\n", ndjson)).status == 200);
  CHECK(s.ask(post("\xFF\x00", "Content-Type: application/octet-stream\r\n")).status == 200);
  CHECK(s.values() == texts{"{\"a\": 1}", "{\"a\":2}", "{\"a\":3}", "{\"a\":4}", "{\"a\":5}", "\xFF"});
  CHECK(s.host.sum("http_source_records_total") == 6);
}

TEST_CASE("rows have columns for the path and its segments, the remote address, the id and headers") {
  running s(config_fields{{"path", "/users/{user_id}/devices/{device_id}/telemetry"},
                          {"headers", pl::testing::object({{"tenant", "X-Tenant"}})}});
  const auto path = "/users/u%201/devices/d%2F2/telemetry";
  CHECK(s.ask(post("[1,2]", "X-Tenant: acme\r\nIdempotency-Key: k\r\n", path)).status == 200);
  CHECK(s.ask(post("[1,2]", "Idempotency-Key: k\r\n", path)).status == 200);
  CHECK(s.ask(post("1", "", path)).status == 200);
  CHECK(s.ask(post("1", "", "/users/u/devices/telemetry")).status == 404);
  CHECK(s.ask(post("1", "", "/users/u%FF/devices/d/telemetry")).status == 404);
  auto rows = s.rows();
  REQUIRE(rows.size() == 5);
  CHECK(rows[0]["user_id"] == "u 1");
  CHECK(rows[0]["device_id"] == "d/2");
  CHECK(rows[0]["topic"] == path);
  CHECK(rows[0]["remote"] == "127.0.0.1");
  CHECK(rows[0]["tenant"] == "acme");
  CHECK(!rows[2].contains("tenant"));
  CHECK(rows[0]["id"].size() == 32);
  CHECK(rows[0]["id"] == rows[2]["id"]);
  CHECK(rows[1]["id"] == rows[3]["id"]);
  CHECK(rows[0]["id"] != rows[1]["id"]);
  CHECK(rows[0]["id"] != rows[4]["id"]);
}

TEST_CASE("unauthenticated requests are rejected") {
  running s(
      config_fields{{"token", "right"}, {"tokens", pl::testing::list({"old"})}, {"user", "u"}, {"password", "p"}});
  const auto none = s.ask(post("1"));
  CHECK(none.status == 401);
  CHECK(none.headers.at("WWW-Authenticate") == "Basic realm=\"pipeline-host\"");
  CHECK(s.ask(post("1", "Authorization: Bearer wrong\r\n")).status == 401);
  CHECK(s.ask(post("1", "Authorization: Bearer \r\n")).status == 401);
  CHECK(s.ask(post("1", "Authorization: right\r\n")).status == 401);
  CHECK(s.ask(post("1", "Authorization: Bearer right\r\n")).status == 200);
  CHECK(s.ask(post("1", "Authorization: bearer  old\r\n")).status == 200);
  CHECK(s.ask(post("1", "Authorization: Basic dTpw\r\n")).status == 200);
  CHECK(s.ask(post("1", "Authorization: Basic dTpx\r\n")).status == 401);
  CHECK(s.values().size() == 3);
  CHECK(s.host.sum("http_source_requests_total{status=401}") == 5);
}

TEST_CASE("rejected requests and their status") {
  running s(config_fields{{"max_body", pl::byte_size{100}}, {"max_records", 3}});
  CHECK(s.ask(post("1", json, "/other")).status == 404);
  const auto wrong_method = s.ask("GET /t HTTP/1.1\r\nHost: h\r\n\r\n");
  CHECK(wrong_method.status == 405);
  CHECK(wrong_method.headers.at("Allow") == "POST, PUT, OPTIONS");
  CHECK(s.ask("OPTIONS /t HTTP/1.1\r\nHost: h\r\n\r\n").status == 204);
  CHECK(s.ask(post("a=b", "Content-Type: application/x-www-form-urlencoded\r\n")).status == 415);
  CHECK(s.ask(post("1", "Content-Encoding: br\r\n")).status == 415);
  CHECK(s.ask(post(std::string(101, '1'))).status == 413);
  CHECK(s.ask("POST /t HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nFFFF\r\n" + std::string(1000, '1'))
            .status == 413);
  CHECK(s.ask(post("[1,2,3,4]")).status == 413);
  const auto broken = s.ask(post("{\"a\":1}\n{\"a\":x}", ndjson));
  CHECK(broken.status == 400);
  CHECK(broken.body.find("\"taken\":0,\"error\":\"record 2: not JSON") != std::string::npos);
  CHECK(broken.body.find("\"line\":2,\"column\":6}") != std::string::npos);
  CHECK(s.ask("hello\r\n\r\n").status == 400);
  CHECK(s.ask("POST /t HTTP/1.1\r\nHost: h\r\nA: " + std::string(20'000, 'x') + "\r\n\r\n").status == 431);
  CHECK(s.ask("PRI * HTTP/2.0\r\n\r\n").status == 505);
  CHECK(s.values().empty());
}

TEST_CASE("with `invalid: accept` invalid JSON is stored unchanged") {
  running s(config_fields{{"invalid", "accept"}});
  CHECK(s.ask(post("{'a'}", json)).status == 200);
  CHECK(s.values() == texts{"{'a'}"});
}

TEST_CASE("gzip, and bodies that are not valid gzip") {
  running s(config_fields{{"max_body", pl::byte_size{100'000}}});
  const auto zipped = [](std::string_view body) { return post(body, "Content-Encoding: gzip\r\n"); };
  CHECK(s.ask(zipped(gzipped("[1,2]"))).body == "{\"taken\":2}\n");
  CHECK(s.ask(zipped("[1,2]")).status == 400);
  CHECK(s.ask(zipped(gzipped("[1,2]").substr(0, 20))).status == 400);
  CHECK(s.ask(zipped(gzipped("\"" + std::string(8'000'000, 'x') + "\""))).status == 413);
  CHECK(s.values() == texts{"1", "2"});
}

TEST_CASE("many requests on one connection: in sequence, pipelined, chunked, byte by byte") {
  running s;
  client c(s.port);
  CHECK(c.ask(post("1")).status == 200);
  c.send(post("2") + post("3") + "\r\n" + post("{"));
  CHECK(c.receive().status == 200);
  CHECK(c.receive().status == 200);
  CHECK(c.receive().status == 400);  // only the body is invalid: the connection stays open
  CHECK(
      c.ask(
           "POST /t HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n3\r\n4,5\r\n1\r\n]\r\n0\r\n\r\n")
          .status == 200);
  for (const char byte : post("6")) c.send({&byte, 1});
  CHECK(c.receive().status == 200);
  CHECK(c.ask(post("0", json, "/elsewhere")).status == 404);
  c.send("POST /t HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
  CHECK(c.receive().status == 100);
  CHECK(c.ask("7").status == 200);
  CHECK(c.ask("POST /t HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1\r\n\r\n8")
            .headers.at("Connection") == "close");
  CHECK(c.ended());
  CHECK(s.values() == texts{"1", "2", "3", "4", "5", "6", "7", "8"});
}

TEST_CASE("slow and silent clients run into a timeout") {
  running s(config_fields{{"timeout", 2s}, {"idle_timeout", 2s}});
  client slow(s.port);
  slow.send("POST /t HT");
  client slow_body(s.port);
  slow_body.send("POST /t HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n1");
  client silent(s.port);
  CHECK(slow.receive().status == 408);
  CHECK(slow_body.receive().status == 408);
  CHECK(silent.ended());
  CHECK(s.values().empty());
}

TEST_CASE("at max_connections the idle connection is closed, and the busy one stays open") {
  running s(config_fields{{"max_connections", 2}});
  client busy(s.port), idle(s.port);
  CHECK(busy.ask(expecting).status == 100);
  CHECK(idle.ask(post("1")).status == 200);
  CHECK(s.ask(post("2")).status == 200);
  CHECK(idle.ended());
  CHECK(busy.ask("3").status == 200);
}

TEST_CASE("a full spool leads to status 429 until there is room again") {
  running s(
      config_fields{{"spool", pl::testing::object({{"max_bytes", pl::byte_size{1 << 20}}})}, {"retry_after", 7s}});
  const auto request = post("\"" + std::string(100'000, 'x') + "\"");
  int taken = 0;
  reply last;
  while ((last = s.ask(request)).status == 200 && taken < 100) ++taken;
  CHECK(last.status == 429);
  CHECK(last.headers.at("Retry-After") == "7");
  CHECK(taken >= 10);
  CHECK(static_cast<int>(s.rows().size()) == taken);
  CHECK(s.host.receptions().back() == "the spool is full (spool.max_bytes, or the disk)");
  s.source->settle("spool/other", 0, 1);
  pl::batch b;
  const auto stream = s.host.assigned_streams().front();
  s.source->settle(stream, 0, static_cast<std::uint64_t>(taken));
  // While a sync is in progress, the last file is deleted a little later.
  const auto deadline = std::chrono::steady_clock::now() + 2min;
  while ((last = s.ask(request)).status == 429 && std::chrono::steady_clock::now() < deadline) (void)s.rows();
  CHECK(last.status == 200);
  CHECK(s.rows().size() == 1);
  CHECK(s.host.receptions().back().empty());
}

TEST_CASE("rows have the time at which their request arrived, and the end of the spool is reported at each poll") {
  const auto now = [] { return std::chrono::system_clock::now(); };
  running s;
  s.host.set_wants_arrivals(false);
  CHECK(s.rows().empty());
  CHECK(s.host.receptions() == std::vector<std::string>{"not listening", ""});
  CHECK(s.host.observed_ends().empty());
  s.host.set_wants_arrivals(true);
  const auto before = now();
  CHECK(s.ask(post("1")).status == 200);
  const auto after = now();
  std::this_thread::sleep_for(20ms);
  pl::batch b;
  REQUIRE(s.source->poll(b, 1000, 1 << 20, 0ns) == PL_OK);
  CHECK(*b.get().arrival(0) >= before);
  CHECK(*b.get().arrival(0) <= after);
  CHECK_FALSE(b.get().raw()->arrival_claimed);
  const auto seen = s.host.observed_ends().back();
  CHECK(seen.stream == s.host.assigned_streams().front());
  CHECK(seen.end == b.get().ranges()[0].next);
  CHECK(pl::timestamp(std::chrono::nanoseconds(seen.before_ns)) > after);
  CHECK(s.source->poll(b, 0, 0, 0ns) == PL_AGAIN);  // under back-pressure
  CHECK(s.host.observed_ends().back().before_ns > seen.before_ns);
  CHECK(s.source->stop() == PL_OK);
  CHECK(s.host.receptions().back() == "not listening");
}

TEST_CASE("acknowledged records are there after a restart, and a stop completes current requests") {
  running s;
  CHECK(s.ask(post("1")).status == 200);
  client late(s.port), idle(s.port);
  CHECK(late.ask(expecting).status == 100);
  CHECK(idle.ask(post("2")).status == 200);
  std::jthread stopping([&] { CHECK(s.source->stop() == PL_OK); });
  CHECK(idle.ended());
  const auto response = late.ask("3");
  CHECK(response.status == 200);
  CHECK(response.headers.at("Connection") == "close");
  stopping.join();
  s.source.reset();
  s.start();
  CHECK(s.values() == texts{"1", "2", "3"});
}

TEST_CASE("many clients at once: each record once") {
  running s(config_fields{{"spool", pl::testing::object({{"fsync", "always"}})}});
  constexpr int clients = 16, requests = 50;
  std::vector<std::jthread> all;
  for (int k = 0; k < clients; ++k)
    all.emplace_back([&s, k] {
      client c(s.port);
      for (int i = 0; i < requests; ++i)
        if (c.ask(post("[" + std::to_string(k) + "," + std::to_string(i) + "]", ndjson)).status != 200)
          FAIL_CHECK("refused");
    });
  all.clear();
  auto found = s.values();
  std::sort(found.begin(), found.end());
  CHECK(found.size() == clients * requests);
  CHECK(std::unique(found.begin(), found.end()) == found.end());
}
