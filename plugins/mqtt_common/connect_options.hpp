// SPDX-License-Identifier: Apache-2.0
// The connection settings in Paho's format, and the TLS errors of a connection attempt.
#pragma once

#include "connection_settings.hpp"

#include <MQTTAsync.h>

#include <mutex>
#include <string>

namespace mqtt {

// Keeps the first TLS error of a connection attempt. OpenSSL reports it on a Paho thread; any thread may read it.
class tls_errors {
 public:
  void report_to(MQTTAsync_SSLOptions& ssl);  // clears the error of the previous attempt
  [[nodiscard]] std::string first() const;    // empty: none

 private:
  static int note(const char* text, std::size_t n, void* self);
  mutable std::mutex mutex_;
  std::string first_;
};

// Builds Paho's options. Borrows the settings' texts, which Paho copies in MQTTAsync_connect. Use as a local variable.
class connect_options {
 public:
  // receives: the client subscribes, so the receive maximum is sent to the broker.
  connect_options(const connection_settings& settings, bool receives, tls_errors& errors);
  connect_options(const connect_options&) = delete;
  connect_options& operator=(const connect_options&) = delete;
  ~connect_options() { MQTTProperties_free(&properties_); }

  [[nodiscard]] MQTTAsync_connectOptions& get() noexcept { return options_; }

 private:
  void set_will(const will_message& will);
  void set_tls(const tls_settings& tls, tls_errors& errors);
  void set_session_3(const connection_settings& settings);
  void set_session_5(const connection_settings& settings, bool receives);
  void add_property(MQTTPropertyCodes code, std::uint32_t value);

  MQTTAsync_connectOptions options_;
  MQTTAsync_willOptions will_ = MQTTAsync_willOptions_initializer;
  MQTTAsync_SSLOptions ssl_ = MQTTAsync_SSLOptions_initializer;
  MQTTProperties properties_ = MQTTProperties_initializer;
};

}  // namespace mqtt
