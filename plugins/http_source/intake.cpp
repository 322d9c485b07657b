// SPDX-License-Identifier: Apache-2.0
#include "intake.hpp"

#include <pipeline/failpoint.hpp>
#include <pipeline/json.hpp>
#include <pipeline/text.hpp>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <chrono>

namespace http {

using pl::http::percent_decoded;
using pl::http::same_word;
using pl::http::too_many_requests;

namespace {

constexpr std::array<std::pair<early_close, std::string_view>, 3> early_closes{
    {{early_close::handshake_timeout, "handshake_timeout"},
     {early_close::evicted, "evicted"},
     {early_close::address_limit, "address_limit"}}};
constexpr std::string_view methods = "POST, PUT, OPTIONS";
constexpr std::array<int, 17> statuses{200, 204, 400, 401, 404, 405, 408, 413, 414,
                                       415, 417, 429, 431, 500, 501, 503, 505};

// Limits of what each record of a request gets.
constexpr std::size_t longest_path = 2048, longest_segment = 256, longest_header = 1024;
// The records of a request may get this much in paths and headers, even if max_body is smaller.
constexpr std::uint64_t least_shared = std::uint64_t{1} << 20U;

struct release_later {
  std::atomic<std::uint64_t>& from;
  const std::uint64_t bytes;
  ~release_later() { from -= bytes; }
};

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

response error_response(int status, std::string_view why) {
  response a{status, "{\"taken\":0,\"error\":", {}};
  pl::append_json_string(a.body, why);
  a.body += "}\n";
  return a;
}

response error_response(const split_problem& p) {
  if (p.too_many) return error_response(413, p.why);
  response a{400, "{\"taken\":0,\"error\":", {}};
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
                              "a path must begin with '/' and contain no '?', '#' or space; an example: "
                              "/devices/{device_id}/telemetry");
  if (path_.find_first_of("{}") == std::string::npos) return;
  auto parsed = json::path_pattern::parse(path_, [this](std::string_view name) -> std::optional<std::uint16_t> {
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

// --------------------------------------------------------------------------------------------------- authenticator ---

authenticator::authenticator(const source_options& o) {
  if (o.token) digests_.push_back(digest_of("bearer " + *o.token));
  for (const auto& token : o.tokens) digests_.push_back(digest_of("bearer " + token));
  if (!o.user.empty()) digests_.push_back(digest_of("basic " + pl::base64(o.user + ":" + o.password)));
}

authenticator::digest authenticator::digest_of(std::string_view credentials) {
  digest d{};
  unsigned size = 0;
  EVP_Digest(credentials.data(), credentials.size(), d.data(), &size, EVP_sha256(), nullptr);
  return d;
}

bool authenticator::accepts(std::optional<std::string_view> authorization) const {
  if (is_open()) return true;
  const auto given = authorization.value_or("");
  const auto space = std::min(given.find(' '), given.size());
  const auto scheme = pl::to_lower(given.substr(0, space));
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
      authenticator_(o),
      spool_(std::move(to)),
      records_(ctx.counter("http_source_records_total", "Records stored in the spool")),
      bytes_(ctx.counter("http_source_bytes_total", "Bytes of the records stored in the spool")),
      connections_(ctx.gauge("http_source_connections", "Open connections")),
      seconds_(ctx.histogram("http_source_request_seconds", "Time from the first byte of a request to its response")) {
  for (const int status : statuses) {
    const auto text = std::to_string(status);
    requests_[status] =
        ctx.counter("http_source_requests_total", "Requests, by status of the response", {{"status", text}});
  }
  for (const auto& [why, name] : early_closes)
    closed_[why] =
        ctx.counter("http_source_closed_connections_total",
                    "Connections that the source closed although the client was not done", {{"reason", name}});
}

response intake::retry_later(int status, const std::string& why) const {
  auto a = error_response(status, why);
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

std::optional<response> intake::admit(const request_head& head) {
  if (head.path.size() > longest_path)
    return error_response(414, "the path has more than " + std::to_string(longest_path) + " bytes");
  std::vector<std::string> segments;
  if (!paths_.match(head.path, segments)) return error_response(404, "no records are accepted at this path");
  if (!authenticator_.accepts(head.find("authorization"))) {
    auto a = error_response(401, "a token is required: Authorization: Bearer <token>");
    a.headers.emplace_back("WWW-Authenticate", "Bearer");
    if (!options_.user.empty()) a.headers.emplace_back("WWW-Authenticate", "Basic realm=\"pipeline-host\"");
    return a;
  }
  if (head.method != "POST" && head.method != "PUT") {
    auto a = head.method == "OPTIONS" ? response{204, {}, {}} : error_response(405, "send records by POST or PUT");
    a.headers.emplace_back("Allow", methods);
    return a;
  }
  if (auto a = check_sizes(head, segments)) return a;
  if (auto a = check_body_type(head)) return a;
  (void)check_room();
  if (spool_->full()) return retry_later(429, "the sinks are behind, and the spool is full; send it again later");
  return std::nullopt;
}

// Each record gets the path and headers in its row, so their sizes are limited.
std::optional<response> intake::check_sizes(const request_head& head, const std::vector<std::string>& segments) const {
  for (const auto& s : segments)
    if (s.size() > longest_segment)
      return error_response(414, "a segment of the path has more than " + std::to_string(longest_segment) + " bytes");
  for (const auto& [column, name] : options_.headers)
    if (head.find(name).value_or("").size() > longest_header)
      return error_response(431, "the header " + name + " has more than " + std::to_string(longest_header) + " bytes");
  return std::nullopt;
}

// Return whether the spool has room, also for the last request that found none. Report changes.
bool intake::check_room() {
  const auto needed = needed_.load();
  const bool full = spool_->full() || (needed != 0 && !spool_->has_room(needed));
  if (!full) needed_ = 0;
  if (full != full_.exchange(full))
    full ? ctx_.warn(
               "the spool is full (spool.max_bytes, or the disk): requests get status 429 until the sinks catch up")
         : ctx_.info("there is room in the spool again");
  return !full;
}

std::string intake::why_not() {
  if (!check_room()) return "the spool is full (spool.max_bytes, or the disk)";
  const auto fault = spool_->fault();
  return fault.empty() ? fault : "requests cannot be stored in the spool: " + fault;
}

std::optional<response> intake::check_body_type(const request_head& head) {
  if (!form_of_body(head)) {
    auto a =
        error_response(415,
                       "this Content-Type is not supported; send application/json, application/x-ndjson, text/plain "
                       "or application/octet-stream, or set `format`");
    a.headers.emplace_back("Accept", "application/json, application/x-ndjson, text/plain, application/octet-stream");
    return a;
  }
  const auto coding = head.find("content-encoding").value_or("identity");
  if (same_word(coding, "identity") || same_word(coding, "gzip") || same_word(coding, "x-gzip")) return std::nullopt;
  auto a = error_response(415, "this Content-Encoding is not supported; use gzip");
  a.headers.emplace_back("Accept-Encoding", "gzip");
  return a;
}

response intake::take(const request_head& head, std::string_view remote, std::string_view body, memory_claim& memory) {
  std::vector<std::string_view> records;
  const split_limits limits{options_.max_records, options_.invalid == invalid_body::refuse};
  // A record has at least one byte and a separator. The list may allocate twice its size.
  const auto most = std::min<std::size_t>(options_.max_records, body.size() / 2 + 1);
  if (!memory.more(2 * most * sizeof(std::string_view))) return retry_later(503, std::string(too_many_requests));
  if (const auto problem = split(body, form_of_body(head).value_or(form::raw), limits, records))
    return error_response(*problem);
  return store(head, start_of_records(head, remote), records, memory);
}

record_start intake::start_of_records(const request_head& head, std::string_view remote) const {
  std::vector<named_value> values;
  for (const auto& [column, name] : options_.headers)
    if (const auto value = head.find(name); value && pl::is_utf8(*value)) values.emplace_back(column, *value);
  return {now_ns(), head.path, remote, values};
}

// Reserve memory and room in the spool for what the records become, before building it.
response intake::store(const request_head& head, const record_start& start,
                       const std::vector<std::string_view>& records, memory_claim& memory) {
  std::uint64_t bytes = 0;
  for (const auto record : records) bytes += record.size();
  const auto count = records.size();
  if (const std::uint64_t shared = start.whole() * count;
      shared > std::max<std::uint64_t>(options_.max_body.bytes, least_shared))
    return error_response(413, "each of the " + std::to_string(count) + " records gets the path and headers, " +
                                   std::to_string(shared) +
                                   " bytes in total, more than max_body; send fewer records in one request");
  const auto starts = start.total(count);
  const std::uint64_t disk = starts + bytes + spool::record_header * count + spool::segment_header;
  if (disk > options_.spool.max_bytes.bytes)
    return error_response(413, "the request needs " + std::to_string(disk) +
                                   " bytes in the spool; spool.max_bytes is " +
                                   std::to_string(options_.spool.max_bytes.bytes) + "; send fewer records");
  if (!memory.more(starts + count * sizeof(spool::log::parts) + disk))
    return retry_later(503, std::string(too_many_requests));
  if (!claim_space(disk)) {
    needed_ = disk;
    (void)check_room();
    return retry_later(429, "the sinks are behind, and the spool has no room for the " + std::to_string(disk) +
                                " bytes of this request; send it again later");
  }
  const release_later claimed{claimed_, disk};
  const auto key = head.find(options_.id_header).value_or("");
  std::string text;
  text.reserve(starts);
  for (std::size_t i = 0; i < count; ++i)
    start.append(text, key.empty() ? id_by_content(head.path, records[i]) : id_by_key(head.path, key, i), i, count);
  std::vector<spool::log::parts> bodies;
  bodies.reserve(count);
  std::string_view rest = text;
  for (std::size_t i = 0; i < count; ++i) {
    bodies.push_back({rest.substr(0, start.size(i, count)), records[i]});
    rest.remove_prefix(bodies.back()[0].size());
  }
  auto a = append(bodies);
  if (a.status == 200) bytes_.add(static_cast<double>(bytes));
  return a;
}

// Reserve room in the spool until the records are appended, so that parallel requests do not exceed max_bytes.
bool intake::claim_space(std::uint64_t bytes) {
  if (spool_->has_room(claimed_.fetch_add(bytes) + bytes)) return true;
  claimed_ -= bytes;
  return false;
}

response intake::append(const std::vector<spool::log::parts>& bodies) {
  pl::failpoint("spool.before");
  if (auto r = spool_->append_all(bodies); !r.ok()) {
    if (!failing_.exchange(true)) ctx_.error("cannot store requests; they get status 503: " + r.why().message);
    return retry_later(503, "cannot store the records: " + r.why().message + "; send them again later");
  }
  pl::failpoint("spool.after");
  records_.add(static_cast<double>(bodies.size()));
  if (failing_.exchange(false)) ctx_.info("requests can be stored again");
  return {200, "{\"taken\":" + std::to_string(bodies.size()) + "}\n", {}};
}

std::optional<response> intake::refuse(const refusal& why) {
  return why.status == 503 ? retry_later(503, why.why) : error_response(why.status, why.why);
}

void intake::responded(int status, std::chrono::nanoseconds after) {
  if (const auto found = requests_.find(status); found != requests_.end()) found->second.add();
  seconds_.observe(std::chrono::duration<double>(after).count());
}

void intake::connections(std::size_t open) { connections_.set(static_cast<double>(open)); }

void intake::closed_early(early_close why) { closed_.at(why).add(); }

void intake::handshake_failed(std::string_view remote, std::string_view why) {
  if (ctx_.logs(pl::log_level::debug)) ctx_.debug(std::string(remote) + ": TLS handshake failed: " + std::string(why));
}

}  // namespace http
