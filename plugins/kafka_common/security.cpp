// SPDX-License-Identifier: Apache-2.0
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
  return {
      pl::option(&o::ca, "ca",
                 "PEM file of the authorities that may have signed the brokers' certificates. Default: the system's.")
          .example("/etc/ssl/kafka-ca.pem"),
      pl::option(&o::cert, "cert", "PEM file of the client's own certificate, where the brokers ask for one."),
      pl::option(&o::key, "key", "PEM file of the key of `cert`, if it isn't in the same file."),
      pl::option(&o::key_password, "key_password", "Password of `key`.").secret(),
      pl::option(&o::verify, "verify",
                 "Whether the brokers must prove that they are the hosts they are called. Without it, anybody in "
                 "between can read and change everything.")};
}

pl::option_table<sasl_options> sasl_options::table() {
  using o = sasl_options;
  return {pl::option(&o::mechanism, "mechanism",
                     "How the password is proved. PLAIN sends it as it is: with `tls` only. Others than these: by "
                     "'properties'."),
          pl::option(&o::user, "user", "Name under which to log in.").required(),
          pl::option(&o::password, "password", "Its password.")
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

// Properties that say the same as an option, and would win over it without a word.
bool said_twice(const property_map& given, std::string_view option, std::string_view beginning, pl::context ctx) {
  bool twice = false;
  for (const auto& [name, value] : given) {
    if (!name.starts_with(beginning) && name != "security.protocol") continue;
    ctx.option_error("properties." + name,
                     "'" + name + "' follows from the option '" + std::string(option) + "'; set one of the two");
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
  // Before 2.0 librdkafka looked at the signature alone.
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
  bool well = !(tls && said_twice(given, "tls", "ssl.", ctx));
  well = !(sasl && said_twice(given, "sasl", "sasl.", ctx)) && well;
  if (tls && tls->cert.empty() && !tls->key.empty()) {
    ctx.option_error("tls.key", "a key needs the certificate that it belongs to: name its file as 'cert'");
    well = false;
  }
  if (sasl && (sasl->user.empty() || sasl->password.empty())) {
    ctx.option_error(sasl->user.empty() ? "sasl.user" : "sasl.password", "must not be empty");
    well = false;
  }
  if (sasl && !tls && sasl->mechanism == sasl_mechanism::plain) {
    ctx.option_error("sasl.mechanism",
                     "PLAIN sends the password as it is, for all to read; add 'tls', or use SCRAM-SHA-512");
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
    return pl::bad_option("tls.cert", "there is no key in " + tls->cert + "; name the file that holds it as 'key'");
  return {};
}

namespace {

// librdkafka's certificate callback: it knows what OpenSSL found, and we put it into words.
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

std::string advice_on(std::string_view said) {
  if (has(said, "certificate has expired")) return "the broker's certificate has to be renewed";
  if (has(said, "hostname mismatch") || has(said, "IP address mismatch"))
    return "the broker's certificate is for another host than the one in 'brokers'";
  if (has(said, "verification callback failed") || has(said, "certificate verify failed"))
    return "is 'tls.ca' the authority that signed the broker's certificate?";
  if (has(said, "certificate required") || has(said, "bad certificate") || has(said, "certificate unknown") ||
      has(said, "unknown ca") || has(said, "handshake failure"))
    return "the broker asks for a certificate that it trusts: set 'tls.cert' and 'tls.key'";
  if (has(said, "wrong version number") || has(said, "unexpected eof") || has(said, "PLAINTEXT broker listener"))
    return "does this port of the broker speak TLS?";
  if (has(said, "security.protocol") || has(said, ": Disconnected") || has(said, "SSL broker listener"))
    return "does this port of the broker want TLS ('tls') or a login ('sasl')?";
  if (has(said, "SASL") || has(said, "invalid credentials")) {
    const bool scram = has(said, "SCRAM");
    if (scram && rd_kafka_version() < 0x020601ff)
      return "check 'sasl.user' and 'sasl.password'; librdkafka " + std::string(rd_kafka_version_str()) +
             " can't log in to Kafka 4 by SCRAM (2.6.1 can): use PLAIN with 'tls', or certificates";
    return "check 'sasl.user', 'sasl.password' and 'sasl.mechanism'";
  }
  return {};
}

}  // namespace kafka
