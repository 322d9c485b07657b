// SPDX-License-Identifier: Apache-2.0
#include "sender.hpp"

#include "clock.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>

namespace pl::load {
namespace {

constexpr std::int64_t second_us = 1'000'000;
constexpr std::int64_t first_delay_us = 100'000, longest_delay_us = 2 * second_us;
constexpr std::uint64_t max_waiting = 200'000;  // above this limit no messages are made; due messages stay due
constexpr std::int64_t send_slice_us = 1'000;   // time to send before the connections are served again
constexpr std::uint64_t timer_mark = std::numeric_limits<std::uint32_t>::max();

}  // namespace

sender::sender(const sender_options& options, const schedule_options& plan, fleet& devices, ledger& messages,
               alert_ledger& alerts)
    : options_(options),
      plan_(plan),
      paced_(plan.rate > 0),
      duration_us_(plan.duration_ns / 1000),
      fleet_(devices),
      ledger_(messages),
      alerts_(alerts),
      held_(devices.size()),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      timer_(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = timer_mark;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, timer_, &event);
  connections_.resize(options.connections);
}

sender::~sender() {
  for (auto& l : connections_)
    if (l.client) l.client->disconnect();
  close(timer_);
  close(epoll_);
}

std::string sender::open(std::uint32_t n) {
  publisher::events callbacks;
  callbacks.sent = [this](std::uint64_t seq, std::int64_t due_us) {
    ledger_.note_sent(seq, due_us);
    lateness_.add(now_us() - due_us);
  };
  callbacks.acknowledged = [this](std::uint64_t seq) {
    ++acknowledged_;
    ledger_.note_acknowledged(seq, now_us());
  };
  callbacks.resent = [this](std::uint64_t seq) { ledger_.note_resent(seq); };
  auto& l = connections_[n];
  const auto id = fmt::format("{}{}", options_.client_prefix, n + 1);
  l.client = std::make_unique<publisher>(options_.broker, id, options_.qos, options_.window, std::move(callbacks));
  l.delay_us = first_delay_us;
  if (auto wrong = l.client->connect(); !wrong.empty()) return wrong;
  watch(l);
  return {};
}

std::string sender::connect() {
  for (std::uint32_t n = 0; n < connections_.size() && !stop_; ++n)
    if (auto wrong = open(n); !wrong.empty())
      return n == 0 ? wrong : fmt::format("{} (connection {}; try fewer --connections)", wrong, n + 1);
  const auto end = now_us() + options_.connect_timeout_us;
  const auto ready = [](const connection& l) { return l.client->connected(); };
  while (!stop_ && !std::all_of(connections_.begin(), connections_.end(), ready)) {
    if (now_us() >= end) return "the broker accepted the connections, but did not reply on all of them within 10 s";
    serve(now_us() + second_us / 10);
    for (const auto& l : connections_) {
      if (!l.client->refusal().empty()) return l.client->refusal();
      if (l.client->socket() < 0) return "the broker closed the connection before it replied";
    }
  }
  show();
  return {};
}

void sender::run(std::int64_t begin_us) {
  begin_us_ = begin_us;
  fleet_.begin(begin_us);
  progress_.sending = true;
  while (!stop_) {
    const auto due = plan_.due();
    if (!due || (!paced_ && duration_us_ != 0 && now_us() >= begin_us_ + duration_us_)) break;
    send_due();
    show();
    serve(wake_up(*due));
  }
  release_held(now_us());
  end_us_ = now_us();
  progress_.sending = false;
  drain();
  show();
  progress_.done = true;
}

// Return the time until which to serve the connections before sending more. If no connection has room, wait for
// acknowledgements.
std::int64_t sender::wake_up(std::int64_t due_ns) const {
  const auto now = now_us();
  if (!may_send()) return now + second_us / 100;
  return paced_ ? begin_us_ + due_ns / 1000 : now;
}

// Send due messages for a limited time, because acknowledgements must be read as well.
void sender::send_due() {
  const auto until = now_us() + send_slice_us;
  for (auto now = now_us(); now < until && may_send(); now = now_us()) {
    const auto due = plan_.due();
    if (!due) return;
    const auto due_us = paced_ ? begin_us_ + *due / 1000 : now;
    if (due_us > now) return;
    if (turn(due_us)) plan_.take();
  }
}

bool sender::may_send() const {
  if (paced_) return progress_.waiting < max_waiting;
  return connections_[next_device_ % connections_.size()].client->has_room();
}

// Send the next reading of a device. Return false if the device has gone silent in an unpaced run: its turns must not
// count there, because they would exhaust --count at once.
bool sender::turn(std::int64_t due_us) {
  const auto device = next_device_;
  next_device_ = (next_device_ + 1) % fleet_.size();
  const auto r = fleet_.measure(device, due_us);
  if (!r) return paced_;
  const auto seq = ledger_.make(*r);
  alerts_.expect(*r, seq);
  auto& held = held_[device];
  if (!held.is && r->episode == 0 && fleet_.is_held_back()) {
    held = {true, *r, seq};
    return true;
  }
  publish(*r, seq, due_us);
  if (!held.is) return true;
  held.is = false;
  publish(held.what, held.seq, due_us);
  return true;
}

void sender::publish(const reading& r, std::uint64_t seq, std::int64_t due_us) {
  auto& client = *connections_[r.device % connections_.size()].client;
  for (std::uint8_t copy = 0; copy < r.copies; ++copy) {
    std::string payload;
    payload.reserve(256);
    fleet_.append_payload(payload, r, seq, due_us);
    client.publish(&fleet_.topic(r.device), std::move(payload), seq, due_us);
  }
  update(connections_[r.device % connections_.size()]);
}

void sender::release_held(std::int64_t now) {
  for (auto& held : held_) {
    if (held.is) publish(held.what, held.seq, now);
    held.is = false;
  }
}

// Wait until all messages are acknowledged, or no acknowledgement arrives for ack_timeout_us.
void sender::drain() {
  auto last = acknowledged_;
  auto give_up = now_us() + options_.ack_timeout_us;
  while (!abort_ && now_us() < give_up) {
    show();
    if (progress_.in_flight == 0 && progress_.waiting == 0) return;
    serve(now_us() + second_us / 100);
    if (acknowledged_ != last) give_up = now_us() + options_.ack_timeout_us;
    last = acknowledged_;
  }
}

// Serve the connections until the first event, or at most until `until_us`.
void sender::serve(std::int64_t until_us) {
  const auto now = now_us();
  const auto wait = std::clamp<std::int64_t>(until_us - now, 0, second_us / 10);
  if (wait > 0) {
    itimerspec timer{};
    timer.it_value.tv_nsec = wait * 1000;
    timerfd_settime(timer_, 0, &timer, nullptr);
  }
  std::array<epoll_event, 256> events{};
  const auto count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), wait > 0 ? -1 : 0);
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    if (event.data.u64 != timer_mark) {
      serve_connection(connections_[event.data.u64], event.events);
      continue;
    }
    std::uint64_t expirations = 0;
    // The value does not matter, nor does a failure: the timer stays readable, and the next call reads it.
    [[maybe_unused]] const auto bytes = ::read(timer_, &expirations, sizeof expirations);
  }
  reconnect(now);
  keep_alive(now);
}

void sender::serve_connection(connection& l, std::uint32_t events) {
  bool fine = true;
  if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) fine = l.client->read();
  if (fine && (events & EPOLLOUT) != 0) fine = l.client->write();
  if (!fine) return on_broken(l);
  update(l);
}

// Update a connection after each use: send waiting messages, detect a closed socket, and set the events to watch.
void sender::update(connection& l) {
  l.client->flush();
  if (l.client->socket() < 0) return on_broken(l);
  if (l.client->connected()) l.delay_us = first_delay_us;
  watch(l);
}

void sender::watch(connection& l) {
  const auto socket = l.client->socket();
  const std::uint32_t events = EPOLLIN | (l.client->wants_to_write() ? std::uint32_t{EPOLLOUT} : 0U);
  if (socket == l.socket && events == l.watched) return;
  epoll_event event{};
  event.events = events;
  event.data.u64 = static_cast<std::uint64_t>(&l - connections_.data());
  // A new socket may reuse the number of a closed one, which epoll has removed.
  if (socket != l.socket || epoll_ctl(epoll_, EPOLL_CTL_MOD, socket, &event) != 0)
    epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event);
  l.socket = socket;
  l.watched = events;
}

void sender::on_broken(connection& l) {
  if (l.retry_at_us != 0) return;  // already handled
  l.client->on_disconnected();
  l.socket = -1;
  l.watched = 0;
  l.retry_at_us = now_us() + l.delay_us;
  l.delay_us = std::min(l.delay_us * 2, longest_delay_us);
  ++progress_.broken_connections;
}

void sender::reconnect(std::int64_t now) {
  for (auto& l : connections_) {
    if (l.retry_at_us == 0 || l.retry_at_us > now || !l.client) continue;
    l.retry_at_us = 0;
    if (l.client->connect().empty()) {
      watch(l);
      continue;
    }
    l.retry_at_us = now_us() + l.delay_us;
    l.delay_us = std::min(l.delay_us * 2, longest_delay_us);
  }
}

void sender::keep_alive(std::int64_t now) {
  if (now - last_keep_alive_us_ < second_us) return;
  last_keep_alive_us_ = now;
  for (auto& l : connections_)
    if (l.client && l.retry_at_us == 0 && !l.client->keep_alive()) on_broken(l);
}

void sender::show() {
  std::uint32_t connected = 0;
  std::uint64_t waiting = 0, in_flight = 0;
  for (const auto& l : connections_) {
    if (!l.client) continue;
    connected += l.client->connected() ? 1 : 0;
    waiting += l.client->waiting();
    in_flight += l.client->in_flight();
  }
  progress_.connected = connected;
  progress_.waiting = waiting;
  progress_.in_flight = in_flight;
}

}  // namespace pl::load
