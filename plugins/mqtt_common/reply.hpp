// SPDX-License-Identifier: Apache-2.0
// The broker's reply to one request. A Paho thread writes it; the requesting thread waits for it and reads it
// afterwards. It must outlive the request: if no reply came, destroy the Paho client first.
#pragma once

#include "connection_settings.hpp"

#include <MQTTAsync.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace mqtt {

constexpr std::uint64_t largest_packet = 268'435'455 + 5;  // limit of the MQTT protocol

class reply {
 public:
  // Make Paho report the outcome of the request with these options to this object.
  void expect(MQTTAsync_connectOptions& o, protocol version);
  void expect(MQTTAsync_disconnectOptions& o, protocol version);
  void expect_grants(MQTTAsync_responseOptions& o, protocol version, std::size_t filters);
  void expect_end(MQTTAsync_responseOptions& o, protocol version);  // of an unsubscription

  // Return false if no reply came in time.
  [[nodiscard]] bool wait(std::chrono::nanoseconds timeout);

  bool ok = false;
  int code = 0;  // failure code: from the broker if positive, else from Paho
  std::string message;
  std::uint32_t receive_maximum = 65'535;
  std::uint64_t max_packet_size = largest_packet;
  // Limits of the broker, which it reports with MQTT 5.
  std::uint32_t max_qos = 2, retain_available = 1;
  std::optional<std::uint32_t> session_expiry;  // seconds, if they differ from those that were requested
  bool session_present = false;
  std::vector<int> grants;  // one for each filter of a subscription

 private:
  struct callbacks;
  void finish(bool success, int c = 0, const char* text = nullptr);

  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
};

}  // namespace mqtt
