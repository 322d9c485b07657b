// SPDX-License-Identifier: Apache-2.0
// http_source receives records by POST or PUT and stores them in a spool on the local disk.
#include "intake.hpp"
#include "options.hpp"
#include "record.hpp"

#include <http/listen.hpp>
#include <spool_common/spooled.hpp>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace http {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

enum column : pl::column_index { value, time, topic, id, remote, fixed_columns };

constexpr const char* empty_token = "a token must not be empty; remove the option if clients need no token";

// Parse an address such as "127.0.0.1:8080", "[::1]:8080" or ":8080" (all addresses).
std::optional<pl::host_port> parse_address(std::string_view text) {
  auto address = pl::parse_host_port(text);
  if (address && address->host == "*") address->host.clear();
  return address;
}

std::string advice_for(int code) {
  if (code == EADDRINUSE) return "another program listens there; set `listen` to another port";
  if (code == EACCES) return "ports below 1024 need privileges; set `listen` to a higher one";
  if (code == EADDRNOTAVAIL) return "this machine has no such address; change `listen`";
  return "change `listen`";
}

pl::failure cannot_listen(const pl::host_port& at, const pl::http::listen_problem& problem) {
  auto failure = pl::retry("cannot listen on " + (at.host.empty() ? "*" : at.host) + ":" + std::to_string(at.port) +
                           ": " + problem.why + ": " + advice_for(problem.code));
  failure.option = "listen";
  return failure;
}

bool is_header_name(std::string_view name) {
  return !name.empty() && name.find_first_of(" \t\r\n:") == std::string_view::npos;
}

// certificates holds the TLS settings for new connections and reloads them when a file changes.
class certificates {
 public:
  certificates(tls_options o, pl::context ctx) : options_(std::move(o)), ctx_(ctx) {}

  pl::result<void> load() {
    const std::scoped_lock lock(mutex_);
    return load_locked();
  }
  std::shared_ptr<SSL_CTX> current() {
    const std::scoped_lock lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (now - looked_ >= 5s && newest() != loaded_) {
      if (auto r = load_locked(); !r.ok())
        ctx_.warn("the certificate has changed but cannot be used: " + r.why().message +
                  "; new connections still use the old one");
      else
        ctx_.info("the certificate has changed; new connections use the new one");
    }
    if (now - looked_ >= 5s) looked_ = now;
    return settings_;
  }

 private:
  pl::result<void> load_locked() {
    loaded_ = newest();
    looked_ = std::chrono::steady_clock::now();
    auto fresh = pl::http::load_tls(options_.cert, options_.key, options_.key_password, options_.ca);
    if (!fresh.ok()) return fresh.why();
    settings_ = std::move(*fresh);
    return {};
  }
  [[nodiscard]] fs::file_time_type newest() const {
    auto last = fs::file_time_type::min();
    std::error_code ignored;
    for (const auto& file : {options_.cert, options_.key, options_.ca})
      if (!file.empty()) last = std::max(last, fs::last_write_time(file, ignored));
    return last;
  }

  const tls_options options_;
  const pl::context ctx_;
  std::mutex mutex_;
  std::shared_ptr<SSL_CTX> settings_;
  fs::file_time_type loaded_{};
  std::chrono::steady_clock::time_point looked_{};
};

}  // namespace

class http_source final : public pl::source, public pl::columns_aware, public pl::exclusive_user {
 public:
  using options = source_options;

  static pl::description describe() {
    return {
        .name = "http_source",
        .doc =
            "Receives records over HTTP: JSON, NDJSON, or raw bytes.\n"
            "A request gets status 200 after its records are stored in a log on the local disk, so acknowledged "
            "records are never lost and can be read again. Columns: value (the record's original bytes), time (of "
            "arrival), topic (the path), id (the same if a request is repeated), remote (the client's address), and "
            "those of `path` and `headers`.",
        .example =
            "plugin: http_source\nlisten: 127.0.0.1:8080\npath: \"/users/{user_id}/devices/{device_id}/telemetry\"\n"
            "token: \"${HTTP_TOKEN:-secret}\"\n",
        .abilities = PL_REPLAYABLE};
  }

  http_source(source_options o, pl::context ctx)
      : options_(std::move(o)),
        ctx_(ctx),
        paths_(options_.path),
        live_(ctx.liveness()),
        spool_(ctx, options_.spool, "http_source", start_of) {
    const auto where = parse_address(options_.listen);
    if (!where)
      throw pl::invalid_options(
          "listen", "'" + options_.listen + "' is not a valid address; write 127.0.0.1:8080, [::1]:8080 or :8080");
    address_ = *where;
    if (address_.port == 0 && ctx.lanes() > 1)
      throw pl::invalid_options("listen", "the port must not be 0 with several lanes, because they share it");
    if (options_.user.empty() && !options_.password.empty())
      throw pl::invalid_options("password", "a password needs a `user`");
    if (options_.token && options_.token->empty()) throw pl::invalid_options("token", empty_token);
    for (const auto& token : options_.tokens)
      if (token.empty()) throw pl::invalid_options("tokens", empty_token);
    if (!is_header_name(options_.id_header))
      throw pl::invalid_options("id_header", "'" + options_.id_header + "' is not a valid header name");
    make_schema();
    if (options_.tls) certificates_.emplace(*options_.tls, ctx);
  }

  pl::result<const pl_schema*> columns(const pl_schema*, std::uint32_t) override { return schema_; }
  pl::result<pl::column_set> typed_columns(const pl::column_set&, std::uint32_t) override {
    pl::column_set all{schema_, {PL_BYTES, PL_TIME_NS, PL_TEXT, PL_TEXT, PL_TEXT}};
    all.kinds.resize(schema_->ncols, PL_TEXT);  // segments of the path, and headers
    return all;
  }

  // The lanes of one source share the port.
  std::vector<resource> exclusive() const override {
    std::vector<resource> all{spool_.resource()};
    if (ctx_.lane() == 0 && address_.port != 0)
      all.push_back({"HTTP address", address_.host + ":" + std::to_string(address_.port), "listen"});
    return all;
  }

  pl::result<void> check() override { return certificates_ ? certificates_->load() : pl::result<void>(); }

  pl::result<void> start() override {
    leave();  // release the spool if an earlier attempt failed
    if (certificates_)
      if (auto r = certificates_->load(); !r.ok()) return r;
    if (auto r = spool_.open(); !r.ok()) return r;
    intake_ = std::make_unique<intake>(ctx_, options_, paths_, spool_.own());
    pl::descriptor listening;
    if (const auto problem = pl::http::listen_on(address_, ctx_.lanes() > 1, listening))
      return cannot_listen(address_, *problem);
    server_ = pl::http::server::start(settings(), *intake_, tls(), std::move(listening));
    ctx_.info("listening on " + std::string(options_.tls ? "https://" : "http://") + server_->bound() + options_.path +
              (ctx_.lanes() > 1 ? ", lane " + std::to_string(ctx_.lane()) : std::string()));
    return {};
  }

  pl::result<void> stop() override {
    leave();
    spool_.close();
    return {};
  }

  pl::result<pl::batch> poll(const pl::poll_request& request) override {
    if (!spool_.is_open()) return pl::fatal("poll before start");
    spool_.tend();
    const auto why_not = intake_->why_not();
    why_not.empty() ? live_.connected() : live_.disconnected(why_not);
    spool_.observe();
    if (request.max_rows == 0) return pl::nothing_yet();
    return spool_.read(request, schema_, [this](auto& b, auto& to, std::uint32_t row, auto record, auto shared) {
      const bool same = row != 0 && shared.data() == shared_.data();
      shared_ = {};
      if (!decode(record, shared, found_)) return INT64_MIN;
      shared_ = shared;
      fill(b, to, row, same);
      return found_.time_ns;
    });
  }

  void settle(std::span<const pl_range> ranges) override { spool_.settle(ranges); }

 private:
  void make_schema() {
    std::vector<std::string_view> names{"value", "time", "topic", "id", "remote"};
    const auto add = [&](const std::string& name, const std::string& option) {
      if (std::find(names.begin(), names.end(), name) != names.end())
        throw pl::invalid_options(option, "there is a column '" + name + "' already");
      if (name.size() > 255) throw pl::invalid_options(option, "the name of a column must have at most 255 bytes");
      names.emplace_back(name);
    };
    for (const auto& name : paths_.names()) add(name, "path");
    for (const auto& [name, header] : options_.headers) {
      add(name, "headers." + name);
      if (!is_header_name(header))
        throw pl::invalid_options("headers." + name, "'" + header + "' is not a valid header name");
    }
    if (options_.headers.size() > 255) throw pl::invalid_options("headers", "at most 255 headers");
    schema_ = ctx_.schema(names);
  }

  [[nodiscard]] pl::http::server_settings settings() const {
    pl::http::server_settings s;
    s.max_body = options_.max_body.bytes;
    s.max_connections = options_.max_connections;
    // A request of max_body needs up to five times its size: its body, and twice what it adds to the spool.
    s.max_memory = std::max<std::size_t>(ctx_.memory_limit(), 5 * options_.max_body.bytes + (std::size_t{4} << 20U));
    s.max_per_address = options_.max_connections_per_address;
    s.request_timeout = options_.timeout;
    s.idle_timeout = options_.idle_timeout;
    return s;
  }
  pl::http::server::tls_source tls() {
    if (!certificates_) return nullptr;
    return [this] { return certificates_->current(); };
  }

  // same: the record shares all but id and payload with the one before it. Their rows share the memory, too.
  void fill(pl::batch_builder& b, spool::spooled::columns& to, std::uint32_t r, bool same) {
    if (same)
      for (auto& cells : to) cells[r] = cells[r - 1];
    to[value][r] = pl::bytes_cell(found_.payload);
    to[id][r] = pl::text_cell(b.copy(hex(found_.id)));
    if (same) return;
    to[time][r] = pl::time_cell(found_.time_ns);
    to[topic][r] = pl::text_cell(found_.path);
    to[remote][r] = pl::text_cell(found_.remote);
    std::size_t c = fixed_columns;
    // The option `path` may have changed since the record was stored. Then its path may not match.
    if (!paths_.match(found_.path, segments_)) segments_.clear();
    for (std::size_t i = 0; i < paths_.names().size(); ++i, ++c)
      if (i < segments_.size()) to[c][r] = pl::text_cell(b.copy(segments_[i]));
    for (const auto& [name, header] : options_.headers) {
      for (const auto& [stored, text] : found_.values)
        if (stored == name) to[c][r] = pl::text_cell(text);
      ++c;
    }
  }

  void leave() {
    live_.disconnected("not listening");
    server_.reset();  // first stores the current requests and responds to them
    intake_.reset();
  }

  const source_options options_;
  const pl::context ctx_;
  const path_matcher paths_;
  const pl::liveness live_;
  pl::host_port address_;
  spool::spooled spool_;
  const pl_schema* schema_ = nullptr;
  std::optional<certificates> certificates_;
  std::unique_ptr<intake> intake_;
  std::unique_ptr<pl::http::server> server_;
  stored_record found_;
  std::string_view shared_;  // of the last row, in its batch
  std::vector<std::string> segments_;
};

}  // namespace http

PL_EXPORT("0.1.0", http::http_source)
