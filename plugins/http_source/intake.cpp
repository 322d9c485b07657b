// SPDX-License-Identifier: Apache-2.0
#include "intake.hpp"

#include "record.hpp"

#include <pipeline/failpoint.hpp>
#include <pipeline/json.hpp>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <chrono>

namespace http {

namespace {

constexpr std::string_view methods = "POST, PUT, OPTIONS";
constexpr std::array<int, 16> statuses{200, 204, 400, 401, 404, 405, 408, 413, 415, 417, 429, 431, 500, 501, 503, 505};

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

answer error_answer(int status, std::string_view why) {
  answer a{status, "{\"taken\":0,\"error\":", {}};
  pl::append_json_string(a.body, why);
  a.body += "}\n";
  return a;
}

answer error_answer(const split_problem& p) {
  if (p.too_many) return error_answer(413, p.why);
  answer a{400, "{\"taken\":0,\"error\":", {}};
  pl::append_json_string(a.body, (p.record != 0 ? "record " + std::to_string(p.record) + ": " : std::string()) + p.why);
  if (p.line != 0) a.body += ",\"line\":" + std::to_string(p.line) + ",\"column\":" + std::to_string(p.column);
  a.body += "}\n";
  return a;
}

std::string_view credentials_without_space(std::string_view text) {
  const auto first = text.find_first_not_of(' ');
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

}  // namespace

// ----------------------------------------------------------------------------------------------------------- paths ---

path_matcher::path_matcher(std::string path) : path_(std::move(path)) {
  if (!path_.starts_with('/') || path_.find_first_of("?# ") != std::string::npos)
    throw pl::invalid_options("path",
                              "a path begins with '/', and has no '?', '#' or space; write for example "
                              "/devices/{device_id}/telemetry");
  if (path_.find_first_of("{}") == std::string::npos) return;
  auto parsed =
      json_telemetry::path_pattern::parse(path_, [this](std::string_view name) -> std::optional<std::uint16_t> {
        const auto at = static_cast<std::size_t>(std::find(names_.begin(), names_.end(), name) - names_.begin());
        if (at == names_.size()) names_.emplace_back(name);
        return static_cast<std::uint16_t>(at);
      });
  if (!parsed.ok()) throw pl::invalid_options("path", parsed.why().message);
  pattern_ = std::move(*parsed);
}

bool path_matcher::match(std::string_view path, std::vector<std::string>& values) const {
  values.assign(names_.size(), {});
  if (!pattern_) return path == path_;
  std::vector<std::string_view> raw(names_.size());
  if (!pattern_->match(path, raw)) return false;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    auto decoded = percent_decoded(raw[i]);
    if (!decoded) return false;
    values[i] = std::move(*decoded);
  }
  return true;
}

// ------------------------------------------------------------------------------------------------------ gatekeeper ---

gatekeeper::gatekeeper(const source_options& o) {
  if (o.token) digests_.push_back(digest_of("bearer " + *o.token));
  for (const auto& token : o.tokens) digests_.push_back(digest_of("bearer " + token));
  if (!o.user.empty()) digests_.push_back(digest_of("basic " + pl::base64(o.user + ":" + o.password)));
}

gatekeeper::digest gatekeeper::digest_of(std::string_view credentials) {
  digest d{};
  unsigned size = 0;
  EVP_Digest(credentials.data(), credentials.size(), d.data(), &size, EVP_sha256(), nullptr);
  return d;
}

bool gatekeeper::lets_in(std::optional<std::string_view> authorization) const {
  if (is_open()) return true;
  const auto given = authorization.value_or("");
  const auto space = std::min(given.find(' '), given.size());
  auto scheme = std::string(given.substr(0, space));
  for (auto& c : scheme) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  const auto shown = digest_of(scheme + " " + std::string(credentials_without_space(given.substr(space))));
  bool found = false;
  for (const auto& d : digests_) found |= CRYPTO_memcmp(d.data(), shown.data(), d.size()) == 0;
  return found;
}

// ---------------------------------------------------------------------------------------------------------- intake ---

intake::intake(pl::context ctx, const source_options& o, const path_matcher& paths, std::shared_ptr<spool::log> to)
    : ctx_(ctx),
      options_(o),
      paths_(paths),
      gatekeeper_(o),
      spool_(std::move(to)),
      records_(ctx.counter("http_source_records_total", "Records that were stored in the spool")),
      bytes_(ctx.counter("http_source_bytes_total", "Their bytes")),
      connections_(ctx.gauge("http_source_connections", "Connections that are open")),
      seconds_(ctx.histogram("http_source_request_seconds", "From a request's first byte to its answer")) {
  for (const int status : statuses) {
    const auto text = std::to_string(status);
    requests_[status] =
        ctx.counter("http_source_requests_total", "Requests by the status of their answer", {{"status", text}});
  }
}

answer intake::wait_a_moment(int status, const std::string& why) const {
  auto a = error_answer(status, why);
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(options_.retry_after).count();
  a.headers.emplace_back("Retry-After", std::to_string(seconds));
  return a;
}

std::optional<form> intake::form_of_body(const request_head& head) const {
  switch (options_.format) {
    case body_format::json:
      return form::json;
    case body_format::ndjson:
      return form::ndjson;
    case body_format::raw:
      return form::raw;
    default:
      return form_of(head.find("content-type").value_or(""));
  }
}

std::optional<answer> intake::admit(const request_head& head) {
  std::vector<std::string> segments;
  if (!paths_.match(head.path, segments)) return error_answer(404, "nothing is taken at this path");
  if (!gatekeeper_.lets_in(head.find("authorization"))) {
    auto a = error_answer(401, "a token is needed: Authorization: Bearer <token>");
    a.headers.emplace_back("WWW-Authenticate", "Bearer");
    if (!options_.user.empty()) a.headers.emplace_back("WWW-Authenticate", "Basic realm=\"pipeline-host\"");
    return a;
  }
  if (head.method != "POST" && head.method != "PUT") {
    auto a = head.method == "OPTIONS" ? answer{204, {}, {}} : error_answer(405, "records are sent by POST or PUT");
    a.headers.emplace_back("Allow", methods);
    return a;
  }
  if (auto a = refuse_what_body_it_has(head)) return a;
  const bool pressed = spool_->pressed();
  if (pressed != full_.exchange(pressed))
    pressed
        ? ctx_.warn("the spool is full (spool.max_bytes, or the disk): answering 429 until the sinks have caught up")
        : ctx_.info("there is room in the spool again");
  if (pressed) return wait_a_moment(429, "the sinks are behind, and the spool is full; send it again later");
  return std::nullopt;
}

std::optional<answer> intake::refuse_what_body_it_has(const request_head& head) {
  if (!form_of_body(head)) {
    auto a = error_answer(415,
                          "this Content-Type is not taken; send application/json, application/x-ndjson, text/plain "
                          "or application/octet-stream, or set `format`");
    a.headers.emplace_back("Accept", "application/json, application/x-ndjson, text/plain, application/octet-stream");
    return a;
  }
  const auto coding = head.find("content-encoding").value_or("identity");
  if (same_word(coding, "identity") || same_word(coding, "gzip") || same_word(coding, "x-gzip")) return std::nullopt;
  auto a = error_answer(415, "this Content-Encoding is not taken; gzip is");
  a.headers.emplace_back("Accept-Encoding", "gzip");
  return a;
}

answer intake::take(const request_head& head, std::string_view remote, std::string_view body) {
  std::vector<std::string_view> records;
  const split_limits limits{options_.max_records, options_.invalid == invalid_body::refuse};
  if (const auto problem = split(body, form_of_body(head).value_or(form::raw), limits, records))
    return error_answer(*problem);
  pl::failpoint("spool.before");
  if (auto r = store(head, remote, records); !r.ok()) {
    if (!failing_.exchange(true)) ctx_.error("requests can't be stored, and are answered with 503: " + r.why().message);
    return wait_a_moment(503, "the records can't be stored: " + r.why().message + "; send them again later");
  }
  pl::failpoint("spool.after");
  if (failing_.exchange(false)) ctx_.info("requests can be stored again");
  return {200, "{\"taken\":" + std::to_string(records.size()) + "}\n", {}};
}

pl::result<void> intake::store(const request_head& head, std::string_view remote,
                               const std::vector<std::string_view>& records) {
  std::vector<named_value> values;
  for (const auto& [column, name] : options_.headers)
    if (const auto value = head.find(name); value && pl::is_utf8(*value)) values.emplace_back(column, *value);
  const record_prefix prefix(now_ns(), head.path, remote, values);
  const auto key = head.find(options_.id_header).value_or("");
  std::string prefixes;
  prefixes.reserve(prefix.size() * records.size());
  for (std::size_t i = 0; i < records.size(); ++i)
    prefix.append(prefixes, key.empty() ? id_by_content(head.path, records[i]) : id_by_key(head.path, key, i));
  std::vector<spool::log::parts> bodies;
  bodies.reserve(records.size());
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < records.size(); ++i) {
    bodies.push_back({std::string_view(prefixes).substr(i * prefix.size(), prefix.size()), records[i]});
    bytes += records[i].size();
  }
  if (auto r = spool_->append_all(bodies); !r.ok()) return r;
  records_.add(static_cast<double>(records.size()));
  bytes_.add(static_cast<double>(bytes));
  return {};
}

answer intake::refuse(const refusal& why) {
  return why.status == 503 ? wait_a_moment(503, why.why) : error_answer(why.status, why.why);
}

void intake::answered(int status, std::chrono::nanoseconds after) {
  if (const auto found = requests_.find(status); found != requests_.end()) found->second.add();
  seconds_.observe(std::chrono::duration<double>(after).count());
}

void intake::connections(std::size_t open) { connections_.set(static_cast<double>(open)); }

void intake::handshake_failed(std::string_view remote, std::string_view why) {
  if (ctx_.logs(pl::log_level::debug)) ctx_.debug(std::string(remote) + ": no TLS: " + std::string(why));
}

}  // namespace http
