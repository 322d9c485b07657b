// SPDX-License-Identifier: Apache-2.0
// A real Mosquitto on a free port, a subscriber that remembers what it gets, and a broker that does as it is told.
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

// Fails the test (throws) where mosquitto is not installed.
class broker {
 public:
  // More lines for its configuration; {dir} and {port} are replaced. A listener without TLS is there unless `listener` is
  // given.
  explicit broker(const std::string& more = "allow_anonymous true", const std::string& listener = "");
  broker(const broker&) = delete;
  broker& operator=(const broker&) = delete;
  ~broker() { stop(); }

  void start();                // and waits until it answers
  void stop(int signal = 15);  // and waits until it is gone
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

  // At least n messages, or what had come when nothing came any more for ten seconds.
  std::vector<received> wait_for(std::size_t n);
  // What a condition holds for, or the same.
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

// Speaks as much MQTT 3.1.1 as a publisher needs, and acknowledges nothing by itself.
class scripted_broker {
 public:
  struct publish {
    std::string topic, payload;
    std::uint16_t id;
  };
  // Called for each message, on the broker's thread; false: close the connection.
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
