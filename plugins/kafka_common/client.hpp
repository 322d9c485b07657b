// SPDX-License-Identifier: Apache-2.0
// One librdkafka client (a consumer or a producer) with its log, and checks of the cluster.
#pragma once

#include <pipeline/context.hpp>
#include <pipeline/result.hpp>

#include <kafka_common/handles.hpp>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace kafka {

// Limits a repeated warning to one per `interval` and key. Thread-safe.
class rate_limit {
 public:
  explicit rate_limit(std::chrono::steady_clock::duration interval) : interval_(interval) {}
  [[nodiscard]] bool allows(std::string_view key);

 private:
  std::mutex mutex_;
  std::chrono::steady_clock::duration interval_;
  std::map<std::string, std::chrono::steady_clock::time_point, std::less<>> last_;
};

// The link from librdkafka's log to the host's log. librdkafka's threads may log even after the component is gone (a
// batch downstream may keep the client alive); after cut() their messages are discarded.
class log_link {
 public:
  explicit log_link(pl::context ctx) : ctx_(ctx) {}
  void write(int syslog_level, std::string_view facility, std::string_view message) noexcept;
  void cut() noexcept;

  // While a caller waits for a response, connection failures are not logged as warnings: the caller reports the cause
  // itself.
  void awaited(bool by_caller) noexcept;
  // Return the failure of the last connection as librdkafka logged it; empty if none failed.
  [[nodiscard]] std::string last_failure() const;

 private:
  void remember(std::string_view facility, std::string_view message);
  [[nodiscard]] bool awaited() const { return std::chrono::steady_clock::now() < awaited_until_; }

  mutable std::mutex mutex_;
  std::optional<pl::context> ctx_;
  rate_limit limit_{std::chrono::seconds(10)};
  // A new client is created for a query, and may connect before the query starts.
  std::chrono::steady_clock::time_point awaited_until_ = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  std::string failure_, certificate_;
};

// Owns the librdkafka handle. The component and the messages in batches share it; the last owner destroys it.
class client : public std::enable_shared_from_this<client> {
 public:
  // Fail if librdkafka rejects the configuration as a whole.
  static pl::result<std::shared_ptr<client>> create(rd_kafka_type_t type, conf_ptr conf, pl::context ctx);
  client(const client&) = delete;
  client& operator=(const client&) = delete;
  ~client();

  [[nodiscard]] rd_kafka_t* get() const noexcept { return handle_; }
  void cut_log() noexcept { log_.cut(); }
  [[nodiscard]] log_link& log() noexcept { return log_; }
  // Keep an object that the handle's callbacks use alive as long as the handle.
  void keep(std::shared_ptr<void> companion) { companion_ = std::move(companion); }
  // Leak a handle that cannot be closed until the process ends: destroying it might block forever.
  void abandon() { kept_for_ever_ = shared_from_this(); }

  // Set the object that callbacks get as `opaque`. librdkafka runs them only within the owner's calls (except the log
  // callback). The owner must set null before it ends: a batch downstream may keep the client alive for longer.
  void set_owner(void* owner) noexcept { owner_ = owner; }
  // Return null if the owner is gone: then a callback must do nothing.
  template <class Owner>
  static Owner* owner_of(void* opaque) noexcept {
    return static_cast<Owner*>(static_cast<client*>(opaque)->owner_.load());
  }

 private:
  explicit client(pl::context ctx) : log_(ctx) {}
  static void on_log(const rd_kafka_t* handle, int level, const char* facility, const char* message);

  rd_kafka_t* handle_ = nullptr;
  std::shared_ptr<void> companion_;
  std::shared_ptr<client> kept_for_ever_;
  log_link log_;
  std::atomic<void*> owner_{nullptr};
};

// Shorten a librdkafka message about a broker and append the remedy.
[[nodiscard]] std::string explained(std::string_view librdkafka_message);

// Check that `topics` exist. Retry if no broker responds or a topic does not exist; the message then names the nearest
// existing topic.
[[nodiscard]] pl::result<void> check_topics(rd_kafka_t* handle, std::string_view brokers,
                                            std::span<const std::string> topics, std::chrono::milliseconds timeout);

}  // namespace kafka
