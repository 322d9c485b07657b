// SPDX-License-Identifier: Apache-2.0
#include "connection.hpp"

#include <mosquitto.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace pl::load {
namespace {

constexpr int keep_alive_s = 30;
constexpr int packets_at_once = 1000;

std::string error_text(int code) {
  if (code == MOSQ_ERR_ERRNO) return std::strerror(errno);
  return mosquitto_strerror(code);
}

}  // namespace

mqtt_library::mqtt_library() { mosquitto_lib_init(); }
mqtt_library::~mqtt_library() { mosquitto_lib_cleanup(); }

void mqtt_client::destroy::operator()(mosquitto* m) const noexcept { mosquitto_destroy(m); }

mqtt_client::mqtt_client(const broker_options& broker, const std::string& id)
    : broker_(broker), handle_(mosquitto_new(id.c_str(), true, this)) {
  mosquitto_int_option(handle(), MOSQ_OPT_TCP_NODELAY, 1);  // Nagle's algorithm would add to the measured latency
  if (!broker.url.user.empty())
    mosquitto_username_pw_set(handle(), broker.url.user.c_str(), broker.url.password.c_str());
  if (broker.url.tls) secure(broker);
  listen();
}

mqtt_client::~mqtt_client() = default;

void mqtt_client::secure(const broker_options& broker) {
  const auto given = [](const std::string& file) { return file.empty() ? nullptr : file.c_str(); };
  int code = MOSQ_ERR_SUCCESS;
  if (broker.ca_file.empty()) code = mosquitto_int_option(handle(), MOSQ_OPT_TLS_USE_OS_CERTS, 1);
  if (!broker.ca_file.empty() || !broker.cert_file.empty())
    code = mosquitto_tls_set(handle(), given(broker.ca_file), nullptr, given(broker.cert_file), given(broker.key_file),
                             nullptr);
  if (code != MOSQ_ERR_SUCCESS)
    refusal_ = "TLS: " + error_text(code) + " (check the PEM files of --ca, --cert and --key)";
  if (!broker.verify_tls) mosquitto_tls_insecure_set(handle(), true);
}

void mqtt_client::listen() {
  mosquitto_connect_callback_set(handle(), [](mosquitto*, void* me, int code) {
    auto& self = *static_cast<mqtt_client*>(me);
    self.connected_ = code == 0;
    if (code == 0) return self.on_connected();
    self.refusal_ = mosquitto_connack_string(code);
  });
  mosquitto_publish_callback_set(
      handle(), [](mosquitto*, void* me, int id) { static_cast<mqtt_client*>(me)->on_acknowledged(id); });
  mosquitto_message_callback_set(handle(), [](mosquitto*, void* me, const mosquitto_message* m) {
    static_cast<mqtt_client*>(me)->on_message(
        m->topic, {static_cast<const char*>(m->payload), static_cast<std::size_t>(m->payloadlen)});
  });
  mosquitto_subscribe_callback_set(handle(), [](mosquitto*, void* me, int, int count, const int* granted) {
    constexpr int refused = 0x80;
    static_cast<mqtt_client*>(me)->on_subscribed(
        std::none_of(granted, granted + count, [](int q) { return q == refused; }));
  });
}

std::string mqtt_client::connect() {
  if (!refusal_.empty()) return refusal_;
  const auto code = connect_called_
                        ? mosquitto_reconnect(handle())
                        : mosquitto_connect(handle(), broker_.url.host.c_str(), broker_.url.port, keep_alive_s);
  connect_called_ = true;  // the library keeps host and port for mosquitto_reconnect, even if the attempt failed
  return code == MOSQ_ERR_SUCCESS ? std::string{} : error_text(code);
}

void mqtt_client::disconnect() { mosquitto_disconnect(handle()); }
bool mqtt_client::read() { return mosquitto_loop_read(handle(), packets_at_once) == MOSQ_ERR_SUCCESS; }
bool mqtt_client::write() { return mosquitto_loop_write(handle(), packets_at_once) == MOSQ_ERR_SUCCESS; }
bool mqtt_client::keep_alive() { return mosquitto_loop_misc(handle()) == MOSQ_ERR_SUCCESS; }
bool mqtt_client::wait(int timeout_ms) { return mosquitto_loop(handle(), timeout_ms, 1) == MOSQ_ERR_SUCCESS; }
int mqtt_client::socket() const { return mosquitto_socket(handle()); }
bool mqtt_client::wants_to_write() const { return mosquitto_want_write(handle()); }

publisher::publisher(const broker_options& broker, const std::string& id, int qos, std::size_t window, events callbacks)
    : mqtt_client(broker, id), qos_(qos), window_(window), events_(std::move(callbacks)) {
  // Without this limit, the library would queue messages above its own limit, which would count as in flight.
  mosquitto_int_option(handle(), MOSQ_OPT_SEND_MAXIMUM, static_cast<int>(window));
}

void publisher::publish(const std::string* topic, std::string payload, std::uint64_t seq, std::int64_t due_us) {
  message m{topic, std::move(payload), seq, due_us};
  if (has_room() && send(m)) return;
  waiting_.push_back(std::move(m));
}

void publisher::flush() {
  while (!waiting_.empty() && connected() && !is_full()) {
    if (!send(waiting_.front())) return;
    waiting_.pop_front();
  }
}

// Without acknowledgements (QoS 0) the send buffer of the socket is the limit.
bool publisher::is_full() const { return qos_ == 0 ? wants_to_write() : pending_.size() >= window_; }

bool publisher::send(const message& m) {
  int id = 0;
  const auto code = mosquitto_publish(handle(), &id, m.topic->c_str(), static_cast<int>(m.payload.size()),
                                      m.payload.data(), qos_, false);
  if (qos_ == 0) {
    if (code != MOSQ_ERR_SUCCESS) return false;
    events_.sent(m.seq, m.due_us);
    events_.acknowledged(m.seq);
    return true;
  }
  // After a network error the library still has the message, and sends it once it is connected again.
  if (code == MOSQ_ERR_NOMEM || code == MOSQ_ERR_INVAL) return false;
  events_.sent(m.seq, m.due_us);
  pending_.push_back({id, m.seq});
  return true;
}

void publisher::on_acknowledged(int id) {
  if (qos_ == 0) return;
  const auto at = std::find_if(pending_.begin(), pending_.end(), [&](const pending& f) { return f.id == id; });
  if (at == pending_.end()) return;
  const auto seq = at->seq;
  pending_.erase(at);
  events_.acknowledged(seq);
}

void publisher::on_disconnected() {
  set_disconnected();
  for (const auto& f : pending_) events_.resent(f.seq);
}

}  // namespace pl::load
