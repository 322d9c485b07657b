// SPDX-License-Identifier: Apache-2.0
#include "settings.hpp"

#include <pipeline/text_template.hpp>

#include <unistd.h>

#include <filesystem>
#include <system_error>

namespace mqtt {

pl::option_table<tls_options> tls_options::table() {
  return {
      pl::option(&tls_options::ca, "ca",
                 "PEM file of the authorities that may have signed the broker's certificate. Default: the system's.")
          .example("/etc/ssl/broker-ca.pem"),
      pl::option(&tls_options::cert, "cert",
                 "PEM file of the client's own certificate, where the broker asks for one."),
      pl::option(&tls_options::key, "key", "PEM file of the key of `cert`, if it isn't in the same file."),
      pl::option(&tls_options::key_password, "key_password", "Password of `key`.").secret(),
      pl::option(
          &tls_options::verify, "verify",
          "Whether the broker must prove that it is the host in `url`. Without it, anybody in between can read and "
          "change everything.")};
}

std::chrono::seconds whole_seconds(std::chrono::nanoseconds d) { return std::chrono::ceil<std::chrono::seconds>(d); }

void log_in(connection_settings& to, const login& with) {
  auto url = parse_broker_url(with.url);
  if (!url.ok()) throw pl::invalid_options("url", url.why().message);
  if (with.tls && !url->tls)
    throw pl::invalid_options("tls",
                              "`tls` is set, but the URL asks for a connection without it; write mqtts:// in `url`");
  if (with.tls && with.tls->cert.empty() && !with.tls->key.empty())
    throw pl::invalid_options("tls.key", "a key needs the certificate that it belongs to: name its file as 'cert'");
  if (!with.user.empty() && !url->user.empty())
    throw pl::invalid_options("user", "the user stands in `url` and in `user`; leave one out");
  to.user = with.user.empty() ? url->user : with.user;
  to.password = with.password.empty() ? url->password : with.password;
  if (!to.password.empty() && to.user.empty()) throw pl::invalid_options("password", "a password needs a `user`");
  to.url = std::move(*url);
  if (with.tls) to.tls = {with.tls->ca, with.tls->cert, with.tls->key, with.tls->key_password, with.tls->verify};
}

namespace {

// The same on each start of this pipeline on this machine, another on any other machine.
std::string default_client_id(const pl::context& ctx) {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  std::error_code ignored;
  const auto place =
      std::string(host.data()) + ":" + std::filesystem::absolute(std::string(ctx.state_dir()), ignored).string();
  std::uint64_t hash = 0xCBF29CE484222325ULL;  // FNV-1a: must not change with the standard library
  for (const char c : place) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  std::string id(ctx.pipeline());
  id.append("-").append(ctx.node()).append("-").append(std::to_string(ctx.lane())).append("-");
  for (int i = 0; i < 8; ++i, hash >>= 4U) id.push_back("0123456789abcdef"[hash & 15U]);
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
      throw pl::invalid_options("client_id", "unknown name {" + piece.text + "} in the client id; there is {" +
                                                 std::string(placeholder) + "}");
    id += piece.is_column ? std::to_string(ctx.lane()) : piece.text;
    numbered |= piece.is_column;
  }
  if (ctx.lanes() > 1 && !numbered)
    throw pl::invalid_options("client_id", "with " + std::to_string(ctx.lanes()) + " " + std::string(placeholder) +
                                               "s each needs an id of its own; put {" + std::string(placeholder) +
                                               "} into it");
  if (!pl::is_utf8(id) || id.size() > 65'535 || id.find('\0') != std::string::npos)
    throw pl::invalid_options("client_id", "a client id is at most 65,535 bytes of text");
  return id;
}

}  // namespace mqtt
