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

}  // namespace

alert_writer::alert_writer(const rule_set& rules, pl::context ctx)
    : rules_(rules), ctx_(ctx), schema_(make_schema(rules, ctx)) {}

pl::batch alert_writer::write(const evaluator& from, const std::vector<std::uint32_t>& events,
                              std::optional<pl::batch_view> parent) {
  const auto rows = static_cast<std::uint32_t>(events.size());
  auto b = parent ? ctx_.derive(*parent, schema_, rows) : ctx_.build(schema_, rows);
  std::vector<std::span<pl::cell>> columns;
  for (pl::column_index c = 0; c < schema_->ncols; ++c) columns.push_back(b.make_column(c));
  if (parent) set_origins(b, from, events, *parent);
  for (std::uint32_t row = 0; row < rows; ++row) {
    const auto& e = from.events()[events[row]];
    const auto stream = parent ? e.stream : b.copy(e.stream);  // a parent's stream lives as long as what is derived
    write_row(b, columns, row, e, from.key_of(e), stream);
  }
  return std::move(b).finish();
}

void alert_writer::set_origins(pl::batch_builder& b, const evaluator& from, const std::vector<std::uint32_t>& events,
                               pl::batch_view parent) const {
  if (parent.has_positions()) {
    auto pos = b.allocate<std::uint64_t>(events.size());
    for (std::size_t i = 0; i < events.size(); ++i) pos[i] = parent.position(from.events()[events[i]].row);
    b.set_positions(pos);
  }
  if (parent.raw()->origin != nullptr) {
    auto origin = b.allocate<std::uint32_t>(events.size());
    for (std::size_t i = 0; i < events.size(); ++i) origin[i] = parent.origin(from.events()[events[i]].row);
    b.set_origins(origin);
  }
}

void alert_writer::write_row(pl::batch_builder& b, std::vector<std::span<pl::cell>>& columns, std::uint32_t row,
                             const event& e, std::string_view key, std::string_view stream) {
  const auto& r = rules_.rules[e.rule];
  const auto& severity = r.levels[static_cast<std::size_t>(e.what.level)].severity;
  const auto state = name_of(e.what.kind);
  unpack_key(key, key_);
  text_.clear();
  append_message(text_, e.what.closes ? r.resolved_text : r.text,
                 {r, state, severity, e.value, e.threshold, e.what.alert.since, e.time, stream, e.position, key_});
  std::size_t c = 0;
  const auto put = [&](pl::cell cell) { columns[c++][row] = cell; };
  put(pl::text_cell(b.copy(uuid_text(e.what.alert.id))));
  put(pl::text_cell(b.copy(r.name)));  // copied: the batch may outlive this instance
  put(pl::text_cell(b.copy(state)));
  put(pl::text_cell(b.copy(severity)));
  put(r.metric.empty() ? pl::null_cell() : pl::text_cell(b.copy(r.metric)));
  put(copied(b, e.value));
  put(copied(b, e.threshold));
  put(pl::text_cell(b.copy(text_)));
  for (const auto& cell : key_) put(copied(b, cell));
  put(r.labels.empty() ? pl::null_cell() : pl::json_cell(b.copy(r.labels)));
  put(pl::time_cell(e.what.alert.since));
  put(pl::time_cell(e.time));
  put(stream.empty() ? pl::null_cell() : pl::text_cell(stream));
  put(e.position == PL_UNKNOWN ? pl::null_cell() : pl::int_cell(static_cast<std::int64_t>(e.position)));
}

}  // namespace threshold_alert
