// SPDX-License-Identifier: Apache-2.0
// One librdkafka client (a consumer or a producer) with its log, and questions about a cluster.
#pragma once

#include <pipeline/context.hpp>
#include <pipeline/result.hpp>

#include <kafka_common/handles.hpp>

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

// Lets a warning that would come again and again through at most once in `interval`, per key. Any thread.
class rate_limit {
 public:
  explicit rate_limit(std::chrono::steady_clock::duration interval) : interval_(interval) {}
  [[nodiscard]] bool allows(std::string_view key);

 private:
  std::mutex mutex_;
  std::chrono::steady_clock::duration interval_;
  std::map<std::string, std::chrono::steady_clock::time_point, std::less<>> last_;
};

// librdkafka's threads log whenever they like, even after the component that asked for them is gone (a batch downstream
// may keep the client alive). This stands between: silent once it is cut off.
class log_link {
 public:
  explicit log_link(pl::context ctx) : ctx_(ctx) {}
  void write(int syslog_level, std::string_view facility, std::string_view message) noexcept;
  void cut() noexcept;

  // While somebody waits for an answer, and will say himself why none came, connections that fail are no warnings.
  void awaited(bool by_somebody) noexcept;
  // Why the last connection failed, as librdkafka said it; empty where none did.
  [[nodiscard]] std::string last_failure() const;

 private:
  void remember(std::string_view facility, std::string_view message);
  [[nodiscard]] bool awaited() const { return std::chrono::steady_clock::now() < awaited_until_; }

  mutable std::mutex mutex_;
  std::optional<pl::context> ctx_;
  rate_limit limit_{std::chrono::seconds(10)};
  // A new client has been made to ask something; some connect before it is asked.
  std::chrono::steady_clock::time_point awaited_until_ = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  std::string failure_, certificate_;
};

// The handle. Shared by the component and by what it handed out (messages in batches); destroyed with the last of them.
class client : public std::enable_shared_from_this<client> {
 public:
  // Fails where librdkafka refuses the configuration as a whole.
  static pl::result<std::shared_ptr<client>> create(rd_kafka_type_t type, conf_ptr conf, pl::context ctx);
  client(const client&) = delete;
  client& operator=(const client&) = delete;
  ~client();

  [[nodiscard]] rd_kafka_t* get() const noexcept { return handle_; }
  void cut_log() noexcept { log_.cut(); }
  [[nodiscard]] log_link& log() noexcept { return log_; }
  // Something that the handle's callbacks use, until it is gone.
  void keep(std::shared_ptr<void> companion) { companion_ = std::move(companion); }
  // A handle that can't be closed is left alone until the process ends, on purpose: to destroy it might never return.
  void abandon() { kept_for_ever_ = shared_from_this(); }

  // What callbacks find in their `opaque`. librdkafka calls them from the owner's own calls only (the log apart).
  void set_owner(void* owner) noexcept { owner_ = owner; }
  static void* owner_of(void* opaque) noexcept { return static_cast<client*>(opaque)->owner_; }

 private:
  explicit client(pl::context ctx) : log_(ctx) {}
  static void on_log(const rd_kafka_t* handle, int level, const char* facility, const char* message);

  rd_kafka_t* handle_ = nullptr;
  std::shared_ptr<void> companion_;
  std::shared_ptr<client> kept_for_ever_;
  log_link log_;
  void* owner_ = nullptr;
};

// What librdkafka says of a broker, short, and with what to do about it.
[[nodiscard]] std::string explained(std::string_view librdkafka_says);

// Asks a broker whether `topics` exist. Retry: no broker answers, or a topic is not there (its message names the
// nearest one that is).
[[nodiscard]] pl::result<void> check_topics(rd_kafka_t* handle, std::string_view brokers,
                                            std::span<const std::string> topics, std::chrono::milliseconds timeout);

}  // namespace kafka
