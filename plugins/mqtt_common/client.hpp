// SPDX-License-Identifier: Apache-2.0
// One connection to a broker, with Paho's asynchronous client. The owner calls the client from one thread; Paho's
// threads report to `flight`, `reply` and the function passed to on_message.
#pragma once

#include "connect_options.hpp"
#include "connection_settings.hpp"
#include "flight.hpp"

#include <pipeline/result.hpp>

#include <MQTTAsync.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mqtt {

struct message {
  const char* topic;  // ends with NUL
  std::string_view payload;
  int qos;
  bool retain;
  MQTTProperties properties;  // MQTT 5; borrowed
};

// A message from the broker. The views are borrowed.
struct arrival {
  std::string_view topic, payload;
  int qos;
  bool retained, duplicate;
};

class reply;

// MQTT 5: when a subscription makes the broker send its retained messages. With MQTT 3.1.1 it always does.
enum class send_retained : std::uint8_t { always = 0, if_new = 1, never = 2 };

class client {
 public:
  explicit client(connection_settings settings);
  client(const client&) = delete;
  client& operator=(const client&) = delete;
  ~client();

  // Open a new connection and discard the messages in flight on the old one. Fail with fatal if the broker would
  // reject every attempt (credentials, protocol version), else with retry.
  pl::result<void> connect();
  void disconnect();        // cleanly: the last will is not published
  void abandon() noexcept;  // messages in flight no longer access their tickets
  [[nodiscard]] bool connected() const;

  // Subscribe and wait for the reply. Return the granted QoS of each filter. Fail with fatal if the broker rejects one.
  pl::result<std::vector<int>> subscribe(const std::vector<std::string>& filters, int qos, send_retained when);
  // End subscriptions, and wait for the reply. A filter without a subscription is not a failure.
  pl::result<void> unsubscribe(const std::vector<std::string>& filters);
  // Set the function that Paho's thread calls for each message. Messages with QoS 1 and 2 are acknowledged after the
  // function returns. Call this before connecting.
  void on_message(std::function<void(const arrival&)> take) { take_ = std::move(take); }
  // Set the function that is called when the connection is made or lost, on any thread. Call this before connecting.
  void on_connection(std::function<void(std::string_view why_not)> report) { connection_ = std::move(report); }
  [[nodiscard]] bool session_present() const noexcept { return session_present_; }  // the broker resumed the session

  // Queue one message; Paho's thread settles its ticket. Return Paho's code.
  int publish(const message& m, flight::ticket& t);

  [[nodiscard]] flight& in_flight() noexcept { return flight_; }
  // Return the smaller of max_in_flight and the broker's receive maximum (MQTT 5).
  [[nodiscard]] std::uint32_t window() const noexcept { return window_; }
  [[nodiscard]] std::uint64_t max_packet_size() const noexcept { return limits_.max_packet_size; }
  // Fail if the broker accepts no messages with this QoS, or no retained ones (MQTT 5 brokers report this).
  [[nodiscard]] pl::result<void> accepts(int qos, bool retain) const;
  // Return for how long the broker keeps the session (MQTT 5), which may be shorter than requested.
  [[nodiscard]] std::chrono::seconds session_expiry() const noexcept { return limits_.session_expiry; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }  // "MQTT broker host:port"

 private:
  pl::result<MQTTAsync> create();
  void set_callbacks(MQTTAsync fresh);
  void lose(const std::string& why, bool blameless = false, bool taken_over = false);
  void report(std::string_view why_not) const;
  [[nodiscard]] pl::result<std::vector<int>> granted(const std::vector<std::string>& filters,
                                                     std::vector<int> codes) const;
  pl::result<void> completed(reply& response, std::string_view request);
  [[nodiscard]] pl::failure refusal(const reply& from) const;
  [[nodiscard]] std::string unreachable(const std::string& detail) const;
  pl::result<void> check_files() const;

  const connection_settings settings_;
  const std::string name_;
  std::string uri_;
  MQTTAsync handle_ = nullptr;
  flight flight_;
  std::function<void(const arrival&)> take_;
  std::function<void(std::string_view)> connection_;
  std::uint32_t window_;
  struct {
    std::uint64_t max_packet_size = 0;
    std::uint32_t max_qos = 2;
    bool retain = true;
    std::chrono::seconds session_expiry{0};
  } limits_;  // of the broker
  bool session_present_ = false;
  tls_errors tls_errors_;
};

}  // namespace mqtt
