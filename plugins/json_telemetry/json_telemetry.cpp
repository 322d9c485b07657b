// SPDX-License-Identifier: Apache-2.0
#include "record_reader.hpp"

#include <pipeline/clock.hpp>
#include <pipeline/plugin.hpp>

#include <memory>

namespace json_telemetry {

namespace {

constexpr std::string_view example = R"(plugin: json_telemetry
from: telemetry
metrics: [temperature, humidity, co2]
columns:
  - {name: firmware, type: text, from: [meta.fw]}
time: {from: [ts], unit: ms}
)";

constexpr std::uint32_t kind_of(column_type type) {
  switch (type) {
    case column_type::floating:
      return PL_F64;
    case column_type::integer:
      return PL_I64;
    case column_type::text:
      return PL_TEXT;
    case column_type::boolean:
      return PL_BOOL;
    case column_type::json:
      return PL_JSON;
    case column_type::time:
      return PL_TIME_NS;
  }
  return PL_NULL;
}

constexpr std::string_view summary =
    "Parses JSON telemetry: one row per record, with time, ids and metrics as columns and the other fields as JSON.\n"
    "Finds common spellings without any option. Payloads that cannot be read without guessing go to the dead letters "
    "with the reason.";

}  // namespace

class parser final : public pl::transform, public pl::columns_aware, public pl::column_user {
 public:
  using options = json_telemetry::options;

  static pl::description describe() { return {"json_telemetry", summary, example, {"out"}, PL_DETERMINISTIC}; }

  parser(const options& o, pl::context ctx)
      : ctx_(ctx),
        clock_(ctx.raw()),
        plan_(checked_plan(o, ctx)),
        reader_(plan_),
        columns_{{plan_.payload, "topic", "key", "time"}} {
    output_ = ctx.schema(std::vector<std::string_view>(plan_.output.begin(), plan_.output.end()));
    for (std::size_t i = 0; i < cause_names.size(); ++i)
      rejects_[i] = ctx.counter("json_rejects_total", "Rejected messages, by cause", {{"cause", cause_names[i]}});
    for (const auto& [name, unit] : choices(time_unit{}))
      if (unit != time_unit::automatic)
        times_[static_cast<std::size_t>(unit)] =
            ctx.counter("json_times_total", "Records by the unit of their time", {{"unit", name}});
    message_times_ =
        ctx.counter("json_message_times_total", "Records without a time that got the time of their message");
    extra_rows_ = ctx.counter("json_extra_rows_total", "Records with fields that are not mapped to a column");
    unfit_values_ = ctx.counter("json_unfit_values_total", "Values kept in extra because they do not fit their column");
    tombstones_ = ctx.counter("json_tombstones_total", "Messages with no or an empty payload that were skipped");
  }

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override {
    if (in == nullptr) return output_;
    if (!pl::find_column(*in, plan_.payload)) return pl::bad_option("payload", missing(plan_.payload, *in));
    if (plan_.topic && !pl::find_column(*in, "topic")) return pl::bad_option("ids_from.topic", missing("topic", *in));
    if (plan_.key && !pl::find_column(*in, "key")) return pl::bad_option("ids_from.key", missing("key", *in));
    if (plan_.missing_time == on_missing_time::message_time && !pl::find_column(*in, "time"))
      return pl::bad_option("time.missing", missing("time", *in));
    for (std::size_t i = 0; i < plan_.keep.size(); ++i)
      if (!pl::find_column(*in, plan_.keep[i]))
        return pl::bad_option("keep[" + std::to_string(i) + "]", missing(plan_.keep[i], *in));
    return output_;
  }

  pl::result<pl::column_set> typed_columns(const pl::column_set& in, std::uint32_t port) override {
    const auto out = columns(in.schema, port);
    if (!out.ok()) return out.why();
    if (auto why = pl::wrong_kind(in, "payload", plan_.payload, {PL_BYTES, PL_TEXT, PL_JSON})) return *std::move(why);
    if (plan_.missing_time == on_missing_time::message_time)
      if (auto why = pl::wrong_kind(in, "time.missing", "time", {PL_TIME_NS})) return *std::move(why);
    pl::column_set all{*out};
    for (const auto& c : plan_.columns) all.kinds.push_back(kind_of(c.type));
    for (const auto& name : plan_.keep) all.kinds.push_back(in.kind_of(name));
    if (plan_.has_extra) all.kinds.push_back(PL_JSON);
    return all;
  }

  [[nodiscard]] pl::column_use used_columns() const override {
    pl::column_use use{{plan_.payload, "topic", "key", "time"}};
    use.columns.insert(use.columns.end(), plan_.keep.begin(), plan_.keep.end());
    return use;
  }

  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override {
    const auto& at = columns_.in(in.schema());
    if (!at[payload]) return pl::fatal(missing(plan_.payload, in.schema()));
    auto built = ctx_.derive(in, output_, in.rows());
    rows_.begin(built, static_cast<std::uint32_t>(plan_.output.size()), in.selected());
    reader_.begin_batch([&built](std::size_t n) { return built.allocate<char>(n).data(); }, clock_.now_ns());
    for (const auto row : in.selection()) read_row(in, at, row);
    report();
    emit(in, std::move(built), out);
    return {};
  }

 private:
  enum input { payload, topic, key, time, inputs };
  using input_columns = std::array<std::optional<pl::column_index>, inputs>;

  static plan checked_plan(const options& o, pl::context ctx) {
    bool good = true;
    auto made = make_plan(o, [&](std::string_view option, std::string_view message) {
      good = false;
      ctx.option_error(option, message);
    });
    if (!good) throw pl::invalid_options{};
    return made;
  }

  static std::string missing(std::string_view column, const pl_schema& in) {
    std::string why = "the input has no column '" + std::string(column) + "'; its columns are: ";
    for (pl::column_index c = 0; c < in.ncols; ++c) why += (c == 0 ? "" : ", ") + std::string(pl::view(in.names[c]));
    return why;
  }

  void read_row(pl::batch_view in, const input_columns& at, pl::row_index row) {
    const auto& document = in.at(*at[payload], row);
    if (!pl::has_bytes(document)) return read_no_document(in, document, row);
    // MQTT has no null payload: an empty one takes its place, and deletes a retained message.
    if (pl::bytes_of(document).empty() && plan_.tombstones == on_tombstone::skip) return tombstones_.add();
    message m{pl::bytes_of(document), {}, {}, {}, row};
    if (at[topic]) m.topic = pl::bytes_of(in.at(*at[topic], row));
    if (at[key]) m.key = pl::bytes_of(in.at(*at[key], row));
    if (at[time] && in.at(*at[time], row).kind == PL_TIME_NS) m.time = in.at(*at[time], row).as.i;
    if (!reader_.read(m, rows_)) reject(in, row, reader_.cause(), reader_.why());
  }

  void read_no_document(pl::batch_view in, const pl::cell& document, pl::row_index row) {
    if (pl::is_null(document) && plan_.tombstones == on_tombstone::skip) return tombstones_.add();
    reject(in, row, reject_cause::no_payload,
           pl::is_null(document) ? "there is no payload (a tombstone); to ignore tombstones, set 'tombstones: skip'"
                                 : "column '" + plan_.payload + "' contains neither bytes nor text nor JSON");
  }

  void reject(pl::batch_view in, pl::row_index row, reject_cause cause, std::string_view why) {
    rejects_[static_cast<std::size_t>(cause)].add();
    ctx_.reject(in, row, why);
  }

  void report() {
    const auto counts = std::exchange(reader_.counts, {});
    const auto add = [](const pl::counter& to, std::uint64_t n) {
      if (n != 0) to.add(static_cast<double>(n));
    };
    for (std::size_t i = 0; i < times_.size(); ++i) add(times_[i], counts.times[i]);
    add(message_times_, counts.message_times);
    add(extra_rows_, counts.extra_rows);
    add(unfit_values_, counts.unfit_values);
  }

  // Emit a batch without rows, too: the sinks need its position ranges.
  void emit(pl::batch_view in, pl::batch_builder built, pl::emitter& out) {
    const auto n = rows_.rows();
    if (n > in.rows()) {
      // More rows than requested: build a second batch of the right size whose columns refer to memory of the first.
      auto larger = ctx_.derive(built.peek(), output_, n);
      fill(in, larger);
      return out.emit(std::move(larger));
    }
    built.shrink(n);
    fill(in, built);
    out.emit(std::move(built));
  }

  void fill(pl::batch_view in, pl::batch_builder& to) {
    const auto sources = rows_.sources();
    for (std::size_t c = 0; c < plan_.output.size(); ++c)
      to.share_column(static_cast<pl::column_index>(c), rows_.column(c));
    for (std::size_t k = 0; k < plan_.keep.size(); ++k) keep_column(in, to, k);
    if (in.has_positions())
      to.set_positions(gathered(to, sources, in.raw()->pos));
    else
      to.set_positions({});
    if (in.raw()->origin != nullptr)
      to.set_origins(gathered(to, sources, in.raw()->origin));
    else
      to.set_origins({});
    if (in.raw()->arrival != nullptr)
      to.set_arrivals(gathered(to, sources, in.raw()->arrival));
    else
      to.set_arrivals({});
  }

  template <class T>
  static std::span<const T> gathered(pl::batch_builder& to, std::span<const pl::row_index> sources, const T* from) {
    auto all = to.allocate<T>(sources.size());
    for (std::size_t i = 0; i < sources.size(); ++i) all[i] = from[sources[i]];
    return all;
  }

  void keep_column(pl::batch_view in, pl::batch_builder& to, std::size_t k) {
    const auto c = static_cast<pl::column_index>(plan_.columns.size() + k);
    const auto from = in.find(plan_.keep[k]);
    if (from)
      to.share_column(c, gathered(to, rows_.sources(), in.column(*from).data()));
    else
      to.share_column(c, gathered_nulls(to, rows_.rows()));
  }
  static std::span<const pl::cell> gathered_nulls(pl::batch_builder& to, std::uint32_t n) {
    auto all = to.allocate<pl::cell>(n);
    std::fill(all.begin(), all.end(), pl::null_cell());
    return all;
  }

  pl::context ctx_;
  pl::wall_clock clock_;
  plan plan_;
  record_reader reader_;
  row_store rows_;
  pl::column_lookup<inputs> columns_;
  const pl_schema* output_ = nullptr;
  std::array<pl::counter, cause_names.size()> rejects_;
  std::array<pl::counter, 6> times_;
  pl::counter message_times_, extra_rows_, unfit_values_, tombstones_;
};

}  // namespace json_telemetry

PL_EXPORT("1.0.0", json_telemetry::parser)
