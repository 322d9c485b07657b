// SPDX-License-Identifier: Apache-2.0
// From the broker into the spool, on Paho's thread; and the form in which messages lie there.
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

namespace mqtt {

// A message as it lies in the spool. Views into the record.
struct stored_message {
  std::int64_t time_ns;  // when it arrived
  std::string_view topic, payload;
  int qos;
  bool retained, duplicate;
};

[[nodiscard]] std::optional<stored_message> decode(std::string_view record);

// The same for the same topic and payload: 32 hexadecimal digits. What a device sends once and a broker delivers twice has
// one id.
[[nodiscard]] std::string message_id(std::string_view topic, std::string_view payload);

// Shared with the callback, which may outlive the source where the disk does not come back.
class intake {
 public:
  intake(pl::context ctx, std::shared_ptr<spool::log> to, bool skip_retained);

  // Returns once the message is stored; not before: then the broker would take it for delivered.
  void take(const arrival& m);
  // No more is stored: a message that can't be is left, unacknowledged, when the process ends.
  void close() noexcept { closed_ = true; }
  [[nodiscard]] bool stuck() const noexcept { return stuck_; }

 private:
  pl::context ctx_;
  std::shared_ptr<spool::log> spool_;
  const bool skip_retained_;
  std::atomic<bool> closed_{false}, stuck_{false};
  pl::counter messages_, bytes_, duplicates_, skipped_;
};

}  // namespace mqtt
