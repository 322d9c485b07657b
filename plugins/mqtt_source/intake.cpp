// SPDX-License-Identifier: Apache-2.0
#include "intake.hpp"

#include <pipeline/failpoint.hpp>

#include <openssl/evp.h>

#include <array>
#include <chrono>
#include <cstring>
#include <thread>

namespace mqtt {

namespace {

// time:i64 flags:u8 topic_size:u16 topic payload
constexpr std::size_t fixed_size = 8 + 1 + 2;
constexpr unsigned qos_mask = 3, retained_flag = 4, duplicate_flag = 8;

constexpr auto try_again_after = std::chrono::milliseconds(200);

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
  struct context_free {
    void operator()(EVP_MD_CTX* c) const noexcept { EVP_MD_CTX_free(c); }
  };
  static thread_local const std::unique_ptr<EVP_MD_CTX, context_free> hashing(EVP_MD_CTX_new());
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  EVP_DigestInit_ex(hashing.get(), EVP_sha256(), nullptr);
  EVP_DigestUpdate(hashing.get(), topic.data(), topic.size());
  EVP_DigestUpdate(hashing.get(), "", 1);  // NUL: in no topic
  EVP_DigestUpdate(hashing.get(), payload.data(), payload.size());
  EVP_DigestFinal_ex(hashing.get(), digest.data(), nullptr);
  std::string id;
  for (std::size_t i = 0; i < 16; ++i) {
    id.push_back("0123456789abcdef"[digest[i] >> 4U]);
    id.push_back("0123456789abcdef"[digest[i] & 15U]);
  }
  return id;
}

intake::intake(pl::context ctx, std::shared_ptr<spool::log> to, bool skip_retained)
    : ctx_(ctx),
      spool_(std::move(to)),
      skip_retained_(skip_retained),
      messages_(ctx.counter("mqtt_source_messages_total", "Messages that were stored in the spool")),
      bytes_(ctx.counter("mqtt_source_bytes_total", "Their bytes: topic and payload")),
      duplicates_(ctx.counter("mqtt_source_redelivered_total",
                              "Messages that the broker marked as sent before: they may be there already, under the "
                              "same id")),
      skipped_(ctx.counter("mqtt_source_retained_skipped_total", "Retained messages that were left out")) {}

void intake::take(const arrival& m) {
  if (m.retained && skip_retained_) return skipped_.add();
  const auto prefix = prefix_of(m);
  const std::array<std::string_view, 3> body{std::string_view(prefix.data(), prefix.size()), m.topic, m.payload};
  pl::failpoint("spool.before");
  bool said = false;
  for (auto stored = spool_->append(body); !stored.ok(); stored = spool_->append(body)) {
    stuck_ = true;
    if (!closed_ && !std::exchange(said, true))
      ctx_.error("a message can't be stored, and nothing more is taken: " + stored.why().message +
                 "; it is not acknowledged, and tried again until it can");
    std::this_thread::sleep_for(try_again_after);
  }
  stuck_ = false;
  pl::failpoint("spool.after");
  if (said) ctx_.info("messages can be stored again");
  messages_.add();
  bytes_.add(static_cast<double>(m.topic.size() + m.payload.size()));
  if (m.duplicate) duplicates_.add();
}

}  // namespace mqtt
