// SPDX-License-Identifier: Apache-2.0
#include "client.hpp"

#include "reason.hpp"
#include "reply.hpp"
#include "tcp_fault.hpp"
#include "tls_fault.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace mqtt {

client::client(connection_settings settings)
    : settings_(std::move(settings)),
      name_("MQTT broker " + settings_.url.name()),
      uri_((settings_.url.tls ? "ssl://" : "tcp://") + settings_.url.name()),
      window_(settings_.max_in_flight) {
  limits_.max_packet_size = largest_packet;
}

client::~client() { abandon(); }

// Paho settles the messages in flight before this returns, and calls none of our functions afterwards.
void client::abandon() noexcept {
  if (handle_ != nullptr) MQTTAsync_destroy(&handle_);
  handle_ = nullptr;
}

bool client::connected() const { return handle_ != nullptr && !flight_.lost() && MQTTAsync_isConnected(handle_) != 0; }

pl::result<void> client::check_files() const {
  const auto& t = settings_.tls;
  for (const auto& [option, file] :
       {std::pair{"tls.ca", &t.ca}, std::pair{"tls.cert", &t.cert}, std::pair{"tls.key", &t.key}})
    if (!file->empty() && ::access(file->c_str(), R_OK) != 0)
      return pl::bad_option(option, "cannot read " + *file + ": " + std::generic_category().message(errno));
  return {};
}

pl::result<MQTTAsync> client::create() {
  MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer;
  if (settings_.version == protocol::v5)
    options.MQTTVersion = MQTTVERSION_5;
  else
    options.MQTTVersion = MQTTVERSION_3_1_1;
  options.maxBufferedMessages = static_cast<int>(settings_.max_in_flight) + 1;
  MQTTAsync fresh = nullptr;
  const bool stores = !settings_.store.empty();
  const int code = MQTTAsync_createWithOptions(&fresh, uri_.c_str(), settings_.client_id.c_str(),
                                               stores ? MQTTCLIENT_PERSISTENCE_DEFAULT : MQTTCLIENT_PERSISTENCE_NONE,
                                               stores ? const_cast<char*>(settings_.store.c_str()) : nullptr, &options);
  if (code != MQTTASYNC_SUCCESS)
    return pl::fatal("cannot create a client for " + name_ + ": " + MQTTAsync_strerror(code));
  return fresh;
}

void client::set_callbacks(MQTTAsync fresh) {
  MQTTAsync_setConnectionLostCallback(
      fresh, this, [](void* self, char*) { static_cast<client*>(self)->lose("the connection was lost"); });
  MQTTAsync_setDisconnected(fresh, this, [](void* self, MQTTProperties*, MQTTReasonCodes code) {
    const bool taken_over = code == MQTTREASONCODE_SESSION_TAKEN_OVER;
    static_cast<client*>(self)->lose("the broker closed the connection: " + reason_text(code) +
                                         (taken_over ? "; another client uses the same client_id" : ""),
                                     !is_about_a_message(code), taken_over);
  });
  if (take_)
    MQTTAsync_setMessageArrivedCallback(fresh, this, [](void* self, char* topic, int length, MQTTAsync_message* m) {
      const std::string_view name(topic, length > 0 ? static_cast<std::size_t>(length) : std::strlen(topic));
      const std::string_view payload(static_cast<const char*>(m->payload), static_cast<std::size_t>(m->payloadlen));
      static_cast<client*>(self)->take_({name, payload, m->qos, m->retained != 0, m->dup != 0});
      MQTTAsync_freeMessage(&m);
      MQTTAsync_free(topic);
      return 1;
    });
  // Paho reconnects an idle client. Messages that were in flight are sent again by the next write, not by Paho.
  MQTTAsync_setConnected(fresh, this, [](void* self, char*) {
    static_cast<client*>(self)->flight_.regain();
    static_cast<client*>(self)->report({});
  });
}

void client::lose(const std::string& why, bool blameless, bool taken_over) {
  flight_.lose(why, blameless, taken_over);
  report(name_ + ": " + why);
}

void client::report(std::string_view why_not) const {
  if (connection_) connection_(why_not);
}

pl::result<void> client::connect() {
  if (auto r = check_files(); !r) return r;
  // Destroy the old client only after the new one exists: without any client Paho stops its threads, which takes a
  // second.
  auto fresh = create();
  if (!fresh.ok()) return fresh.why();
  std::swap(handle_, *fresh);
  if (*fresh != nullptr) MQTTAsync_destroy(&*fresh);
  flight_.begin();
  set_callbacks(handle_);

  reply response;
  connect_options options(settings_, static_cast<bool>(take_), tls_errors_);
  response.expect(options.get(), settings_.version);
  const int code = MQTTAsync_connect(handle_, &options.get());
  if (code != MQTTASYNC_SUCCESS) {
    abandon();
    return pl::retry("cannot connect to " + name_ + ": " + MQTTAsync_strerror(code));
  }
  const bool responded = response.wait(settings_.connect_timeout);
  if (responded && response.ok) {
    window_ = std::max(1U, std::min(settings_.max_in_flight, response.receive_maximum));
    session_present_ = response.session_present;
    limits_.max_packet_size = response.max_packet_size;
    limits_.max_qos = response.max_qos;
    limits_.retain = response.retain_available != 0;
    limits_.session_expiry = settings_.session_expiry;
    if (response.session_expiry) limits_.session_expiry = std::chrono::seconds(*response.session_expiry);
    return {};
  }
  abandon();
  if (!responded)
    return pl::retry(unreachable(
        "no response within " +
        std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(settings_.connect_timeout).count()) +
        " ms"));
  return refusal(response);
}

pl::failure client::refusal(const reply& from) const {
  if (from.code > 0) {
    const auto text = name_ + " rejects the connection: " + refusal_text(settings_.version, from.code);
    return is_lasting_refusal(settings_.version, from.code) ? pl::fatal(text) : pl::retry(text);
  }
  return pl::retry(unreachable(from.message.empty() ? MQTTAsync_strerror(from.code) : from.message));
}

std::string client::unreachable(const std::string& detail) const {
  using namespace std::chrono_literals;
  if (const auto why = tcp_fault(settings_.url, 1s); !why.empty())
    return "cannot reach " + name_ + ": " + why + "; check that it is running, and check `url`";
  if (settings_.url.tls) {
    if (const auto fault = tls_fault(settings_.url, settings_.tls, 1s); !fault.empty())
      return "no TLS connection to " + name_ + ": " + fault;
    const auto error = tls_errors_.first();
    return "no TLS connection to " + name_ + ": " + (error.empty() ? detail : error) +
           "; check that the certificate names this host and that `tls.ca` is the authority that signed it";
  }
  return "no MQTT connection to " + name_ + ": " + detail +
         "; check that it is an MQTT broker, and whether this port requires TLS (mqtts://)";
}

pl::result<void> client::accepts(int qos, bool retain) const {
  if (static_cast<std::uint32_t>(qos) > limits_.max_qos)
    return pl::bad_option("qos", name_ + " accepts messages with QoS " + std::to_string(limits_.max_qos) +
                                     " at most; set `qos` to that, or raise the broker's limit");
  if (retain && !limits_.retain)
    return pl::bad_option("retain", name_ + " does not accept retained messages; set `retain: false`");
  return {};
}

pl::result<std::vector<int>> client::subscribe(const std::vector<std::string>& filters, int qos, send_retained when) {
  std::vector<char*> names;
  for (const auto& f : filters) names.push_back(const_cast<char*>(f.c_str()));
  std::vector<int> levels(filters.size(), qos);
  MQTTSubscribe_options how = MQTTSubscribe_options_initializer;
  how.retainHandling = static_cast<unsigned char>(when);
  std::vector<MQTTSubscribe_options> each(filters.size(), how);
  reply response;
  MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
  if (settings_.version == protocol::v5) {
    options.subscribeOptions = how;  // Paho reads this one for a single filter
    options.subscribeOptionsCount = static_cast<int>(each.size());
    options.subscribeOptionsList = each.data();
  }
  response.expect_grants(options, settings_.version, filters.size());
  const int code =
      MQTTAsync_subscribeMany(handle_, static_cast<int>(names.size()), names.data(), levels.data(), &options);
  if (code != MQTTASYNC_SUCCESS) return pl::retry("cannot subscribe at " + name_ + ": " + MQTTAsync_strerror(code));
  if (auto r = completed(response, "subscription"); !r.ok()) return r.why();
  if (!response.ok) response.grants.assign(filters.size(), response.code);
  return granted(filters, std::move(response.grants));
}

// Wait for the reply to a request. A reply with a reason code of the broker counts as completed.
pl::result<void> client::completed(reply& response, std::string_view request) {
  if (!response.wait(settings_.connect_timeout)) {
    abandon();  // before the reply object is destroyed
    return pl::retry(name_ + " did not respond to the " + std::string(request));
  }
  if (response.ok || response.code >= 0x80) return {};
  return pl::retry(name_ + " rejected the " + std::string(request) + ": " +
                   (response.message.empty() ? "the connection was lost" : response.message));
}

pl::result<std::vector<int>> client::granted(const std::vector<std::string>& filters, std::vector<int> codes) const {
  for (std::size_t i = 0; i < filters.size(); ++i)
    if (codes[i] >= 0x80)
      return pl::bad_option(
          "topic", name_ + " rejects the subscription to " + filters[i] + ": " +
                       (settings_.version == protocol::v5 ? reason_text(codes[i]) : std::string("not allowed")) +
                       "; check the filter, and that this user may read it");
  return codes;
}

pl::result<void> client::unsubscribe(const std::vector<std::string>& filters) {
  std::vector<char*> names;
  for (const auto& f : filters) names.push_back(const_cast<char*>(f.c_str()));
  reply response;
  MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
  response.expect_end(options, settings_.version);
  const int code = MQTTAsync_unsubscribeMany(handle_, static_cast<int>(names.size()), names.data(), &options);
  if (code != MQTTASYNC_SUCCESS) return pl::retry("cannot unsubscribe at " + name_ + ": " + MQTTAsync_strerror(code));
  return completed(response, "unsubscription");
}

void client::disconnect() {
  if (handle_ == nullptr) return;
  reply done;
  MQTTAsync_disconnectOptions plain = MQTTAsync_disconnectOptions_initializer;
  MQTTAsync_disconnectOptions five = MQTTAsync_disconnectOptions_initializer5;
  auto& o = settings_.version == protocol::v5 ? five : plain;
  o.timeout = 1000;
  done.expect(o, settings_.version);
  if (MQTTAsync_isConnected(handle_) != 0 && MQTTAsync_disconnect(handle_, &o) == MQTTASYNC_SUCCESS)
    (void)done.wait(std::chrono::seconds(2));
  abandon();
}

int client::publish(const message& m, flight::ticket& t) {
  MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
  if (settings_.version == protocol::v5) options.properties = m.properties;
  flight_.track(t, options, settings_.version);
  flight_.sent();
  const char* payload = m.payload.empty() ? "" : m.payload.data();
  const int code =
      MQTTAsync_send(handle_, m.topic, static_cast<int>(m.payload.size()), payload, m.qos, m.retain, &options);
  if (code != MQTTASYNC_SUCCESS) flight_.not_sent();
  return code;
}

}  // namespace mqtt
