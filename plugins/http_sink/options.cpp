// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <pipeline/freed_by.hpp>
#include <pipeline/json.hpp>

#include <curl/curl.h>

#include <algorithm>
#include <memory>

namespace http_sink {

pl::option_table<tls_options> tls_options::table() {
  using pl::option;
  using o = tls_options;
  return {
      option(&o::ca, "ca", "PEM file with the trusted authorities for the server's certificate. Default: the system's.")
          .example("/etc/ssl/server-ca.pem"),
      option(&o::cert, "cert", "PEM file with the client certificate, if the server requires one."),
      option(&o::key, "key", "PEM file with the private key of `cert`, if it is not in the same file."),
      option(&o::key_password, "key_password", "Password of `key`.").secret(),
      option(&o::verify, "verify",
             "Whether to verify that the server is the host in `url`. Without verification, anyone on the network "
             "path can read and change the data.")};
}

pl::option_table<options> options::table() {
  using pl::option;
  using o = options;
  return {
      option(
          &o::url, "url",
          "Where to send the rows: http:// or https://, optionally with user:password@. {column} in path or query is "
          "replaced by the row's value, percent-encoded; rows with different URLs go in different requests.")
          .required()
          .secret()
          .example("https://api.example.com/v1/telemetry"),
      option(&o::method, "method", "Method of the requests."),
      option(
          &o::format, "format",
          "Format of a request. json_array: rows as an array of objects; ndjson: one object per line; json: one row, "
          "as an object; raw: one row, its `payload` unchanged."),
      option(&o::payload, "payload",
             "Content to send for a row: a text with {column}, such as \"{value}\" for one column unchanged. In a text "
             "that is JSON, values are escaped inside quotes and are JSON values elsewhere; {column:json} and "
             "{column:raw} "
             "choose otherwise. The result must be JSON unless `format` is raw. Default: the whole row as JSON.")
          .example("\"{value}\""),
      option(&o::content_type, "content_type",
             "Content-Type of the requests. Default, according to `format`: application/json, application/x-ndjson or "
             "application/octet-stream.")
          .example("application/json"),
      option(&o::headers, "headers",
             "Additional headers, by name. {column} in a value is replaced by the row's value; rows with different "
             "headers go in different requests.")
          .secret()
          .example("{X-Api-Key: \"${API_KEY}\"}"),
      option(&o::token, "token", "Token to send as Authorization: Bearer <token>.")
          .secret()
          .example("\"${HTTP_TOKEN}\""),
      option(&o::user, "user", "User name for Basic authentication."),
      option(&o::password, "password", "Password of `user`.").secret(),
      option(&o::compression, "compression", "Compression of request bodies."),
      option(&o::max_rows, "max_rows", "Maximum number of rows in a request.").range(1, 1e6),
      option(
          &o::max_body, "max_body",
          "Maximum size of a request in bytes, before compression. Further rows go in further requests, and a single "
          "larger row is rejected. The default matches nginx, which accepts 1MiB by default.")
          .range(1, 1 << 30),
      option(&o::idempotency_key, "idempotency_key",
             "Whether to send the header Idempotency-Key. It is the same for each attempt of a request, and different "
             "for other rows."),
      option(&o::id_field, "id_field",
             "Name of a member to add to each row: 32 hexadecimal digits that are the same whenever the row is sent "
             "again, in any request. Default: none.")
          .example("row_id"),
      option(&o::reject_on, "reject_on",
             "Statuses that mean that rows are bad. The bad rows are found by bisecting the request, and go to the "
             "dead letters with the server's response. 413 always bisects; all other statuses are retried."),
      option(&o::timeout, "timeout", "Maximum time for a request and its response.").range(0.1, 3600),
      option(&o::connect_timeout, "connect_timeout", "Maximum time for connecting.").range(0.1, 600),
      option(&o::tls, "tls", "Certificates for https://.").example("{ca: /etc/ssl/server-ca.pem}")};
}

namespace {

[[noreturn]] void bad_url(const std::string& why) {
  throw pl::invalid_options("url", why + "; an example: https://api.example.com/v1/telemetry");
}

std::string part(CURLU* of, CURLUPart which, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(of, which, &text, flags) != CURLUE_OK) return {};
  const std::unique_ptr<char, void (*)(void*)> owned(text, curl_free);
  return text;
}

// Return the template with a placeholder text for each column.
std::string sample_of(const pl::text_template& t) {
  std::string sample;
  for (const auto& p : t.pieces()) sample += p.is_column ? "x" : p.text;
  return sample;
}

bool is_token(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return c > 0x20 && c < 0x7F &&
           std::string_view("\"(),/:;<=>?@[\\]{}").find(static_cast<char>(c)) == std::string_view::npos;
  });
}

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return (x | 0x20) == (y | 0x20); });
}

}  // namespace

target target_of(const options& o) {
  const auto scheme_end = o.url.find("://");
  if (scheme_end == std::string::npos) bad_url("the URL has no http:// or https://");
  const auto host_at = scheme_end + 3;
  const auto host_end = std::min(o.url.find_first_of("/?#", host_at), o.url.size());
  // Separate user and password first: a '{' in a password is not a column, and requests must not repeat the password.
  const auto at_sign = o.url.rfind('@', host_end);
  const bool has_user = at_sign != std::string::npos && at_sign >= host_at;
  const auto host =
      has_user ? o.url.substr(at_sign + 1, host_end - at_sign - 1) : o.url.substr(host_at, host_end - host_at);
  if (host.find_first_of("{}") != std::string::npos) bad_url("the host must not depend on a row");
  target t;
  auto parsed = pl::text_template::parse(o.url.substr(0, host_at) + host + o.url.substr(host_end));
  if (!parsed.ok()) throw pl::invalid_options("url", parsed.why().message);
  t.url = std::move(*parsed);
  const std::unique_ptr<CURLU, pl::freed_by<curl_url_cleanup>> url(curl_url());
  const auto sample = sample_of(t.url);
  if (curl_url_set(url.get(), CURLUPART_URL, sample.c_str(), 0) != CURLUE_OK) bad_url("this is not a valid URL");
  const auto scheme = part(url.get(), CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") bad_url("only http:// and https:// are supported");
  if (!part(url.get(), CURLUPART_FRAGMENT).empty()) bad_url("the URL must not contain '#'");
  t.is_https = scheme == "https";
  t.name = scheme + "://" + part(url.get(), CURLUPART_HOST) + ":" + part(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  if (has_user) {
    const auto whole = o.url.substr(0, host_at) + o.url.substr(host_at, at_sign + 1 - host_at) + "host/";
    if (curl_url_set(url.get(), CURLUPART_URL, whole.c_str(), 0) != CURLUE_OK)
      bad_url("cannot parse its user and password: write special characters as %40 for '@', %2F for '/'");
    t.user = part(url.get(), CURLUPART_USER, CURLU_URLDECODE);
    t.password = part(url.get(), CURLUPART_PASSWORD, CURLU_URLDECODE);
  }
  if (!t.user.empty() && !o.user.empty())
    throw pl::invalid_options("user", "the user is set in both `url` and `user`; remove one of them");
  if (t.user.empty()) t.user = o.user;
  if (!o.password.empty()) t.password = o.password;
  if (!o.token.empty() && !t.user.empty())
    throw pl::invalid_options("token", "both a token and a user are set; remove one of them");
  if (t.user.empty() && !t.password.empty()) throw pl::invalid_options("password", "a password needs a `user`");
  if (o.tls && !t.is_https)
    throw pl::invalid_options("tls", "`tls` is set, but the URL does not use TLS; write https:// in `url`");
  return t;
}

std::vector<std::pair<std::string, pl::text_template>> headers_of(const options& o) {
  std::vector<std::pair<std::string, pl::text_template>> all;
  for (const auto& [name, value] : o.headers) {
    const auto option = "headers." + name;
    if (!is_token(name)) throw pl::invalid_options(option, "'" + name + "' is not a valid header name");
    for (const std::string_view ours :
         {"content-length", "transfer-encoding", "content-encoding", "host", "connection"})
      if (same_word(name, ours)) throw pl::invalid_options(option, "the sink sets this header itself; remove it");
    if (same_word(name, "content-type")) throw pl::invalid_options(option, "use the option `content_type` instead");
    if (same_word(name, "authorization") && (!o.token.empty() || !o.user.empty()))
      throw pl::invalid_options(option, "`token` or `user` sets this header, too; remove one of them");
    auto parsed = pl::text_template::parse(value);
    if (!parsed.ok()) throw pl::invalid_options(option, parsed.why().message);
    all.emplace_back(name, std::move(*parsed));
  }
  return all;
}

void check_together(const options& o) {
  if (o.format == format::raw && !o.payload)
    throw pl::invalid_options("payload", "`format: raw` requires a payload, for example \"{value}\"");
  if (o.payload && !o.id_field.empty())
    throw pl::invalid_options("id_field", "an id cannot be added to a `payload`; remove one of the two options");
  for (const int status : o.reject_on)
    if (status < 400 || status > 499)
      throw pl::invalid_options("reject_on",
                                std::to_string(status) + " does not refer to rows; use statuses from 400 to 499");
}

}  // namespace http_sink
