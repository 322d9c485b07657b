// SPDX-License-Identifier: Apache-2.0
#include "listener.hpp"

#include "clock.hpp"

#include <mosquitto.h>

#include <chrono>
#include <utility>

namespace pl::load {

class listener::client final : public mqtt_client {
 public:
  client(const broker_options& broker, const std::string& id, std::string topic, alert_ledger& alerts)
      : mqtt_client(broker, id), topic_(std::move(topic)), alerts_(alerts) {}

  enum class state { asking, subscribed, refused };
  [[nodiscard]] state subscription() const noexcept { return subscription_; }

 private:
  void on_connected() override { mosquitto_subscribe(handle(), nullptr, topic_.c_str(), 1); }
  void on_subscribed(bool granted) override { subscription_ = granted ? state::subscribed : state::refused; }
  void on_message(std::string_view, std::string_view payload) override { alerts_.arrived(payload, now_us()); }

  std::string topic_;
  alert_ledger& alerts_;
  state subscription_ = state::asking;
};

listener::listener(const broker_options& broker, const std::string& client_id, std::string topic, alert_ledger& alerts)
    : client_(std::make_unique<client>(broker, client_id, std::move(topic), alerts)) {}

listener::~listener() = default;

std::string listener::start() {
  if (auto wrong = client_->connect(); !wrong.empty()) return wrong;
  const auto end = now_us() + 10'000'000;
  while (client_->subscription() == client::state::asking) {
    const bool fine = client_->wait(100);
    if (!client_->refusal().empty()) return client_->refusal();
    if (!fine) return "the broker closed the connection before it replied";
    if (now_us() >= end) return "the broker did not reply within 10 s";
  }
  if (client_->subscription() == client::state::refused)
    return "the broker refused the subscription to the topic of the alerts";
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  return {};
}

void listener::run(const std::stop_token& stop) {
  bool up = true;
  while (!stop.stop_requested()) {
    if (up && client_->wait(100)) continue;
    if (up) ++interruptions_;
    up = false;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    up = client_->connect().empty();
  }
  client_->disconnect();
}

}  // namespace pl::load
