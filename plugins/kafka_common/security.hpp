// SPDX-License-Identifier: Apache-2.0
// The options `tls` and `sasl` of the Kafka plugins.
#pragma once

#include <pipeline/context.hpp>
#include <pipeline/options.hpp>
#include <pipeline/result.hpp>

#include <kafka_common/properties.hpp>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace kafka {

struct tls_options {
  std::string ca, cert, key, key_password;
  bool verify = true;

  static pl::option_table<tls_options> table();
};

enum class sasl_mechanism { plain, scram_sha_256, scram_sha_512 };
constexpr std::array<std::pair<std::string_view, sasl_mechanism>, 3> choices(sasl_mechanism) {
  return {{{"PLAIN", sasl_mechanism::plain},
           {"SCRAM-SHA-256", sasl_mechanism::scram_sha_256},
           {"SCRAM-SHA-512", sasl_mechanism::scram_sha_512}}};
}

struct sasl_options {
  sasl_mechanism mechanism = sasl_mechanism::scram_sha_512;
  std::string user, password;

  static pl::option_table<sasl_options> table();
};

template <class O>
[[nodiscard]] pl::option_spec<O> tls_option(std::optional<tls_options> O::*member) {
  return pl::option(member, "tls", "Use TLS to the brokers; with {} the system's certificate authorities are trusted.")
      .example("{ca: /etc/ssl/kafka-ca.pem}");
}
template <class O>
[[nodiscard]] pl::option_spec<O> sasl_option(std::optional<sasl_options> O::*member) {
  return pl::option(member, "sasl", "User and password for the brokers.")
      .example("{user: iot, password: '${file:/run/secrets/kafka}'}");
}

// Set librdkafka's properties for these options. Report options that contradict each other or are also set in `given`;
// return true if there were no errors.
[[nodiscard]] bool set_security(properties& to, const std::optional<tls_options>& tls,
                                const std::optional<sasl_options>& sasl, const property_map& given, pl::context ctx);

// Check that the files of `tls` are readable. Only the machine that runs the pipeline can check this.
[[nodiscard]] pl::result<void> check_files(const std::optional<tls_options>& tls);

// Return the remedy for a librdkafka message about a failed connection; empty if there is none.
[[nodiscard]] std::string advice_on(std::string_view librdkafka_message);

// Make librdkafka report the cause of a certificate error.
void explain_certificates(rd_kafka_conf_t* conf);

}  // namespace kafka
