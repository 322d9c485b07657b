// SPDX-License-Identifier: Apache-2.0
// One connection to a broker, on Paho's asynchronous client.
#pragma once

#include "broker_url.hpp"

#include <pipeline/result.hpp>

#include <MQTTAsync.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mqtt {

enum class protocol { v3_1_1, v5 };

struct tls_settings {
  std::string ca, cert, key, key_password;
  bool verify = true;
};

struct will_message {
  std::string topic, payload;
  int qos = 0;
  bool retain = false;
};

struct connection_settings {
  broker_url url;
  protocol version = protocol::v3_1_1;
  std::string client_id, user, password;
  bool clean_session = true;
  std::chrono::seconds session_expiry{0}, keep_alive{60};
  std::chrono::nanoseconds connect_timeout = std::chrono::seconds(10);
  std::uint32_t max_in_flight = 100;  // for subscribers with MQTT 5: what the broker may send unacknowledged
  bool reconnects = true;             // by itself, while it is idle
  std::string store;                  // a folder in which QoS 2 messages survive between their two steps; empty: none
  tls_settings tls;                   // where the URL asks for it
  std::optional<will_message> will;
};

// What became of one message.
enum class outcome : std::uint8_t { waiting, delivered, refused };

// What is on its way on one connection. Paho's threads write to it; whoever publishes waits on it.
class flight {
 public:
  struct ticket {
    flight* owner = nullptr;
    outcome state = outcome::waiting;
    int reason = 0;  // of a refusal: MQTT 5's reason code
  };

  void begin();     // a new connection: nothing on its way
  void sent();      // before the message is handed over
  void not_sent();  // it was not taken after all
  void settle(ticket& t, outcome how, int reason = 0);
  // The connection is gone. blameless: for a reason that has nothing to do with what was sent.
  void lose(std::string why, bool blameless = false, bool taken_over = false);
  void regain();  // it came back by itself; only good if nothing was on its way

  enum class wait_result { ok, lost, timeout };
  // Until at most `room` messages are on their way. The time-out is that between two acknowledgements.
  wait_result wait_until(std::uint32_t room, std::chrono::nanoseconds timeout);

  [[nodiscard]] std::uint32_t waiting() const;
  [[nodiscard]] std::uint64_t settled() const;  // since begin
  [[nodiscard]] bool lost() const;
  [[nodiscard]] std::string loss() const;
  [[nodiscard]] bool blameless() const;
  [[nodiscard]] bool taken_over() const;  // by another client with the same id, as brokers with MQTT 5 say

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::uint32_t waiting_ = 0;
  std::uint64_t settled_ = 0;
  bool lost_ = false, blameless_ = false, taken_over_ = false;
  std::string why_;
};

struct message {
  const char* topic;  // ends with NUL
  std::string_view payload;
  int qos;
  bool retain;
  MQTTProperties properties;  // MQTT 5; borrowed
};

// A message that the broker sent. Borrowed.
struct arrival {
  std::string_view topic, payload;
  int qos;
  bool retained, duplicate;
};

class client {
 public:
  explicit client(connection_settings settings);
  client(const client&) = delete;
  client& operator=(const client&) = delete;
  ~client();

  // A fresh connection; what was on its way on the old one is forgotten. Fatal where the broker will refuse it again and
  // again (credentials, protocol version), else retry.
  pl::result<void> connect();
  void disconnect();        // in order: the last will is not published
  void abandon() noexcept;  // what is on its way will not touch its tickets any more
  [[nodiscard]] bool connected() const;

  // Subscribes; waits for the answer. Fatal where the broker refuses a filter.
  pl::result<void> subscribe(const std::vector<std::string>& filters, int qos);
  // Called by Paho's thread for each message; the broker hears that it has arrived (QoS 1 and 2) once this has returned. Set
  // before connecting.
  void on_message(std::function<void(const arrival&)> take) { take_ = std::move(take); }
  [[nodiscard]] bool session_present() const noexcept { return session_present_; }  // the broker knew us

  // Hands one message over; its ticket is settled by Paho's thread. Answers Paho's code.
  int publish(const message& m, flight::ticket& t);

  [[nodiscard]] flight& in_flight() noexcept { return flight_; }
  // The least of max_in_flight and what the broker takes at once (MQTT 5).
  [[nodiscard]] std::uint32_t window() const noexcept { return window_; }
  [[nodiscard]] std::uint64_t max_packet_size() const noexcept { return max_packet_size_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }  // "MQTT broker host:port"

 private:
  struct connecting;
  pl::result<MQTTAsync> create();
  void set_callbacks(MQTTAsync fresh);
  [[nodiscard]] pl::result<void> granted(const std::vector<std::string>& filters, const std::vector<int>& codes) const;
  int begin_connect(MQTTAsync fresh, connecting& result);
  void fill_ssl(MQTTAsync_SSLOptions& ssl);
  static int note_tls_error(const char* text, std::size_t n, void* self);
  [[nodiscard]] pl::failure refusal(const connecting& result) const;
  [[nodiscard]] std::string unreachable(const std::string& detail) const;
  pl::result<void> check_files() const;

  const connection_settings settings_;
  const std::string name_;
  std::string uri_;
  MQTTAsync handle_ = nullptr;
  flight flight_;
  std::function<void(const arrival&)> take_;
  std::uint32_t window_;
  std::uint64_t max_packet_size_;
  bool session_present_ = false;
  std::mutex tls_mutex_;
  std::string tls_error_;
};

// A reason code of MQTT 5 in words.
std::string reason_text(int code);

}  // namespace mqtt
