// SPDX-License-Identifier: Apache-2.0
#include "threshold_alert.hpp"

#include "text.hpp"

#include <chrono>
#include <map>

namespace threshold_alert {
namespace {

std::vector<std::string> names_of(const pl_schema& schema) {
  std::vector<std::string> names;
  for (pl::column_index c = 0; c < schema.ncols; ++c) names.emplace_back(pl::view(schema.names[c]));
  return names;
}

std::string missing_column(std::string_view name, const pl_schema& in) {
  const bool has_extra = pl::find_column(in, "extra").has_value();
  return "no column '" + std::string(name) + "' comes in" + suggestion(name, names_of(in)) +
         (has_extra ? " What is only in 'extra' becomes a column when json_telemetry maps it" : "");
}

}  // namespace

pl::description threshold_alert::describe() {
  return {
      .name = "threshold_alert",
      .doc =
          "Alerts from rules on metrics: thresholds, rates, equality and silence, for each device.\n"
          "An alert fires, changes its severity and resolves under one id. Time is the records' own, so that a replay "
          "gives the same alerts.",
      .example =
          "plugin: threshold_alert\n"
          "from: parsed\n"
          "rules:\n"
          "  - {name: overheating, metric: temperature, above: 80, clear_below: 75, for: 10s, severity: critical}\n"
          "  - {name: silent, missing_for: 5m, severity: warning}\n",
      .ports = {"out", "recorded"},
      .abilities = PL_DETERMINISTIC};
}

threshold_alert::threshold_alert(const options& given, pl::context ctx)
    : ctx_(ctx),
      rules_(compiled(given)),
      evaluator_(rules_, ctx.pipeline(), ctx.node()),
      memory_(rules_, evaluator_, ctx),
      writer_(rules_, ctx) {
  for (const auto& r : rules_.rules) {
    rule_meters m;
    for (std::uint32_t k = 0; k < event_kinds; ++k)
      m.events[k] = ctx.counter("alert_events_total", "Alert events that were published.",
                                {{"rule", r.name}, {"state", name_of(static_cast<event_kind>(k))}});
    m.open = ctx.gauge("alerts_open", "Alerts that are open, published or not.", {{"rule", r.name}});
    meters_.push_back(m);
  }
  too_old_ =
      ctx.counter("alert_events_unpublished_total",
                  "Alert events that went to the port `recorded` instead: older than max_age, or unwanted notices.");
  const auto skipped = [&](std::string_view why) {
    return ctx.counter("alert_records_skipped_total", "Records that changed no alert, by reason.", {{"reason", why}});
  };
  late_ = skipped("late");
  ahead_ = skipped("ahead_of_clock");
  no_time_ = skipped("no_time");
  no_key_ = skipped("no_key");
  const auto values = [&](std::string_view why) {
    return ctx.counter("alert_values_skipped_total", "Values that no rule could compare, by reason.",
                       {{"reason", why}});
  };
  null_values_ = values("null");
  unfit_values_ = values("not_a_number");
  keys_ = ctx.gauge("alert_devices", "Devices (keys of group_by) that are remembered.");
  bytes_ = ctx.gauge("alert_state_bytes", "Memory of the remembered devices.");
}

rule_set threshold_alert::compiled(const options& given) const {
  bool sound = true;
  auto rules = compile(given, [&](std::string_view option, std::string_view message) {
    sound = false;
    ctx_.option_error(option, message);
  });
  if (!sound) throw pl::invalid_options{};
  return rules;
}

pl::result<void> threshold_alert::start() {
  evaluator_.set_wall(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count());
  return {};
}

pl::result<const pl_schema*> threshold_alert::columns(const pl_schema* in, std::uint32_t) {
  if (in == nullptr) return writer_.schema();
  std::vector<pl::failure> missing;
  const auto need = [&](std::string_view column, std::string option) {
    if (!pl::find_column(*in, column))
      missing.push_back(pl::bad_option(std::move(option), missing_column(column, *in)));
  };
  need(rules_.time_column, "time_column");
  for (std::size_t i = 0; i < rules_.group_by.size(); ++i)
    need(rules_.group_by[i], "group_by[" + std::to_string(i) + "]");
  for (std::size_t i = 0; i < rules_.rules.size(); ++i)
    if (!rules_.rules[i].metric.empty()) need(rules_.rules[i].metric, "rules[" + std::to_string(i) + "].metric");
  if (missing.empty()) return writer_.schema();
  for (std::size_t i = 0; i + 1 < missing.size(); ++i) ctx_.option_error(missing[i].option, missing[i].message);
  return missing.back();
}

// Without time or key no rule can ever fire: better to stop on the first batch than to stay silent for months. A single
// metric may be absent from one of several inputs.
pl::result<void> threshold_alert::bind(const pl_schema& schema) {
  bound_ = nullptr;
  const auto time = pl::find_column(schema, rules_.time_column);
  if (!time) return pl::bad_option("time_column", missing_column(rules_.time_column, schema));
  places_.time = *time;
  places_.keys.clear();
  for (const auto& name : rules_.group_by) {
    const auto c = pl::find_column(schema, name);
    if (!c) return pl::bad_option("group_by", missing_column(name, schema));
    places_.keys.push_back(*c);
  }
  places_.metric.clear();
  const bool fresh = warned_schemas_.insert(&schema).second;
  for (const auto& r : rules_.rules) {
    const auto c = r.metric.empty() ? std::nullopt : pl::find_column(schema, r.metric);
    if (!c && !r.metric.empty() && fresh)
      ctx_.warn("rule '" + r.name + "' can't be evaluated on these records: " + missing_column(r.metric, schema));
    places_.metric.push_back(c);
  }
  bound_ = &schema;
  return {};
}

pl::result<void> threshold_alert::apply(pl::batch_view in, pl::emitter& out) {
  if (in.selected() != 0 && bound_ != &in.schema())
    if (auto bound = bind(in.schema()); !bound.ok()) return bound;
  evaluator_.apply(in, places_);
  publish(in, out);
  report_counts();
  return {};
}

pl::result<void> threshold_alert::tick(pl::timestamp now, pl::emitter& out) {
  evaluator_.tick(now.time_since_epoch().count());
  publish(std::nullopt, out);
  for (const auto& e : evaluator_.events()) memory_.put_now(e.stream, evaluator_.key_of(e));
  return {};
}

pl::result<void> threshold_alert::restore(std::string_view stream, std::string_view key, std::string_view value) {
  return memory_.restore(stream, key, value);
}

pl::result<void> threshold_alert::snapshot(std::string_view stream) {
  memory_.snapshot(stream);
  return {};
}

void threshold_alert::publish(std::optional<pl::batch_view> parent, pl::emitter& out) {
  const auto& events = evaluator_.events();
  if (events.empty()) return;
  to_publish_.clear();
  to_record_.clear();
  for (std::uint32_t i = 0; i < events.size(); ++i) {
    (events[i].what.publish ? to_publish_ : to_record_).push_back(i);
    count(events[i]);
  }
  for (std::size_t i = 0; i < meters_.size(); ++i) meters_[i].open.set(static_cast<double>(evaluator_.open_alerts(i)));
  emit(to_publish_, published, parent, out);
  emit(to_record_, recorded, parent, out);
}

// What a timer caused is one batch for each stream.
void threshold_alert::emit(const std::vector<std::uint32_t>& events, port to, std::optional<pl::batch_view> parent,
                           pl::emitter& out) {
  if (events.empty()) return;
  if (parent) return out.emit(writer_.write(evaluator_, events, parent), to);
  std::map<std::string_view, std::vector<std::uint32_t>> by_stream;
  for (const auto i : events) by_stream[evaluator_.events()[i].stream].push_back(i);
  for (const auto& [stream, those] : by_stream) {
    auto made = writer_.write(evaluator_, those, parent);
    ctx_.belongs(made, stream);
    out.emit(std::move(made), to);
  }
}

void threshold_alert::count(const event& e) {
  if (e.what.publish)
    meters_[e.rule].events[static_cast<std::size_t>(e.what.kind)].add();
  else
    too_old_.add();
}

void threshold_alert::report_counts() {
  const auto t = evaluator_.take_tally();
  const auto add = [](const pl::counter& c, std::uint64_t n) {
    if (n != 0) c.add(static_cast<double>(n));
  };
  add(late_, t.late);
  add(ahead_, t.ahead);
  add(no_time_, t.no_time);
  add(no_key_, t.no_key);
  add(null_values_, t.null_values);
  add(unfit_values_, t.unfit_values);
  keys_.set(static_cast<double>(evaluator_.keys()));
  bytes_.set(static_cast<double>(evaluator_.bytes()));
  if (t.ahead != 0)
    warn_rarely("are further ahead of this machine's clock than max_ahead", t.ahead,
                "check the devices' clocks and this machine's, or raise max_ahead");
  if (t.no_time != 0)
    warn_rarely("have no time in column '" + rules_.time_column + "'", t.no_time,
                "see json_telemetry's options for the time");
}

void threshold_alert::warn_rarely(std::string_view what, std::uint64_t n, std::string_view fix) {
  const auto now = std::chrono::system_clock::now();
  if (now < next_warning_) return;
  next_warning_ = now + std::chrono::minutes(1);
  ctx_.warn(std::to_string(n) + " records " + std::string(what) + ": they change no alert; " + std::string(fix));
}

}  // namespace threshold_alert
