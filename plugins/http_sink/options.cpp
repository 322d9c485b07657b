// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <pipeline/json.hpp>

#include <curl/curl.h>

#include <algorithm>
#include <memory>

namespace http_sink {

pl::option_table<tls_options> tls_options::table() {
  using pl::option;
  using o = tls_options;
  return {option(&o::ca, "ca",
                 "PEM file of the authorities that may have signed the server's certificate. Default: the system's.")
              .example("/etc/ssl/server-ca.pem"),
          option(&o::cert, "cert", "PEM file of the client's own certificate, where the server asks for one."),
          option(&o::key, "key", "PEM file of the key of `cert`, if it isn't in the same file."),
          option(&o::key_password, "key_password", "Password of `key`.").secret(),
          option(&o::verify, "verify",
                 "Whether the server must prove that it is the host in `url`. Without it, anybody in between can read "
                 "and change everything.")};
}

pl::option_table<options> options::table() {
  using pl::option;
  using o = options;
  return {
      option(
          &o::url, "url",
          "Where to send: http:// or https://, may hold user:password@. {column} in path or query stands for the row's "
          "value, percent-encoded; rows of different URLs go in different requests.")
          .required()
          .secret()
          .example("https://api.example.com/v1/telemetry"),
      option(&o::method, "method", "Method of the requests."),
      option(
          &o::format, "format",
          "What a request holds. json_array: rows as an array of objects; ndjson: an object a line; json: one row, as "
          "an object; raw: one row, its `payload` as it is."),
      option(
          &o::payload, "payload",
          "What is sent of a row: text with {column}, e.g. \"{value}\" for one column as it is; it must be JSON unless "
          "`format` is raw. Default: the whole row as JSON.")
          .example("\"{value}\""),
      option(&o::content_type, "content_type",
             "Content-Type of the requests. Default: as `format` is: application/json, application/x-ndjson or "
             "application/octet-stream.")
          .example("application/json"),
      option(
          &o::headers, "headers",
          "More headers, by name. {column} in a value stands for the row's; rows of different headers go in different "
          "requests.")
          .secret()
          .example("{X-Api-Key: \"${API_KEY}\"}"),
      option(&o::token, "token", "Sent as Authorization: Bearer <token>.").secret().example("\"${HTTP_TOKEN}\""),
      option(&o::user, "user", "Name for Basic authentication."),
      option(&o::password, "password", "Password of `user`.").secret(),
      option(&o::compression, "compression", "How bodies are compressed."),
      option(&o::max_rows, "max_rows", "Rows of one request at most.").range(1, 1e6),
      option(
          &o::max_body, "max_body",
          "Bytes of one request at most, before compression; more rows go in more requests, and a single row that is "
          "larger is rejected. nginx takes 1MiB unless it is told otherwise.")
          .range(1, 1 << 30),
      option(&o::idempotency_key, "idempotency_key",
             "Whether requests have the header Idempotency-Key: the same when a request comes again, another for other "
             "rows."),
      option(&o::id_field, "id_field",
             "Adds a member of this name to each row: 32 hexadecimal digits, the same whenever the row comes again, in "
             "whatever request. Default: none.")
          .example("row_id"),
      option(&o::reject_on, "reject_on",
             "Statuses that mean that rows are bad: the bad ones are found by halving, and go to the dead letters with "
             "the server's answer. 413 always halves; all others are tried again."),
      option(&o::timeout, "timeout", "How long a request may take, with its answer.").range(0.1, 3600),
      option(&o::connect_timeout, "connect_timeout", "How long connecting may take.").range(0.1, 600),
      option(&o::tls, "tls", "Certificates, for https://.").example("{ca: /etc/ssl/server-ca.pem}")};
}

namespace {

[[noreturn]] void bad_url(const std::string& why) {
  throw pl::invalid_options("url", why + "; write for example https://api.example.com/v1/telemetry");
}

struct url_free {
  void operator()(CURLU* u) const noexcept { curl_url_cleanup(u); }
};

std::string part(CURLU* of, CURLUPart which, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(of, which, &text, flags) != CURLUE_OK) return {};
  const std::unique_ptr<char, void (*)(void*)> owned(text, curl_free);
  return text;
}

// The template with something in the place of each column.
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
  // Told apart here: a '{' in a password is no column, and the URL that is sent has no password in it.
  const auto at_sign = o.url.rfind('@', host_end);
  const bool has_user = at_sign != std::string::npos && at_sign >= host_at;
  const auto host =
      has_user ? o.url.substr(at_sign + 1, host_end - at_sign - 1) : o.url.substr(host_at, host_end - host_at);
  if (host.find_first_of("{}") != std::string::npos) bad_url("the host can't depend on a row");
  target t;
  auto parsed = pl::text_template::parse(o.url.substr(0, host_at) + host + o.url.substr(host_end));
  if (!parsed.ok()) throw pl::invalid_options("url", parsed.why().message);
  t.url = std::move(*parsed);
  const std::unique_ptr<CURLU, url_free> url(curl_url());
  const auto sample = sample_of(t.url);
  if (curl_url_set(url.get(), CURLUPART_URL, sample.c_str(), 0) != CURLUE_OK) bad_url("this is no URL");
  const auto scheme = part(url.get(), CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") bad_url("http:// and https:// can be spoken");
  if (!part(url.get(), CURLUPART_FRAGMENT).empty()) bad_url("a URL to send to has no '#'");
  t.is_https = scheme == "https";
  t.name = scheme + "://" + part(url.get(), CURLUPART_HOST) + ":" + part(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  if (has_user) {
    const auto whole = o.url.substr(0, host_at) + o.url.substr(host_at, at_sign + 1 - host_at) + "host/";
    if (curl_url_set(url.get(), CURLUPART_URL, whole.c_str(), 0) != CURLUE_OK)
      bad_url("its user and password can't be read: write special characters as %40 for '@', %2F for '/'");
    t.user = part(url.get(), CURLUPART_USER, CURLU_URLDECODE);
    t.password = part(url.get(), CURLUPART_PASSWORD, CURLU_URLDECODE);
  }
  if (!t.user.empty() && !o.user.empty())
    throw pl::invalid_options("user", "the user stands in `url` and in `user`; leave one out");
  if (t.user.empty()) t.user = o.user;
  if (!o.password.empty()) t.password = o.password;
  if (!o.token.empty() && !t.user.empty())
    throw pl::invalid_options("token", "there is a token, and a user; leave one out");
  if (t.user.empty() && !t.password.empty()) throw pl::invalid_options("password", "a password needs a `user`");
  if (o.tls && !t.is_https)
    throw pl::invalid_options("tls", "`tls` is set, but the URL is one without it; write https:// in `url`");
  return t;
}

std::vector<std::pair<std::string, pl::text_template>> headers_of(const options& o) {
  std::vector<std::pair<std::string, pl::text_template>> all;
  for (const auto& [name, value] : o.headers) {
    const auto option = "headers." + name;
    if (!is_token(name)) throw pl::invalid_options(option, "this is no name of a header");
    for (const std::string_view ours :
         {"content-length", "transfer-encoding", "content-encoding", "host", "connection"})
      if (same_word(name, ours)) throw pl::invalid_options(option, "this header follows from the request");
    if (same_word(name, "content-type")) throw pl::invalid_options(option, "set `content_type` for it");
    if (same_word(name, "authorization") && (!o.token.empty() || !o.user.empty()))
      throw pl::invalid_options(option, "this header follows from `token` or `user`; leave one out");
    auto parsed = pl::text_template::parse(value);
    if (!parsed.ok()) throw pl::invalid_options(option, parsed.why().message);
    all.emplace_back(name, std::move(*parsed));
  }
  return all;
}

void check_together(const options& o) {
  if (o.format == format::raw && !o.payload)
    throw pl::invalid_options("payload", "with `format: raw` name what is sent of a row, for example \"{value}\"");
  if (o.payload && !o.id_field.empty())
    throw pl::invalid_options("id_field", "a `payload` is sent as it is; leave one of the two out");
  for (const int status : o.reject_on)
    if (status < 400 || status > 499)
      throw pl::invalid_options("reject_on",
                                std::to_string(status) + " is not about the rows: statuses from 400 to 499 can be");
}

}  // namespace http_sink
