// SPDX-License-Identifier: Apache-2.0
// Tracks the messages in flight on a connection, and their outcome.
#pragma once

#include "connection_settings.hpp"

#include <MQTTAsync.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>

namespace mqtt {

// The outcome of one message.
enum class outcome : std::uint8_t { waiting, delivered, refused };

// The messages in flight on one connection. Paho's threads settle them; the publishing thread waits for them.
class flight {
 public:
  struct ticket {
    flight* owner = nullptr;
    outcome state = outcome::waiting;
    int reason = 0;  // MQTT 5 reason code of a rejection
  };

  // Make Paho settle the ticket of the message that is sent with these options.
  void track(ticket& t, MQTTAsync_responseOptions& options, protocol version);

  void begin();     // resets the state for a new connection
  void sent();      // call before the message is passed to Paho
  void not_sent();  // Paho did not accept the message
  void settle(ticket& t, outcome how, int reason = 0);
  // Record that the connection is lost. blameless: the reason is unrelated to the messages that were sent.
  void lose(std::string why, bool blameless = false, bool taken_over = false);
  void regain();  // Paho reconnected; has an effect only if nothing was in flight

  enum class wait_result { ok, lost, timeout };
  // Wait until at most `room` messages are in flight. The time-out applies between two acknowledgements.
  wait_result wait_until(std::uint32_t room, std::chrono::nanoseconds timeout);

  [[nodiscard]] std::uint32_t waiting() const;
  [[nodiscard]] std::uint64_t settled() const;  // since begin
  [[nodiscard]] bool lost() const;
  [[nodiscard]] std::string loss() const;
  [[nodiscard]] bool blameless() const;
  [[nodiscard]] bool taken_over() const;  // by another client with the same id (reported with MQTT 5)

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::uint32_t waiting_ = 0;
  std::uint64_t settled_ = 0;
  bool lost_ = false, blameless_ = false, taken_over_ = false;
  std::string why_;
};

}  // namespace mqtt
