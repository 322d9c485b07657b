// SPDX-License-Identifier: Apache-2.0
#include "connect_options.hpp"

#include <pipeline/tls.hpp>

#include <algorithm>
#include <chrono>
#include <string_view>

namespace mqtt {
namespace {

MQTTAsync_connectOptions initial(protocol version) {
  MQTTAsync_connectOptions plain = MQTTAsync_connectOptions_initializer;
  MQTTAsync_connectOptions five = MQTTAsync_connectOptions_initializer5;
  return version == protocol::v5 ? five : plain;
}

}  // namespace

connect_options::connect_options(const connection_settings& settings, bool receives, tls_errors& errors)
    : options_(initial(settings.version)) {
  auto& o = options_;
  o.keepAliveInterval = static_cast<int>(settings.keep_alive.count());
  o.connectTimeout = static_cast<int>(std::chrono::ceil<std::chrono::seconds>(settings.connect_timeout).count());
  o.automaticReconnect = settings.reconnects ? 1 : 0;
  o.minRetryInterval = 1;
  o.maxRetryInterval = 30;
  if (!settings.user.empty()) o.username = settings.user.c_str();
  if (!settings.password.empty()) o.password = settings.password.c_str();
  if (settings.will) set_will(*settings.will);
  if (settings.url.tls) set_tls(settings.tls, errors);
  settings.version == protocol::v5 ? set_session_5(settings, receives) : set_session_3(settings);
}

void connect_options::set_will(const will_message& will) {
  will_.topicName = will.topic.c_str();
  will_.payload = {static_cast<int>(will.payload.size()), will.payload.data()};
  will_.qos = will.qos;
  will_.retained = will.retain;
  options_.will = &will_;
}

void connect_options::set_tls(const tls_settings& tls, tls_errors& errors) {
  const auto given = [](const std::string& text) { return text.empty() ? nullptr : text.c_str(); };
  ssl_.enabledCipherSuites = pl::tls_1_2_ciphers;  // the version is the system's minimum: Paho can only set exactly one
  ssl_.trustStore = given(tls.ca);
  ssl_.keyStore = given(tls.cert);
  ssl_.privateKey = given(tls.key);
  ssl_.privateKeyPassword = given(tls.key_password);
  ssl_.enableServerCertAuth = tls.verify;
  ssl_.verify = tls.verify;
  errors.report_to(ssl_);
  options_.ssl = &ssl_;
}

void connect_options::set_session_3(const connection_settings& settings) {
  options_.MQTTVersion = MQTTVERSION_3_1_1;
  options_.cleansession = settings.clean_session;
}

void connect_options::set_session_5(const connection_settings& settings, bool receives) {
  options_.cleanstart = settings.clean_session;
  if (settings.session_expiry.count() > 0)
    add_property(MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL,
                 static_cast<std::uint32_t>(settings.session_expiry.count()));
  if (receives) add_property(MQTTPROPERTY_CODE_RECEIVE_MAXIMUM, std::min(settings.max_in_flight, 65'535U));
  options_.connectProperties = &properties_;
}

void connect_options::add_property(MQTTPropertyCodes code, std::uint32_t value) {
  MQTTProperty p{};
  p.identifier = code;
  p.value.integer4 = value;
  MQTTProperties_add(&properties_, &p);
}

void tls_errors::report_to(MQTTAsync_SSLOptions& ssl) {
  ssl.ssl_error_context = this;
  ssl.ssl_error_cb = note;
  const std::scoped_lock lock(mutex_);
  first_.clear();
}

std::string tls_errors::first() const {
  const std::scoped_lock lock(mutex_);
  return first_;
}

// Extract the reason from OpenSSL's line: "thread:error:code:library:function:reason:file:line:data".
int tls_errors::note(const char* text, std::size_t n, void* self) {
  auto& errors = *static_cast<tls_errors*>(self);
  std::string_view line(text, n);
  if (const auto at = line.find("error:"); at != std::string_view::npos) {
    line.remove_prefix(at);
    for (int field = 0; field < 4 && line.find(':') != std::string_view::npos; ++field)
      line.remove_prefix(line.find(':') + 1);
    line = line.substr(0, line.find(':'));
  }
  const std::scoped_lock lock(errors.mutex_);
  if (errors.first_.empty()) errors.first_ = line;
  return 1;
}

}  // namespace mqtt
