// SPDX-License-Identifier: Apache-2.0
// Publishes what the schedule says over many connections, all in one thread.
#pragma once

#include "alert_book.hpp"
#include "connection.hpp"
#include "fleet.hpp"
#include "histogram.hpp"
#include "ledger.hpp"
#include "schedule.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace pl::load {

struct sender_options {
  broker_options broker;
  std::string client_prefix;  // of the connections' names
  std::uint32_t connections = 1;
  int qos = 1;
  std::size_t window = 100;                      // messages on their way at once, for each connection
  std::int64_t ack_timeout_us = 10'000'000;      // after the end: how long to wait for the next acknowledgement
  std::int64_t connect_timeout_us = 10'000'000;  // for all connections at the start
};

// What others may see while it runs.
struct sender_progress {
  std::atomic<std::uint32_t> connected{0};
  std::atomic<std::uint64_t> broken_connections{0}, waiting{0}, in_flight{0};
  std::atomic<bool> sending{false}, done{false};
};

// The times of the schedule are absolute: what could not leave in time stays due, and its latency counts from when it was
// meant to leave. run() belongs to one thread; progress() and stop() to any.
class sender {
 public:
  sender(const sender_options& options, const schedule_options& plan, fleet& devices, ledger& messages,
         alert_book& alerts);
  ~sender();
  sender(const sender&) = delete;
  sender& operator=(const sender&) = delete;

  // All connections; empty, or what went wrong and what to do.
  std::string connect();
  // Until the schedule has ended or stop() was called, and everything is acknowledged or given up.
  void run(std::int64_t begin_us);
  // Sends no more; waits for acknowledgements still.
  void stop() noexcept { stop_ = true; }
  // Doesn't wait for them either.
  void abort() noexcept { abort_ = stop_ = true; }

  [[nodiscard]] const sender_progress& progress() const noexcept { return progress_; }
  // After run(): how much later than meant messages left this program.
  [[nodiscard]] const histogram& lateness() const noexcept { return lateness_; }
  [[nodiscard]] std::int64_t began_us() const noexcept { return begin_us_; }
  [[nodiscard]] std::int64_t ended_us() const noexcept { return end_us_; }

 private:
  struct held_back {
    bool is = false;
    reading what;
    std::uint64_t seq = 0;
  };
  struct line {
    std::unique_ptr<publisher> client;
    std::int64_t try_again_us = 0, delay_us = 0;
    std::uint32_t watched = 0;  // events
    int socket = -1;
  };

  void send_due();
  bool may_send() const;
  std::int64_t wake_up(std::int64_t due_ns) const;
  bool turn(std::int64_t due_us);
  void publish(const reading& r, std::uint64_t seq, std::int64_t due_us);
  void release_held(std::int64_t now);
  void drain();
  void serve(std::int64_t until_us);
  void serve_line(line& l, std::uint32_t events);
  void tend(line& l);
  void watch(line& l);
  void break_line(line& l);
  void reconnect(std::int64_t now);
  void look_after(std::int64_t now);
  void show();
  std::string open(std::uint32_t n);

  sender_options options_;
  schedule plan_;
  bool paced_;
  std::int64_t duration_us_;
  fleet& fleet_;
  ledger& ledger_;
  alert_book& alerts_;
  std::vector<line> lines_;
  std::vector<held_back> held_;
  std::int64_t begin_us_ = 0, end_us_ = 0, looked_after_us_ = 0;
  std::uint32_t next_device_ = 0;
  std::uint64_t acknowledged_ = 0;
  int epoll_ = -1, timer_ = -1;
  std::atomic<bool> stop_{false}, abort_{false};
  sender_progress progress_;
  histogram lateness_;
};

}  // namespace pl::load
