// SPDX-License-Identifier: Apache-2.0
#include "unpivot.hpp"

#include "json_list.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

namespace unpivot {

namespace {

std::vector<std::string> names_of(const pl_schema& schema) {
  std::vector<std::string> names;
  for (pl::column_index c = 0; c < schema.ncols; ++c) names.emplace_back(pl::view(schema.names[c]));
  return names;
}

const pl_schema* schema_of(pl::context ctx, const std::vector<std::string>& names) {
  const std::vector<std::string_view> views(names.begin(), names.end());
  return ctx.schema(std::span<const std::string_view>(views));
}

}  // namespace

pl::description unpivot::describe() {
  return {
      .name = "unpivot",
      .doc =
          "Makes several rows of one: a row for each of some columns (wide to narrow), or for each element of a list.\n"
          "With `columns`, a row with temperature and humidity becomes two rows with `metric` and `value`. With "
          "`explode`, a row with a list in a JSON column becomes a row for each element. All rows of a record keep its "
          "position, so that they are delivered together.",
      .example = "plugin: unpivot\nfrom: parsed\ncolumns: [temperature, humidity]\nkeep: [time, device_id]\n",
      .abilities = PL_DETERMINISTIC};
}

unpivot::unpivot(options o, pl::context ctx)
    : options_(std::move(o)),
      ctx_(ctx),
      empty_(ctx.counter("unpivot_empty_rows_total",
                         "Rows that became no row, because all their values were null or their list was empty")) {
  const auto faults = faults_of(options_);
  for (const auto& f : faults) ctx.option_error(f.option, f.message);
  if (!faults.empty()) throw pl::invalid_options{};
}

pl::result<const pl_schema*> unpivot::columns(const pl_schema* in, std::uint32_t port) {
  auto typed = typed_columns({in}, port);
  if (!typed.ok()) return typed.why();
  return typed->schema;
}

pl::result<pl::column_set> unpivot::typed_columns(const pl::column_set& in, std::uint32_t) {
  if (in.schema == nullptr) return pl::column_set{};
  std::vector<pl::failure> faults;
  auto planned = plan(names_of(*in.schema), in.kinds, options_, &faults);
  if (!planned.ok()) return planned.why();
  if (faults.empty()) return pl::column_set{schema_of(ctx_, planned->out), std::move(planned->out_kinds)};
  for (std::size_t i = 0; i + 1 < faults.size(); ++i) ctx_.option_error(faults[i].option, faults[i].message);
  return faults.back();
}

pl::column_use unpivot::used_columns() const {
  pl::column_use use{options_.columns, options_.keep.empty()};
  if (options_.explode) use.columns.push_back(*options_.explode);
  use.columns.insert(use.columns.end(), options_.keep.begin(), options_.keep.end());
  return use;
}

pl::result<void> unpivot::bind(const pl_schema& in) {
  bound_ = nullptr;
  auto planned = plan(names_of(in), {}, options_, nullptr);
  if (!planned.ok()) return planned.why();
  layout_ = std::move(planned).value();
  out_ = schema_of(ctx_, layout_.out);
  bound_ = &in;
  return {};
}

pl::result<void> unpivot::apply(pl::batch_view in, pl::emitter& out) {
  if (bound_ != &in.schema())
    if (const auto bound = bind(in.schema()); !bound.ok()) {
      for (const auto row : in.selection()) ctx_.reject(in, row, bound.why().message);
      return {};
    }
  from_.clear();
  labels_.clear();
  values_.clear();
  if (options_.explode)
    turn_elements(in);
  else
    turn_columns(in);
  if (!from_.empty()) out.emit(build(in));
  return {};
}

void unpivot::turn_columns(pl::batch_view in) {
  std::uint64_t empty = 0;
  for (const auto row : in.selection()) {
    const auto before = from_.size();
    for (std::uint32_t i = 0; i < layout_.turned.size(); ++i)
      if (const auto& cell = in.at(layout_.turned[i], row); !pl::is_null(cell)) add(row, i, cell);
    if (from_.size() == before) ++empty;
  }
  if (empty != 0) empty_.add(static_cast<double>(empty));
}

void unpivot::turn_elements(pl::batch_view in) {
  std::uint64_t empty = 0;
  for (const auto row : in.selection()) {
    elements_.clear();
    if (!layout_.turned.empty()) {
      const auto& cell = in.at(layout_.turned.front(), row);
      if (cell.kind == PL_JSON) {
        if (const auto read = append_elements(pl::bytes_of(cell), options_.max_elements, elements_); !read.ok()) {
          ctx_.reject(in, row, "'" + *options_.explode + "': " + read.why().message);
          continue;
        }
      } else if (!pl::is_null(cell)) {
        ctx_.reject(in, row,
                    "'" + *options_.explode + "' has the kind " + std::string(pl::kind_name(cell.kind)) +
                        "; explode needs json");
        continue;
      }
    }
    for (std::uint32_t i = 0; i < elements_.size(); ++i) add(row, i, elements_[i]);
    if (elements_.empty()) ++empty;
  }
  if (empty != 0) empty_.add(static_cast<double>(empty));
}

void unpivot::add(pl::row_index from, std::uint32_t label, const pl::cell& value) {
  from_.push_back(from);
  labels_.push_back(label);
  values_.push_back(value);
}

pl::batch_builder unpivot::build(pl::batch_view in) const {
  auto made = ctx_.derive(in, out_, static_cast<std::uint32_t>(from_.size()));
  add_positions(in, made);
  pl::column_index c = 0;
  for (const auto kept : layout_.kept) {
    const auto cells = made.allocate<pl::cell>(from_.size());
    const auto source = in.column(kept);
    std::transform(from_.begin(), from_.end(), cells.begin(), [&](pl::row_index row) { return source[row]; });
    made.share_column(c++, cells);
  }
  if (!options_.explode || options_.index) {
    const auto cells = made.allocate<pl::cell>(from_.size());
    fill_labels(made, cells);
    made.share_column(c++, cells);
  }
  const auto cells = made.allocate<pl::cell>(from_.size());
  std::copy(values_.begin(), values_.end(), cells.begin());
  made.share_column(c, cells);
  return made;
}

// Set the position of each row to that of its record, always: a batch that happens to have as many rows as its parent has the
// parent's positions otherwise.
void unpivot::add_positions(pl::batch_view in, pl::batch_builder& made) const {
  const auto* parent = in.raw();
  const auto copy = [&]<class T>(const T* of_parent) {
    const auto all = made.allocate<T>(from_.size());
    std::transform(from_.begin(), from_.end(), all.begin(), [&](pl::row_index row) { return of_parent[row]; });
    return all;
  };
  if (parent->pos != nullptr) made.set_positions(copy(parent->pos));
  if (parent->arrival != nullptr) made.set_arrivals(copy(parent->arrival));
  if (parent->origin != nullptr) made.set_origins(copy(parent->origin));
}

void unpivot::fill_labels(pl::batch_builder& made, std::span<pl::cell> to) const {
  if (options_.explode) {
    std::transform(labels_.begin(), labels_.end(), to.begin(),
                   [](std::uint32_t i) { return pl::int_cell(static_cast<std::int64_t>(i)); });
    return;
  }
  std::vector<pl::cell> names;
  for (const auto& name : layout_.turned_names) names.push_back(pl::text_cell(made.copy(name)));
  std::transform(labels_.begin(), labels_.end(), to.begin(), [&](std::uint32_t i) { return names[i]; });
}

}  // namespace unpivot
