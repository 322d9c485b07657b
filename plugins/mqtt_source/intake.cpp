// SPDX-License-Identifier: Apache-2.0
#include "intake.hpp"

#include "filters.hpp"

#include <pipeline/failpoint.hpp>
#include <pipeline/text.hpp>

#include <digest_common/content_digest.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

namespace mqtt {

namespace {

// time:i64 flags:u8 topic_size:u16 topic payload
constexpr std::size_t fixed_size = 8 + 1 + 2;
constexpr unsigned qos_mask = 3, retained_flag = 4, duplicate_flag = 8;

constexpr auto retry_interval = std::chrono::milliseconds(200);

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::array<char, fixed_size> prefix_of(const arrival& m) {
  std::array<char, fixed_size> prefix{};
  const auto time = now_ns();
  const auto size = static_cast<std::uint16_t>(m.topic.size());
  std::memcpy(prefix.data(), &time, 8);
  prefix[8] = static_cast<char>((static_cast<unsigned>(m.qos) & qos_mask) | (m.retained ? retained_flag : 0U) |
                                (m.duplicate ? duplicate_flag : 0U));
  std::memcpy(prefix.data() + 9, &size, 2);
  return prefix;
}

}  // namespace

std::optional<stored_message> decode(std::string_view record) {
  if (record.size() < fixed_size) return std::nullopt;
  std::uint16_t topic = 0;
  stored_message m{};
  std::memcpy(&m.time_ns, record.data(), 8);
  std::memcpy(&topic, record.data() + 9, 2);
  if (record.size() < fixed_size + topic) return std::nullopt;
  const auto flags = static_cast<unsigned char>(record[8]);
  m.qos = static_cast<int>(flags & qos_mask);
  m.retained = (flags & retained_flag) != 0;
  m.duplicate = (flags & duplicate_flag) != 0;
  m.topic = record.substr(fixed_size, topic);
  m.payload = record.substr(fixed_size + topic);
  return m;
}

std::string message_id(std::string_view topic, std::string_view payload) {
  digest::content_digest hashing;
  hashing.add(topic);
  hashing.add({"\0", 1});  // in no topic
  hashing.add(payload);
  const auto id = hashing.finish();
  return pl::to_hex({id.data(), id.size()});
}

intake::intake(pl::context ctx, std::shared_ptr<spool::log> to, bool skip_retained,
               const std::vector<std::string>& configured, const std::vector<std::string>& removed)
    : ctx_(ctx),
      spool_(std::move(to)),
      skip_retained_(skip_retained),
      messages_(ctx.counter("mqtt_source_messages_total", "Messages that were stored in the spool")),
      bytes_(ctx.counter("mqtt_source_bytes_total", "Bytes (topic and payload) stored in the spool")),
      duplicates_(ctx.counter("mqtt_source_redelivered_total",
                              "Messages that the broker marked as sent before: they may be stored already, with the "
                              "same id")),
      skipped_(ctx.counter("mqtt_source_retained_skipped_total", "Retained messages that were skipped")),
      strays_(ctx.counter("mqtt_source_unsubscribed_dropped_total",
                          "Messages that the broker had queued for a topic filter that is no longer configured, and "
                          "that were dropped")) {
  for (const auto& f : configured) configured_.emplace_back(split(f).filter);
  for (const auto& f : removed) removed_.emplace_back(split(f).filter);
}

bool intake::drop_stray(std::string_view topic) {
  const auto matched = [&](const std::string& filter) { return matches(filter, topic); };
  const auto removed = std::ranges::find_if(removed_, matched);
  if (removed == removed_.end() || std::ranges::any_of(configured_, matched)) return false;
  strays_.add();
  if (!std::exchange(stray_logged_, true))
    ctx_.warn("messages of " + *removed +
              ", which is no longer configured, were still queued at the broker; they are "
              "dropped and counted (mqtt_source_unsubscribed_dropped_total)");
  return true;
}

void intake::take(const arrival& m) {
  if (!removed_.empty() && drop_stray(m.topic)) return;
  if (m.retained && skip_retained_) return skipped_.add();
  const auto prefix = prefix_of(m);
  const std::array<std::string_view, 3> body{std::string_view(prefix.data(), prefix.size()), m.topic, m.payload};
  pl::failpoint("spool.before");
  bool logged = false;
  for (auto stored = spool_->append(body); !stored.ok(); stored = spool_->append(body)) {
    stuck_ = true;
    if (!closed_ && !std::exchange(logged, true))
      ctx_.error("cannot store a message: " + stored.why().message +
                 "; it stays unacknowledged and is retried, and no further message is received until it is stored");
    std::this_thread::sleep_for(retry_interval);
  }
  stuck_ = false;
  pl::failpoint("spool.after");
  if (logged) ctx_.info("messages are stored again");
  messages_.add();
  bytes_.add(static_cast<double>(m.topic.size() + m.payload.size()));
  if (m.duplicate) duplicates_.add();
}

}  // namespace mqtt
