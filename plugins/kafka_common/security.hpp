// SPDX-License-Identifier: Apache-2.0
// The options `tls` and `sasl` of what speaks to Kafka.
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
  return pl::option(member, "tls", "TLS to the brokers, and certificates for it; {} trusts the system's authorities.")
      .example("{ca: /etc/ssl/kafka-ca.pem}");
}
template <class O>
[[nodiscard]] pl::option_spec<O> sasl_option(std::optional<sasl_options> O::*member) {
  return pl::option(member, "sasl", "User and password for the brokers.")
      .example("{user: iot, password: '${file:/run/secrets/kafka}'}");
}

// Sets librdkafka's properties for these options. What does not fit together, or is set in `given` too, is reported; true:
// nothing was wrong.
[[nodiscard]] bool set_security(properties& to, const std::optional<tls_options>& tls,
                                const std::optional<sasl_options>& sasl, const property_map& given, pl::context ctx);

// Whether the files of `tls` can be read, which is known on the machine that runs the pipeline only.
[[nodiscard]] pl::result<void> check_files(const std::optional<tls_options>& tls);

// What librdkafka says of a connection that failed, in words that help whoever wrote the configuration; empty where there is
// nothing to add.
[[nodiscard]] std::string advice_on(std::string_view librdkafka_says);

// Has librdkafka say what is wrong with a broker's certificate, rather than that something is.
void explain_certificates(rd_kafka_conf_t* conf);

}  // namespace kafka
