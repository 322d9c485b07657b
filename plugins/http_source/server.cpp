// SPDX-License-Identifier: Apache-2.0
#include "server.hpp"

#include "conversation.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <system_error>

namespace http {

namespace {

using clock = std::chrono::steady_clock;

constexpr auto pause_after_failure = std::chrono::milliseconds(100);

struct free_addresses {
  void operator()(addrinfo* list) const noexcept { ::freeaddrinfo(list); }
};

// Signals are the host's: none is delivered to a thread that lives inside of it.
class no_signals {
 public:
  no_signals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~no_signals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  no_signals(const no_signals&) = delete;
  no_signals& operator=(const no_signals&) = delete;

 private:
  sigset_t before_{};
};

std::string text_of(const sockaddr_storage& at, socklen_t size, bool with_port) {
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&at), size, host.data(), host.size(), port.data(), port.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return {};
  std::string text = host.data();
  if (text.starts_with("::ffff:") && text.find('.') != std::string::npos) text.erase(0, 7);
  if (!with_port) return text;
  if (text.find(':') != std::string::npos) text = "[" + text + "]";
  return text + ":" + port.data();
}

std::string bound_address(int fd) {
  sockaddr_storage at{};
  socklen_t size = sizeof at;
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) == 0 ? text_of(at, size, true) : std::string();
}

constexpr int backlog = 1024;

descriptor listen_on(const addrinfo& at, bool shared, int& failure) {
  descriptor fd(::socket(at.ai_family, at.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at.ai_protocol));
  const int yes = 1, no = 0;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (shared) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
  if (at.ai_family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  if (fd && ::bind(fd.get(), at.ai_addr, at.ai_addrlen) == 0 && ::listen(fd.get(), backlog) == 0) return fd;
  failure = errno;
  return descriptor();
}

std::string advice_for(int code) {
  if (code == EADDRINUSE) return "another program listens there; set `listen` to another port";
  if (code == EACCES) return "ports below 1024 need privileges; set `listen` to a higher one";
  if (code == EADDRNOTAVAIL) return "this machine has no such address; change `listen`";
  return "change `listen`";
}

pl::failure cannot_listen(const server_settings& s, std::string_view why, std::string_view advice) {
  auto failure = pl::retry("can't listen on " + (s.host.empty() ? "*" : s.host) + ":" + std::to_string(s.port) + ": " +
                           std::string(why) + ": " + std::string(advice));
  failure.option = "listen";
  return failure;
}

pl::result<descriptor> listen_on(const server_settings& s) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int unknown =
      ::getaddrinfo(s.host.empty() ? nullptr : s.host.c_str(), std::to_string(s.port).c_str(), &hints, &list);
  if (unknown != 0) return cannot_listen(s, ::gai_strerror(unknown), advice_for(EADDRNOTAVAIL));
  const std::unique_ptr<addrinfo, free_addresses> owned(list);
  int failure = EADDRNOTAVAIL;
  // Where all addresses are meant, an IPv6 socket takes IPv4, too.
  for (const int family : {AF_INET6, AF_INET})
    for (const auto* at = list; at != nullptr; at = at->ai_next)
      if (at->ai_family == family)
        if (auto fd = listen_on(*at, s.shared_port, failure)) return fd;
  return cannot_listen(s, std::generic_category().message(failure), advice_for(failure));
}

}  // namespace

std::optional<address> parse_address(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  auto host = text.substr(0, colon);
  const auto port = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  // Without brackets it can't be told where an IPv6 address ends and the port begins.
  if (!bracketed && host.find_first_of(":[]/ ") != std::string_view::npos) return std::nullopt;
  address a{std::string(host == "*" ? std::string_view() : host), 0};
  const auto [end, failed] = std::from_chars(port.data(), port.data() + port.size(), a.port);
  if (port.empty() || failed != std::errc() || end != port.data() + port.size()) return std::nullopt;
  return a;
}

// What the acceptor knows of a connection. Its thread is joined once it is in `done_`.
struct server::connection {
  std::thread thread;
  int fd = -1;                        // -1: it closes it itself by now
  std::atomic<std::int64_t> idle{0};  // since when it has nothing to do; 0: it has
};

// Before it is closed: make_room must not shut down what has its number next.
struct server::forget_descriptor {
  server& of;
  connection& here;
  ~forget_descriptor() {
    const std::scoped_lock lock(of.mutex_);
    here.fd = -1;
  }
};

server::server(server_settings given, service& to, tls_source tls, descriptor listening)
    : settings_(std::move(given)),
      service_(to),
      tls_(std::move(tls)),
      listening_(std::move(listening)),
      bound_(bound_address(listening_.get())) {}

pl::result<std::unique_ptr<server>> server::start(server_settings given, service& to, tls_source tls) {
  auto listening = listen_on(given);
  if (!listening.ok()) return listening.why();
  std::unique_ptr<server> made(new server(std::move(given), to, std::move(tls), std::move(*listening)));
  const no_signals blocked;
  made->acceptor_ = std::thread([s = made.get()] { s->accept_all(); });
  return made;
}

server::~server() {
  {
    const std::scoped_lock lock(mutex_);
    ends_ = true;
  }
  stopping_.raise();
  changed_.notify_all();
  if (acceptor_.joinable()) acceptor_.join();
  listening_.close();
  {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, settings_.patience, [this] { return open_.empty(); })) killing_.raise();
    changed_.wait(lock, [this] { return open_.empty(); });
  }
  reap();
}

void server::accept_all() {
  while (!ends_) {
    const auto w = wait_for(listening_.get(), POLLIN, stopping_.fd(), clock::now() + std::chrono::seconds(1));
    reap();
    if (ends_ || w == wait_result::stopped) return;
    if (w != wait_result::ready || !make_room() || accept_one()) continue;
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, pause_after_failure, [this] { return ends_.load(); });
  }
}

// False: nothing could be accepted (out of descriptors, say): a pause, and again.
bool server::accept_one() {
  sockaddr_storage from{};
  socklen_t size = sizeof from;
  descriptor fd(::accept4(listening_.get(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
  const int yes = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  try {
    serve(std::move(fd), text_of(from, size, false));
  } catch (const std::exception&) {
    return false;  // no memory, no thread: this one ends without an answer
  }
  return true;
}

void server::serve(descriptor fd, std::string remote) {
  connections fresh(1);
  const auto me = fresh.begin();
  me->fd = fd.get();
  const std::scoped_lock lock(mutex_);
  open_.splice(open_.end(), fresh);
  try {
    me->thread = std::thread(
        [this, me, remote = std::move(remote), fd = std::move(fd)]() mutable { run(me, std::move(fd), remote); });
  } catch (...) {
    open_.erase(me);
    throw;
  }
  service_.connections(open_.size());
}

void server::run(connections::iterator me, descriptor fd, const std::string& remote) {
  try {
    const auto tls = tls_ ? tls_() : nullptr;
    stream bytes(std::move(fd), tls.get());
    const forget_descriptor forget{*this, *me};
    conversation(*this, bytes, remote, me->idle).hold();
  } catch (const std::exception&) {  // out of memory: it ends without an answer
  }
  const std::scoped_lock lock(mutex_);
  done_.splice(done_.end(), open_, me);
  service_.connections(open_.size());
  changed_.notify_all();
}

void server::reap() {
  connections ended;
  {
    const std::scoped_lock lock(mutex_);
    ended.swap(done_);
  }
  for (auto& c : ended) c.thread.join();
}

// Where all places are taken, whoever has been idle for longest goes; where nobody is idle, newcomers wait. Answers whether
// there is room now.
bool server::make_room() {
  std::unique_lock lock(mutex_);
  if (open_.size() < settings_.max_connections) return true;
  const connection* oldest = nullptr;
  for (const auto& c : open_)
    if (const auto since = c.idle.load(); since != 0 && c.fd >= 0 && (oldest == nullptr || since < oldest->idle))
      oldest = &c;
  if (oldest != nullptr) ::shutdown(oldest->fd, SHUT_RD);
  changed_.wait_for(lock, pause_after_failure, [this] { return ends_ || open_.size() < settings_.max_connections; });
  return open_.size() < settings_.max_connections;
}

}  // namespace http
