// SPDX-License-Identifier: Apache-2.0
//
// cpp-httplib reads requests and writes responses; the sockets are ours. Its own accept loop shares the port with
// another process that does the same (SO_REUSEPORT), so that "address in use" is never seen; it queues connections
// without limit, lets one that trickles bytes hold a worker for hours, and ends for good on an error of accept.
#include "telemetry/http_server.hpp"

#include "telemetry/text.hpp"

#include <fmt/format.h>
#include <httplib.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace pl::telemetry {
namespace {

using steady = std::chrono::steady_clock;

constexpr std::size_t worker_count = 4;
constexpr std::size_t max_waiting = 32;
constexpr std::size_t max_request = std::size_t{16} * 1024;
constexpr int seconds_for_request = 2;
constexpr auto time_for_request = std::chrono::seconds(seconds_for_request);
constexpr auto time_for_connection = std::chrono::seconds(5);
constexpr const char* metrics_type = "text/plain; version=0.0.4; charset=utf-8";
constexpr const char* text_type = "text/plain; charset=utf-8";
constexpr const char* json_type = "application/json";
constexpr const char* index_text =
    "pipeline-host\n\n"
    "/metrics       for Prometheus\n"
    "/health/live   200 while the program runs\n"
    "/health/ready  200 when all pipelines do their work, else 503 and why\n";

class file_descriptor {
 public:
  explicit file_descriptor(int fd = -1) noexcept : fd_(fd) {}
  ~file_descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  file_descriptor(file_descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_;
};

// Waits until `fd` is ready for `events`. False: it is time to stop, or too late.
bool wait_for(int fd, short events, int stop_fd, steady::time_point deadline) noexcept {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - steady::now()).count();
    pollfd both[2] = {{fd, events, 0}, {stop_fd, POLLIN, 0}};
    const int ready = ::poll(both, 2, static_cast<int>(std::max<decltype(left)>(left, 0)));
    if (ready < 0 && errno == EINTR) continue;
    return ready > 0 && both[1].revents == 0;
  }
}

// One connection for httplib: bounded in bytes and in time, and given up when the server stops.
class connection final : public httplib::Stream {
 public:
  connection(int fd, int stop_fd) noexcept : fd_(fd), stop_fd_(stop_fd) {}

  bool is_readable() const override { return wait_for(fd_, POLLIN, stop_fd_, begun_ + time_for_request); }
  bool is_writable() const override { return wait_for(fd_, POLLOUT, stop_fd_, begun_ + time_for_connection); }

  ssize_t read(char* to, std::size_t size) override {
    if (begin_ == end_ && !fill()) return -1;
    const std::size_t n = std::min(size, end_ - begin_);
    std::memcpy(to, buffer_ + begin_, n);
    begin_ += n;
    return static_cast<ssize_t>(n);
  }

  ssize_t write(const char* from, std::size_t size) override {
    for (;;) {
      if (!is_writable()) return -1;
      const ssize_t n = ::send(fd_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n >= 0 || (errno != EINTR && errno != EAGAIN)) return n;
    }
  }

  void get_remote_ip_and_port(std::string& ip, int& port) const override { address(ip, port); }
  void get_local_ip_and_port(std::string& ip, int& port) const override { address(ip, port); }
  // httplib refuses descriptors too large for select(), which we don't use: it needn't know.
  socket_t socket() const override { return -1; }

 private:
  // httplib reads byte by byte: from here.
  bool fill() {
    for (;;) {
      if (received_ >= max_request || !is_readable()) return false;
      const ssize_t n = ::recv(fd_, buffer_, std::min(sizeof buffer_, max_request - received_), MSG_DONTWAIT);
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      begin_ = 0;
      end_ = n > 0 ? static_cast<std::size_t>(n) : 0;
      received_ += end_;
      return n > 0;
    }
  }
  static void address(std::string& ip, int& port) {  // nobody asks
    ip.clear();
    port = 0;
  }

  const int fd_, stop_fd_;
  const steady::time_point begun_ = steady::now();
  char buffer_[4096];
  std::size_t begin_ = 0, end_ = 0, received_ = 0;
};

class router final : public httplib::Server {
 public:
  explicit router(http_handlers handlers) : handlers_(std::move(handlers)) {
    set_payload_max_length(max_request);
    set_exception_handler([](const httplib::Request&, httplib::Response& response, const std::exception_ptr&) {
      response.status = 500;  // httplib would send what() along
    });
    set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (response.body.empty()) response.set_content(error_text(response.status), text_type);
    });
    Get("/", [](const httplib::Request&, httplib::Response& response) { response.set_content(index_text, text_type); });
    Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(handlers_.metrics ? handlers_.metrics() : std::string(), metrics_type);
    });
    Get("/health/live", [this](const httplib::Request&, httplib::Response& response) { answer_live(response); });
    Get("/health/ready", [this](const httplib::Request&, httplib::Response& response) { answer_ready(response); });
  }

  void serve(httplib::Stream& stream) {
    bool closed = false;
    // Many ranges of a large answer would be a larger one.
    process_request(stream, true, closed, [](httplib::Request& request) { request.ranges.clear(); });
  }

 private:
  static const char* error_text(int status) {
    if (status == 404) return "not found; see /\n";
    return status >= 500 ? "internal error\n" : "bad request\n";
  }
  void answer_live(httplib::Response& response) const {
    const bool live = !handlers_.live || handlers_.live();
    response.status = live ? 200 : 503;
    response.set_content(live ? "{\"live\":true}\n" : "{\"live\":false}\n", json_type);
  }
  void answer_ready(httplib::Response& response) const {
    const readiness now = handlers_.ready ? handlers_.ready() : readiness{};
    response.status = now.ready() ? 200 : 503;
    response.set_content(to_json(now) + "\n", json_type);
  }

  const http_handlers handlers_;
};

struct free_addresses {
  void operator()(addrinfo* list) const noexcept { ::freeaddrinfo(list); }
};

std::string advice_for(int code) {
  if (code == EADDRINUSE) return "does another host run? Set http.listen to another port, or http.listen: off";
  if (code == EACCES) return "ports below 1024 need privileges. Set http.listen to a higher one, or http.listen: off";
  if (code == EADDRNOTAVAIL) return "this machine has no such address. Change http.listen, or set http.listen: off";
  return "change http.listen, or set http.listen: off";
}

error cannot_listen(const listen_address& where, std::string_view why, std::string_view advice) {
  return {fmt::format("can't listen on {}: {}: {}", to_string(where), why, advice)};
}

// SO_REUSEADDR lets a restart have the port that its predecessor's connections still linger on.
file_descriptor listen_on(const addrinfo& at, int& failure) noexcept {
  file_descriptor fd(::socket(at.ai_family, at.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at.ai_protocol));
  const int yes = 1, no = 0;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  // A connection is only accepted when its request comes: silent ones don't keep a worker.
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds_for_request, sizeof seconds_for_request);
  if (at.ai_family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  if (fd && ::bind(fd.get(), at.ai_addr, at.ai_addrlen) == 0 && ::listen(fd.get(), max_waiting) == 0) return fd;
  failure = errno;
  return file_descriptor();
}

result<file_descriptor> listen_on(const listen_address& where) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int unknown = ::getaddrinfo(where.host.c_str(), std::to_string(where.port).c_str(), &hints, &list);
  if (unknown != 0) return cannot_listen(where, ::gai_strerror(unknown), advice_for(EADDRNOTAVAIL));
  const std::unique_ptr<addrinfo, free_addresses> owned(list);
  int failure = EADDRNOTAVAIL;
  for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
    if (auto fd = listen_on(*at, failure)) return fd;
  }
  return cannot_listen(where, std::generic_category().message(failure), advice_for(failure));
}

std::uint16_t port_of(int fd) noexcept {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return 0;
  if (bound.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(bound).sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in&>(bound).sin_port);
}

error bad_listen(std::string_view text) {
  return {fmt::format("'{}' is no address to listen on: write 127.0.0.1:9464, [::1]:9464, :9464 or off",
                      valid_utf8(cut_bytes(text, 100)))};
}

std::int64_t now_ns() noexcept { return std::chrono::nanoseconds(steady::now().time_since_epoch()).count(); }

}  // namespace

void heartbeat::beat() noexcept { last_.store(now_ns(), std::memory_order_relaxed); }

bool heartbeat::alive(std::chrono::nanoseconds within) const noexcept {
  return now_ns() - last_.load(std::memory_order_relaxed) <= within.count();
}

std::string to_json(const readiness& state) {
  std::string out = state.ready() ? R"({"ready":true,"waiting":[)" : R"({"ready":false,"waiting":[)";
  for (const not_ready& one : state.waiting) {
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
  return out + "]}";
}

result<listen_address> parse_listen(std::string_view text) {
  if (text == "off") return listen_address{{}, 0, true};
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos) return bad_listen(text);
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  // Without brackets it can't be told where an IPv6 address ends and the port begins.
  if (!bracketed && host.find_first_of(":[]") != host.npos) return bad_listen(text);
  listen_address where{host.empty() || host == "*" ? "0.0.0.0" : std::string(host), 0, false};
  const auto [end, failure] = std::from_chars(port.data(), port.data() + port.size(), where.port);
  if (failure != std::errc() || end != port.data() + port.size()) return bad_listen(text);
  return where;
}

std::string to_string(const listen_address& address) {
  if (address.off) return "off";
  const bool ipv6 = address.host.find(':') != address.host.npos;
  return ipv6 ? fmt::format("[{}]:{}", address.host, address.port) : fmt::format("{}:{}", address.host, address.port);
}

class http_server::state {
 public:
  state(listen_address where, file_descriptor socket, http_handlers handlers)
      : where_(std::move(where)),
        socket_(std::move(socket)),
        stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        router_(std::move(handlers)) {
    where_.port = port_of(socket_.get());
  }

  // Apart from the constructor: when a thread can't be had, the destructor must end those that run.
  void run() {
    for (std::size_t i = 0; i < worker_count; ++i) threads_.emplace_back([this] { work(); });
    threads_.emplace_back([this] { accept_all(); });
  }

  ~state() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    const std::uint64_t one = 1;
    // An eventfd takes it, unless it is full; then it is readable already.
    [[maybe_unused]] const auto written = ::write(stop_.get(), &one, sizeof one);
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  bool can_stop() const noexcept { return static_cast<bool>(stop_); }
  const listen_address& address() const noexcept { return where_; }

 private:
  static constexpr auto pause_after_failure = std::chrono::milliseconds(100);

  void accept_all() {
    for (;;) {
      if (!wait_for(socket_.get(), POLLIN, stop_.get(), steady::now() + std::chrono::hours(1)) && stopping()) return;
      file_descriptor accepted(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (accepted) {
        enqueue(std::move(accepted));
      } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {  // out of descriptors or memory
        std::unique_lock lock(mutex_);
        wake_.wait_for(lock, pause_after_failure, [this] { return stopping_; });
      }
    }
  }

  // Where all wait already, the newest is closed (by its destructor): scrapers come again.
  void enqueue(file_descriptor accepted) {
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.size() >= max_waiting) return;
      waiting_.push_back(std::move(accepted));
    }
    wake_.notify_one();
  }

  void work() {
    while (const auto next = dequeue()) {
      connection stream(next.get(), stop_.get());
      try {
        router_.serve(stream);
      } catch (...) {  // out of memory: this connection ends without an answer
      }
      ::shutdown(next.get(), SHUT_RDWR);
    }
  }

  file_descriptor dequeue() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return file_descriptor();
    file_descriptor next = std::move(waiting_.front());
    waiting_.pop_front();
    return next;
  }

  bool stopping() {
    const std::lock_guard lock(mutex_);
    return stopping_;
  }

  listen_address where_;
  const file_descriptor socket_, stop_;
  router router_;
  std::mutex mutex_;  // guards the two below
  std::deque<file_descriptor> waiting_;
  bool stopping_ = false;
  std::condition_variable wake_;
  std::vector<std::thread> threads_;
};

http_server::http_server(std::unique_ptr<state> running) noexcept : state_(std::move(running)) {}
http_server::~http_server() = default;

const listen_address& http_server::address() const noexcept { return state_->address(); }

result<std::unique_ptr<http_server>> http_server::start(const listen_address& where, http_handlers handlers) {
  if (where.off) return error{"http.listen is off: there is no server to start"};
  auto socket = listen_on(where);
  if (!socket) return socket.failure();
  auto running = std::make_unique<state>(where, *std::move(socket), std::move(handlers));
  if (!running->can_stop()) return cannot_listen(where, "out of file descriptors", "raise the limit (ulimit -n)");
  try {
    running->run();
  } catch (const std::system_error& failure) {
    return cannot_listen(where, failure.code().message(), "no thread could be started");
  }
  return std::unique_ptr<http_server>(new http_server(std::move(running)));
}

result<std::unique_ptr<http_server>> http_server::start(std::string_view where, http_handlers handlers) {
  const auto address = parse_listen(where);
  if (!address) return address.failure();
  return start(*address, std::move(handlers));
}

}  // namespace pl::telemetry
