// SPDX-License-Identifier: Apache-2.0
// Publishes messages at the times of the schedule over many connections, all in one thread.
#pragma once

#include "alert_ledger.hpp"
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
  std::string client_prefix;  // prefix of the MQTT client ids
  std::uint32_t connections = 1;
  int qos = 1;
  std::size_t window = 100;                      // maximum messages in flight, for each connection
  std::int64_t ack_timeout_us = 10'000'000;      // after the last message: maximum wait for the next acknowledgement
  std::int64_t connect_timeout_us = 10'000'000;  // for all connections together, at the start
};

// The progress of the sender, which other threads may read.
struct sender_progress {
  std::atomic<std::uint32_t> connected{0};
  std::atomic<std::uint64_t> broken_connections{0}, waiting{0}, in_flight{0};
  std::atomic<bool> sending{false}, done{false};
};

// The times of the schedule are absolute: a message that cannot be sent in time stays due, and its latency counts from
// the scheduled time. Call run() from one thread; progress(), stop() and abort() may be called from any thread.
class sender {
 public:
  sender(const sender_options& options, const schedule_options& plan, fleet& devices, ledger& messages,
         alert_ledger& alerts);
  ~sender();
  sender(const sender&) = delete;
  sender& operator=(const sender&) = delete;

  // Open all connections. Return an empty text or the error.
  std::string connect();
  // Send until the schedule has ended or stop() was called, then wait for the acknowledgements.
  void run(std::int64_t begin_us);
  // Stop sending, but wait for acknowledgements.
  void stop() noexcept { stop_ = true; }
  // Stop sending, and do not wait for acknowledgements.
  void abort() noexcept { abort_ = stop_ = true; }

  [[nodiscard]] const sender_progress& progress() const noexcept { return progress_; }
  // Return, after run(), how much later than scheduled the messages were sent.
  [[nodiscard]] const histogram& lateness() const noexcept { return lateness_; }
  [[nodiscard]] std::int64_t began_us() const noexcept { return begin_us_; }
  [[nodiscard]] std::int64_t ended_us() const noexcept { return end_us_; }

 private:
  struct held_back {
    bool is = false;
    reading what;
    std::uint64_t seq = 0;
  };
  struct connection {
    std::unique_ptr<publisher> client;
    std::int64_t retry_at_us = 0, delay_us = 0;
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
  void serve_connection(connection& l, std::uint32_t events);
  void update(connection& l);
  void watch(connection& l);
  void on_broken(connection& l);
  void reconnect(std::int64_t now);
  void keep_alive(std::int64_t now);
  void show();
  std::string open(std::uint32_t n);

  sender_options options_;
  schedule plan_;
  bool paced_;
  std::int64_t duration_us_;
  fleet& fleet_;
  ledger& ledger_;
  alert_ledger& alerts_;
  std::vector<connection> connections_;
  std::vector<held_back> held_;
  std::int64_t begin_us_ = 0, end_us_ = 0, last_keep_alive_us_ = 0;
  std::uint32_t next_device_ = 0;
  std::uint64_t acknowledged_ = 0;
  int epoll_ = -1, timer_ = -1;
  std::atomic<bool> stop_{false}, abort_{false};
  sender_progress progress_;
  histogram lateness_;
};

}  // namespace pl::load
