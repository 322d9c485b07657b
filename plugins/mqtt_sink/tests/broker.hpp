// SPDX-License-Identifier: Apache-2.0
// Test brokers: Mosquitto on a free port with a subscriber, and a scripted broker.
#pragma once

#include <pipeline/testing/temp_dir.hpp>

#include <MQTTAsync.h>
#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace mqtt::testing {

// A Mosquitto process. The constructor and start() throw if Mosquitto is not available, which fails the test.
class broker {
 public:
  // `more`: additional configuration lines; {dir} and {port} are replaced. Without `listener` there is a listener
  // without TLS.
  explicit broker(const std::string& more = "allow_anonymous true", const std::string& listener = "");
  broker(const broker&) = delete;
  broker& operator=(const broker&) = delete;
  ~broker() { stop(); }

  void start();                // waits until it accepts connections
  void stop(int signal = 15);  // waits until it has exited
  void signal(int number) const;

  [[nodiscard]] std::string url(const std::string& scheme = "mqtt") const;
  [[nodiscard]] int port() const noexcept { return port_; }
  [[nodiscard]] std::string file(const std::string& name) const { return dir_ / name; }

 private:
  pl::testing::temp_dir dir_;
  int port_;
  pid_t pid_ = 0;
};

struct received {
  std::string topic, payload;
  int qos;
  bool retained;
  std::string content_type;
  int expiry;
  std::map<std::string, std::string> user_properties;
};

class subscriber {
 public:
  explicit subscriber(const broker& from, const std::string& filter = "#", bool v5 = false,
                      const std::string& id = "subscriber");
  subscriber(const subscriber&) = delete;
  subscriber& operator=(const subscriber&) = delete;
  ~subscriber();

  // Wait for at least n messages; return all messages so far when none has arrived for 60 seconds.
  std::vector<received> wait_for(std::size_t n);
  // Wait until the condition holds, with the same limit.
  std::vector<received> wait_until(const std::function<bool(const std::vector<received>&)>& enough);

 private:
  static int arrived(void* self, char* topic, int n, MQTTAsync_message* m);
  void subscribe();

  std::string filter_;
  bool v5_;
  MQTTAsync handle_ = nullptr;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<received> all_;
  bool subscribed_ = false;
};

// Implements the part of MQTT 3.1.1 that a publisher needs, and acknowledges only when acknowledge() is called.
class scripted_broker {
 public:
  struct publish {
    std::string topic, payload;
    std::uint16_t id;
  };
  // Called for each message, on the broker's thread. Return false to close the connection.
  using on_publish = std::function<bool(scripted_broker&, const publish&)>;

  explicit scripted_broker(on_publish handler);
  scripted_broker(const scripted_broker&) = delete;
  scripted_broker& operator=(const scripted_broker&) = delete;
  ~scripted_broker();

  void acknowledge(std::uint16_t id);
  [[nodiscard]] std::string url() const { return "mqtt://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] int connections();

 private:
  void run();
  void serve(int fd);
  on_publish handler_;
  int listener_ = -1, port_ = 0;
  std::mutex mutex_;
  int client_ = -1, connections_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace mqtt::testing
