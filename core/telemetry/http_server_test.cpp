// SPDX-License-Identifier: Apache-2.0
#include "telemetry/http_server.hpp"

#include "telemetry/http_test_client.hpp"
#include "telemetry/test_timing.hpp"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>
#include <vector>

namespace pl::telemetry {
namespace {

using namespace std::chrono_literals;
using testing::fetch;
using testing::once_within;
using testing::raw_client;
using testing::reply_to;
using steady = std::chrono::steady_clock;

http_response hello(const http_request&) { return {200, "text/plain", "hello\n"}; }

std::unique_ptr<http_server> start(std::string_view where, http_handler handler = hello) {
  auto started = http_server::start(where, std::move(handler));
  REQUIRE_MESSAGE(started, (started ? "" : started.why().message));
  return std::move(*started);
}

std::string status_line(const std::string& response) { return response.substr(0, response.find("\r\n")); }

std::string without_date(std::string head) {
  const auto begin = head.find("\r\nDate: ");
  REQUIRE(begin != head.npos);
  return head.erase(begin, head.find("\r\n", begin + 2) - begin);
}

bool has_ipv6_loopback() {
  const int fd = ::socket(AF_INET6, SOCK_STREAM, 0);
  sockaddr_in6 loopback{};
  loopback.sin6_family = AF_INET6;
  loopback.sin6_addr = in6addr_loopback;
  const bool bound = fd >= 0 && ::bind(fd, reinterpret_cast<sockaddr*>(&loopback), sizeof loopback) == 0;
  if (fd >= 0) ::close(fd);
  return bound;
}

// While an instance exists, this process cannot open file descriptors.
class no_descriptors {
 public:
  no_descriptors() {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    const int lowest_free = ::dup(0);
    ::close(lowest_free);
    const rlimit none{static_cast<rlim_t>(lowest_free), before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  }
  ~no_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  no_descriptors(const no_descriptors&) = delete;
  no_descriptors& operator=(const no_descriptors&) = delete;

 private:
  rlimit before_{};
};

TEST_CASE("IPv6") {
  if (!has_ipv6_loopback()) return;
  const auto server = start("[::1]:0");
  CHECK(to_string(server->address()) == "[::1]:" + std::to_string(server->address().port));
  CHECK(fetch(*server, "/")->status == 200);
}

TEST_CASE("a port in use is an error with advice") {
  const auto first = start("127.0.0.1:0");
  const auto second = http_server::start(first->address(), hello);
  REQUIRE_FALSE(second);
  CHECK(second.why().message == "can't listen on " + to_string(first->address()) +
                                    ": Address already in use: another host may be running. Set http.listen to "
                                    "another port, or http.listen: off");
  const auto elsewhere = http_server::start("192.0.2.1:0", hello);
  REQUIRE_FALSE(elsewhere);
  CHECK(elsewhere.why().message.find("does not have this address") != std::string::npos);
  CHECK_FALSE(http_server::start("no.such.host.invalid:0", hello));
  CHECK_FALSE(http_server::start("off", hello));
}

TEST_CASE("the port is free again after a stop") {
  auto first = start("127.0.0.1:0");
  const auto address = first->address();
  CHECK(fetch(*first, "/")->status == 200);
  first.reset();
  CHECK(http_server::start(address, hello));
}

TEST_CASE("stops within milliseconds, with idle connections open") {
  CHECK(once_within(1s, [] {
    auto server = start("127.0.0.1:0");
    const raw_client silent(*server), half(*server);
    half.send("GET / HT");
    CHECK(fetch(*server, "/")->status == 200);  // both are accepted
    const auto begin = steady::now();
    server.reset();
    return steady::now() - begin;
  }));
}

TEST_CASE("starts and stops many times") {
  for (int i = 0; i < 50; ++i) start("127.0.0.1:0");
}

TEST_CASE("a stop waits for the handler and never calls it again") {
  std::promise<void> entered, leave;
  std::atomic<int> running = 0, calls = 0;
  auto server = start("127.0.0.1:0", [&, may_leave = leave.get_future().share()](const http_request&) -> http_response {
    ++running;
    if (++calls == 1) entered.set_value();
    may_leave.wait();
    --running;
    return {};
  });
  std::vector<std::unique_ptr<raw_client>> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(std::make_unique<raw_client>(*server));
    clients.back()->send("GET / HTTP/1.1\r\n\r\n");
  }
  entered.get_future().wait();
  auto stopping = std::async(std::launch::async, [&] { server.reset(); });
  CHECK(stopping.wait_for(50ms) == std::future_status::timeout);  // a call runs
  leave.set_value();
  stopping.get();
  CHECK(running == 0);
  CHECK(calls <= 10);
  for (const auto& client : clients) client->receive_all();
}

TEST_CASE("the connection of an incomplete request is closed") {
  const auto server = start("127.0.0.1:0");
  const raw_client client(*server);
  const std::string part(4096, 'a');
  for (int i = 0; i < 100 && client.send(part); ++i) {
  }
  CHECK(client.receive_all().find("200 OK") == std::string::npos);
  CHECK(fetch(*server, "/")->status == 200);
}

TEST_CASE("the connection of a slow request is closed after two seconds") {
  const auto server = start("127.0.0.1:0");
  const raw_client client(*server);
  const auto begin = steady::now();
  bool closed = false;
  while (!closed && steady::now() - begin < 60s) {
    client.send("G");
    closed = client.closed_within(50);
  }
  CHECK(closed);
  CHECK(steady::now() - begin >= 1900ms);
}

TEST_CASE("silent and slow connections do not block others") {
  for (const std::size_t slow : {0, 4}) {
    CAPTURE(slow);
    CHECK(once_within(slow == 0 ? 1s : 4s, [&] {
      const auto server = start("127.0.0.1:0");
      std::vector<std::unique_ptr<raw_client>> others;
      for (int i = 0; i < 20; ++i) others.push_back(std::make_unique<raw_client>(*server));
      for (std::size_t i = 0; i < slow; ++i) others[i]->send("GET / HTTP/1.1\r\n");
      const auto begin = steady::now();
      const auto response = fetch(*server, "/");
      REQUIRE(response);
      CHECK(response->status == 200);
      return steady::now() - begin;
    }));
  }
}

TEST_CASE("a connection above the limit replaces the oldest incomplete one") {
  // A connection without a request is closed after two seconds, whatever else happens.
  CHECK(once_within(1900ms, [] {
    const auto server = start("127.0.0.1:0");
    const auto begin = steady::now();
    const raw_client oldest(*server), second(*server);
    std::vector<std::unique_ptr<raw_client>> others;
    for (int i = 0; i < 190; ++i) others.push_back(std::make_unique<raw_client>(*server));
    const bool open = !oldest.closed_within(0);
    const raw_client one_more(*server);
    CHECK(oldest.closed_within(60'000));
    const bool sent = second.send("GET / HTTP/1.1\r\n\r\n");
    const auto response = second.receive_all();
    const auto took = steady::now() - begin;
    if (took >= 1900ms) return took;
    CHECK(open);
    CHECK(sent);
    CHECK(status_line(response) == "HTTP/1.1 200 OK");
    return took;
  }));
}

TEST_CASE("/health is answered while others open connections that never complete a request") {
  const auto server = start("127.0.0.1:0");
  std::atomic<bool> ends = false;
  std::atomic<int> opened = 0;
  std::vector<std::thread> attackers;
  for (int t = 0; t < 4; ++t) {
    attackers.emplace_back([&] {
      std::vector<std::unique_ptr<raw_client>> mine(60);
      while (!ends) {
        for (auto& one : mine) {
          if (one && !one->closed_within(0)) continue;
          one = std::make_unique<raw_client>(*server);
          one->send("G");
          ++opened;
        }
      }
    });
  }
  while (opened < 1000) std::this_thread::yield();  // all slots are in use, and replaced all the time
  // The probe comes from another machine: its request arrives some time after its connection. An orchestrator fails after
  // three probes without a response.
  const auto probe = [&] {
    const raw_client client(*server);
    (void)client.closed_within(20);
    return client.send("GET /health/live HTTP/1.1\r\n\r\n") && status_line(client.receive_all()) == "HTTP/1.1 200 OK";
  };
  int answered = 0;
  auto longest = steady::duration(0);
  for (int i = 0; i < 30; ++i) {
    const auto begin = steady::now();
    answered += probe() || probe() || probe() ? 1 : 0;
    longest = std::max(longest, steady::now() - begin);
  }
  ends = true;
  for (auto& thread : attackers) thread.join();
  CHECK(answered == 30);
  CHECK(longest < 5s);
}

TEST_CASE("/health is answered while other requests block all threads and fill all places") {
  std::promise<void> released;
  const auto release = released.get_future().share();
  const auto server = start("127.0.0.1:0", [&](const http_request& request) -> http_response {
    if (request.path == "/metrics") release.wait();
    return {200, "text/plain", "ok"};
  });
  std::atomic<int> served = 0, refused = 0;
  std::vector<std::thread> others;
  for (int i = 0; i < 33; ++i) {
    others.emplace_back([&] {
      const auto status = status_line(reply_to(*server, "GET /metrics HTTP/1.1\r\n\r\n"));
      served += status == "HTTP/1.1 200 OK" ? 1 : 0;
      refused += status == "HTTP/1.1 503 Service Unavailable" ? 1 : 0;
    });
  }
  while (refused == 0) std::this_thread::sleep_for(1ms);  // the others wait
  int healthy = 0;
  for (int i = 0; i < 40; ++i) {
    const auto response = fetch(*server, "/health/live");
    healthy += response && response->status == 200 ? 1 : 0;
  }
  released.set_value();
  for (auto& other : others) other.join();
  CHECK(healthy == 40);
  CHECK(refused == 1);
  CHECK(served == 32);
}

TEST_CASE("many clients at once") {
  std::atomic<int> calls = 0;
  const auto server = start("127.0.0.1:0", [&](const http_request&) -> http_response {
    return {200, "text/plain", std::to_string(++calls)};
  });
  std::atomic<int> responded = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        const auto response = fetch(*server, "/metrics");
        responded += response && response->status == 200 ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(responded == 160);
  CHECK(calls == 160);
}

TEST_CASE("requests with many ranges are not served") {
  const auto server = start("127.0.0.1:0");
  const auto response = fetch(*server, "/", {.headers = {"Range: bytes=0-,0-,0-,0-"}});
  REQUIRE(response);
  CHECK(response->status == 200);
}

TEST_CASE("HEAD is GET without the body") {
  const auto server = start("127.0.0.1:0", [](const http_request& request) -> http_response {
    return {200, "text/plain", std::string(request.method) + std::string(2000, ' ')};
  });
  const auto whole = fetch(*server, "/"), head = fetch(*server, "/", {.method = "HEAD"});
  REQUIRE(whole);
  REQUIRE(head);
  CHECK(whole->body.starts_with("GET "));
  CHECK(without_date(head->head) == without_date(whole->head));
  CHECK(without_date(reply_to(*server, "HEAD / HTTP/1.1\r\n\r\n")) == without_date(whole->head));
}

TEST_CASE("only large responses are compressed, and only for clients that accept gzip") {
  const std::string body(2000, 'x');
  const auto server = start("127.0.0.1:0", [&](const http_request& request) -> http_response {
    return {200, "text/plain", request.path == "/large" ? body : "small"};
  });
  for (const auto* accepted : {"gzip", "GZip", "deflate, gzip;q=0.5", "br;q=1.0, gzip"}) {
    CAPTURE(accepted);
    const auto response = fetch(*server, "/large", {.headers = {std::string("Accept-Encoding: ") + accepted}});
    REQUIRE(response);
    CHECK(response->header("Content-Encoding") == "gzip");
    CHECK(response->body.size() < 100);
  }
  for (const auto* refused : {"gzip;q=0", "gzip; q=0.000", "identity", "xgzip", "gzipped", ";;,", "gzip;q="}) {
    CAPTURE(refused);
    const auto response = fetch(*server, "/large", {.headers = {std::string("Accept-Encoding: ") + refused}});
    REQUIRE(response);
    CHECK(response->header("Content-Encoding").empty());
    CHECK(response->body == body);
  }
  CHECK(fetch(*server, "/small", {.accept_encoding = "gzip"})->header("Content-Encoding").empty());
}

TEST_CASE("data after the request is ignored and does not disturb the response") {
  const auto server = start("127.0.0.1:0");
  const auto response =
      reply_to(*server, "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n\x16\x03" + std::string(20'000, 'z'));
  CHECK(status_line(response) == "HTTP/1.1 200 OK");
  CHECK(response.ends_with("\r\n\r\nhello\n"));
  CHECK(response.find("HTTP/1.1", 1) == response.npos);
}

TEST_CASE("requests with an ambiguous length are rejected") {
  const auto server = start("127.0.0.1:0");
  for (const auto* fields :
       {"Content-Length: 1\r\nContent-Length: 2\r\n", "Content-Length: 1, 2\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "Content-Length: +1\r\n",
        "Content-Length : 1\r\n", "Content-Length: 99999999999999999999\r\n"}) {
    CAPTURE(fields);
    const auto response = reply_to(*server, std::string("POST / HTTP/1.1\r\n") + fields + "\r\n0\r\n\r\n");
    CHECK(status_line(response) == "HTTP/1.1 400 Bad Request");
    CHECK(response.ends_with("\r\n\r\nbad request\n"));
  }
}

TEST_CASE("requests other than HTTP/1 are rejected") {
  const auto server = start("127.0.0.1:0");
  for (const auto* request :
       {"GET / HTTP/2.0\r\n\r\n", "GET / HTTP/0.9\r\n\r\n", "GET /\r\n\r\n", " GET / HTTP/1.1\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", "GET / HTTP/1.1\nA: b\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n", "\r\n\r\n"}) {
    CAPTURE(request);
    CHECK(status_line(reply_to(*server, request)) == "HTTP/1.1 400 Bad Request");
  }
  const raw_client bare(*server);  // no line ends with CRLF, so the request is incomplete
  CHECK(bare.send("GET / HTTP/1.1\nHost: x\n\n"));
  bare.end_of_input();
  CHECK(status_line(bare.receive_all()) == "HTTP/1.1 400 Bad Request");
}

TEST_CASE("HTTP/1.0 is served") {
  const auto server = start("127.0.0.1:0");
  CHECK(status_line(reply_to(*server, "GET / HTTP/1.0\r\n\r\n")) == "HTTP/1.1 200 OK");
  const auto kept = reply_to(*server, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  CHECK(kept.find("\r\nConnection: close\r\n") != kept.npos);
}

TEST_CASE("a head over 16 KiB is rejected") {
  const auto server = start("127.0.0.1:0");
  const auto with_field_of = [](std::size_t bytes) {
    return "GET / HTTP/1.1\r\nA: " + std::string(bytes, 'x') + "\r\n\r\n";
  };
  CHECK(status_line(reply_to(*server, with_field_of(15'000))) == "HTTP/1.1 200 OK");
  for (const std::size_t bytes : {16'384U, 17'000U, 60'000U}) {
    CHECK(status_line(reply_to(*server, with_field_of(bytes))) == "HTTP/1.1 431 Request Header Fields Too Large");
  }
}

TEST_CASE("clients that disappear during a response do not disturb others") {
  const std::string body(std::size_t{8} << 20, 'x');  // more than the buffers of a connection hold
  const auto server = start("127.0.0.1:0", [&](const http_request& request) -> http_response {
    return {200, "text/plain", request.path == "/large" ? body : "small"};
  });
  for (int i = 0; i < 5; ++i) {
    const raw_client client(*server);
    CHECK(client.send("GET /large HTTP/1.1\r\n\r\n"));
    CHECK_FALSE(client.receive(1000).empty());
    client.reset();
  }
  const auto small = fetch(*server, "/small"), large = fetch(*server, "/large");
  REQUIRE(small);
  CHECK(small->body == "small");
  REQUIRE(large);
  CHECK(large->body.size() == body.size());
}

TEST_CASE("serves again after file descriptors ran out") {
  const auto server = start("127.0.0.1:0");
  const raw_client client;
  {
    const no_descriptors left;
    client.connect(*server);  // the kernel completes the connection, but the server cannot accept it
    CHECK(client.send("GET / HTTP/1.1\r\n\r\n"));
    CHECK_FALSE(client.closed_within(250));  // longer than one pause
  }
  CHECK(status_line(client.receive_all()) == "HTTP/1.1 200 OK");
}

}  // namespace
}  // namespace pl::telemetry
