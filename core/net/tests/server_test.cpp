// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <http/listen.hpp>
#include <http/server.hpp>
#include <http/testing/client.hpp>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace pl::http;
using namespace std::chrono_literals;
using testing::client;
using testing::post;

namespace {

using steady = std::chrono::steady_clock;

// The timeouts of the server are far longer than what the tests allow for a step, which is generous for loaded machines.
constexpr auto long_timeout = 10min;
constexpr auto soon = 60s;

// Responds with the body of the request; to GET with `large` bytes, or with a stream at /events; rejects /refused.
class echo final : public service {
 public:
  std::size_t large = 0;
  bool counts = false;  // respond with the size of the body instead
  std::atomic<int> requests{0}, evicted{0}, responses{0}, last_status{0};
  std::atomic<std::size_t> open{0};  // connections
  std::function<void(body_stream&)> events = nullptr;

  std::optional<response> admit(const request_head& head) override {
    if (head.path == "/events")
      return response{
          .headers = {{"Cache-Control", "no-store"}}, .content_type = "text/event-stream", .stream = events};
    if (head.path == "/refused") return response{401, "no token"};
    if (head.method == "POST") return std::nullopt;
    return response{.body = std::string(large, 'x'), .content_type = "text/plain"};
  }
  response take(const request_head&, std::string_view, std::string_view body, memory_claim&) override {
    ++requests;
    return {.body = counts ? std::to_string(body.size()) : std::string(body)};
  }
  std::optional<response> refuse(const refusal& why) override { return response{why.status, why.why}; }
  void responded(int status, std::chrono::nanoseconds) override {
    last_status = status;
    ++responses;
  }
  void connections(std::size_t now) override { open = now; }
  void closed_early(early_close why) override { evicted += why == early_close::evicted ? 1 : 0; }
};

server_settings defaults() {
  server_settings s;
  s.max_body = 1000;
  s.max_memory = 1 << 20;
  s.max_connections = 100;
  s.request_timeout = s.idle_timeout = s.response_timeout = s.patience = long_timeout;
  return s;
}

struct running {
  echo service;
  std::unique_ptr<server> at;
  std::uint16_t port = 0;

  explicit running(const server_settings& settings = defaults(), server::tls_source tls = nullptr) {
    pl::descriptor listening;
    REQUIRE(!listen_on({"127.0.0.1", 0}, false, listening));
    at = server::start(settings, service, std::move(tls), std::move(listening));
    port = pl::parse_host_port(at->bound())->port;
  }
};

std::string refused(std::size_t length) {
  return "POST /refused HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(length) + "\r\n\r\n";
}

constexpr const char* get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
constexpr const char* open_head = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";

template <class Check>
bool eventually(Check holds) {
  for (const auto end = steady::now() + soon; steady::now() < end; std::this_thread::sleep_for(5ms))
    if (holds()) return true;
  return false;
}

std::size_t resident_memory() {
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// A request that another server could interpret differently, or that is not HTTP, with the status of the response.
struct crafted {
  int status;
  std::string text;
};

std::string with(const std::string& headers, const std::string& body = "0\r\n\r\n") {
  return "POST /a HTTP/1.1\r\nHost: h\r\n" + headers + "\r\n" + body;
}

std::vector<crafted> all_crafted() {
  return {
      // Two lengths, or a length that is not a number.
      {400, with("Content-Length: 5\r\nContent-Length: 6\r\n")},
      {400, with("Content-Length: 5, 5\r\n")},
      {400, with("Content-Length: +5\r\n")},
      {400, with("Content-Length: -1\r\n")},
      {400, with("Content-Length: 0x5\r\n")},
      {400, with("Content-Length: 5 5\r\n")},
      {400, with("Content-Length: 99999999999999999999\r\n")},
      {400, with("Content-Length:\r\n")},
      {400, with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")},
      {400, with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")},
      // Transfer codings.
      {400, with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")},
      {501, with("Transfer-Encoding: chunked, identity\r\n")},
      {501, with("Transfer-Encoding: gzip, chunked\r\n")},
      {501, with("Transfer-Encoding: xchunked\r\n")},
      {501, with("Transfer-Encoding: \"chunked\"\r\n")},
      {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
      // Names, values and the ends of lines.
      {400, with("Content-Length : 5\r\n")},
      {400, with("Content-Length\t: 5\r\n")},
      {400, with(" Content-Length: 5\r\n")},
      {400, with("A: b\r\n c\r\n")},
      {400, with("A: b\r\n\tc\r\n")},
      {400, with("no colon\r\n")},
      {400, with(": empty name\r\n")},
      {400, with("A: b\nContent-Length: 5\r\n")},
      {400, with("A: b\rContent-Length: 5\r\n")},
      {400, with(std::string("A: b\0c\r\n", 8))},
      {400, with("A: b\x7F\r\n")},
      {400, with("A\xC3\xA4: b\r\n")},
      {400, "POST / HTTP/1.1\nHost: h\n\n"},
      {400, "POST / HTTP/1.1\r\nHost: h\n\r\n"},
      // Hosts, the request line and versions.
      {400, with("Host: other\r\n")},
      {400, "POST / HTTP/1.1\r\n\r\n"},
      {400, "POST  / HTTP/1.1\r\nHost: h\r\n\r\n"},
      {400, " POST / HTTP/1.1\r\nHost: h\r\n\r\n"},
      {400, "POST / \r\nHost: h\r\n\r\n"},
      {400, "PO\tST / HTTP/1.1\r\nHost: h\r\n\r\n"},
      {400, "POST /\x01 HTTP/1.1\r\nHost: h\r\n\r\n"},
      {505, "POST / HTTP/1.2\r\nHost: h\r\n\r\n"},
      {505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
      {400, "\r\n\r\n"},
      // Chunks.
      {400, with("Transfer-Encoding: chunked\r\n", "x\r\n")},
      {400, with("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n")},
      {400, with("Transfer-Encoding: chunked\r\n", "5\r\nhello6\r\n")},
      {400, with("Transfer-Encoding: chunked\r\n", "-5\r\nhello\r\n0\r\n\r\n")},
      {400, with("Transfer-Encoding: chunked\r\n", "ffffffffffffffff0\r\n")},
      {413, with("Transfer-Encoding: chunked\r\n", "7fffffff\r\n" + std::string(2000, 'x'))},
      {400, with("Transfer-Encoding: chunked\r\n", "1;" + std::string(9000, 'x'))},
      {400, with("Transfer-Encoding: chunked\r\n", "0\r\nA: b\n\r\n")},
      // Expectations and sizes.
      {417, with("Expect: 200-ok\r\n")},
      {413, with("Content-Length: 1001\r\n")},
      {431, with("A: " + std::string(20'000, 'x') + "\r\n")},
  };
}

}  // namespace

TEST_CASE("crafted requests get an error, and nothing after them is read as a request") {
  running s;
  for (const auto& one : all_crafted()) {
    CAPTURE(one.text.substr(0, 200));
    client c(s.port);
    const auto begin = steady::now();
    CHECK(c.ask(one.text + post("smuggled")).status == one.status);
    CHECK(c.ended());
    CHECK(steady::now() - begin < soon);  // without waiting for the timeout of the request
  }
  CHECK(s.service.requests == 0);
  CHECK(client(s.port).ask(post("1")).body == "1");
}

TEST_CASE("one empty line before a request is skipped; more are an error") {
  running s;
  CHECK(client(s.port).ask("\r\n" + post("1")).body == "1");
  client c(s.port);
  c.send("\r");
  CHECK(c.ask("\n" + post("1")).status == 200);
  CHECK(c.ask("\r\n" + post("2")).status == 200);
  CHECK(c.ask("\r\n\r\n").status == 400);
}

TEST_CASE("the response to HEAD has no body, and the connection stays in step") {
  running s;
  s.service.large = 100;
  client c(s.port);
  c.send(std::string("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n") + get);
  std::string all;
  while (all.find("xxx") == std::string::npos) {
    const auto more = c.receive_some();
    REQUIRE(!more.empty());
    all += more;
  }
  const auto second = all.find("HTTP/1.1 200", 1);
  CHECK(all.substr(second - 4, 4) == "\r\n\r\n");
  CHECK(all.find("Content-Length: 100") < second);
}

TEST_CASE("server-sent events: each event arrives when it is sent, and a stop ends the stream") {
  running s;
  int sent = 0;
  s.service.events = [&](body_stream& to) {
    while (to.send("data: " + std::to_string(sent) + "\n\n"))
      if (++sent == 3)
        while (!to.stopping()) std::this_thread::sleep_for(1ms);
  };
  client c(s.port);
  c.send("GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
  std::string all;
  while (all.find("data: 2\n\n") == std::string::npos) all += c.receive_some();
  CHECK(all.find("Content-Type: text/event-stream\r\n") != std::string::npos);
  CHECK(all.find("Content-Length") == std::string::npos);
  CHECK(all.find("data: 0\n\ndata: 1\n\n") != std::string::npos);
  const auto begin = steady::now();
  s.at.reset();
  CHECK(steady::now() - begin < soon);
  CHECK(c.ended());
  CHECK(sent == 3);
}

TEST_CASE("the stream of a client that is gone ends") {
  running s;
  std::atomic<bool> ended{false};
  s.service.events = [&](body_stream& to) {
    while (to.send("data: x\n\n")) std::this_thread::sleep_for(1ms);
    ended = true;
  };
  {
    client c(s.port);
    c.send("GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(!c.receive_some().empty());
  }
  CHECK(eventually([&] { return ended.load(); }));
}

TEST_CASE("a connection that has sent nothing for a second is replaced before an idle one") {
  auto settings = defaults();
  settings.max_connections = 3;
  running s(settings);
  client idle(s.port), silent(s.port);
  CHECK(idle.ask(post("1")).status == 200);
  REQUIRE(eventually([&] { return s.service.open == 2; }));  // the second of `silent` begins when it is accepted
  std::this_thread::sleep_for(1100ms);
  client busy(s.port);
  CHECK(busy.ask(open_head).status == 100);
  CHECK(client(s.port).ask(post("2")).status == 200);
  CHECK(silent.ended());
  CHECK(idle.ask(post("3")).status == 200);
  CHECK(busy.ask("4").status == 200);
  CHECK(s.service.evicted == 1);
}

TEST_CASE("a client that does not read its responses is replaced") {
  auto settings = defaults();
  settings.max_connections = 2;
  running s(settings);
  s.service.large = std::size_t{32} << 20U;  // more than the buffers of a connection hold
  client deaf(s.port), other(s.port);
  deaf.send(get);
  REQUIRE(eventually([&] { return s.service.responses == 1; }));  // it waits for longer than `other`
  CHECK(other.ask(open_head).status == 100);
  const auto begin = steady::now();
  CHECK(client(s.port).ask(post("1")).status == 200);
  CHECK(steady::now() - begin < soon);  // less than the time for a response
  CHECK(other.ask("2").status == 200);
}

TEST_CASE("above max_requests, a request replaces one whose client does not read, otherwise it gets status 503") {
  auto settings = defaults();
  settings.max_requests = 1;
  running s(settings);
  s.service.large = std::size_t{32} << 20U;
  client reads_body(s.port);
  CHECK(reads_body.ask(open_head).status == 100);
  CHECK(client(s.port).ask(post("1")).status == 503);
  CHECK(reads_body.ask("2").status == 200);
  // A request has its place until its response was sent, which is a little after the client has it.
  std::unique_ptr<client> deaf;
  REQUIRE(eventually([&] {
    const int before = s.service.responses;
    deaf = std::make_unique<client>(s.port);
    deaf->send(get);
    return eventually([&] { return s.service.responses > before; }) && s.service.last_status == 200;
  }));
  CHECK(eventually([&] { return client(s.port).ask(post("3")).status == 200; }));
  CHECK(s.service.evicted >= 1);
  std::size_t received = 0;
  for (auto part = deaf->receive_some(); !part.empty(); part = deaf->receive_some()) received += part.size();
  CHECK(received < s.service.large);
}

TEST_CASE("a request that is rejected by its head gets its response before its body arrives") {
  running s;
  client withheld(s.port);
  const auto begin = steady::now();
  CHECK(withheld.ask(refused(60'000)).status == 401);
  CHECK(withheld.ended());
  CHECK(steady::now() - begin < soon);  // less than the timeout of a request
  client complete(s.port);
  CHECK(complete.ask(refused(3) + "abc").status == 401);
  CHECK(complete.ask(post("1")).body == "1");  // the body was skipped
}

TEST_CASE("clients without authentication that send no body do not keep others out") {
  auto settings = defaults();
  settings.max_connections = 2;
  running s(settings);
  client one(s.port), two(s.port);
  one.send(refused(60'000));
  two.send(refused(60'000));
  const auto begin = steady::now();
  CHECK(client(s.port).ask(post("1")).status == 200);
  CHECK(steady::now() - begin < soon);
}

TEST_CASE("clients that have sent nothing of their bodies for two seconds are replaced, in the order of their waits") {
  auto settings = defaults();
  settings.max_connections = 8;
  running s(settings);
  std::vector<std::unique_ptr<client>> waiting, fresh;
  const auto begin = steady::now();
  while (waiting.size() < settings.max_connections) {
    waiting.push_back(std::make_unique<client>(s.port));
    REQUIRE(waiting.back()->ask(open_head).status == 100);
  }
  for (std::size_t i = 0; i + 1 < waiting.size(); ++i) {
    CAPTURE(i);
    fresh.push_back(std::make_unique<client>(s.port));
    CHECK(fresh.back()->ask(open_head).status == 100);
    CHECK(steady::now() - begin >= 2s);
    CHECK(s.service.evicted == static_cast<int>(i) + 1);
    CHECK(waiting[i]->ended());
  }
  CHECK(steady::now() - begin < soon);  // less than the timeout of a request
  CHECK(waiting.back()->ask("1").status == 200);
  for (auto& c : fresh) CHECK(c->ask("2").status == 200);
}

TEST_CASE("a new connection replaces only one, also if the thread of that one is delayed") {
  auto settings = defaults();
  settings.max_connections = 2;
  std::atomic<bool> delayed{true};
  std::atomic<int> calls{0};
  running s(settings, [&]() -> std::shared_ptr<SSL_CTX> {  // no TLS; the first connection's thread stays here
    if (calls++ == 0) delayed.wait(true);
    return nullptr;
  });
  client slow(s.port);
  REQUIRE(eventually([&] { return calls == 1; }));
  client idle(s.port);
  CHECK(idle.ask(post("1")).status == 200);
  std::this_thread::sleep_for(1100ms);  // `slow` has sent nothing for a second
  client fresh(s.port);
  fresh.send(post("2"));
  CHECK(eventually([&] { return s.service.evicted == 1; }));
  std::this_thread::sleep_for(150ms);
  delayed = false;
  delayed.notify_all();
  CHECK(fresh.receive().body == "2");
  CHECK(idle.ask(post("3")).body == "3");
  CHECK(s.service.evicted == 1);
}

TEST_CASE("a body of known length needs no more memory than its length") {
  auto settings = defaults();
  settings.max_body = 1'000'000;
  settings.max_memory = 600'000;
  running s(settings);
  CHECK(client(s.port).ask(post(std::string(600'000, 'x'))).status == 200);
}

TEST_CASE("connections that have sent large bodies keep no memory") {
  auto settings = defaults();
  settings.max_body = settings.max_memory = std::size_t{8} << 20U;
  running s(settings);
  s.service.counts = true;
  const auto body = std::to_string(settings.max_body);
  const auto request = post(std::string(settings.max_body, 'x'));
  std::vector<std::unique_ptr<client>> all;
  const auto before = resident_memory();
  for (int i = 0; i < 16; ++i) {
    all.push_back(std::make_unique<client>(s.port));
    CHECK(all.back()->ask(request).body == body);
  }
  CHECK(resident_memory() < before + (std::size_t{32} << 20U));  // the bodies have 128 MiB
}

TEST_CASE("a replaced connection serves none of the requests that it had already received") {
  auto settings = defaults();
  settings.max_per_address = 1;
  running s(settings);
  s.service.large = std::size_t{32} << 20U;  // more than the buffers of a connection hold
  client slow(s.port);
  slow.send(get + post("queued"));
  CHECK(eventually([&] { return s.service.responses == 1; }));
  CHECK(eventually([&] { return client(s.port).ask(post("1")).status == 200; }));
  CHECK(s.service.requests == 1);
  while (!slow.receive_some().empty()) {
  }
  CHECK(s.service.requests == 1);
}
