// SPDX-License-Identifier: Apache-2.0
// Listens to alerts.
#pragma once

#include "alert_book.hpp"
#include "connection.hpp"

#include <atomic>
#include <memory>
#include <string>
#include <thread>

namespace pl::load {

// A connection and a thread of its own, so that an alert's arrival is noted at once, whatever the sender does.
class listener {
 public:
  listener(const broker_options& broker, const std::string& client_id, std::string topic, alert_book& alerts);
  ~listener();
  listener(const listener&) = delete;
  listener& operator=(const listener&) = delete;

  // Connects and subscribes; empty, or what went wrong.
  std::string start();
  // How often the subscription was interrupted: alerts of that time may be missing for that reason.
  [[nodiscard]] unsigned interruptions() const noexcept { return interruptions_; }

 private:
  class client;
  void run(const std::stop_token& stop);

  std::unique_ptr<client> client_;
  std::atomic<unsigned> interruptions_{0};
  std::jthread thread_;
};

}  // namespace pl::load
