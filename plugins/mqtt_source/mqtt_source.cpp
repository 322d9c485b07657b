// SPDX-License-Identifier: Apache-2.0
// mqtt_source: what devices publish, by way of a spool on the local disk.
#include "intake.hpp"
#include "options.hpp"

#include <json_telemetry/path_pattern.hpp>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mqtt {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

namespace {

enum column : pl::column_index { value, time, topic, qos, retained, duplicate, id, fixed_columns };

constexpr auto first_pause = 500ms;
constexpr auto longest_pause = 30s;

// A spool that this lane reads: its own, or one that a lane left which there is no more.
struct spooled_stream {
  std::shared_ptr<spool::log> log;
  std::string name;
  std::uint64_t next = 0;
  bool placed = false;
};

}  // namespace

class mqtt_source final : public pl::source, public pl::columns_aware {
 public:
  using options = source_options;

  static pl::description describe() {
    return {
        .name = "mqtt_source",
        .doc =
            "Subscribes to MQTT topics, 3.1.1 and 5.\n"
            "A message is stored in a log on the local disk before the broker hears that it has arrived, so what was "
            "acknowledged is never lost, and can be read again. Columns: value (the payload), time (of arrival), "
            "topic, qos, retained, duplicate (the broker has sent it before), id (the same for the same topic and "
            "payload), and those of `segments`.",
        .example =
            "plugin: mqtt_source\nurl: mqtt://127.0.0.1:1883\ntopic: \"users/+/devices/+/telemetry\"\n"
            "segments: \"users/{user_id}/devices/{device_id}/telemetry\"\n",
        .abilities = PL_REPLAYABLE};
  }

  mqtt_source(source_options o, pl::context ctx)
      : options_(std::move(o)),
        ctx_(ctx),
        settings_(connection_of(options_, ctx)),
        connected_(ctx.gauge("mqtt_source_connected", "Whether the broker sends us messages: 1 or 0")),
        connects_(ctx.counter("mqtt_source_connects_total", "Connections made to the broker")),
        spool_bytes_(ctx.gauge("mqtt_source_spool_bytes", "Bytes of messages that no sink has yet, on the disk")) {
    filters_ = filters_of(options_);
    make_schema();
  }

  ~mqtt_source() override { leave(); }

  pl::result<const pl_schema*> columns(const pl_schema*, std::uint32_t) override { return schema_; }

  // With an id of its own: the same would throw a running host out.
  pl::result<void> check() override {
    auto settings = settings_;
    settings.client_id += "-check";
    settings.clean_session = true;
    settings.session_expiry = 0s;
    client probe(std::move(settings));
    auto r = probe.connect();
    probe.disconnect();
    return r;
  }

  pl::result<void> start() override {
    if (auto r = open_spools(); !r.ok()) return r;
    connect_at_ = {};
    pause_ = first_pause;
    auto r = connect();
    // What lies in the spool is passed on while the broker is away.
    if (!r.ok() && r.why().code == pl::status::fatal) return r;
    if (!r.ok()) put_off(r.why());
    return {};
  }

  pl::result<void> stop() override {
    leave();
    streams_.clear();
    return {};
  }

  pl::result<pl::batch> poll(const pl::poll_request& request) override {
    if (streams_.empty()) return pl::fatal("poll before start");
    if (auto r = tend(); !r.ok()) return r.why();
    if (request.max_rows == 0) return pl::nothing_yet();
    for (std::size_t i = 0; i < streams_.size(); ++i) {
      auto& s = streams_[turn_++ % streams_.size()];
      if (!s.placed && !place(s).ok()) continue;
      auto rows = read(s, request);
      if (rows.ok() || rows.why().code != pl::status::again) return rows;
    }
    if (request.timeout > 0ns) streams_.front().log->wait(streams_.front().next, request.timeout);
    return pl::nothing_yet();
  }

  pl::result<void> seek(std::string_view stream, std::uint64_t next) override {
    for (auto& s : streams_)
      if (s.name == stream) s.next = next;
    return {};
  }

  void settle(std::span<const pl_range> ranges) override {
    std::uint64_t bytes = 0;
    for (auto& s : streams_) {
      for (const auto& r : ranges)
        if (pl::view(r.stream) == s.name) s.log->settle(r.next);
      bytes += s.log->bytes();
    }
    spool_bytes_.set(static_cast<double>(bytes));
  }

 private:
  void make_schema() {
    std::vector<std::string> names{"value", "time", "topic", "qos", "retained", "duplicate", "id"};
    if (options_.segments) {
      const auto field = [&](std::string_view name) -> std::optional<std::uint16_t> {
        if (std::find(names.begin(), names.end(), name) != names.end()) return std::nullopt;
        names.emplace_back(name);
        return static_cast<std::uint16_t>(names.size() - 1 - fixed_columns);
      };
      auto parsed = json_telemetry::path_pattern::parse(*options_.segments, field);
      if (!parsed.ok()) throw pl::invalid_options("segments", parsed.why().message);
      segments_ = std::move(*parsed);
    }
    const std::vector<std::string_view> views(names.begin(), names.end());
    schema_ = ctx_.schema(views);
  }

  // ---- the spools

  [[nodiscard]] fs::path folder(std::uint32_t lane) const {
    return fs::path(ctx_.state_dir()) / "spool" / std::string(ctx_.pipeline()) / std::string(ctx_.node()) /
           std::to_string(lane);
  }

  // Our own; and those of lanes that were more once, each by the lane whose number is what is left of it.
  pl::result<void> open_spools() {
    streams_.clear();
    if (auto r = open_spool(ctx_.lane()); !r.ok()) return r;
    std::error_code ignored;
    for (auto lane = ctx_.lane() + ctx_.lanes(); fs::exists(folder(lane), ignored); lane += ctx_.lanes())
      if (auto r = open_spool(lane); !r.ok()) return r;
    return {};
  }

  pl::result<void> open_spool(std::uint32_t lane) {
    const auto& given = options_.spool;
    auto log =
        spool::log::open({.folder = folder(lane),
                          .fsync = given.fsync,
                          .interval = given.fsync_interval,
                          .max_bytes = given.max_bytes.bytes,
                          .segment_bytes = std::clamp<std::uint64_t>(given.max_bytes.bytes / 16, 1 << 20, 16 << 20)},
                         [this](std::string_view text) { say(text); });
    if (!log.ok()) return log.why();
    auto& s = streams_.emplace_back();
    s.log = std::move(*log);
    s.name = "spool/" + s.log->id();
    return {};
  }

  void say(std::string_view text) const { text.starts_with("LOST") ? ctx_.error(text) : ctx_.warn(text); }

  pl::result<void> place(spooled_stream& s) {
    if (auto r = ctx_.announced(s.name); !r.ok()) return r;
    const auto from = std::max(s.log->settled(), s.log->begin());
    const auto next =
        ctx_.assigned(s.name, from, s.log->settled() == 0 ? pl::begin::by_policy : pl::begin::by_progress);
    if (!next.ok()) return next.why();
    // After a power cut the sinks can have seen more than the disk has kept.
    if (auto r = s.log->go_on_at(*next); !r.ok()) return r;
    s.next = *next;
    s.placed = true;
    return {};
  }

  pl::result<pl::batch> read(spooled_stream& s, const pl::poll_request& request) {
    text_.clear();
    found_.clear();
    const auto next = s.log->read(
        s.next, request.max_rows,
        [&](std::uint64_t number, std::string_view body) {
          found_.push_back({number, text_.size(), body.size()});
          text_.append(body);
          return text_.size() < request.max_bytes;
        },
        [this](std::string_view text) { say(text); });
    if (!next.ok()) return next.why();
    if (*next == s.next) return pl::nothing_yet();
    auto b = make_batch(s, *next);
    s.next = *next;
    return b;
  }

  pl::batch make_batch(const spooled_stream& s, std::uint64_t next) {
    const auto rows = static_cast<std::uint32_t>(found_.size());
    auto b = ctx_.build(schema_, rows);
    const auto text = b.copy(text_);
    std::vector<std::span<pl::cell>> to;
    for (pl::column_index c = 0; c < schema_->ncols; ++c) to.push_back(b.make_column(c));
    auto positions = b.allocate<std::uint64_t>(rows);
    for (std::uint32_t r = 0; r < rows; ++r) {
      positions[r] = found_[r].number;
      if (const auto m = decode(text.substr(found_[r].at, found_[r].size))) fill(b, to, r, *m);
    }
    b.set_positions(positions);
    auto range = b.allocate<pl_range>(1);
    range[0] = pl::range_of(pl::borrow(b.copy(s.name)), s.next, next, std::max(next, s.log->end()));
    b.set_ranges(range);
    return std::move(b).finish();
  }

  void fill(pl::batch_builder& b, std::vector<std::span<pl::cell>>& to, std::uint32_t r, const stored_message& m) {
    to[value][r] = pl::bytes_cell(m.payload);
    to[time][r] = pl::time_cell(m.time_ns);
    to[topic][r] = pl::text_cell(m.topic);
    to[qos][r] = pl::int_cell(m.qos);
    to[retained][r] = pl::bool_cell(m.retained);
    to[duplicate][r] = pl::bool_cell(m.duplicate);
    to[id][r] = pl::text_cell(b.copy(message_id(m.topic, m.payload)));
    if (!segments_) return;
    values_.assign(schema_->ncols - fixed_columns, {});
    if (!segments_->match(m.topic, values_)) return;
    for (std::size_t i = 0; i < values_.size(); ++i) to[fixed_columns + i][r] = pl::text_cell(values_[i]);
  }

  // ---- the broker

  // Connects where that is due; leaves where there is no room. Fatal where it can never be.
  pl::result<void> tend() {
    const bool pressed = streams_.front().log->pressed();
    if (client_ && pressed) {
      ctx_.warn(
          "the spool is full (spool.max_bytes, or the disk): leaving the broker, which keeps what comes, until the "
          "sinks have caught up");
      leave();
    }
    if (client_ && !client_->connected()) {
      ctx_.warn(client_->name() + ": " + client_->in_flight().loss() + "; connecting again");
      leave();
      connect_at_ = {};
    }
    if (client_ || pressed || clock::now() < connect_at_) return {};
    auto r = connect();
    if (!r.ok() && r.why().code == pl::status::fatal) return r;
    if (!r.ok()) put_off(r.why());
    return {};
  }

  pl::result<void> connect() {
    auto settings = settings_;
    if (options_.qos == 2) {
      const auto store = folder(ctx_.lane()) / "qos2";
      std::error_code failed;
      fs::create_directories(store, failed);
      settings.store = store.string();
    }
    auto fresh = std::make_unique<client>(std::move(settings));
    const auto taking =
        std::make_shared<intake>(ctx_, streams_.front().log, options_.retained == retained_messages::skip);
    fresh->on_message([taking](const arrival& m) { taking->take(m); });
    intake_ = taking;
    if (auto r = fresh->connect(); !r.ok()) return r;
    // A session that the broker has kept has its subscriptions, unless they were others then.
    const bool again = subscribed_ && fresh->session_present();
    if (auto r = again ? pl::result<void>() : fresh->subscribe(filters_, options_.qos); !r.ok()) {
      fresh->disconnect();
      return r;
    }
    subscribed_ = true;
    client_ = std::move(fresh);
    pause_ = first_pause;
    connects_.add();
    connected_.set(1);
    ctx_.info("connected to " + client_->name() + " as " + settings_.client_id +
              (client_->session_present() ? ", which has kept our session" : ""));
    return {};
  }

  void put_off(const pl::failure& why) {
    ctx_.warn(why.message + "; tried again in " +
              std::to_string(std::chrono::ceil<std::chrono::seconds>(pause_).count()) + " s");
    connect_at_ = clock::now() + pause_;
    pause_ = std::min<std::chrono::nanoseconds>(pause_ * 2, longest_pause);
  }

  void leave() {
    connected_.set(0);
    if (intake_) intake_->close();
    if (client_ && intake_ && intake_->stuck())
      // Its thread waits for the disk. To let it go would acknowledge what isn't stored.
      client_.release();  // NOLINT(bugprone-unused-return-value): the process ends with it, on purpose
    if (client_) client_->disconnect();
    client_.reset();
    intake_.reset();
  }

  struct found_record {
    std::uint64_t number;
    std::size_t at, size;  // in text_
  };

  const source_options options_;
  const pl::context ctx_;
  const connection_settings settings_;
  pl::gauge connected_;
  pl::counter connects_;
  pl::gauge spool_bytes_;
  const pl_schema* schema_ = nullptr;
  std::vector<std::string> filters_;
  std::optional<json_telemetry::path_pattern> segments_;

  std::vector<spooled_stream> streams_;  // the first is our own
  std::size_t turn_ = 0;
  std::shared_ptr<intake> intake_;
  std::unique_ptr<client> client_;
  bool subscribed_ = false;
  clock::time_point connect_at_{};
  std::chrono::nanoseconds pause_ = first_pause;
  std::string text_;
  std::vector<found_record> found_;
  std::vector<std::string_view> values_;
};

}  // namespace mqtt

PL_EXPORT("0.1.0", mqtt::mqtt_source)
