// SPDX-License-Identifier: Apache-2.0
#include "settings.hpp"

#include "strings.hpp"

#include <pipeline/hash.hpp>
#include <pipeline/text.hpp>
#include <pipeline/text_template.hpp>

#include <unistd.h>

#include <filesystem>
#include <system_error>

namespace mqtt {

pl::option_table<tls_options> tls_options::table() {
  return {pl::option(&tls_options::ca, "ca",
                     "PEM file of the certificate authorities to trust for the broker. Default: the system's.")
              .example("/etc/ssl/broker-ca.pem"),
          pl::option(&tls_options::cert, "cert", "PEM file of the client certificate, if the broker requires one."),
          pl::option(&tls_options::key, "key", "PEM file of the private key of `cert`, if it is not in the same file."),
          pl::option(&tls_options::key_password, "key_password", "Password of `key`.").secret(),
          pl::option(
              &tls_options::verify, "verify",
              "Whether to verify the broker's certificate and host name. With false, the connection is not protected "
              "against interception and changes.")};
}

std::chrono::seconds whole_seconds(std::chrono::nanoseconds d) { return std::chrono::ceil<std::chrono::seconds>(d); }

void log_in(connection_settings& to, const login& with) {
  auto url = parse_broker_url(with.url);
  if (!url.ok()) throw pl::invalid_options("url", url.why().message);
  if (with.tls && !url->tls)
    throw pl::invalid_options("tls", "`tls` is set, but the scheme of `url` is without TLS; use mqtts:// in `url`");
  if (with.tls && with.tls->cert.empty() && !with.tls->key.empty())
    throw pl::invalid_options("tls.key", "a key requires its certificate: set 'cert' to the certificate file");
  if (!with.user.empty() && !url->user.empty())
    throw pl::invalid_options("user", "the user is set in both `url` and `user`; remove one of them");
  to.user = with.user.empty() ? url->user : with.user;
  to.password = with.password.empty() ? url->password : with.password;
  if (!to.password.empty() && to.user.empty()) throw pl::invalid_options("password", "a password requires `user`");
  if (const auto problem = string_problem(to.user)) throw pl::invalid_options("user", "the user name " + *problem);
  if (to.password.size() > max_string_bytes)
    throw pl::invalid_options("password", "a password must have at most 65,535 bytes");
  to.url = std::move(*url);
  if (with.tls) to.tls = {with.tls->ca, with.tls->cert, with.tls->key, with.tls->key_password, with.tls->verify};
}

namespace {

// Return an id that is the same after each start of this pipeline on this machine, and differs between machines.
std::string default_client_id(const pl::context& ctx) {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  std::error_code ignored;
  const auto place =
      std::string(host.data()) + ":" + std::filesystem::absolute(std::string(ctx.state_dir()), ignored).string();
  auto hash = pl::fnv1a_64(place);
  std::string id(ctx.pipeline());
  id.append("-").append(ctx.node()).append("-").append(std::to_string(ctx.lane())).append("-");
  for (int i = 0; i < 8; ++i, hash >>= 4U) id.push_back(pl::hex_digit(static_cast<unsigned>(hash)));
  return id;
}

}  // namespace

std::string client_id_of(const std::string& source, std::string_view placeholder, const pl::context& ctx) {
  if (source.empty()) return default_client_id(ctx);
  auto parsed = pl::text_template::parse(source);
  if (!parsed.ok()) throw pl::invalid_options("client_id", parsed.why().message);
  std::string id;
  bool numbered = false;
  for (const auto& piece : parsed->pieces()) {
    if (piece.is_column && piece.text != placeholder)
      throw pl::invalid_options(
          "client_id", "unknown name {" + piece.text + "} in the client id; use {" + std::string(placeholder) + "}");
    id += piece.is_column ? std::to_string(ctx.lane()) : piece.text;
    numbered |= piece.is_column;
  }
  if (ctx.lanes() > 1 && !numbered)
    throw pl::invalid_options("client_id", "with " + std::to_string(ctx.lanes()) + " " + std::string(placeholder) +
                                               "s each needs a different id; add {" + std::string(placeholder) +
                                               "} to it");
  if (const auto problem = string_problem(id)) throw pl::invalid_options("client_id", "the client id " + *problem);
  return id;
}

}  // namespace mqtt
