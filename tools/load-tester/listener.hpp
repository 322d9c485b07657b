// SPDX-License-Identifier: Apache-2.0
// Subscribes to the alerts.
#pragma once

#include "alert_ledger.hpp"
#include "connection.hpp"

#include <atomic>
#include <memory>
#include <string>
#include <thread>

namespace pl::load {

// Uses its own connection and thread, so that the arrival time of an alert does not depend on the sender.
class listener {
 public:
  listener(const broker_options& broker, const std::string& client_id, std::string topic, alert_ledger& alerts);
  ~listener();
  listener(const listener&) = delete;
  listener& operator=(const listener&) = delete;

  // Connect and subscribe. Return an empty text or the error.
  std::string start();
  // Return how often the subscription was interrupted. Alerts may be missing for that reason.
  [[nodiscard]] unsigned interruptions() const noexcept { return interruptions_; }

 private:
  class client;
  void run(const std::stop_token& stop);

  std::unique_ptr<client> client_;
  std::atomic<unsigned> interruptions_{0};
  std::jthread thread_;
};

}  // namespace pl::load
