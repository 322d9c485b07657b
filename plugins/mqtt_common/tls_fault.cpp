// SPDX-License-Identifier: Apache-2.0
#include "tls_fault.hpp"

#include "client.hpp"

#include <pipeline/freed_by.hpp>
#include <pipeline/tls.hpp>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <memory>

namespace mqtt {
namespace {

using context_ptr = std::unique_ptr<SSL_CTX, pl::freed_by<SSL_CTX_free>>;
using bio_ptr = std::unique_ptr<BIO, pl::freed_by<BIO_free_all>>;

const char* given(const std::string& file) { return file.empty() ? nullptr : file.c_str(); }

std::string last_error() {
  const char* reason = ERR_reason_error_string(ERR_peek_error());
  ERR_clear_error();
  return reason != nullptr ? reason : "the broker closed the connection";
}

// Load the configured files, whose readability was checked before. Return the error; empty if there is none.
std::string load(SSL_CTX& context, const tls_settings& with) {
  ERR_clear_error();
  if (with.ca.empty())
    SSL_CTX_set_default_verify_paths(&context);
  else if (SSL_CTX_load_verify_locations(&context, with.ca.c_str(), nullptr) != 1)
    return "`tls.ca` has no usable certificate: " + last_error();
  if (with.cert.empty()) return {};
  SSL_CTX_set_default_passwd_cb_userdata(&context, const_cast<char*>(with.key_password.c_str()));
  if (SSL_CTX_use_certificate_chain_file(&context, with.cert.c_str()) != 1)
    return "`tls.cert` has no usable certificate: " + last_error();
  const auto* key = given(with.key.empty() ? with.cert : with.key);
  if (SSL_CTX_use_PrivateKey_file(&context, key, SSL_FILETYPE_PEM) != 1)
    return "the key of `tls.cert` is not usable: " + last_error() + "; see `tls.key` and `tls.key_password`";
  return {};
}

std::string about_the_certificate(long fault) {
  const std::string what = X509_verify_cert_error_string(fault);
  if (fault == X509_V_ERR_CERT_HAS_EXPIRED || fault == X509_V_ERR_CERT_NOT_YET_VALID)
    return what + "; renew the broker's certificate, or check this machine's clock";
  if (fault == X509_V_ERR_HOSTNAME_MISMATCH || fault == X509_V_ERR_IP_ADDRESS_MISMATCH)
    return what + "; the broker's certificate is for another host than the one in `url`";
  return what + "; check that `tls.ca` is the authority that signed the broker's certificate";
}

std::string about_the_connection() {
  const auto code = ERR_peek_error();
  const auto reason = ERR_GET_REASON(code);
  const auto what = last_error();
  constexpr int alert = 1000;  // alerts from the peer have codes above this value
  if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > alert)
    return "the broker reports: " + what +
           "; it requires a client certificate that it trusts: see `tls.cert` and `tls.key`";
  return what + "; check that this port uses TLS (without TLS: mqtt://)";
}

void expect(SSL& ssl, const std::string& host) {
  auto* wanted = SSL_get0_param(&ssl);
  if (X509_VERIFY_PARAM_set1_ip_asc(wanted, host.c_str()) == 1) return;
  X509_VERIFY_PARAM_set1_host(wanted, host.c_str(), 0);
  SSL_set_tlsext_host_name(&ssl, host.c_str());
}

void set_time_out(BIO& connection, std::chrono::milliseconds timeout) {
  int socket = -1;
  BIO_get_fd(&connection, &socket);
  const timeval t{timeout.count() / 1000, timeout.count() % 1000 * 1000};
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

std::string shake_hands(SSL& ssl) {
  ERR_clear_error();
  if (SSL_connect(&ssl) != 1) {
    if (const auto fault = SSL_get_verify_result(&ssl); fault != X509_V_OK) return about_the_certificate(fault);
    return about_the_connection();
  }
  // With TLS 1.3 a server rejects the client certificate only now; otherwise it sends nothing and waits.
  std::array<char, 1> any{};
  const int n = SSL_read(&ssl, any.data(), 1);
  const int how = SSL_get_error(&ssl, n);
  return how == SSL_ERROR_SSL ? about_the_connection() : std::string();
}

}  // namespace

std::string tls_fault(const broker_url& url, const tls_settings& with, std::chrono::milliseconds timeout) {
  const context_ptr context(SSL_CTX_new(TLS_client_method()));
  if (!context) return {};
  if (SSL_CTX_set_cipher_list(context.get(), pl::tls_1_2_ciphers) != 1) return {};
  SSL_CTX_set_verify(context.get(), with.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  if (auto fault = load(*context, with); !fault.empty()) return fault;
  const bio_ptr connection(BIO_new_connect(url.name().c_str()));
  if (!connection || BIO_do_connect(connection.get()) != 1) return {};  // not a TLS fault
  set_time_out(*connection, timeout);
  const std::unique_ptr<SSL, pl::freed_by<SSL_free>> ssl(SSL_new(context.get()));
  if (!ssl) return {};
  if (with.verify) expect(*ssl, url.host);
  BIO_up_ref(connection.get());  // the SSL takes over one reference
  SSL_set_bio(ssl.get(), connection.get(), connection.get());
  auto fault = shake_hands(*ssl);
  ERR_clear_error();
  return fault;
}

}  // namespace mqtt
