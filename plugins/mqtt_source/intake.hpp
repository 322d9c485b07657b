// SPDX-License-Identifier: Apache-2.0
// Stores messages from the broker in the spool, on Paho's thread; defines the record format.
#pragma once

#include <pipeline/context.hpp>

#include <mqtt_common/client.hpp>
#include <spool_common/spool.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mqtt {

// A message in the spool. The views point into the record.
struct stored_message {
  std::int64_t time_ns;  // time of arrival
  std::string_view topic, payload;
  int qos;
  bool retained, duplicate;
};

[[nodiscard]] std::optional<stored_message> decode(std::string_view record);

// Return 32 hexadecimal digits that depend only on topic and payload, so that a message that a broker delivers twice
// has the same id.
[[nodiscard]] std::string message_id(std::string_view topic, std::string_view payload);

// Stores the messages. Shared with the callback, which may outlive the source if the disk does not recover.
class intake {
 public:
  // removed: filters that the broker's session had and that are no longer configured. A message that one of them
  // matches, and no configured one, was queued before the change; it is acknowledged and dropped.
  intake(pl::context ctx, std::shared_ptr<spool::log> to, bool skip_retained,
         const std::vector<std::string>& configured, const std::vector<std::string>& removed);

  // Store the message, and return only when it is stored: after the return, the broker treats it as delivered.
  void take(const arrival& m);
  // Stop logging failures. A message that cannot be stored stays unacknowledged until the process ends.
  void close() noexcept { closed_ = true; }
  [[nodiscard]] bool stuck() const noexcept { return stuck_; }

 private:
  bool drop_stray(std::string_view topic);

  pl::context ctx_;
  std::shared_ptr<spool::log> spool_;
  const bool skip_retained_;
  std::vector<std::string> configured_, removed_;  // without $share/<group>/
  bool stray_logged_ = false;
  std::atomic<bool> closed_{false}, stuck_{false};
  pl::counter messages_, bytes_, duplicates_, skipped_, strays_;
};

}  // namespace mqtt
