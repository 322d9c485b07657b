// SPDX-License-Identifier: Apache-2.0
// MQTT connections with libmosquitto, without its own threads.
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
  std::string ca_file;              // for mqtts; empty: the CAs of the system
  std::string cert_file, key_file;  // client certificate; empty: none
  bool verify_tls = true;           // verify the certificate of the broker
};

// The global state of libmosquitto. Create one for the program.
class mqtt_library {
 public:
  mqtt_library();
  ~mqtt_library();
  mqtt_library(const mqtt_library&) = delete;
  mqtt_library& operator=(const mqtt_library&) = delete;
};

// The base class of MQTT clients. Not thread-safe.
class mqtt_client {
 public:
  mqtt_client(const broker_options& broker, const std::string& id);
  virtual ~mqtt_client();
  mqtt_client(const mqtt_client&) = delete;
  mqtt_client& operator=(const mqtt_client&) = delete;

  // Connect or reconnect. Return an empty text or the error. connected() becomes true later, when the broker accepts.
  std::string connect();
  void disconnect();
  // Process incoming packets. Return false if the connection is closed.
  bool read();
  // Send queued packets. Return false if the connection is closed.
  bool write();
  // Send keep-alive packets; call about once a second. Return false if the connection is closed.
  bool keep_alive();
  // Wait for packets, read and write, for a client without its own event loop. Return false if the connection is
  // closed.
  bool wait(int timeout_ms);

  [[nodiscard]] int socket() const;
  [[nodiscard]] bool wants_to_write() const;
  [[nodiscard]] bool connected() const noexcept { return connected_; }
  // Return why the broker refused the connection; empty if it did not.
  [[nodiscard]] const std::string& refusal() const noexcept { return refusal_; }
  void set_disconnected() { connected_ = false; }

 protected:
  virtual void on_connected() {}
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
  bool connect_called_ = false, connected_ = false;
};

// Publishes messages in order, at most `window` of them unacknowledged. Further messages wait in a queue, also while
// the connection is down.
class publisher final : public mqtt_client {
 public:
  struct events {
    std::function<void(std::uint64_t seq, std::int64_t due_us)> sent;
    std::function<void(std::uint64_t seq)> acknowledged, resent;
  };
  publisher(const broker_options& broker, const std::string& id, int qos, std::size_t window, events callbacks);

  void publish(const std::string* topic, std::string payload, std::uint64_t seq, std::int64_t due_us);
  // Send waiting messages, as far as the window allows.
  void flush();
  // Handle a broken connection: the library will send the messages in flight again.
  void on_disconnected();

  [[nodiscard]] bool has_room() const { return connected() && waiting_.empty() && !is_full(); }
  [[nodiscard]] std::size_t waiting() const noexcept { return waiting_.size(); }
  [[nodiscard]] std::size_t in_flight() const noexcept { return pending_.size(); }

 private:
  struct message {
    const std::string* topic;
    std::string payload;
    std::uint64_t seq;
    std::int64_t due_us;
  };
  struct pending {
    int id;
    std::uint64_t seq;
  };
  [[nodiscard]] bool is_full() const;
  bool send(const message& m);
  void on_acknowledged(int id) override;

  int qos_;
  std::size_t window_;
  events events_;
  std::deque<message> waiting_;
  std::deque<pending> pending_;
};

}  // namespace pl::load
