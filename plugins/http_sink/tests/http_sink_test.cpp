// SPDX-License-Identifier: Apache-2.0
#include "../outgoing.hpp"
#include "server.hpp"

#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using http_sink::testing::received;
using http_sink::testing::response;
using http_sink::testing::server;
using pl::testing::config_fields;
using pl::testing::list;
using pl::testing::object;

namespace {

const pl_plugin& plugin() {
  const auto* directory = std::getenv("PIPELINE_PLUGIN_DIR");
  REQUIRE(directory != nullptr);
  std::string error;
  const auto* found = pl::testing::load_plugin(std::string(directory) + "/http_sink.so", error);
  REQUIRE_MESSAGE(found != nullptr, error);
  return *found;
}
const pl_component& component() { return *plugin().components[0]; }

struct running {
  pl::testing::fake_host host;
  pl::testing::instance sink;

  explicit running(config_fields options) : sink(host, component(), options) {
    REQUIRE_MESSAGE(sink.create() == PL_OK, host.error_text());
  }
  [[nodiscard]] std::string why() const { return host.errors().empty() ? "" : host.errors().back().detail; }
};

config_fields to(const server& s, config_fields more = {}) {
  config_fields o = {{"url", s.url() + "/in"}};
  for (auto& m : more) o.push_back(std::move(m));
  return o;
}

// Return a batch with the rows n = first, first+1, ...
pl::batch numbers(pl::testing::fake_host& host, std::uint32_t rows, std::int64_t first = 0) {
  std::vector<pl::cell> n, device;
  for (std::uint32_t i = 0; i < rows; ++i) {
    n.push_back(pl::int_cell(first + i));
    device.push_back(pl::text_cell(i % 2 == 0 ? "a/b" : "c"));
  }
  return host.make_batch({{"n", n}, {"device", device}}, "test/0", static_cast<std::uint64_t>(first));
}

std::string error_of(const config_fields& options) {
  pl::testing::fake_host host;
  pl::testing::instance sink(host, component(), options);
  CHECK(sink.create() == PL_FATAL);
  return host.errors().empty() ? "" : host.errors().back().option;
}

// Return a handler that rejects requests whose body contains the text.
server::handler refusing(std::string bad, int status) {
  return [bad = std::move(bad), status](const received& r) {
    return r.body.find(bad) == std::string::npos ? response{} : response{status, {}, "not that"};
  };
}

}  // namespace

// Receivers compare keys of different versions of this plugin.
TEST_CASE("the digest of texts never changes") {
  CHECK(http_sink::hex(http_sink::digest_of({"ab", "c"})) == "43ee655579de01ca739b3f95c1c2d3f4");
}

TEST_CASE("the built plugin passes the conformance and lifecycle checks") {
  for (const auto& problem : pl::testing::check_plugin(plugin())) FAIL_CHECK(problem);
  server s;
  for (const auto& problem : pl::testing::check_life(component(), to(s))) FAIL_CHECK(problem);
}

TEST_CASE("invalid options are reported") {
  CHECK(error_of({{"url", "host/path"}}) == "url");
  CHECK(error_of({{"url", "ftp://host/"}}) == "url");
  CHECK(error_of({{"url", "http://"}}) == "url");
  CHECK(error_of({{"url", "http://{host}/"}}) == "url");
  CHECK(error_of({{"url", "http://h/{a"}}) == "url");
  CHECK(error_of({{"url", "http://h/#x"}}) == "url");
  CHECK(error_of({{"url", "http://h/"}, {"tls", object({{"ca", "x"}})}}) == "tls");
  CHECK(error_of({{"url", "http://u:p@h/"}, {"user", "u"}}) == "user");
  CHECK(error_of({{"url", "http://h/"}, {"password", "p"}}) == "password");
  CHECK(error_of({{"url", "http://u:p@h/"}, {"token", "t"}}) == "token");
  CHECK(error_of({{"url", "http://h/"}, {"headers", object({{"Host", "x"}})}}) == "headers.Host");
  CHECK(error_of({{"url", "http://h/"}, {"headers", object({{"A B", "x"}})}}) == "headers.A B");
  CHECK(error_of({{"url", "http://h/"}, {"headers", object({{"A", "{x"}})}}) == "headers.A");
  CHECK(error_of({{"url", "http://h/"}, {"format", "raw"}}) == "payload");
  CHECK(error_of({{"url", "http://h/"}, {"payload", "{v}"}, {"id_field", "id"}}) == "id_field");
  CHECK(error_of({{"url", "http://h/"}, {"reject_on", list({500})}}) == "reject_on");
}

TEST_CASE("the formats json_array, ndjson, json and raw") {
  const auto bodies = [](config_fields more) {
    server s;
    running r(to(s, std::move(more)));
    CHECK(r.sink.start() == PL_OK);
    CHECK(r.sink.write(numbers(r.host, 2).get()) == PL_OK);
    std::vector<std::string> all;
    for (const auto& one : s.all()) all.push_back(one.headers.at("content-type") + " " + one.body);
    return all;
  };
  using texts = std::vector<std::string>;
  const std::string one = R"({"n":0,"device":"a/b"})", two = R"({"n":1,"device":"c"})";
  CHECK(bodies({}) == texts{"application/json [" + one + "," + two + "]"});
  CHECK(bodies({{"format", "ndjson"}}) == texts{"application/x-ndjson " + one + "\n" + two + "\n"});
  CHECK(bodies({{"format", "json"}}) == texts{"application/json " + one, "application/json " + two});
  CHECK(bodies({{"format", "raw"}, {"payload", "{device}"}, {"content_type", "text/x"}}) ==
        texts{"text/x a/b", "text/x c"});
  CHECK(bodies({{"payload", "{n}"}}) == texts{"application/json [0,1]"});
}

TEST_CASE("requests have the configured method, headers and credentials, and share a connection") {
  server s;
  running r(to(s, {{"method", "PUT"}, {"token", "secret"}, {"headers", object({{"X-Key", "k"}, {"X-Empty", ""}})}}));
  CHECK(r.sink.write(numbers(r.host, 1).get()) == PL_OK);
  CHECK(r.sink.write(numbers(r.host, 1, 1).get()) == PL_OK);
  const auto all = s.all();
  REQUIRE(all.size() == 2);
  CHECK(all[0].method == "PUT");
  CHECK(all[0].target == "/in");
  CHECK(all[0].headers.at("authorization") == "Bearer secret");
  CHECK(all[0].headers.at("x-key") == "k");
  CHECK(all[0].headers.at("x-empty").empty());
  CHECK(s.connections() == 1);
  CHECK(r.host.sum("http_sink_connects_total") == 1);
  CHECK(r.host.sum("http_sink_requests_total{status=2xx}") == 2);
  running basic({{"url", "http://us%40er:p%2Fw@" + s.url().substr(7) + "/x"}});
  CHECK(basic.sink.write(numbers(basic.host, 1).get()) == PL_OK);
  CHECK(s.all().back().headers.at("authorization") == "Basic dXNAZXI6cC93");
}

TEST_CASE("columns in URL and headers: one request per value, and no value leaves its segment") {
  server s;
  running r({{"url", s.url() + "/d/{device}/x?q={n}"}, {"headers", object({{"X-Device", "<{device}>"}})}});
  CHECK(r.sink.write(numbers(r.host, 3).get()) == PL_OK);
  const auto all = s.all();
  REQUIRE(all.size() == 3);
  CHECK(all[0].target == "/d/a%2Fb/x?q=0");
  CHECK(all[0].headers.at("x-device") == "<a/b>");
  CHECK(all[1].target == "/d/c/x?q=1");

  running grouped(config_fields{{"url", s.url() + "/d/{device}"}});
  CHECK(grouped.sink.write(numbers(grouped.host, 4).get()) == PL_OK);
  CHECK(s.all().size() == 5);
  CHECK(s.all()[3].body == R"([{"n":0,"device":"a/b"},{"n":2,"device":"a/b"}])");

  const auto odd = grouped.host.make_batch(
      {{"device", {pl::text_cell(".."), pl::text_cell(""), pl::null_cell(), pl::text_cell("ok")}}});
  CHECK(grouped.sink.write(odd.get()) == PL_OK);
  CHECK(grouped.host.rejects().size() == 3);
  running lines({{"url", s.url()}, {"headers", object({{"X", "{device}"}})}});
  CHECK(lines.sink.write(lines.host.make_batch({{"device", {pl::text_cell("a\r\nB: c")}}}).get()) == PL_OK);
  REQUIRE(lines.host.rejects().size() == 1);
  CHECK(lines.host.rejects()[0].reason.find("control character") != std::string::npos);
}

TEST_CASE("a missing column is reported") {
  server s;
  running r(config_fields{{"url", s.url() + "/{user}"}});
  CHECK(r.sink.write(numbers(r.host, 1).get()) == PL_FATAL);
  CHECK(r.host.errors().back().option == "url");
}

TEST_CASE("rows are split into requests by number and by size") {
  server s;
  running by_number(to(s, {{"max_rows", 4}}));
  CHECK(by_number.sink.write(numbers(by_number.host, 10).get()) == PL_OK);
  CHECK(s.all().size() == 3);
  server t;
  running by_size(to(t, {{"max_body", pl::byte_size{60}}}));
  CHECK(by_size.sink.write(numbers(by_size.host, 10).get()) == PL_OK);
  CHECK(t.all().size() == 5);
  for (const auto& one : t.all()) CHECK(one.body.size() <= 60);
  running too_small(to(t, {{"max_body", pl::byte_size{5}}}));
  CHECK(too_small.sink.write(numbers(too_small.host, 1).get()) == PL_OK);
  CHECK(too_small.host.rejects().size() == 1);
}

TEST_CASE("gzip") {
  server s;
  running r(to(s, {{"compression", "gzip"}}));
  CHECK(r.sink.write(numbers(r.host, 100).get()) == PL_OK);
  CHECK(s.all()[0].headers.at("content-encoding") == "gzip");
  CHECK(s.all()[0].body.substr(0, 2) == "\x1F\x8B");
  CHECK(s.all()[0].body.size() < 800);
}

TEST_CASE("bad rows are found and rejected with the server's response, and the others arrive once") {
  for (const int status : {400, 422}) {
    server s(refusing("\"n\":13,", status));
    running r(to(s));
    CHECK(r.sink.write(numbers(r.host, 50).get()) == PL_OK);
    REQUIRE(r.host.rejects().size() == 1);
    CHECK(r.host.rejects()[0].row == 13);
    CHECK(r.host.rejects()[0].reason.find("status " + std::to_string(status) + ": not that") != std::string::npos);
    std::map<std::string, int> taken;
    for (const auto& one : s.taken())
      for (int n = 0; n < 50; ++n)
        if (const auto text = "\"n\":" + std::to_string(n) + ","; one.body.find(text) != std::string::npos)
          ++taken[text];
    CHECK(taken.size() == 49);
    CHECK(std::all_of(taken.begin(), taken.end(), [](const auto& t) { return t.second == 1; }));
    CHECK(s.all().size() < 20);
  }
}

TEST_CASE("a request that is too large for the server is bisected, and the size is remembered") {
  server s([](const received& r) { return r.body.size() > 400 ? response{413, {}, {}} : response{}; });
  running r(to(s));
  CHECK(r.sink.write(numbers(r.host, 50).get()) == PL_OK);
  CHECK(r.host.rejects().empty());
  CHECK(r.host.sum("http_sink_rows_total") == 50);
  const auto refused = r.host.sum("http_sink_requests_total{status=4xx}");
  CHECK(r.sink.write(numbers(r.host, 50, 50).get()) == PL_OK);
  CHECK(r.host.sum("http_sink_requests_total{status=4xx}") == refused);
}

TEST_CASE("temporary errors are retried, and delivered requests are not sent again") {
  for (const int status : {408, 425, 429, 500, 502, 503, 401, 403, 404, 301}) {
    int n = 0;
    server s([&](const received&) {
      return ++n == 2 ? response{status, {{"Location", "http://x/"}}, "no"} : response{};
    });
    running r(to(s, {{"max_rows", 10}}));
    const auto rows = numbers(r.host, 30);
    CHECK(r.sink.write(rows.get()) == PL_RETRY);
    CHECK_MESSAGE(r.why().find("status " + std::to_string(status)) != std::string::npos, r.why());
    CHECK(r.sink.write(rows.get()) == PL_OK);
    CHECK(s.all().size() == 4);
    CHECK(s.all()[1].body == s.all()[2].body);
    CHECK(s.all()[1].headers.at("idempotency-key") == s.all()[2].headers.at("idempotency-key"));
    CHECK(s.all()[1].headers.at("idempotency-key") != s.all()[3].headers.at("idempotency-key"));
    CHECK(r.host.rejects().empty());
  }
}

TEST_CASE("a row that was rejected before a retry is rejected once, after it") {
  int n = 0;
  server s([&](const received& r) {
    if (r.body.find("\"n\":1,") != std::string::npos) return response{400, {}, {}};
    return ++n == 1 ? response{503, {}, {}} : response{};
  });
  running r(to(s, {{"format", "json"}}));
  const auto rows = numbers(r.host, 4, 1);
  CHECK(r.sink.write(rows.get()) == PL_RETRY);
  CHECK(r.host.rejects().empty());
  CHECK(r.sink.write(rows.get()) == PL_OK);
  CHECK(r.host.rejects().size() == 1);
  CHECK(s.taken().size() == 3);
}

TEST_CASE("Retry-After is obeyed") {
  int n = 0;
  server s([&](const received&) { return ++n == 1 ? response{429, {{"Retry-After", "3"}}, {}} : response{}; });
  running r(to(s));
  const auto rows = numbers(r.host, 1);
  const auto began = std::chrono::steady_clock::now();
  CHECK(r.sink.write(rows.get()) == PL_RETRY);
  CHECK(r.sink.write(rows.get()) == PL_RETRY);
  CHECK(r.why().find("Retry-After") != std::string::npos);
  CHECK(s.all().size() == 1);
  while (r.sink.write(rows.get()) != PL_OK) std::this_thread::sleep_for(20ms);
  CHECK(std::chrono::steady_clock::now() - began >= 3s);
  CHECK(s.all().size() == 2);
}

TEST_CASE("broken connections, and servers that do not respond or cannot be reached") {
  int n = 0;
  server s([&](const received&) { return ++n == 1 ? response{0, {}, {}} : response{}; });
  running r(to(s, {{"timeout", 30s}}));
  const auto rows = numbers(r.host, 1);
  CHECK(r.sink.write(rows.get()) == PL_RETRY);
  CHECK(r.sink.write(rows.get()) == PL_OK);
  server silent([](const received&) { return response{-1, {}, {}}; });
  running waiting(to(silent, {{"timeout", 200ms}}));
  CHECK(waiting.sink.write(rows.get()) == PL_RETRY);
  CHECK(waiting.why().find("timed out") != std::string::npos);
  running nobody(config_fields{{"url", "http://127.0.0.1:1/"}});
  CHECK(nobody.sink.start() == PL_RETRY);
  CHECK(nobody.sink.check() == PL_RETRY);
  CHECK(nobody.why().find("127.0.0.1") != std::string::npos);
}

TEST_CASE("a check reports a token that the server rejects, without logging secrets") {
  server s([](const received& r) { return response{401, {}, "bad " + r.headers.at("authorization")}; });
  running r(to(s, {{"token", "hush-hush"}}));
  CHECK(r.sink.check() == PL_FATAL);
  CHECK(r.why().find("`token`") != std::string::npos);
  CHECK(r.why().find("hush-hush") == std::string::npos);
  CHECK(s.all()[0].method == "OPTIONS");
}

TEST_CASE("a row has the same id in any request") {
  server s;
  running r(to(s, {{"id_field", "row_id"}}));
  const auto ids = [&](const std::string& body) {
    std::vector<std::string> found;
    for (auto at = body.find("row_id\":\""); at != std::string::npos; at = body.find("row_id\":\"", at + 1))
      found.push_back(body.substr(at + 9, 32));
    return found;
  };
  CHECK(r.sink.write(numbers(r.host, 3).get()) == PL_OK);
  CHECK(r.sink.write(numbers(r.host, 2, 1).get()) == PL_OK);  // a batch with other boundaries
  const auto first = ids(s.all()[0].body);
  REQUIRE(first.size() == 3);
  CHECK(std::set<std::string>(first.begin(), first.end()).size() == 3);
  CHECK(s.all()[0].headers.at("idempotency-key") != s.all()[1].headers.at("idempotency-key"));
}

TEST_CASE("the payload must be JSON unless the format is raw") {
  server s;
  running r(to(s, {{"payload", "{device}"}}));
  CHECK(r.sink.write(numbers(r.host, 2).get()) == PL_OK);
  CHECK(r.host.rejects().size() == 2);
  running quoted(to(s, {{"payload", "{{\"d\":\"{device}\",\n\"n\":{n}}}"}, {"format", "ndjson"}}));
  CHECK(quoted.sink.write(numbers(quoted.host, 1).get()) == PL_OK);
  CHECK(s.all().back().body == "{\"d\":\"a/b\", \"n\":0}\n");
}

TEST_CASE("values in a JSON payload cannot add members, and texts with quotes are delivered") {
  server s;
  running r(
      to(s, {{"payload", "{{\"id\":\"{device_id}\",\"text\":{text},\"raw\":{text:raw}}}"}, {"format", "ndjson"}}));
  const auto send = [&](std::string_view id, std::string_view text) {
    const std::vector<pl::cell> ids{pl::text_cell(id)}, texts{pl::text_cell(text)};
    return r.sink.write(r.host.make_batch({{"device_id", ids}, {"text", texts}}, "test/0", 0).get());
  };
  CHECK(send("x\",\"admin\":true,\"y\":\"z", "1") == PL_OK);
  CHECK(s.all().back().body == "{\"id\":\"x\\\",\\\"admin\\\":true,\\\"y\\\":\\\"z\",\"text\":\"1\",\"raw\":1}\n");
  CHECK(send("a\\", "[\"q\"]") == PL_OK);
  CHECK(s.all().back().body == "{\"id\":\"a\\\\\",\"text\":\"[\\\"q\\\"]\",\"raw\":[\"q\"]}\n");
  CHECK(r.host.rejects().empty());
  CHECK(send("a", "not \"JSON\"") == PL_OK);  // {text:raw} is not JSON
  CHECK(r.host.rejects().size() == 1);
}

TEST_CASE("a missing certificate file is reported with its option") {
  server s;
  running r({{"url", "https" + s.url().substr(4)}, {"tls", object({{"ca", "/nowhere/ca.pem"}})}});
  CHECK(r.sink.start() == PL_FATAL);
  CHECK(r.host.errors().back().option == "tls.ca");
}
