// SPDX-License-Identifier: Apache-2.0
#include "run.hpp"

#include "clock.hpp"
#include "database.hpp"
#include "dead_letters.hpp"
#include "display.hpp"
#include "listener.hpp"
#include "sender.hpp"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <thread>
#include <utility>

namespace pl::load {
namespace {

constexpr std::int64_t second_us = 1'000'000;
constexpr std::int64_t look_us = second_us / 10;
constexpr std::int64_t linger_us = second_us;  // wait for duplicates after everything has arrived

std::atomic<int> requests{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler counts in it");

void pause(std::int64_t us) { std::this_thread::sleep_for(std::chrono::microseconds(us)); }

fleet_options fleet_of(const options& o) {
  fleet_options f;
  f.users = o.users;
  f.devices_per_user = o.devices_per_user;
  f.duplicates = o.duplicates;
  f.reorder = o.reorder;
  f.broken = o.broken;
  f.silent = o.silent;
  f.anomalies = o.anomalies;
  f.threshold = o.threshold;
  f.clear = o.clear;
  f.silent_after_us = o.duration_ns / 2000;  // half of the time
  f.run = o.run;
  f.device_prefix = o.device_prefix;
  f.seed = o.seed;
  return f;
}

sender_options sender_of(const options& o) {
  sender_options s;
  s.broker = o.broker;
  s.client_prefix = "load-" + o.run + "-";
  s.connections = o.connections;
  s.qos = o.qos;
  s.window = o.window;
  return s;
}

table_options table_of(const options& o, std::int64_t begin_us) {
  return {o.database, o.table, o.extra_column, o.run, o.device_prefix, begin_us};
}

// The parts of one run. They are constructed in order of declaration and destroyed in reverse order.
class session {
 public:
  session(const options& o, std::int64_t begin_us)
      : o_(o),
        begin_us_(begin_us),
        fleet_(fleet_of(o)),
        alerts_(o.rule, o.device_prefix),
        sender_(sender_of(o), {o.rate, o.ramp_ns, o.burst, o.burst_every_ns, o.duration_ns, o.count}, fleet_, ledger_,
                alerts_),
        listener_(o.broker, "load-" + o.run + "-alerts", o.alerts_topic, alerts_),
        watcher_(table_of(o, begin_us), ledger_),
        display_(o.quiet, o.run) {}

  std::string connect();
  void send();
  void settle();
  void count();
  [[nodiscard]] report result() const;

 private:
  [[nodiscard]] std::uint64_t arrived() const;
  [[nodiscard]] bool complete() const;
  void read_dead_letters();
  void show();

  const options& o_;
  std::int64_t begin_us_;
  fleet fleet_;
  ledger ledger_;
  alert_ledger alerts_;
  sender sender_;
  listener listener_;
  watcher watcher_;
  display display_;
  std::vector<std::string> errors_;
};

std::string session::connect() {
  if (o_.verify) {
    if (auto wrong = watcher_.start(); !wrong.empty())
      return fmt::format("the database: {}\n  set its address with --database or DATABASE_URL, or omit --verify",
                         wrong);
    if (auto wrong = listener_.start(); !wrong.empty())
      return fmt::format("the broker {}: {}\n  set its address with --broker or MQTT_URL", o_.broker.url.name(), wrong);
  }
  if (auto wrong = sender_.connect(); !wrong.empty())
    return fmt::format("the broker {}: {}\n  set its address with --broker or MQTT_URL", o_.broker.url.name(), wrong);
  return {};
}

void session::send() {
  std::jthread thread([&] { sender_.run(now_us()); });
  while (!sender_.progress().done) {
    if (stop_requests() > 0) sender_.stop();
    if (stop_requests() > 1) sender_.abort();
    show();
    pause(look_us);
  }
}

std::uint64_t session::arrived() const {
  const auto a = alerts_.count(ledger_);
  return ledger_.so_far().seen + a.seen + a.resolved_seen;
}

bool session::complete() const {
  const auto a = alerts_.count(ledger_);
  const auto p = ledger_.so_far();
  return p.seen >= p.expected && a.missing == 0 && a.resolved_missing == 0;
}

// Wait until everything has arrived, or until nothing arrives for the settle time-out.
void session::settle() {
  if (!o_.verify) return;
  auto last = arrived();
  for (auto give_up = now_us() + o_.settle_ns / 1000; !complete() && now_us() < give_up && stop_requests() < 2;) {
    show();
    pause(look_us);
    if (const auto now = arrived(); now != last) {
      give_up = now_us() + o_.settle_ns / 1000;
      last = now;
    }
  }
  for (const auto end = now_us() + linger_us; now_us() < end && stop_requests() < 2;) pause(look_us);
}

void session::read_dead_letters() {
  for (const auto& location : o_.dead_letters) {
    auto wrong = load::read_dead_letters(location, o_.run, [&](std::uint64_t seq) { ledger_.note_dead_letter(seq); });
    if (!wrong.empty()) errors_.push_back(std::move(wrong));
  }
}

void session::count() {
  display_.finish();
  if (!o_.verify) return;
  watcher_.stop();
  read_dead_letters();
  // Dead letters may arrive later than rows.
  for (const auto end = now_us() + o_.settle_ns / 1000; now_us() < end && stop_requests() < 2 && errors_.empty();) {
    if (o_.dead_letters.empty() || ledger_.count({o_.one_row_each, true}).broken_vanished == 0) break;
    pause(5 * look_us);
    read_dead_letters();
  }
  database rows(table_of(o_, begin_us_));
  bool exists = false;
  auto wrong = rows.connect();
  if (wrong.empty()) wrong = rows.check(exists);
  if (wrong.empty() && exists) {
    ledger_.clear_stored();
    wrong = rows.all([&](const stored_row& row) { ledger_.note_stored(row); });
  }
  if (!wrong.empty()) errors_.push_back("cannot count the rows in the database: " + wrong);
  if (wrong.empty() && !exists)
    errors_.push_back(fmt::format("table {} does not exist; check that the pipeline runs and writes to it", o_.table));
}

report session::result() const {
  report r;
  r.run = o_.run;
  r.wanted_rate = o_.rate;
  r.seconds = static_cast<double>(sender_.ended_us() - sender_.began_us()) / static_cast<double>(second_us);
  r.devices = fleet_.size();
  r.connections = o_.connections;
  r.silent_devices = fleet_.silent_devices();
  r.qos = o_.qos;
  r.verified = o_.verify;
  r.dead_letters_read = o_.verify && !o_.dead_letters.empty();
  r.one_row_each = o_.one_row_each;
  r.interrupted = stop_requests() > 0;
  r.broken_connections = sender_.progress().broken_connections;
  r.alert_interruptions = listener_.interruptions();
  r.messages = ledger_.count({o_.one_row_each, r.dead_letters_read});
  r.alerts = alerts_.count(ledger_);
  r.lateness = summary(sender_.lateness());
  const auto p = ledger_.so_far();
  r.to_broker = p.to_broker;
  r.to_database = p.to_database;
  r.resolution = watcher_.resolution();
  r.errors = errors_;
  return r;
}

void session::show() {
  if (!display_.is_due()) return;
  const auto& p = sender_.progress();
  snapshot s;
  s.sent = ledger_.so_far();
  if (o_.verify) s.alerts = alerts_.count(ledger_);
  s.verify = o_.verify;
  s.connected = p.connected;
  s.connections = o_.connections;
  s.broken_connections = p.broken_connections;
  s.waiting = p.waiting + p.in_flight;
  s.sending = p.sending;
  s.error = o_.verify ? watcher_.error() : "";
  display_.show(s);
}

}  // namespace

void catch_signals() {
  for (const int which : {SIGINT, SIGTERM})
    std::signal(which, [](int) {
      if (requests.fetch_add(1) >= 2) std::_Exit(exit_aborted);  // the third request ends the program at once
    });
  std::signal(SIGPIPE, SIG_IGN);
}

int stop_requests() noexcept { return requests; }

outcome run_once(const options& given) {
  auto o = given;
  if (o.device_prefix.empty()) o.device_prefix = o.run + "-";
  // Do not count the time for connecting: the duration begins with the first message.
  session s(o, now_us());
  outcome out;
  if (out.error = s.connect(); !out.error.empty()) {
    out.code = exit_unreachable;
    return out;
  }
  s.send();
  s.settle();
  s.count();
  out.seen = s.result();
  out.code = stop_requests() > 1 ? exit_aborted : faults(out.seen).empty() ? exit_fine : exit_lost;
  return out;
}

}  // namespace pl::load
