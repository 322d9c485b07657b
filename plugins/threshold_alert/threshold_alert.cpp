// SPDX-License-Identifier: Apache-2.0
#include "threshold_alert.hpp"

#include "text.hpp"

#include <chrono>
#include <map>
#include <utility>

namespace threshold_alert {
namespace {

std::vector<std::string> names_of(const pl_schema& schema) {
  std::vector<std::string> names;
  for (pl::column_index c = 0; c < schema.ncols; ++c) names.emplace_back(pl::view(schema.names[c]));
  return names;
}

std::string missing_column(std::string_view name, const pl_schema& in) {
  const bool has_extra = pl::find_column(in, "extra").has_value();
  return "the input has no column '" + std::string(name) + "'" +
         (name == "user_id" ? " (group_by names it by default; to use another column, set group_by: [device_id])"
                            : "") +
         (has_extra ? " (a field in 'extra' becomes a column if json_telemetry maps it)" : "") +
         suggestion(name, names_of(in));
}

// A record without a position has that of the last record of its range.
std::uint64_t position_of(pl::batch_view in, pl::row_index row) {
  if (in.has_positions()) return in.position(row);
  const auto ranges = in.ranges();
  const auto origin = in.origin(row);
  return origin < ranges.size() && ranges[origin].next != 0 ? ranges[origin].next - 1 : 0;
}

}  // namespace

pl::description threshold_alert::describe() {
  return {.name = "threshold_alert",
          .doc =
              "Alerts from rules on metrics: thresholds, rates, equality and silence, for each device.\n"
              "An alert fires, changes its severity and resolves under one id. Durations use the records' own time, so "
              "that a replay gives the same alerts.",
          .example =
              "plugin: threshold_alert\n"
              "from: parsed\n"
              "rules:\n"
              "  - {name: overheating, metric: temperature, above: 80, clear_below: 75, for: 10s, severity: critical}\n"
              "  - {name: silent, missing_for: 5m, severity: warning}\n",
          .ports = {"out", "recorded"},
          .abilities = PL_DETERMINISTIC | PL_ALERTS};
}

threshold_alert::threshold_alert(const options& given, pl::context ctx)
    : ctx_(ctx),
      clock_(ctx.raw()),
      rules_(compiled(given)),
      evaluator_(rules_, ctx.pipeline(), ctx.node(), ctx.arrival_clocks()),
      memory_(rules_, evaluator_, ctx),
      writer_(rules_, ctx) {
  make_expressions();
  for (const auto& r : rules_.rules) (void)meters_of(r.name);
  too_old_ =
      ctx.counter("alert_events_unpublished_total",
                  "Alert events emitted on the port `recorded` only: older than max_age, or with send_resolved off.");
  const auto skipped = [&](std::string_view why) {
    return ctx.counter("alert_records_skipped_total", "Records that were not evaluated, by reason.", {{"reason", why}});
  };
  late_ = skipped("late");
  ahead_ = skipped("ahead_of_clock");
  no_time_ = skipped("no_time");
  no_key_ = skipped("no_key");
  no_room_ = skipped("max_keys");
  evicted_ = ctx.counter("alert_devices_evicted_total",
                         "Devices whose state was removed to make room for others (when_full: evict_oldest).");
  const auto values = [&](std::string_view why) {
    return ctx.counter("alert_values_skipped_total", "Values that a rule could not compare, by reason.",
                       {{"reason", why}});
  };
  null_values_ = values("null");
  unfit_values_ = values("not_a_number");
  copies_ = values("copy");
  no_limits_ = values("no_threshold");
  failed_conditions_ = values("failed_condition");
  keys_ = ctx.summed_gauge("alert_devices", "Devices (keys of group_by) whose state is in memory.");
  bytes_ = ctx.summed_gauge("alert_state_bytes", "Memory used for the state of devices.");
}

void threshold_alert::make_expressions() {
  for (const auto& e : rules_.expressions)
    expressions_.emplace_back(ctx_, e.option, e.text,
                              e.is_condition ? pl::cel::purpose::condition : pl::cel::purpose::cells);
  pl::cel::compile_all(ctx_, expressions_);
  computed_.resize(expressions_.size());
}

// Compute the limits and the conditions of the rules for all records of a batch.
void threshold_alert::compute(pl::batch_view in) {
  if (expressions_.empty()) return;
  auto owner = ctx_.derive(in, &in.schema(), 0);  // for results that are texts, which no rule uses
  for (std::size_t i = 0; i < expressions_.size(); ++i) {
    computed_[i].assign(in.rows(), pl::null_cell());
    failed_.clear();
    expressions_[i].get().fill(in, owner, computed_[i], &failed_);
    expressions_[i].report(in, failed_, "the rule does not evaluate them");
  }
}

// A retired rule gets its meters when its state is restored.
threshold_alert::rule_meters& threshold_alert::meters_of(const std::string& rule) {
  const auto known = meters_.find(rule);
  if (known != meters_.end()) return known->second;
  auto& m = meters_[rule];
  for (std::uint32_t k = 0; k < event_kinds; ++k)
    m.events[k] = ctx_.counter("alert_events_total", "Alert events that were published.",
                               {{"rule", rule}, {"state", name_of(static_cast<event_kind>(k))}});
  m.open = ctx_.summed_gauge("alerts_open", "Open alerts, whether published or not.", {{"rule", rule}});
  return m;
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
  evaluator_.set_wall(clock_.now_ns());
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

// Compile the expressions for these columns.
void threshold_alert::check_expressions(const pl::column_set& in, std::vector<pl::failure>& wrong) {
  if (in.schema == nullptr) return;
  for (std::size_t i = 0; i < expressions_.size(); ++i) {
    auto& e = expressions_[i];
    if (auto done = e.compile(in); !done.ok()) {
      wrong.push_back(done.why());
      continue;
    }
    const auto kind = e.compiled().kind();
    if (!rules_.expressions[i].is_condition && kind != PL_NULL && kind != PL_I64 && kind != PL_F64)
      wrong.push_back(pl::bad_option(
          e.option(), "the threshold has the kind " + std::string(pl::kind_name(kind)) + "; it must be a number"));
  }
}

// A rule that compares numbers would skip every value of another kind, and never fire.
pl::result<pl::column_set> threshold_alert::typed_columns(const pl::column_set& in, std::uint32_t of) {
  const auto out = columns(in.schema, of);
  if (!out.ok()) return out.why();
  std::vector<pl::failure> wrong;
  const auto need = [&](std::string option, std::string_view column, std::initializer_list<std::uint32_t> kinds) {
    if (auto why = pl::wrong_kind(in, std::move(option), column, kinds)) wrong.push_back(*std::move(why));
  };
  need("time_column", rules_.time_column, {PL_TIME_NS});
  for (std::size_t i = 0; i < rules_.rules.size(); ++i)
    if (const auto& r = rules_.rules[i]; r.when < condition::equals)
      need("rules[" + std::to_string(i) + "].metric", r.metric, {PL_I64, PL_F64});
  check_expressions(in, wrong);
  if (wrong.empty()) return pl::column_set{*out, writer_.kinds(in)};
  for (std::size_t i = 0; i + 1 < wrong.size(); ++i) ctx_.option_error(wrong[i].option, wrong[i].message);
  return wrong.back();
}

pl::column_use threshold_alert::used_columns() const {
  pl::column_use use{{rules_.time_column}};
  use.columns.insert(use.columns.end(), rules_.group_by.begin(), rules_.group_by.end());
  for (const auto& r : rules_.rules)
    if (!r.metric.empty()) use.columns.push_back(r.metric);
  for (const auto& e : expressions_) e.add_columns(use);
  return use;
}

// Fail without a time or key column, because no rule could ever fire. Only warn about a missing metric, because one of
// several inputs may lack it.
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
      ctx_.warn("rule '" + r.name + "' cannot be evaluated on these records: " + missing_column(r.metric, schema));
    places_.metric.push_back(c);
  }
  bound_ = &schema;
  return {};
}

pl::result<void> threshold_alert::apply(pl::batch_view in, pl::emitter& out) {
  if (in.selected() != 0 && bound_ != &in.schema())
    if (auto bound = bind(in.schema()); !bound.ok()) return bound;
  compute(in);
  take(evaluator_.apply(in, places_, computed_), in, out);
  report_counts();
  return {};
}

pl::result<void> threshold_alert::tick(pl::timestamp now, pl::emitter& out) {
  if (memory_.any_in_flight()) repeat_in_flight(out);
  take(evaluator_.tick(now.time_since_epoch().count()), std::nullopt, out);
  report_counts();
  return {};
}

void threshold_alert::revoked(std::string_view stream) {
  evaluator_.drop(stream);
  memory_.drop(stream);
  report_open_alerts();
}

pl::result<void> threshold_alert::restore(std::string_view stream, std::string_view key, std::string_view value) {
  return memory_.restore(stream, key, value);
}

pl::result<void> threshold_alert::restored(std::string_view stream, bool offset_reset) {
  auto done = memory_.restored(stream, offset_reset);
  report_open_alerts();
  return done;
}

pl::result<void> threshold_alert::snapshot(std::string_view stream) {
  memory_.snapshot(stream);
  return {};
}

// Count, store and emit events. parent: the batch whose records caused the events. Without a parent, timers caused
// them: no record can reproduce such events, so their keys are stored immediately.
void threshold_alert::take(std::span<const event> events, std::optional<pl::batch_view> parent, pl::emitter& out) {
  if (events.empty()) return;
  if (parent && memory_.any_in_flight()) repeat_before(events, *parent, out);
  to_publish_.clear();
  to_record_.clear();
  for (const auto& e : events) {
    count(e);
    (e.what.publish ? to_publish_ : to_record_).push_back(&e);
    if (parent) continue;
    // The notice of a key of another group_by is stored as in flight: the key must not be resolved again after a crash.
    e.foreign ? memory_.erase_removed_now(e.stream) : memory_.put_now(e.stream, e.key);
  }
  store_published(events, parent);
  report_open_alerts();
  emit(to_publish_, published, parent, out);
  emit(to_record_, recorded, parent, out);
}

// Store the alerts of each key that has an event, once.
void threshold_alert::store_published(std::span<const event> events, std::optional<pl::batch_view> parent) {
  std::map<std::pair<std::string_view, std::string_view>, std::uint64_t> last;
  for (const auto& e : events)
    if (!e.foreign) last[{e.stream, e.key}] = parent && e.row != no_row ? parent->position(e.row) : PL_UNKNOWN;
  for (const auto& [key, position] : last) memory_.put_published(key.first, key.second, position);
}

// Emit events of timers as one batch for each stream.
void threshold_alert::emit(std::span<const event* const> events, port to, std::optional<pl::batch_view> parent,
                           pl::emitter& out) {
  if (events.empty()) return;
  if (parent) return out.emit(writer_.write(events, parent), to);
  std::map<std::string_view, std::vector<const event*>> by_stream;
  for (const auto* e : events) by_stream[e->stream].push_back(e);
  for (const auto& [stream, those] : by_stream) {
    auto made = writer_.write(those, parent);
    std::vector<std::string_view> keys;
    for (const auto* e : those) keys.push_back(e->key);
    memory_.put_in_flight(stream, made.get(), to, keys);
    ctx_.set_stream(made, stream);
    out.emit(std::move(made), to);
  }
}

// Emit again what timers emitted before a crash, unless it is known to be delivered.
void threshold_alert::repeat_in_flight(pl::emitter& out) {
  for (const auto& [stream, rows] : memory_.take_in_flight())
    for (const auto to : {published, recorded}) {
      std::vector<const stored_row*> those;
      for (const auto& row : rows)
        if (row.port == to) those.push_back(&row);
      if (those.empty()) continue;
      for (const auto* row : those) memory_.put_in_flight(stream, *row);
      auto made = writer_.rewrite(those, std::nullopt, {});
      ctx_.set_stream(made, stream);
      out.emit(std::move(made), to);
    }
}

// Emit those of devices that have an event now first, so that the notices of an alert keep their order. The event's record
// was not read when the notice was first emitted: if the sinks discard the record's output, they have the notice, too.
void threshold_alert::repeat_before(std::span<const event> events, pl::batch_view parent, pl::emitter& out) {
  std::vector<stored_row> rows;
  std::vector<std::uint32_t> at;
  for (const auto& e : events)
    for (auto& row : memory_.take_in_flight(e.stream, e.key, position_of(parent, e.row))) {
      memory_.put_in_flight(e.stream, row);
      rows.push_back(std::move(row));
      at.push_back(e.row);
    }
  for (const auto to : {published, recorded}) {
    std::vector<const stored_row*> those;
    std::vector<std::uint32_t> origins;
    for (std::size_t i = 0; i < rows.size(); ++i)
      if (rows[i].port == to) those.push_back(&rows[i]), origins.push_back(at[i]);
    if (!those.empty()) out.emit(writer_.rewrite(those, parent, origins), to);
  }
}

void threshold_alert::count(const event& e) {
  if (e.what.publish)
    meters_of(rules_.rules[e.rule].name).events[static_cast<std::size_t>(e.what.kind)].add();
  else
    too_old_.add();
}

void threshold_alert::report_counts() {
  if (evaluator_.take_reconciled()) report_open_alerts();
  const auto t = evaluator_.take_tally();
  const auto add = [](const pl::counter& c, std::uint64_t n) {
    if (n != 0) c.add(static_cast<double>(n));
  };
  add(late_, t.late);
  add(ahead_, t.ahead);
  add(no_time_, t.no_time);
  add(no_key_, t.no_key);
  add(no_room_, t.no_room);
  const auto evicted = evaluator_.store().take_evicted();
  add(evicted_, evicted);
  add(null_values_, t.null_values);
  add(unfit_values_, t.unfit_values);
  add(copies_, t.copies);
  add(no_limits_, t.no_limits);
  add(failed_conditions_, t.failed_conditions);
  keys_.set(static_cast<double>(evaluator_.keys()));
  const auto bytes = evaluator_.bytes();
  bytes_.set(static_cast<double>(bytes));
  const bool crowded = !ctx_.holds_memory(bytes);
  evaluator_.store().set_crowded(crowded);
  if (t.no_room != 0)
    warn_rarely("are of devices that are not known, while the state of no more devices can be kept (" +
                    std::string(crowded ? "memory_limit" : "max_keys") + ")",
                t.no_room, "raise max_keys and memory_limit, set when_full: evict_oldest, or lower forget_after");
  if (evicted != 0) warn_of_eviction(evicted);
  if (t.ahead != 0)
    warn_rarely("are further ahead of the time of their arrival than max_ahead", t.ahead,
                "check the clocks of the devices and of this machine, or raise max_ahead");
  if (t.no_time != 0)
    warn_rarely("have no time in column '" + rules_.time_column + "'", t.no_time,
                "check the time options of json_telemetry");
}

// A rule that is retired while alerts are reconciled has no meters yet.
void threshold_alert::report_open_alerts() {
  for (const auto& r : rules_.rules) (void)meters_of(r.name);
  for (const auto& [name, m] : meters_) m.open.set(static_cast<double>(evaluator_.open_alerts(name)));
}

void threshold_alert::warn_of_eviction(std::uint64_t n) {
  const auto now = std::chrono::system_clock::now();
  if (now < next_eviction_warning_) return;
  next_eviction_warning_ = now + std::chrono::minutes(1);
  ctx_.warn("the state of " + std::to_string(n) +
            " devices without open alerts was removed to make room for others: their silence is not noticed, and "
            "durations start anew with their next record; raise max_keys and memory_limit, or lower forget_after");
}

void threshold_alert::warn_rarely(std::string_view what, std::uint64_t n, std::string_view fix) {
  const auto now = std::chrono::system_clock::now();
  if (now < next_warning_) return;
  next_warning_ = now + std::chrono::minutes(1);
  ctx_.warn(std::to_string(n) + " records " + std::string(what) + " and are not evaluated; " + std::string(fix));
}

}  // namespace threshold_alert
