// SPDX-License-Identifier: Apache-2.0
// http_source: what is sent by POST, by way of a spool on the local disk.
#include "intake.hpp"
#include "options.hpp"
#include "record.hpp"
#include "server.hpp"

#include <spool_common/spooled.hpp>

#include <algorithm>
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

constexpr const char* empty_token = "a token is not empty; leave the option out where nobody has to show one";

bool is_header_name(std::string_view name) {
  return !name.empty() && name.find_first_of(" \t\r\n:") == std::string_view::npos;
}

// The certificate for the next connection: read again when its file changes, so that a renewed one needs no restart.
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
        ctx_.warn("the certificate has changed, and can't be used: " + r.why().message + "; the old one stays");
      else
        ctx_.info("the certificate has changed: new connections get the new one");
    }
    if (now - looked_ >= 5s) looked_ = now;
    return settings_;
  }

 private:
  pl::result<void> load_locked() {
    loaded_ = newest();
    looked_ = std::chrono::steady_clock::now();
    auto fresh = load_tls(options_.cert, options_.key, options_.key_password, options_.ca);
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

class http_source final : public pl::source, public pl::columns_aware {
 public:
  using options = source_options;

  static pl::description describe() {
    return {
        .name = "http_source",
        .doc =
            "Takes records by HTTP: JSON, NDJSON, or bytes as they are.\n"
            "A request is answered with 200 once its records are stored in a log on the local disk, so what was "
            "acknowledged is never lost, and can be read again. Columns: value (the record's original bytes), time (of "
            "arrival), topic (the path), id (the same when a request comes again), remote (the client's address), and "
            "those of `path` and `headers`.",
        .example =
            "plugin: http_source\nlisten: 127.0.0.1:8080\npath: \"/users/{user_id}/devices/{device_id}/telemetry\"\n"
            "token: \"${HTTP_TOKEN:-secret}\"\n",
        .abilities = PL_REPLAYABLE};
  }

  http_source(source_options o, pl::context ctx)
      : options_(std::move(o)), ctx_(ctx), paths_(options_.path), spool_(ctx, options_.spool) {
    const auto where = parse_address(options_.listen);
    if (!where)
      throw pl::invalid_options(
          "listen", "'" + options_.listen + "' is no address to listen on; write 127.0.0.1:8080, [::1]:8080 or :8080");
    address_ = *where;
    if (address_.port == 0 && ctx.lanes() > 1)
      throw pl::invalid_options("listen", "with several lanes, which share the port, it can't be 0");
    if (options_.user.empty() && !options_.password.empty())
      throw pl::invalid_options("password", "a password needs a `user`");
    if (options_.token && options_.token->empty()) throw pl::invalid_options("token", empty_token);
    for (const auto& token : options_.tokens)
      if (token.empty()) throw pl::invalid_options("tokens", empty_token);
    if (!is_header_name(options_.id_header)) throw pl::invalid_options("id_header", "this is no name of a header");
    make_schema();
    if (options_.tls) certificates_.emplace(*options_.tls, ctx);
  }

  pl::result<const pl_schema*> columns(const pl_schema*, std::uint32_t) override { return schema_; }

  pl::result<void> check() override { return certificates_ ? certificates_->load() : pl::result<void>(); }

  pl::result<void> start() override {
    leave();  // an earlier try holds the spool
    if (certificates_)
      if (auto r = certificates_->load(); !r.ok()) return r;
    if (auto r = spool_.open(); !r.ok()) return r;
    intake_ = std::make_unique<intake>(ctx_, options_, paths_, spool_.own());
    auto started = server::start(settings(), *intake_, tls());
    if (!started.ok()) return started.why();
    server_ = std::move(*started);
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
    if (request.max_rows == 0) return pl::nothing_yet();
    return spool_.read(request, schema_, [this](auto& b, auto& to, std::uint32_t row, std::string_view record) {
      if (decode(record, found_)) fill(b, to, row);
    });
  }

  pl::result<void> seek(std::string_view stream, std::uint64_t next) override {
    spool_.seek(stream, next);
    return {};
  }

  void settle(std::span<const pl_range> ranges) override { spool_.settle(ranges); }

 private:
  void make_schema() {
    std::vector<std::string_view> names{"value", "time", "topic", "id", "remote"};
    const auto add = [&](const std::string& name, const std::string& option) {
      if (std::find(names.begin(), names.end(), name) != names.end())
        throw pl::invalid_options(option, "there is a column '" + name + "' already");
      if (name.size() > 255) throw pl::invalid_options(option, "a column's name has 255 bytes at most");
      names.emplace_back(name);
    };
    for (const auto& name : paths_.names()) add(name, "path");
    for (const auto& [name, header] : options_.headers) {
      add(name, "headers." + name);
      if (!is_header_name(header)) throw pl::invalid_options("headers." + name, "'" + header + "' is no header");
    }
    if (options_.headers.size() > 255) throw pl::invalid_options("headers", "255 at most");
    schema_ = ctx_.schema(names);
  }

  [[nodiscard]] server_settings settings() const {
    server_settings s;
    s.host = address_.host;
    s.port = address_.port;
    s.shared_port = ctx_.lanes() > 1;
    s.max_body = options_.max_body.bytes;
    s.max_connections = options_.max_connections;
    s.max_memory = std::max<std::size_t>(ctx_.memory_limit(), 2 * options_.max_body.bytes);
    s.request_timeout = options_.timeout;
    s.idle_timeout = options_.idle_timeout;
    return s;
  }
  server::tls_source tls() {
    if (!certificates_) return nullptr;
    return [this] { return certificates_->current(); };
  }

  void fill(pl::batch_builder& b, spool::spooled::columns& to, std::uint32_t r) {
    to[value][r] = pl::bytes_cell(found_.payload);
    to[time][r] = pl::time_cell(found_.time_ns);
    to[topic][r] = pl::text_cell(found_.path);
    to[id][r] = pl::text_cell(b.copy(hex(found_.id)));
    to[remote][r] = pl::text_cell(found_.remote);
    std::size_t c = fixed_columns;
    // `path` may be another one since the record was stored: then there are none.
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
    server_.reset();  // answers what is in hand, into the spool
    intake_.reset();
  }

  const source_options options_;
  const pl::context ctx_;
  const path_matcher paths_;
  address address_;
  spool::spooled spool_;
  const pl_schema* schema_ = nullptr;
  std::optional<certificates> certificates_;
  std::unique_ptr<intake> intake_;
  std::unique_ptr<server> server_;
  stored_record found_;
  std::vector<std::string> segments_;
};

}  // namespace http

PL_EXPORT("0.1.0", http::http_source)
