// SPDX-License-Identifier: Apache-2.0
// A proxy between a sink and the server. It breaks the connection when a COMMIT at the end of a string of statements
// passes: at this moment, a client cannot know whether its transaction is committed.
#pragma once

#include "conninfo.hpp"
#include "database.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace timescale_test {

class proxy {
 public:
  enum class fate {
    pass,
    swallow,  // the server does not receive the COMMIT
    deliver,  // the server executes the COMMIT, but the client does not receive the response
    hold      // the client is disconnected, and the server receives the COMMIT at `release`
  };

  explicit proxy(const std::string& to) : to_(*timescale::conninfo::parse(to)), listener_(listen_somewhere(port_)) {
    accepting_ = std::jthread([this] { accept_all(); });
  }
  proxy(const proxy&) = delete;
  proxy& operator=(const proxy&) = delete;
  ~proxy() {
    {
      const std::scoped_lock lock(mutex_);
      released_ = true;
      for (const auto fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    wake_.notify_all();
    ::shutdown(listener_, SHUT_RDWR);
    accepting_.join();
    serving_.clear();
    ::close(listener_);
  }

  [[nodiscard]] std::string url() const {
    auto through = to_;
    through.set("host", "127.0.0.1");
    through.set("port", std::to_string(port_));
    through.set("sslmode", "disable");
    return through.secret_text();
  }

  // Set what happens to the next COMMIT, after `passing` other COMMITs have passed.
  void next_commit(fate f, int passing = 0) {
    const std::scoped_lock lock(mutex_);
    fate_ = f;
    passing_ = passing;
    released_ = false;
  }
  // Forward the held COMMIT, and return when the server has responded.
  void release() {
    std::unique_lock lock(mutex_);
    released_ = true;
    wake_.notify_all();
    wake_.wait(lock, [&] { return responded_; });
  }

 private:
  static sockaddr_in local(std::uint16_t port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons(port);
    return a;
  }
  static int listen_somewhere(std::uint16_t& port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    auto a = local(0);
    socklen_t size = sizeof a;
    REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&a), size) == 0);
    REQUIRE(::listen(fd, 64) == 0);
    REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size) == 0);
    port = ntohs(a.sin_port);
    return fd;
  }
  // Connect to the port in "user@host:port/database". Test servers are on this machine.
  int connect_on() const {
    const auto shown = to_.shown();
    const auto a = local(static_cast<std::uint16_t>(std::stoi(shown.substr(shown.rfind(':') + 1))));
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return ::connect(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0 ? fd : (::close(fd), -1);
  }

  void accept_all() {
    while (true) {
      const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) return;
      serving_.emplace_back([this, client] { serve(client); });
    }
  }
  void serve(int client) {
    const int server = connect_on();
    {
      const std::scoped_lock lock(mutex_);
      open_.insert(open_.end(), {client, server});
    }
    pump(client, server);
    close(client);
    close(server);
  }
  void pump(int client, int server) {
    using namespace std::string_view_literals;
    std::string seen;
    std::string data;
    while (true) {
      pollfd both[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
      if (::poll(both, 2, -1) < 0) return;
      if (both[1].revents != 0 && !(receive(server, data) && send(client, data))) return;
      if (both[0].revents == 0) continue;
      if (!receive(client, data)) return;
      seen += data;
      const bool commits = seen.find(";COMMIT\0"sv) != std::string::npos;
      seen.erase(0, commits ? seen.size() : seen.size() - std::min<std::size_t>(seen.size(), 7));
      const auto f = commits ? take_fate() : fate::pass;
      if (f != fate::pass) return part(f, client, server, data);
      if (!send(server, data)) return;
    }
  }
  void part(fate f, int client, int server, std::string data) {
    if (f == fate::swallow) return;
    if (f == fate::hold) {
      ::shutdown(client, SHUT_RDWR);
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return released_; });
    }
    (void)(send(server, data) && receive(server, data));
    const std::scoped_lock lock(mutex_);
    responded_ = true;
    wake_.notify_all();
  }
  fate take_fate() {
    const std::scoped_lock lock(mutex_);
    responded_ = false;
    if (fate_ != fate::pass && passing_-- > 0) return fate::pass;
    return std::exchange(fate_, fate::pass);
  }
  void close(int fd) {
    const std::scoped_lock lock(mutex_);
    std::erase(open_, fd);
    ::close(fd);
  }
  static bool receive(int from, std::string& data) {
    data.resize(65536);
    const auto n = ::recv(from, data.data(), data.size(), 0);
    data.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return n > 0;
  }
  static bool send(int to, std::string_view data) {
    while (!data.empty()) {
      const auto n = ::send(to, data.data(), data.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      data.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  timescale::conninfo to_;
  std::uint16_t port_ = 0;
  int listener_;
  std::mutex mutex_;
  std::condition_variable wake_;
  fate fate_ = fate::pass;
  int passing_ = 0;
  bool released_ = false, responded_ = false;
  std::vector<int> open_;
  std::vector<std::jthread> serving_;
  std::jthread accepting_;
};

}  // namespace timescale_test
