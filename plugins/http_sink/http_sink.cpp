// SPDX-License-Identifier: Apache-2.0
// http_sink sends rows as the bodies of HTTP requests.
#include "options.hpp"
#include "outgoing.hpp"
#include "requester.hpp"

#include <pipeline/json.hpp>
#include <pipeline/plugin.hpp>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace http_sink {

namespace {

using clock = std::chrono::steady_clock;

constexpr auto longest_wait = std::chrono::minutes(5);  // upper bound for Retry-After
constexpr std::size_t longest_shown = 200;              // bytes of a response that are logged

const char* name_of(method m) {
  switch (m) {
    case method::put:
      return "PUT";
    case method::patch:
      return "PATCH";
    default:
      return "POST";
  }
}

std::string default_content_type(format f) {
  switch (f) {
    case format::ndjson:
      return "application/x-ndjson";
    case format::raw:
      return "application/octet-stream";
    default:
      return "application/json";
  }
}

// Return what the operator can do about a status; empty if waiting is enough.
std::string_view advice_for(int status) {
  if (status >= 300 && status < 400) return "redirects are not followed: set `url` to the new location";
  switch (status) {
    case 401:
      return "check `token`, or `user` and `password`";
    case 403:
      return "check what the server allows this `token` or `user`";
    case 404:
    case 410:
      return "check `url`";
    case 405:
    case 501:
      return "check `method` and `url`";
    case 406:
    case 415:
      return "check `format`, `content_type` and `compression`";
    case 407:
      return "the proxy requires a password";
    case 411:
      return "the server, or a proxy, does not support HTTP/1.1";
    default:
      return {};
  }
}

enum class fate { delivered, too_large, bad, later };

}  // namespace

class http_sink final : public pl::sink, public pl::columns_aware {
 public:
  using options = ::http_sink::options;

  static pl::description describe() {
    return {
        .name = "http_sink",
        .doc =
            "Sends rows over HTTP: as a JSON array, as NDJSON, or one row per request.\n"
            "Delivery is at least once: a batch is delivered when the server has answered all of its requests with "
            "2xx. Requests have an Idempotency-Key that is the same for each attempt. Rows that the server rejects are "
            "found by bisecting the request and go to the dead letters with the server's response.",
        .example =
            "plugin: http_sink\nfrom: parsed\nurl: \"https://api.example.com/v1/telemetry\"\n"
            "token: \"${HTTP_TOKEN:-secret}\"\nformat: ndjson\ncompression: gzip\n"};
  }

  http_sink(options o, pl::context ctx)
      : options_(std::move(o)),
        ctx_(ctx),
        target_(target_of(options_)),
        outgoing_(options_, target_.url, headers_of(options_)),
        requester_(options_, target_),
        max_body_(options_.max_body.bytes) {
    check_together(options_);
    content_type_ = options_.content_type.empty() ? default_content_type(options_.format) : options_.content_type;
    for (const auto* status : {"2xx", "3xx", "4xx", "5xx", "none"})
      requests_.emplace(status, ctx.counter("http_sink_requests_total",
                                            "Requests, by class of the response's status; none: there was no response",
                                            {{"status", status}}));
    rows_ = ctx.counter("http_sink_rows_total", "Rows that the server has accepted");
    bytes_ = ctx.counter("http_sink_bytes_total", "Bytes of all request bodies, after compression");
    connects_ = ctx.counter("http_sink_connects_total", "Connections opened to the server");
    seconds_ =
        ctx.histogram("http_sink_request_seconds", "Time from the start of a request to the end of its response");
  }

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override {
    if (in != nullptr)
      if (auto r = outgoing_.bind(*in); !r.ok()) return r.why();
    return nullptr;
  }

  // Send OPTIONS to check the credentials. Servers differ in how they respond to OPTIONS, so 404 is only a warning.
  pl::result<void> check() override {
    if (auto r = start(); !r.ok()) return r;
    const auto response = requester_.send({base_url(), {}, {}, "OPTIONS"});
    if (response.status == 401 || response.status == 403)
      return pl::fatal(target_.name + " returned " + described(response) + "; " +
                       std::string(advice_for(response.status)));
    if (response.status == 404)
      ctx_.warn(target_.name + " returned " + described(response) + " for an OPTIONS request; check `url`");
    return {};
  }

  pl::result<void> start() override {
    const auto r = requester_.connect(base_url());
    if (r.is_setting) return pl::bad_option(r.option, target_.name + ": " + r.text);
    return r.text.empty() ? pl::result<void>() : pl::retry(target_.name + ": " + r.text);
  }

  pl::result<void> write(const pl::batch_list& batches) override {
    if (auto r = outgoing_.prepare(batches); !r.ok()) return r;
    if (auto r = send_all(); !r.ok()) {
      each_rejected(batches, [&](pl::batch_view b, std::uint32_t row, std::string& why) {
        if (ctx_.reject_now(b, row, why)) why.clear();  // a dead letter does not wait for the other rows
      });
      outgoing_.remember();
      return r;
    }
    // Those that could not be rejected at once. A retry would reject them again, so wait until the write succeeds.
    each_rejected(batches, [&](pl::batch_view b, std::uint32_t row, std::string& why) { ctx_.reject(b, row, why); });
    outgoing_.forget();
    return {};
  }

 private:
  using piece = std::span<const std::uint32_t>;  // indices of rows

  template <class F>
  void each_rejected(const pl::batch_list& batches, F&& take) {
    for (auto& r : outgoing_.rejected()) take(batches[r.batch], r.row, r.why);
    for (auto& r : outgoing_.rows())
      if (!r.rejected_because.empty()) take(batches[r.batch], r.row, r.rejected_because);
  }

  [[nodiscard]] std::string base_url() const {
    std::string url;
    for (const auto& p : target_.url.pieces()) url += p.is_column ? "x" : p.text;
    return url;
  }

  pl::result<void> send_all() {
    if (outgoing_.rows().empty()) return {};
    if (const auto left = not_before_ - clock::now(); left > clock::duration::zero())
      return pl::retry(target_.name + " has requested a pause (Retry-After); the next request is in " +
                       std::to_string(std::chrono::ceil<std::chrono::seconds>(left).count()) + " s");
    for (const auto& d : outgoing_.destinations())
      if (auto r = send_all(d); !r.ok()) return r;
    return {};
  }

  pl::result<void> send_all(const destination& to) {
    open_.clear();
    for (const auto i : to.rows)
      if (!outgoing_.rows()[i].settled) open_.push_back(i);
    for (piece rest = open_; !rest.empty();) {
      const auto n = fitting(rest);
      if (auto r = deliver(to, rest.first(n)); !r.ok()) return r;
      rest = rest.subspan(n);
    }
    return {};
  }

  // Return the number of rows for the next request, at least one.
  [[nodiscard]] std::size_t fitting(piece rows) const {
    if (options_.format == format::json || options_.format == format::raw) return 1;
    std::size_t n = 0, bytes = 2;
    while (n < rows.size() && n < options_.max_rows) {
      bytes += outgoing_.text(outgoing_.rows()[rows[n]]).size() + 1;
      if (n != 0 && bytes > max_body_) break;
      ++n;
    }
    return n;
  }

  // Deliver these rows, bisecting refused requests. On success all rows are settled; otherwise the host must retry.
  pl::result<void> deliver(const destination& to, piece rows) {
    std::vector<piece> waiting{rows};
    while (!waiting.empty()) {
      const auto now = waiting.back();
      waiting.pop_back();
      reply response;
      const auto what = post(to, now, response);
      if (what == fate::later) return later(response);
      if (what == fate::delivered) {
        for (const auto i : now) outgoing_.rows()[i].settled = true;
        rows_.add(static_cast<double>(now.size()));
        ctx_.progress();
      } else if (now.size() == 1) {
        auto& row = outgoing_.rows()[now[0]];
        row.settled = true;
        row.rejected_because = target_.name + " rejected the row: " + described(response);
      } else {
        waiting.push_back(now.subspan(now.size() / 2));
        waiting.push_back(now.first(now.size() / 2));
      }
    }
    return {};
  }

  fate post(const destination& to, piece rows, reply& response) {
    make_body(rows);
    const auto plain_size = body_.size();
    request r{to.url, body_, to.headers, name_of(options_.method)};
    r.headers.push_back("Content-Type: " + content_type_);
    if (options_.idempotency_key) r.headers.push_back("Idempotency-Key: " + hex(key_of(to, rows)));
    std::string packed;
    if (options_.compression == compression::gzip) {
      packed = gzipped(body_);
      r.body = packed;
      r.headers.emplace_back("Content-Encoding: gzip");
    }
    response = requester_.send(r);
    note(response, r.body.size());
    const auto status = response.status;
    if (status >= 200 && status < 300) return fate::delivered;
    if (status == 413) {
      if (rows.size() > 1) learn_limit(plain_size);
      return fate::too_large;
    }
    const auto& bad = options_.reject_on;
    return std::find(bad.begin(), bad.end(), status) != bad.end() ? fate::bad : fate::later;
  }

  void make_body(piece rows) {
    body_.clear();
    const bool is_array = options_.format == format::json_array, is_lines = options_.format == format::ndjson;
    if (is_array) body_ += '[';
    for (const auto i : rows) {
      if (is_array && body_.size() > 1) body_ += ',';
      body_ += outgoing_.text(outgoing_.rows()[i]);
      if (is_lines) body_ += '\n';
    }
    if (is_array) body_ += ']';
  }

  // Return the Idempotency-Key, which depends only on the rows of the request.
  [[nodiscard]] content_id key_of(const destination& to, piece rows) const {
    std::string ids;
    for (const auto i : rows) ids.append(outgoing_.rows()[i].id.data(), outgoing_.rows()[i].id.size());
    return digest_of({ctx_.pipeline(), ctx_.node(), to.url, ids});
  }

  void note(const reply& response, std::size_t bytes) {
    const auto digit = response.status / 100;
    const auto status = digit >= 2 && digit <= 5 ? std::to_string(digit) + "xx" : std::string("none");
    requests_.at(status).add();
    seconds_.observe(response.took.count());
    bytes_.add(static_cast<double>(bytes));
    connects_.add(static_cast<double>(response.connects));
  }

  // Lower max_body_ after a 413, so that the next requests are not too large.
  void learn_limit(std::size_t refused) {
    if (refused / 2 >= max_body_) return;
    max_body_ = std::max<std::size_t>(refused / 2, 1);
    ctx_.warn(target_.name + " rejected a body of " + std::to_string(refused) +
              " bytes as too large (413); requests now have at most " + std::to_string(max_body_) +
              " bytes; set `max_body` to the server's limit");
  }

  pl::failure later(const reply& r) {
    if (r.retry_after > std::chrono::seconds(0))
      not_before_ = clock::now() + std::min<clock::duration>(r.retry_after, longest_wait);
    if (r.status == 0) return pl::retry(target_.name + ": " + shown(r.text));
    auto text = target_.name + " returned " + described(r);
    if (!r.location.empty()) text += ", to " + shown(r.location);
    if (const auto advice = advice_for(r.status); !advice.empty()) text.append("; ").append(advice);
    return pl::retry(text);
  }

  [[nodiscard]] std::string described(const reply& r) const {
    auto text = "status " + std::to_string(r.status);
    if (const auto said = shown(r.text); !said.empty()) text += ": " + said;
    return text;
  }

  // Return the server's text in a form that can be logged: one line of valid text, with the sink's secrets masked.
  [[nodiscard]] std::string shown(std::string_view text) const {
    std::string out;
    for (std::size_t i = 0; i < text.size() && out.size() < longest_shown;) {
      const auto n = pl::utf8_sequence(text, i);
      if (n > 1)
        out += text.substr(i, n);
      else if (n == 1 && text[i] > 0x20 && text[i] != 0x7F)
        out += text[i];
      else if (!out.empty() && out.back() != ' ')
        out += ' ';
      i += std::max<std::size_t>(n, 1);
    }
    while (!out.empty() && out.back() == ' ') out.pop_back();
    for (const auto& secret : {options_.token, target_.password})
      for (auto at = secret.empty() ? std::string::npos : out.find(secret); at != std::string::npos;
           at = out.find(secret, at + 3))
        out.replace(at, secret.size(), "***");
    return out;
  }

  const options options_;
  const pl::context ctx_;
  const target target_;
  outgoing outgoing_;
  requester requester_;
  std::size_t max_body_;
  std::string content_type_;
  std::map<std::string, pl::counter> requests_;
  pl::counter rows_, bytes_, connects_;
  pl::histogram seconds_;
  std::vector<std::uint32_t> open_;
  std::string body_;
  clock::time_point not_before_{};
};

}  // namespace http_sink

PL_EXPORT("0.1.0", http_sink::http_sink)
