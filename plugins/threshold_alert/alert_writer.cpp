// SPDX-License-Identifier: Apache-2.0
#include "alert_writer.hpp"

#include "message.hpp"

namespace threshold_alert {
namespace {

const pl_schema* make_schema(const rule_set& rules, pl::context ctx) {
  std::vector<std::string_view> names{"id", "rule", "state", "severity", "metric", "value", "threshold", "message"};
  names.insert(names.end(), rules.group_by.begin(), rules.group_by.end());
  for (const auto* name : {"labels", "since", "time", "stream", "position"}) names.emplace_back(name);
  return ctx.schema(names);
}

pl::cell copied(pl::batch_builder& b, const pl::cell& c) {
  return pl::has_bytes(c) ? pl::span_cell(c.kind, b.copy(pl::bytes_of(c))) : c;
}

// Numbers are floats, whatever a device sent, so that `value` and `threshold` have one kind.
pl::cell value_of(pl::batch_builder& b, const pl::cell& c) {
  const auto number = pl::number_of(c);
  return number ? pl::real_cell(*number) : copied(b, c);
}
std::uint32_t value_kind(std::uint32_t kind) { return kind == PL_I64 ? std::uint32_t{PL_F64} : kind; }

std::uint32_t kind_of(const pl::scalar& s) {
  if (std::holds_alternative<std::string>(s)) return PL_TEXT;
  if (std::holds_alternative<bool>(s)) return PL_BOOL;
  return std::holds_alternative<std::monostate>(s) ? PL_NULL : PL_F64;
}

// Add a rule's kind to those of the rules before it: PL_NULL if they differ.
void join(std::optional<std::uint32_t>& all, std::uint32_t kind) {
  all = all && *all != kind ? std::uint32_t{PL_NULL} : kind;
}

// rows: the row of the parent that each row of the batch belongs to.
void set_origins(pl::batch_builder& b, std::span<const std::uint32_t> rows, pl::batch_view parent) {
  if (parent.has_positions()) {
    auto pos = b.allocate<std::uint64_t>(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) pos[i] = parent.position(rows[i]);
    b.set_positions(pos);
  }
  if (parent.raw()->origin != nullptr) {
    auto origin = b.allocate<std::uint32_t>(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) origin[i] = parent.origin(rows[i]);
    b.set_origins(origin);
  }
}

}  // namespace

alert_writer::alert_writer(const rule_set& rules, pl::context ctx)
    : rules_(rules), ctx_(ctx), schema_(make_schema(rules, ctx)) {}

std::vector<std::uint32_t> alert_writer::kinds(const pl::column_set& in) const {
  std::optional<std::uint32_t> value, threshold;
  for (const auto& r : rules_.rules) {
    const bool equals = r.when == condition::equals;
    if (r.when == condition::expression) {  // no threshold, and the metric of any kind as the value, or none
      if (!r.metric.empty()) join(value, value_kind(in.kind_of(r.metric)));
      continue;
    }
    join(value, equals ? value_kind(in.kind_of(r.metric)) : std::uint32_t{PL_F64});
    for (const auto& l : r.levels) join(threshold, equals ? kind_of(l.equals) : std::uint32_t{PL_F64});
  }
  std::vector<std::uint32_t> all(5, PL_TEXT);  // id, rule, state, severity, metric
  all.insert(all.end(), {value.value_or(PL_F64), threshold.value_or(PL_F64), PL_TEXT});
  for (const auto& name : rules_.group_by) all.push_back(in.kind_of(name));
  all.insert(all.end(), {PL_JSON, PL_TIME_NS, PL_TIME_NS, PL_TEXT, PL_I64});  // labels, since, time, stream, position
  return all;
}

pl::batch alert_writer::write(std::span<const event* const> events, std::optional<pl::batch_view> parent) {
  const auto rows = static_cast<std::uint32_t>(events.size());
  auto b = parent ? ctx_.derive(*parent, schema_, rows) : ctx_.build(schema_, rows);
  std::vector<std::span<pl::cell>> columns;
  for (pl::column_index c = 0; c < schema_->ncols; ++c) columns.push_back(b.make_column(c));
  origins_.clear();
  for (const auto* e : events) origins_.push_back(e->row);
  if (parent) set_origins(b, origins_, *parent);
  for (std::uint32_t row = 0; row < rows; ++row) {
    const auto& e = *events[row];
    const auto stream = parent ? e.stream : b.copy(e.stream);  // a derived batch keeps its parent's stream name alive
    write_row(b, columns, row, e, stream);
  }
  return std::move(b).finish();
}

pl::batch alert_writer::rewrite(std::span<const stored_row* const> rows, std::optional<pl::batch_view> parent,
                                std::span<const std::uint32_t> origins) {
  const auto n = static_cast<std::uint32_t>(rows.size());
  auto b = parent ? ctx_.derive(*parent, schema_, n) : ctx_.build(schema_, n);
  for (pl::column_index c = 0; c < schema_->ncols; ++c) {
    auto to = b.make_column(c);
    for (std::uint32_t row = 0; row < n; ++row)
      for (const auto& stored : rows[row]->columns) {
        if (stored.name != pl::view(schema_->names[c])) continue;
        unpack_key(stored.cell, key_);
        to[row] = copied(b, key_.front());
      }
  }
  if (parent) set_origins(b, origins, *parent);
  return std::move(b).finish();
}

void alert_writer::write_row(pl::batch_builder& b, std::vector<std::span<pl::cell>>& columns, std::uint32_t row,
                             const event& e, std::string_view stream) {
  const auto& r = rules_.rules[e.rule];
  const auto& severity = r.levels[static_cast<std::size_t>(e.what.level)].severity;
  const auto state = name_of(e.what.kind);
  unpack_key(e.key, key_);
  text_ = e.text;
  if (text_.empty())
    append_message(text_,
                   e.what.closes ? r.resolved_text
                   : e.breached  ? r.text
                                 : r.held_text,
                   {r, state, severity, e.value, e.threshold, e.what.alert.since, e.time, stream, e.position, key_});
  std::size_t c = 0;
  const auto put = [&](pl::cell cell) { columns[c++][row] = cell; };
  put(pl::text_cell(b.copy(uuid_text(e.what.alert.id))));
  put(pl::text_cell(b.copy(r.name)));  // copied: the batch may outlive this instance
  put(pl::text_cell(b.copy(state)));
  put(pl::text_cell(b.copy(severity)));
  put(r.metric.empty() ? pl::null_cell() : pl::text_cell(b.copy(r.metric)));
  put(value_of(b, e.value));
  put(value_of(b, e.threshold));
  put(pl::text_cell(b.copy(text_)));
  for (const auto& cell : key_) put(copied(b, cell));
  put(r.labels.empty() ? pl::null_cell() : pl::json_cell(b.copy(r.labels)));
  put(pl::time_cell(e.what.alert.since));
  put(pl::time_cell(e.time));
  put(stream.empty() ? pl::null_cell() : pl::text_cell(stream));
  put(e.position == PL_UNKNOWN ? pl::null_cell() : pl::int_cell(static_cast<std::int64_t>(e.position)));
}

}  // namespace threshold_alert
