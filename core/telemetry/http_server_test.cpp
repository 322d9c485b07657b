// SPDX-License-Identifier: Apache-2.0
#include "telemetry/http_server.hpp"

#include "telemetry/engine_metrics.hpp"
#include "telemetry/metrics.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace pl::telemetry {
namespace {

using namespace std::chrono_literals;

std::unique_ptr<http_server> start(std::string_view where, http_handlers handlers = {}) {
  auto started = http_server::start(where, std::move(handlers));
  REQUIRE_MESSAGE(started, (started ? "" : started.failure().message));
  return std::move(*started);
}

httplib::Client client_of(const http_server& server) {
  httplib::Client client(server.address().host, server.address().port);
  client.set_read_timeout(10, 0);
  return client;
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

// A raw connection, for what no client library would do.
class raw_client {
 public:
  explicit raw_client(const http_server& server) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(server.address().port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  }
  ~raw_client() { ::close(fd_); }
  raw_client(const raw_client&) = delete;
  raw_client& operator=(const raw_client&) = delete;

  bool send(std::string_view bytes) const { return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0; }
  std::string receive_all() const {
    std::string all;
    char part[4096];
    for (ssize_t n = 0; (n = ::recv(fd_, part, sizeof part, 0)) > 0;) all.append(part, std::size_t(n));
    return all;
  }

 private:
  int fd_;
};

TEST_CASE("/metrics") {
  metrics all;
  all.get(engine_metrics::build_info, "0.1.0").set(1);
  const auto server = start("127.0.0.1:0", {.metrics = [&] { return all.render(); }});
  CHECK(server->address().port != 0);
  const auto answer = client_of(*server).Get("/metrics");
  REQUIRE(answer);
  CHECK(answer->status == 200);
  CHECK(answer->get_header_value("Content-Type") == "text/plain; version=0.0.4; charset=utf-8");
  CHECK(answer->get_header_value("Connection") == "close");
  CHECK(answer->body.find("pipeline_build_info{version=\"0.1.0\"} 1\n") != std::string::npos);
}

TEST_CASE("/metrics is compressed for who accepts it, as Prometheus does") {
  const std::string body(100'000, 'x');
  const auto server = start("127.0.0.1:0", {.metrics = [&] { return body; }});
  const auto answer = client_of(*server).Get("/metrics", {{"Accept-Encoding", "gzip"}});
  REQUIRE(answer);
  CHECK(answer->body == body);
  CHECK(answer->get_header_value("Content-Encoding") == "gzip");
}

TEST_CASE("/health/live follows the heartbeat") {
  heartbeat beat;
  std::atomic<bool> strict = false;
  const auto server =
      start("127.0.0.1:0", {.live = [&] { return beat.alive(strict ? 0ns : std::chrono::nanoseconds(10s)); }});
  CHECK(client_of(*server).Get("/health/live")->status == 200);
  strict = true;
  std::this_thread::sleep_for(1ms);
  CHECK(client_of(*server).Get("/health/live")->status == 503);
}

TEST_CASE("/health/ready tells what isn't") {
  readiness now;
  const auto server = start("127.0.0.1:0", {.ready = [&] { return now; }});
  auto answer = client_of(*server).Get("/health/ready");
  REQUIRE(answer);
  CHECK(answer->status == 200);
  CHECK(answer->body == "{\"ready\":true,\"waiting\":[]}\n");

  now.waiting = {{"iot", "store", "connecting to \"db\""}, {"bridge", "", "starting"}};
  answer = client_of(*server).Get("/health/ready");
  REQUIRE(answer);
  CHECK(answer->status == 503);
  CHECK(answer->get_header_value("Content-Type") == "application/json");
  CHECK(answer->body ==
        "{\"ready\":false,\"waiting\":[{\"pipeline\":\"iot\",\"node\":\"store\",\"reason\":\"connecting to "
        "\\\"db\\\"\"},{\"pipeline\":\"bridge\",\"reason\":\"starting\"}]}\n");
}

TEST_CASE("the index, and what isn't there") {
  const auto server = start("127.0.0.1:0", {.metrics = []() -> std::string { throw std::runtime_error("secret"); }});
  auto client = client_of(*server);
  CHECK(client.Get("/")->body.find("/metrics") != std::string::npos);
  CHECK(client.Get("/nowhere")->status == 404);
  CHECK(client.Head("/")->status == 200);
  CHECK(client.Post("/metrics", "x", "text/plain")->status == 404);
  const auto failed = client.Get("/metrics");
  REQUIRE(failed);
  CHECK(failed->status == 500);
  CHECK(failed->body == "internal error\n");
  for (const auto& [name, value] : failed->headers) CHECK(value.find("secret") == std::string::npos);
}

TEST_CASE("IPv6") {
  if (!has_ipv6_loopback()) return;
  const auto server = start("[::1]:0");
  CHECK(to_string(server->address()) == "[::1]:" + std::to_string(server->address().port));
  CHECK(client_of(*server).Get("/")->status == 200);
}

TEST_CASE("a port in use is an error with advice") {
  const auto first = start("127.0.0.1:0");
  const auto second = http_server::start(first->address(), {});
  REQUIRE_FALSE(second);
  CHECK(second.failure().message == "can't listen on " + to_string(first->address()) +
                                        ": Address already in use: does another host run? Set http.listen to another "
                                        "port, or http.listen: off");
  const auto elsewhere = http_server::start("192.0.2.1:0", {});
  REQUIRE_FALSE(elsewhere);
  CHECK(elsewhere.failure().message.find("no such address") != std::string::npos);
  CHECK_FALSE(http_server::start("no.such.host.invalid:0", {}));
  CHECK_FALSE(http_server::start("off", {}));
}

TEST_CASE("the port is free again after a stop") {
  auto first = start("127.0.0.1:0");
  const auto address = first->address();
  CHECK(client_of(*first).Get("/")->status == 200);
  first.reset();
  CHECK(http_server::start(address, {}));
}

TEST_CASE("addresses") {
  CHECK(*parse_listen("127.0.0.1:9464") == listen_address{"127.0.0.1", 9464, false});
  CHECK(*parse_listen("[::1]:9464") == listen_address{"::1", 9464, false});
  CHECK(*parse_listen("localhost:0") == listen_address{"localhost", 0, false});
  CHECK(*parse_listen(":9464") == listen_address{"0.0.0.0", 9464, false});
  CHECK(*parse_listen("*:9464") == listen_address{"0.0.0.0", 9464, false});
  CHECK(parse_listen("off")->off);
  for (const auto* bad : {"", "9464", "::1:9464", "host:", "host:x", "host:70000", "host:-1", "[::1]", "host:80 "}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_listen(bad));
  }
  CHECK(parse_listen("9464").failure().message ==
        "'9464' is no address to listen on: write 127.0.0.1:9464, [::1]:9464, :9464 or off");
}

TEST_CASE("stops within milliseconds, with idle connections open") {
  auto server = start("127.0.0.1:0");
  const raw_client silent(*server), half(*server);
  half.send("GET / HT");
  std::this_thread::sleep_for(50ms);  // for a worker to take it
  const auto begin = std::chrono::steady_clock::now();
  server.reset();
  CHECK(std::chrono::steady_clock::now() - begin < 1s);
}

TEST_CASE("starts and stops many times") {
  for (int i = 0; i < 50; ++i) start("127.0.0.1:0");
}

TEST_CASE("a request without end is cut off") {
  const auto server = start("127.0.0.1:0");
  const raw_client client(*server);
  const std::string part(4096, 'a');
  for (int i = 0; i < 100 && client.send(part); ++i) {
  }
  CHECK(client.receive_all().find("200 OK") == std::string::npos);
  CHECK(client_of(*server).Get("/")->status == 200);
}

TEST_CASE("silent and slow connections don't keep others out") {
  const auto server = start("127.0.0.1:0");
  std::vector<std::unique_ptr<raw_client>> others;
  for (int i = 0; i < 20; ++i) others.push_back(std::make_unique<raw_client>(*server));
  auto begin = std::chrono::steady_clock::now();
  CHECK(client_of(*server).Get("/")->status == 200);
  CHECK(std::chrono::steady_clock::now() - begin < 1s);

  for (std::size_t i = 0; i < 4; ++i) others[i]->send("GET / HTTP/1.1\r\n");  // all workers, until their time is over
  begin = std::chrono::steady_clock::now();
  const auto answer = client_of(*server).Get("/");
  REQUIRE(answer);
  CHECK(answer->status == 200);
  CHECK(std::chrono::steady_clock::now() - begin < 4s);
}

TEST_CASE("many clients at once") {
  std::atomic<int> calls = 0;
  const auto server = start("127.0.0.1:0", {.metrics = [&] { return std::to_string(++calls); }});
  std::atomic<int> answered = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        const auto answer = client_of(*server).Get("/metrics");
        answered += answer && answer->status == 200 ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(answered == 160);
  CHECK(calls == 160);
}

TEST_CASE("many ranges aren't served") {
  const auto server = start("127.0.0.1:0");
  const auto answer = client_of(*server).Get("/", {{"Range", "bytes=0-,0-,0-,0-"}});
  REQUIRE(answer);
  CHECK(answer->status == 200);
}

}  // namespace
}  // namespace pl::telemetry
