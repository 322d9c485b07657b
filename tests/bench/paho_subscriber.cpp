// SPDX-License-Identifier: Apache-2.0
// The yardstick of the bridge: a subscriber with the library that the bridge uses, which throws messages away.
//
//   paho_subscriber URL FILTER CLIENT_ID QOS COUNT
//
// The session outlives the connection. With COUNT 0 the program only makes the session. Otherwise it receives COUNT messages
// and prints one JSON object: rate and CPU time from the first message to the last one.
#include <MQTTAsync.h>
#include <sys/resource.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>

namespace {

using clock_type = std::chrono::steady_clock;

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

class subscriber {
 public:
  subscriber(const std::string& url, std::string filter, const std::string& id, int qos, std::uint64_t count)
      : filter_(std::move(filter)), qos_(qos), count_(count) {
    check(MQTTAsync_create(&client_, url.c_str(), id.c_str(), MQTTCLIENT_PERSISTENCE_NONE, nullptr), "create");
    check(MQTTAsync_setCallbacks(client_, this, on_lost, on_message, nullptr), "callbacks");
  }
  subscriber(const subscriber&) = delete;
  subscriber& operator=(const subscriber&) = delete;
  ~subscriber() { MQTTAsync_destroy(&client_); }

  void run() {
    MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;
    options.cleansession = 0;
    options.context = this;
    options.onSuccess = on_connected;
    options.onFailure = on_failure;
    check(MQTTAsync_connect(client_, &options), "connect");
    wait([this] { return subscribed_ && received_ >= count_; });
    MQTTAsync_disconnectOptions end = MQTTAsync_disconnectOptions_initializer;
    end.context = this;
    end.timeout = 10'000;
    end.onSuccess = on_disconnected;
    end.onFailure = on_failure;
    check(MQTTAsync_disconnect(client_, &end), "disconnect");
    wait([this] { return disconnected_; });
  }
  void print() const {
    const auto took = std::chrono::duration<double>(last_ - first_).count();
    const auto counted = static_cast<double>(count_ - 1);
    std::printf("{\"messages\": %llu, \"messages_per_second\": %.1f, \"cpu_us_per_message\": %.4f}\n",
                static_cast<unsigned long long>(received_), took > 0 ? counted / took : 0,
                counted > 0 ? (last_cpu_ - first_cpu_) / counted * 1e6 : 0);
  }

 private:
  static subscriber& self(void* context) { return *static_cast<subscriber*>(context); }
  static void check(int code, const char* what) {
    if (code != MQTTASYNC_SUCCESS) throw std::runtime_error(std::string(what) + ": " + MQTTAsync_strerror(code));
  }
  template <class Done>
  void wait(const Done& done) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::minutes(5), [&] { return done() || !error_.empty(); }))
      throw std::runtime_error("nothing has happened for 5 minutes");
    if (!error_.empty()) throw std::runtime_error(error_);
  }
  template <class Change>
  void change(const Change& make) {
    std::scoped_lock lock(mutex_);
    make();
    changed_.notify_all();
  }

  // The following functions run in Paho's threads.
  static void on_connected(void* context, MQTTAsync_successData*) {
    auto& s = self(context);
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    options.context = context;
    options.onSuccess = [](void* c, MQTTAsync_successData*) { self(c).change([c] { self(c).subscribed_ = true; }); };
    options.onFailure = on_failure;
    if (MQTTAsync_subscribe(s.client_, s.filter_.c_str(), s.qos_, &options) != MQTTASYNC_SUCCESS)
      s.change([&s] { s.error_ = "subscribe failed"; });
  }
  static void on_failure(void* context, MQTTAsync_failureData* why) {
    auto& s = self(context);
    s.change([&] { s.error_ = why != nullptr && why->message != nullptr ? why->message : "the broker refused"; });
  }
  static void on_lost(void* context, char*) {
    auto& s = self(context);
    s.change([&s] { s.error_ = "the connection was lost"; });
  }
  static void on_disconnected(void* context, MQTTAsync_successData*) {
    self(context).change([context] { self(context).disconnected_ = true; });
  }
  static int on_message(void* context, char* topic, int, MQTTAsync_message* message) {
    self(context).count();
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1;
  }
  void count() {
    std::scoped_lock lock(mutex_);
    if (++received_ == 1) {
      first_ = clock_type::now();
      first_cpu_ = cpu_seconds();
    }
    if (received_ != count_) return;
    last_ = clock_type::now();
    last_cpu_ = cpu_seconds();
    changed_.notify_all();
  }

  MQTTAsync client_ = nullptr;
  const std::string filter_;
  const int qos_;
  const std::uint64_t count_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool subscribed_ = false, disconnected_ = false;
  std::string error_;
  std::uint64_t received_ = 0;
  clock_type::time_point first_, last_;
  double first_cpu_ = 0, last_cpu_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 6) throw std::runtime_error("usage: paho_subscriber URL FILTER CLIENT_ID QOS COUNT");
    const auto count = std::stoull(argv[5]);
    subscriber s(argv[1], argv[2], argv[3], std::stoi(argv[4]), count);
    s.run();
    if (count != 0) s.print();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "paho_subscriber: %s\n", error.what());
    return 1;
  }
}
