// SPDX-License-Identifier: Apache-2.0
#include "flight.hpp"

#include <utility>

namespace mqtt {
namespace {

constexpr const char* connection_lost = "the connection was lost";

// Make Paho settle the ticket that is the context of these options.
void settle_3(MQTTAsync_responseOptions& o) {
  o.onSuccess = [](void* context, MQTTAsync_successData*) {
    auto& t = *static_cast<flight::ticket*>(context);
    t.owner->settle(t, outcome::delivered);
  };
  o.onFailure = [](void* context, MQTTAsync_failureData*) {
    static_cast<flight::ticket*>(context)->owner->lose(connection_lost);
  };
}

void settle_5(MQTTAsync_responseOptions& o) {
  o.onSuccess5 = [](void* context, MQTTAsync_successData5*) {
    auto& t = *static_cast<flight::ticket*>(context);
    t.owner->settle(t, outcome::delivered);
  };
  o.onFailure5 = [](void* context, MQTTAsync_failureData5* data) {
    auto& t = *static_cast<flight::ticket*>(context);
    if (data->reasonCode >= MQTTREASONCODE_UNSPECIFIED_ERROR)
      t.owner->settle(t, outcome::refused, data->reasonCode);
    else
      t.owner->lose(connection_lost);
  };
}

}  // namespace

void flight::track(ticket& t, MQTTAsync_responseOptions& options, protocol version) {
  t.owner = this;
  options.context = &t;
  version == protocol::v5 ? settle_5(options) : settle_3(options);
}

void flight::begin() {
  const std::scoped_lock lock(mutex_);
  waiting_ = 0;
  settled_ = 0;
  lost_ = blameless_ = taken_over_ = false;
  why_.clear();
}

void flight::sent() {
  const std::scoped_lock lock(mutex_);
  ++waiting_;
}

void flight::not_sent() {
  const std::scoped_lock lock(mutex_);
  --waiting_;
}

void flight::settle(ticket& t, outcome how, int reason) {
  const std::scoped_lock lock(mutex_);
  if (lost_) return;  // Paho fails its queued messages: their outcome is unknown
  t.state = how;
  t.reason = reason;
  --waiting_;
  ++settled_;
  changed_.notify_one();
}

void flight::lose(std::string why, bool blameless, bool taken_over) {
  const std::scoped_lock lock(mutex_);
  if (!lost_) {
    why_ = std::move(why);
    blameless_ = blameless;
    taken_over_ = taken_over;
  }
  lost_ = true;
  changed_.notify_one();
}

void flight::regain() {
  const std::scoped_lock lock(mutex_);
  if (waiting_ == 0) lost_ = false;
}

flight::wait_result flight::wait_until(std::uint32_t room, std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  for (auto seen = settled_; !lost_ && waiting_ > room; seen = settled_)
    if (!changed_.wait_for(lock, timeout, [&] { return lost_ || waiting_ <= room || settled_ != seen; }))
      return wait_result::timeout;
  return lost_ ? wait_result::lost : wait_result::ok;
}

std::uint32_t flight::waiting() const {
  const std::scoped_lock lock(mutex_);
  return waiting_;
}
std::uint64_t flight::settled() const {
  const std::scoped_lock lock(mutex_);
  return settled_;
}
bool flight::lost() const {
  const std::scoped_lock lock(mutex_);
  return lost_;
}
bool flight::blameless() const {
  const std::scoped_lock lock(mutex_);
  return blameless_;
}
bool flight::taken_over() const {
  const std::scoped_lock lock(mutex_);
  return taken_over_;
}
std::string flight::loss() const {
  const std::scoped_lock lock(mutex_);
  return why_;
}

}  // namespace mqtt
