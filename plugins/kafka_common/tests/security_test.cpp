// SPDX-License-Identifier: Apache-2.0
#include <pipeline/testing/fake_host.hpp>
#include <pipeline/tls.hpp>

#include <doctest/doctest.h>
#include <kafka_common/client.hpp>
#include <kafka_common/security.hpp>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>

namespace {

struct fixture {
  pl::testing::fake_host host;
  pl::context ctx{&host.raw()};
  kafka::properties properties{ctx};
  std::optional<kafka::tls_options> tls;
  std::optional<kafka::sasl_options> sasl;
  kafka::property_map given;

  bool set() { return kafka::set_security(properties, tls, sasl, given, ctx); }
};

}  // namespace

TEST_CASE_FIXTURE(fixture, "security: without the options librdkafka keeps its defaults") {
  CHECK(set());
  CHECK(properties.get("security.protocol") == "plaintext");
}

TEST_CASE_FIXTURE(fixture, "security: tls and sasl select the protocol and the verification of the broker") {
  tls.emplace();
  tls->ca = "/ca.pem";
  tls->cert = "/me.pem";
  CHECK(set());
  CHECK(properties.get("security.protocol") == "ssl");
  CHECK(properties.get("ssl.ca.location") == "/ca.pem");
  CHECK(properties.get("ssl.cipher.suites") == pl::tls_1_2_ciphers);
  CHECK(properties.get("ssl.key.location") == "/me.pem");  // in the same file
  CHECK(properties.get("ssl.endpoint.identification.algorithm") == "https");

  sasl = kafka::sasl_options{kafka::sasl_mechanism::scram_sha_512, "iot", "secret"};
  tls->verify = false;
  CHECK(set());
  CHECK(properties.get("security.protocol") == "sasl_ssl");
  CHECK(properties.get("sasl.mechanism") == "SCRAM-SHA-512");
  CHECK(properties.get("enable.ssl.certificate.verification") == "false");

  tls.reset();
  CHECK(set());
  CHECK(properties.get("security.protocol") == "sasl_plaintext");
}

TEST_CASE_FIXTURE(fixture, "security: contradicting options are reported, each under its name") {
  tls.emplace();
  tls->key = "/me.key";
  sasl = kafka::sasl_options{kafka::sasl_mechanism::scram_sha_256, "iot", ""};
  given = {{"ssl.ca.location", std::string("/ca.pem")}, {"sasl.username", std::string("iot")}};
  CHECK_FALSE(set());
  CHECK(host.error_text() ==
        "properties.ssl.ca.location: 'ssl.ca.location' is set by the option 'tls'; remove one of the two\n"
        "properties.sasl.username: 'sasl.username' is set by the option 'sasl'; remove one of the two\n"
        "tls.key: a key requires its certificate: set 'cert' to the certificate file\n"
        "sasl.password: must not be empty");
}

TEST_CASE_FIXTURE(fixture, "security: PLAIN without TLS is rejected") {
  sasl = kafka::sasl_options{kafka::sasl_mechanism::plain, "iot", "secret"};
  CHECK_FALSE(set());
  CHECK(host.error_text() == "sasl.mechanism: PLAIN sends the password unencrypted; add 'tls', or use SCRAM-SHA-512");
}

TEST_CASE("security: unreadable files and files without a key are reported") {
  const auto file =
      std::filesystem::temp_directory_path() / ("kafka_security_test." + std::to_string(getpid()) + ".pem");
  std::ofstream(file) << "-----BEGIN CERTIFICATE-----\n";
  kafka::tls_options tls;
  tls.ca = "/nowhere/ca.pem";
  const auto missing = kafka::check_files(tls);
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.why().option == "tls.ca");
  CHECK(missing.why().message == "cannot read /nowhere/ca.pem: No such file or directory");
  tls.ca.clear();
  tls.cert = file.string();
  CHECK(kafka::check_files(tls).why().option == "tls.cert");
  tls.key = file.string();
  CHECK(kafka::check_files(tls).ok());
  CHECK(kafka::check_files(std::nullopt).ok());
  std::filesystem::remove(file);
}

TEST_CASE("security: librdkafka's messages are shortened and end with the remedy") {
  CHECK(kafka::explained(
            "[thrd:ssl://a:9093/bootstrap]: ssl://a:9093/bootstrap: Certificate (subject=/CN=a, issuer=/CN=b) "
            "verification callback failed: certificate has expired") ==
        "a:9093: Certificate (subject=/CN=a, issuer=/CN=b) verification callback failed: certificate "
        "has expired; renew the broker's certificate");
  CHECK(kafka::explained("ssl://a:9093/1: SSL handshake failed: error:0A00010B:SSL routines::wrong version number "
                         "(after 3ms in state SSL_HANDSHAKE)") ==
        "a:9093/1: SSL handshake failed: wrong version number; check that this port of the broker uses TLS");
  CHECK(kafka::explained("a:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state "
                         "CONNECT)") == "a:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused");
}
