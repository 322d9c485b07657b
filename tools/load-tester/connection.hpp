// SPDX-License-Identifier: Apache-2.0
// One MQTT connection of libmosquitto's, without a thread of its own.
#pragma once

#include "../../plugins/mqtt_common/broker_url.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

struct mosquitto;
struct mosquitto_message;

namespace pl::load {

struct broker_options {
  mqtt::broker_url url;
  std::string ca_file;              // for mqtts; empty: the system's authorities
  std::string cert_file, key_file;  // our own, where the broker asks for one
  bool verify_tls = true;           // whether the broker must be who it says it is
};

// The library's global state; one for the program.
class mqtt_library {
 public:
  mqtt_library();
  ~mqtt_library();
  mqtt_library(const mqtt_library&) = delete;
  mqtt_library& operator=(const mqtt_library&) = delete;
};

// What a client of a broker has to do whatever it is for. One thread at a time.
class mqtt_client {
 public:
  mqtt_client(const broker_options& broker, const std::string& id);
  virtual ~mqtt_client();
  mqtt_client(const mqtt_client&) = delete;
  mqtt_client& operator=(const mqtt_client&) = delete;

  // Connects, or connects again; empty, or what went wrong. The broker's welcome comes later.
  std::string connect();
  void disconnect();
  // Reads and answers what has come; false when the connection is gone.
  bool read();
  bool write();
  // To be called about once a second: keep-alives.
  bool look_after();
  // Reads, writes and waits, for a client that stands alone; false when the connection is gone.
  bool wait(int timeout_ms);

  [[nodiscard]] int socket() const;
  [[nodiscard]] bool wants_to_write() const;
  [[nodiscard]] bool welcome() const noexcept { return welcome_; }
  // Why the broker refused the connection; empty if it did not.
  [[nodiscard]] const std::string& refusal() const noexcept { return refusal_; }
  void gone() { welcome_ = false; }

 protected:
  virtual void on_welcome() {}
  virtual void on_acknowledged(int) {}
  virtual void on_message(std::string_view /*topic*/, std::string_view /*payload*/) {}
  virtual void on_subscribed(bool /*granted*/) {}
  [[nodiscard]] mosquitto* handle() const noexcept { return handle_.get(); }

 private:
  struct destroy {
    void operator()(mosquitto* m) const noexcept;
  };
  void secure(const broker_options& broker);
  void listen();

  broker_options broker_;
  std::unique_ptr<mosquitto, destroy> handle_;
  std::string refusal_;
  bool ever_ = false, welcome_ = false;
};

// Messages in order, so many at once without an acknowledgement; more wait here, also while the connection is down.
class publisher final : public mqtt_client {
 public:
  struct events {
    std::function<void(std::uint64_t seq, std::int64_t due_us)> sent;
    std::function<void(std::uint64_t seq)> acknowledged, resent;
  };
  publisher(const broker_options& broker, const std::string& id, int qos, std::size_t window, events tell);

  void publish(const std::string* topic, std::string payload, std::uint64_t seq, std::int64_t due_us);
  // Sends what waits, as far as the window allows.
  void flush();
  // The connection broke: the library will send again what was on its way.
  void lost();

  [[nodiscard]] bool has_room() const { return welcome() && waiting_.empty() && !is_full(); }
  [[nodiscard]] std::size_t waiting() const noexcept { return waiting_.size(); }
  [[nodiscard]] std::size_t in_flight() const noexcept { return flight_.size(); }

 private:
  struct message {
    const std::string* topic;
    std::string payload;
    std::uint64_t seq;
    std::int64_t due_us;
  };
  struct flying {
    int id;
    std::uint64_t seq;
  };
  [[nodiscard]] bool is_full() const;
  bool send(const message& m);
  void on_acknowledged(int id) override;

  int qos_;
  std::size_t window_;
  events tell_;
  std::deque<message> waiting_;
  std::deque<flying> flight_;
};

}  // namespace pl::load
