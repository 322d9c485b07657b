// SPDX-License-Identifier: Apache-2.0
// mqtt_source: what devices publish, by way of a spool on the local disk.
#include "intake.hpp"
#include "options.hpp"

#include <json_telemetry/path_pattern.hpp>
#include <spool_common/spooled.hpp>

#include <algorithm>
#include <filesystem>
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
constexpr auto longest_pause_if_unsure = 5s;  // it may be a broker that is restarted again and again
constexpr auto short_life = 10s;  // of a connection: shorter ones must not be renewed at once, again and again

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
        spool_(ctx, options_.spool) {
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
    leave();  // an earlier try holds the spool
    if (auto r = spool_.open(); !r.ok()) return r;
    connect_at_ = {};
    pause_ = first_pause;
    short_lives_ = 0;
    auto r = connect();
    // What lies in the spool is passed on while the broker is away; where nothing does, we are not ready.
    if (!r.ok() && (r.why().code == pl::status::fatal || !spool_.has_unsettled())) return r;
    if (!r.ok()) put_off(r.why());
    return {};
  }

  pl::result<void> stop() override {
    leave();
    spool_.close();
    return {};
  }

  pl::result<pl::batch> poll(const pl::poll_request& request) override {
    if (!spool_.is_open()) return pl::fatal("poll before start");
    spool_.expire();
    if (auto r = tend(); !r.ok()) return r.why();
    if (request.max_rows == 0) return pl::nothing_yet();
    return spool_.read(request, schema_, [this](auto& b, auto& to, std::uint32_t row, std::string_view record) {
      if (const auto m = decode(record)) fill(b, to, row, *m);
    });
  }

  pl::result<void> seek(std::string_view stream, std::uint64_t next) override {
    spool_.seek(stream, next);
    return {};
  }

  void settle(std::span<const pl_range> ranges) override { spool_.settle(ranges); }

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

  void fill(pl::batch_builder& b, spool::spooled::columns& to, std::uint32_t r, const stored_message& m) {
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
    const bool pressed = spool_.own()->pressed();
    if (client_ && pressed) {
      ctx_.warn(
          "the spool is full (spool.max_bytes, or the disk): leaving the broker, which keeps what comes, until the "
          "sinks have caught up");
      leave();
    }
    if (client_ && !client_->connected()) renew();
    if (client_ || pressed || clock::now() < connect_at_) return {};
    auto r = connect();
    if (!r.ok() && r.why().code == pl::status::fatal) return r;
    if (!r.ok()) {
      short_lives_ = 0;  // the broker was gone: that is why the connection did not last
      put_off(r.why());
    }
    return {};
  }

  // The connection is lost. Two clients with one id throw each other out, each time that one comes back: then every try waits
  // longer than the one before.
  void renew() {
    const auto name = client_->name();
    const auto loss = client_->in_flight().loss();
    const bool taken_over = client_->in_flight().taken_over();
    const bool lasted = clock::now() - connected_since_ >= short_life && !taken_over;
    leave();
    short_lives_ = lasted ? 0 : short_lives_ + 1;
    if (lasted) {
      pause_ = first_pause;
      connect_at_ = {};
      return ctx_.warn(name + ": " + loss + "; connecting again");
    }
    if (!taken_over) pause_ = std::min<std::chrono::nanoseconds>(pause_, longest_pause_if_unsure);
    const auto more = taken_over         ? "; give each host and lane one of its own, or leave client_id out"
                      : short_lives_ < 3 ? ""
                                         : ": connections don't last; does another client use the same client_id?";
    put_off(pl::retry(name + ": " + loss + more + " (client_id " + settings_.client_id + ")"));
  }

  pl::result<void> connect() {
    auto settings = settings_;
    if (options_.qos == 2) {
      const auto store = spool_.folder() / "qos2";
      std::error_code failed;
      fs::create_directories(store, failed);
      settings.store = store.string();
    }
    auto fresh = std::make_unique<client>(std::move(settings));
    const auto taking = std::make_shared<intake>(ctx_, spool_.own(), options_.retained == retained_messages::skip);
    fresh->on_message([taking](const arrival& m) { taking->take(m); });
    intake_ = taking;
    if (auto r = fresh->connect(); !r.ok()) return r;
    // Whether the broker has kept our session or not: one that has forgotten a subscription would be silent for ever.
    if (auto r = fresh->subscribe(filters_, options_.qos); !r.ok()) {
      fresh->disconnect();
      return r;
    }
    client_ = std::move(fresh);
    connected_since_ = clock::now();
    if (short_lives_ == 0) pause_ = first_pause;
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

  const source_options options_;
  const pl::context ctx_;
  const connection_settings settings_;
  pl::gauge connected_;
  pl::counter connects_;
  spool::spooled spool_;
  const pl_schema* schema_ = nullptr;
  std::vector<std::string> filters_;
  std::optional<json_telemetry::path_pattern> segments_;

  std::shared_ptr<intake> intake_;
  std::unique_ptr<client> client_;
  clock::time_point connect_at_{}, connected_since_{};
  std::uint32_t short_lives_ = 0;  // connections in a row that were lost soon
  std::chrono::nanoseconds pause_ = first_pause;
  std::vector<std::string_view> values_;
};

}  // namespace mqtt

PL_EXPORT("0.1.0", mqtt::mqtt_source)
