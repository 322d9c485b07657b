// SPDX-License-Identifier: Apache-2.0
#include <pipeline/tls.hpp>

#include <kafka_common/security.hpp>
#include <openssl/x509_vfy.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <system_error>

namespace kafka {

pl::option_table<tls_options> tls_options::table() {
  using o = tls_options;
  return {pl::option(&o::ca, "ca",
                     "PEM file of the certificate authorities to trust for the brokers. Default: the system's.")
              .example("/etc/ssl/kafka-ca.pem")
              .file(),
          pl::option(&o::cert, "cert", "PEM file of the client certificate, if the brokers require one.").file(),
          pl::option(&o::key, "key", "PEM file of the private key of `cert`, if it is not in the same file.").file(),
          pl::option(&o::key_password, "key_password", "Password of `key`.").secret(),
          pl::option(&o::verify, "verify",
                     "Whether to verify the brokers' certificates and host names. With false, the connection is not "
                     "protected against interception and changes.")};
}

pl::option_table<sasl_options> sasl_options::table() {
  using o = sasl_options;
  return {pl::option(&o::mechanism, "mechanism",
                     "SASL mechanism. PLAIN sends the password unencrypted and therefore requires `tls`. Set other "
                     "mechanisms in 'properties'."),
          pl::option(&o::user, "user", "User name.").required(),
          pl::option(&o::password, "password", "Password of `user`.")
              .required()
              .secret()
              .example("\"${file:/run/secrets/kafka}\"")};
}

namespace {

std::string_view name_of(sasl_mechanism m) {
  for (const auto& [name, value] : choices(m))
    if (value == m) return name;
  return {};
}

// Report properties that duplicate an option: they would silently override it.
bool set_twice(const property_map& given, std::string_view option, std::string_view beginning, pl::context ctx) {
  bool twice = false;
  for (const auto& [name, value] : given) {
    if (!name.starts_with(beginning) && name != "security.protocol") continue;
    ctx.option_error("properties." + name,
                     "'" + name + "' is set by the option '" + std::string(option) + "'; remove one of the two");
    twice = true;
  }
  return twice;
}

void set_tls(properties& to, const tls_options& tls) {
  const auto set = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) to.set(name, value);
  };
  set("ssl.ca.location", tls.ca);
  set("ssl.certificate.location", tls.cert);
  set("ssl.key.location", tls.key.empty() ? tls.cert : tls.key);
  set("ssl.key.password", tls.key_password);
  to.set("ssl.cipher.suites", pl::tls_1_2_ciphers);
  // librdkafka before 2.0 verified only the signature by default.
  to.set("ssl.endpoint.identification.algorithm", tls.verify ? "https" : "none");
  to.set("enable.ssl.certificate.verification", tls.verify ? "true" : "false");
}

bool holds_a_key(const std::string& file) {
  std::ifstream in(file);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  return text.find("PRIVATE KEY-----") != std::string::npos;
}

}  // namespace

bool set_security(properties& to, const std::optional<tls_options>& tls, const std::optional<sasl_options>& sasl,
                  const property_map& given, pl::context ctx) {
  bool well = !(tls && set_twice(given, "tls", "ssl.", ctx));
  well = !(sasl && set_twice(given, "sasl", "sasl.", ctx)) && well;
  if (tls && tls->cert.empty() && !tls->key.empty()) {
    ctx.option_error("tls.key", "a key requires its certificate: set 'cert' to the certificate file");
    well = false;
  }
  if (sasl && (sasl->user.empty() || sasl->password.empty())) {
    ctx.option_error(sasl->user.empty() ? "sasl.user" : "sasl.password", "must not be empty");
    well = false;
  }
  if (sasl && !tls && sasl->mechanism == sasl_mechanism::plain) {
    ctx.option_error("sasl.mechanism", "PLAIN sends the password unencrypted; add 'tls', or use SCRAM-SHA-512");
    well = false;
  }
  if (!well) return false;
  if (tls) set_tls(to, *tls);
  if (sasl) {
    to.set("sasl.mechanism", name_of(sasl->mechanism));
    to.set("sasl.username", sasl->user);
    to.set("sasl.password", sasl->password);
  }
  if (tls || sasl) to.set("security.protocol", tls ? (sasl ? "SASL_SSL" : "SSL") : "SASL_PLAINTEXT");
  return true;
}

pl::result<void> check_files(const std::optional<tls_options>& tls) {
  if (!tls) return {};
  for (const auto& [option, file] :
       {std::pair{"tls.ca", &tls->ca}, std::pair{"tls.cert", &tls->cert}, std::pair{"tls.key", &tls->key}})
    if (!file->empty() && ::access(file->c_str(), R_OK) != 0)
      return pl::bad_option(option, "cannot read " + *file + ": " + std::generic_category().message(errno));
  if (!tls->cert.empty() && tls->key.empty() && !holds_a_key(tls->cert))
    return pl::bad_option("tls.cert", "no private key in " + tls->cert + "; set 'key' to the file that contains it");
  return {};
}

namespace {

// The certificate callback of librdkafka: replaces the error code by OpenSSL's message.
int on_certificate(rd_kafka_t*, const char*, std::int32_t, int* error, int, const char*, std::size_t, char* why,
                   std::size_t size, void*) {
  if (*error == X509_V_OK) return 1;
  std::snprintf(why, size, "%s", X509_verify_cert_error_string(*error));
  return 0;
}

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

void explain_certificates(rd_kafka_conf_t* conf) {
  std::array<char, 16> verify{};
  auto size = verify.size();
  const bool asked =
      rd_kafka_conf_get(conf, "enable.ssl.certificate.verification", verify.data(), &size) == RD_KAFKA_CONF_OK;
  if (asked && std::string_view(verify.data()) == "true") rd_kafka_conf_set_ssl_cert_verify_cb(conf, on_certificate);
}

std::string advice_on(std::string_view message) {
  if (has(message, "certificate has expired")) return "renew the broker's certificate";
  if (has(message, "hostname mismatch") || has(message, "IP address mismatch"))
    return "the broker's certificate is for another host than the one in 'brokers'";
  if (has(message, "verification callback failed") || has(message, "certificate verify failed"))
    return "check that 'tls.ca' is the authority that signed the broker's certificate";
  if (has(message, "certificate required") || has(message, "bad certificate") || has(message, "certificate unknown") ||
      has(message, "unknown ca") || has(message, "handshake failure"))
    return "the broker requires a client certificate that it trusts: set 'tls.cert' and 'tls.key'";
  if (has(message, "wrong version number") || has(message, "unexpected eof") ||
      has(message, "PLAINTEXT broker listener"))
    return "check that this port of the broker uses TLS";
  if (has(message, "security.protocol") || has(message, ": Disconnected") || has(message, "SSL broker listener"))
    return "check whether this port of the broker requires TLS ('tls') or a login ('sasl')";
  if (has(message, "SASL") || has(message, "invalid credentials")) {
    const bool scram = has(message, "SCRAM");
    if (scram && rd_kafka_version() < 0x020601ff)
      return "check 'sasl.user' and 'sasl.password'; librdkafka " + std::string(rd_kafka_version_str()) +
             " cannot log in to Kafka 4 with SCRAM (2.6.1 can): use PLAIN with 'tls', or certificates";
    return "check 'sasl.user', 'sasl.password' and 'sasl.mechanism'";
  }
  return {};
}

}  // namespace kafka
