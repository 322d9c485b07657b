// SPDX-License-Identifier: Apache-2.0
// mqtt_source: stores messages from MQTT topics in a spool on the local disk, and reads them from there.
#include "broker_link.hpp"
#include "intake.hpp"
#include "options.hpp"

#include <json_common/path_pattern.hpp>
#include <spool_common/spooled.hpp>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace mqtt {

namespace {

enum column : pl::column_index { value, time, topic, qos, retained, duplicate, id, fixed_columns };

}  // namespace

class mqtt_source final : public pl::source, public pl::columns_aware, public pl::exclusive_user {
 public:
  using options = source_options;

  static pl::description describe() {
    return {
        .name = "mqtt_source",
        .doc =
            "Subscribes to MQTT topics, 3.1.1 and 5.\n"
            "A message is stored in a log on the local disk before it is acknowledged to the broker, so acknowledged "
            "messages are not lost and can be read again. Columns: value (the payload), time (of arrival), topic, qos, "
            "retained, duplicate (the broker has sent it before), id (the same for the same topic and payload), and "
            "those of `segments`.",
        .example =
            "plugin: mqtt_source\nurl: mqtt://127.0.0.1:1883\ntopic: \"users/+/devices/+/telemetry\"\n"
            "segments: \"users/{user_id}/devices/{device_id}/telemetry\"\n",
        .abilities = PL_REPLAYABLE};
  }

  mqtt_source(source_options o, pl::context ctx)
      : options_(std::move(o)),
        ctx_(ctx),
        spool_(ctx, options_.spool, "mqtt_source"),
        link_(ctx, options_, filters_of(options_, ctx)) {
    make_schema();
  }

  pl::result<const pl_schema*> columns(const pl_schema*, std::uint32_t) override { return schema_; }
  pl::result<pl::column_set> typed_columns(const pl::column_set&, std::uint32_t) override {
    pl::column_set all{schema_, {PL_BYTES, PL_TIME_NS, PL_TEXT, PL_I64, PL_BOOL, PL_BOOL, PL_TEXT}};
    all.kinds.resize(schema_->ncols, PL_TEXT);  // segments of the topic
    return all;
  }

  // The session and the spool belong to one client.
  std::vector<resource> exclusive() const override {
    const auto& to = link_.settings();
    return {{"MQTT client id", "'" + to.client_id + "' at " + to.url.identity(), "client_id"}, spool_.resource()};
  }

  pl::result<void> check() override { return link_.check(); }

  pl::result<void> start() override {
    link_.close();  // a failed earlier start holds the spool
    if (auto r = spool_.open(); !r.ok()) return r;
    auto r = link_.open(spool_.own(), spool_.folder());
    // Records in the spool are read while the broker is away. If there are none, the start fails.
    if (!r.ok() && (r.why().code == pl::status::fatal || !spool_.has_unsettled())) return r;
    if (!r.ok()) link_.put_off(r.why());
    return {};
  }

  pl::result<void> stop() override {
    link_.close();
    spool_.close();
    return {};
  }

  pl::result<pl::batch> poll(const pl::poll_request& request) override {
    if (!spool_.is_open()) return pl::fatal("poll before start");
    spool_.tend();
    if (auto r = link_.tend(spool_.own()->full()); !r.ok()) return r.why();
    spool_.observe();
    if (request.max_rows == 0) return pl::nothing_yet();
    return spool_.read(request, schema_, [this](auto& b, auto& to, std::uint32_t row, auto record, auto) {
      const auto m = decode(record);
      if (m) fill(b, to, row, *m);
      return m ? m->time_ns : INT64_MIN;
    });
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
      auto parsed = json::path_pattern::parse(*options_.segments, field);
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

  const source_options options_;
  const pl::context ctx_;
  spool::spooled spool_;
  broker_link link_;
  const pl_schema* schema_ = nullptr;
  std::optional<json::path_pattern> segments_;
  std::vector<std::string_view> values_;
};

}  // namespace mqtt

PL_EXPORT("0.1.0", mqtt::mqtt_source)
