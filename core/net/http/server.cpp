// SPDX-License-Identifier: Apache-2.0
#include "server.hpp"

#include "connection.hpp"
#include "conversation.hpp"
#include "listen.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <exception>

namespace pl::http {

namespace {

using clock = std::chrono::steady_clock;

constexpr auto pause_after_failure = std::chrono::milliseconds(100);
constexpr auto pause_at_limit = std::chrono::milliseconds(10);
constexpr auto time_to_begin = std::chrono::milliseconds(50);  // before an incomplete connection may be replaced
constexpr auto time_to_wait = std::chrono::seconds(5);         // of a thread for another connection
constexpr auto slow = std::chrono::seconds(1);                 // connections that wait for longer are replaced first
constexpr auto stalled = std::chrono::seconds(2);              // a body of which nothing arrives
constexpr auto time_to_end = std::chrono::seconds(2);          // of a replaced connection, before another is replaced

std::int64_t ticks(clock::time_point at) { return at.time_since_epoch().count(); }

int how_to_end(const activity& waits) {
  const auto since = waits.sending.load();
  return since != 0 && since < ticks(clock::now() - slow) ? SHUT_RDWR : SHUT_RD;
}

// no_signals blocks all signals for threads created in its scope, because the host handles signals.
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

}  // namespace

// Resets connection::fd before the descriptor is closed. Otherwise evict could shut down a reused descriptor.
struct server::clear_descriptor {
  server& of;
  connection& here;
  ~clear_descriptor() {
    const std::scoped_lock lock(of.mutex_);
    here.fd = -1;
  }
};

server::server(server_settings given, service& to, tls_source tls, descriptor listening)
    : settings_(given),
      service_(to),
      tls_(std::move(tls)),
      listening_(std::move(listening)),
      bound_(bound_address(listening_.get())) {}

std::unique_ptr<server> server::start(server_settings given, service& to, tls_source tls, descriptor listening) {
  std::unique_ptr<server> made(new server(given, to, std::move(tls), std::move(listening)));
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
  listening_.reset();
  {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, settings_.patience, [this] { return open_.empty(); })) killing_.raise();
    accepted_.notify_all();
    changed_.wait(lock, [this] { return open_.empty() && workers_.empty(); });
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

// Accept one connection. Return false on a failure, such as too few descriptors; the caller then pauses and retries.
bool server::accept_one() {
  sockaddr_storage from{};
  socklen_t size = sizeof from;
  descriptor fd(::accept4(listening_.get(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
  const int yes = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  try {
    auto remote = text_of(from, size, false);
    if (!has_room_for(remote)) {
      service_.closed_early(early_close::address_limit);
      return true;
    }
    serve(std::move(fd), std::move(remote));
  } catch (const std::exception&) {
    return false;  // out of memory or threads: the connection ends without a response
  }
  return true;
}

void server::serve(descriptor fd, std::string remote) {
  connections fresh(1);
  const auto me = fresh.begin();
  me->fd = fd.get();
  me->accepted = std::move(fd);
  me->remote = std::move(remote);
  me->waits.incomplete = ticks(clock::now());
  const std::scoped_lock lock(mutex_);
  waiting_.push_back(me);
  open_.splice(open_.end(), fresh);
  if (waiting_.size() > idle_workers_) {
    try {
      const auto worker = workers_.emplace(workers_.end());
      *worker = std::thread([this, worker] { work(worker); });
    } catch (...) {
      waiting_.pop_back();
      open_.erase(me);
      if (!workers_.empty() && !workers_.back().joinable()) workers_.pop_back();
      throw;
    }
  }
  accepted_.notify_one();
  service_.connections(open_.size());
}

// Serve one connection after the other.
void server::work(threads::iterator me) {
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_workers_;
    accepted_.wait_for(lock, time_to_wait, [this] { return ends_ || !waiting_.empty(); });
    --idle_workers_;
    if (waiting_.empty()) break;
    const auto mine = waiting_.front();
    waiting_.pop_front();
    lock.unlock();
    run(*mine);
    lock.lock();
    if (replaced_ == &*mine) replaced_ = nullptr;
    open_.erase(mine);
    service_.connections(open_.size());
    changed_.notify_all();
  }
  done_.splice(done_.end(), workers_, me);
  changed_.notify_all();
}

void server::run(connection& c) {
  try {
    const auto tls = tls_ ? tls_() : nullptr;
    stream bytes(std::move(c.accepted), tls.get());
    const clear_descriptor clear{*this, c};
    conversation(*this, bytes, c).run();
  } catch (const std::exception&) {  // out of memory: the connection ends without a response
  }
}

void server::reap() {
  threads ended;
  {
    const std::scoped_lock lock(mutex_);
    ended.swap(done_);
  }
  for (auto& t : ended) t.join();
}

// Return the connection to close for a new one, of this address if it is not empty. Null: there is none now.
server::connection* server::victim(std::string_view remote) {
  connection *incomplete = nullptr, *idle = nullptr, *sending = nullptr, *receiving = nullptr;
  std::int64_t incomplete_since = 0, idle_since = 0, sending_since = 0, receiving_since = 0;
  const auto oldest = [](connection& c, const std::atomic<std::int64_t>& wait, connection*& found,
                         std::int64_t& since) {
    const auto began = wait.load();
    if (began == 0 || (found != nullptr && began >= since)) return;
    found = &c;
    since = began;
  };
  for (auto& c : open_) {
    if (c.fd < 0 || (!remote.empty() && c.remote != remote)) continue;
    oldest(c, c.waits.sending, sending, sending_since);  // also if it was evicted with SHUT_RD and is still sending
    if (c.evicted) continue;
    oldest(c, c.waits.incomplete, incomplete, incomplete_since);
    oldest(c, c.waits.idle, idle, idle_since);
    oldest(c, c.waits.receiving, receiving, receiving_since);
  }
  const auto now = clock::now();
  if (incomplete != nullptr && incomplete_since < ticks(now - slow)) return incomplete;
  if (idle != nullptr) return idle;
  if (incomplete != nullptr) return incomplete_since < ticks(now - time_to_begin) ? incomplete : nullptr;
  if (sending != nullptr && sending_since < ticks(now - slow)) return sending;
  return receiving != nullptr && receiving_since < ticks(now - stalled) ? receiving : nullptr;
}

// `how`: SHUT_RD, with which a response that is being sent still arrives, or SHUT_RDWR.
void server::evict(connection& c, int how) {
  c.evicted = true;
  ::shutdown(c.fd, how);
  if (how == SHUT_RDWR || c.waits.idle == 0) service_.closed_early(early_close::evicted);
}

// Return whether one more connection of this address is allowed, after closing another one if necessary.
bool server::has_room_for(std::string_view remote) {
  if (settings_.max_per_address == 0) return true;
  const std::scoped_lock lock(mutex_);
  const auto mine =
      std::count_if(open_.begin(), open_.end(), [&](const connection& c) { return !c.evicted && c.remote == remote; });
  if (static_cast<std::size_t>(mine) < settings_.max_per_address) return true;
  auto* const other = victim(remote);
  if (other != nullptr) evict(*other, how_to_end(other->waits));
  return other != nullptr;
}

// Return whether the connection that was replaced last will end soon. Its thread may not have run yet on a loaded
// machine. A client that does not read its response delays it for longer.
bool server::replaced_one_ends() const {
  return replaced_ != nullptr && replaced_->waits.sending == 0 && clock::now() - replaced_at_ < time_to_end;
}

// At max_connections, close another connection, but only one for a new one. Without one to close, look again soon.
// Return whether there is room for a connection now.
bool server::make_room() {
  std::unique_lock lock(mutex_);
  if (open_.size() < settings_.max_connections) return true;
  auto* const other = replaced_one_ends() ? nullptr : victim({});
  if (other != nullptr) {
    evict(*other, how_to_end(other->waits));
    replaced_ = other;
    replaced_at_ = clock::now();
  }
  changed_.wait_for(lock, other != nullptr ? pause_after_failure : pause_at_limit,
                    [this] { return ends_ || open_.size() < settings_.max_connections; });
  return open_.size() < settings_.max_connections;
}

// Return whether the connection's request may be processed.
bool server::begin_request(connection& c, bool urgent) {
  if (settings_.max_requests == 0) return true;
  const auto kind = urgent ? connection::request::urgent : connection::request::ordinary;
  const std::scoped_lock lock(mutex_);
  std::size_t current = 0;
  connection* oldest = nullptr;
  for (auto& other : open_) {
    if (other.evicted || other.now != kind) continue;
    ++current;
    const auto since = other.waits.sending.load();
    if (other.fd >= 0 && since != 0 && (oldest == nullptr || since < oldest->waits.sending)) oldest = &other;
  }
  if (current >= settings_.max_requests) {
    if (oldest == nullptr) return false;
    evict(*oldest, SHUT_RDWR);
  }
  c.now = kind;
  return true;
}

}  // namespace pl::http
