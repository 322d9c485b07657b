// SPDX-License-Identifier: Apache-2.0
#include "map.hpp"

#include <algorithm>
#include <iterator>
#include <span>
#include <string_view>
#include <utility>

namespace map {

namespace {

std::vector<std::string> names_of(const pl_schema& schema) {
  std::vector<std::string> names;
  for (pl::column_index c = 0; c < schema.ncols; ++c) names.emplace_back(pl::view(schema.names[c]));
  return names;
}

const pl_schema* schema_of(pl::context ctx, std::span<const std::string> names) {
  const std::vector<std::string_view> views(names.begin(), names.end());
  return ctx.schema(std::span<const std::string_view>(views));
}

const pl_schema* output_schema(pl::context ctx, const layout& l) {
  std::vector<std::string> names;
  for (const auto& c : l.out) names.push_back(c.name);
  return schema_of(ctx, names);
}

}  // namespace

pl::description map::describe() {
  return {.name = "map",
          .doc =
              "Computes columns with expressions, and renames, keeps and drops columns.\n"
              "`set`, `rename`, `keep` and `drop` run in this order, whatever their order in the file is. The kinds of "
              "computed columns are known before records arrive, so that a sink can create its table.",
          .example = "plugin: map\nfrom: parsed\nset: {fahrenheit: temperature * 9 / 5 + 32}\ndrop: [extra]\n",
          .abilities = PL_DETERMINISTIC};
}

map::map(options o, pl::context ctx) : options_(std::move(o)), ctx_(ctx) {
  const auto faults = faults_of(options_);
  for (const auto& f : faults) ctx.option_error(f.option, f.message);
  for (const auto& [name, expression] : options_.set)
    set_.emplace_back(ctx, "set." + name, expression, pl::cel::purpose::cells);
  pl::cel::compile_all(ctx, set_);
  if (!faults.empty()) throw pl::invalid_options{};
}

pl::result<const pl_schema*> map::columns(const pl_schema* in, std::uint32_t port) {
  auto typed = typed_columns({in}, port);
  if (!typed.ok()) return typed.why();
  return typed->schema;
}

// Compile each expression for the kinds of the columns that it sees, which the steps before it may have changed.
pl::result<pl::column_set> map::typed_columns(const pl::column_set& in, std::uint32_t) {
  if (in.schema == nullptr) return pl::column_set{};
  std::vector<pl::failure> faults;
  const auto names = names_of(*in.schema);
  const auto planned = plan(names, options_, &faults);
  if (!planned.ok()) return planned.why();
  std::vector<std::uint32_t> kinds;
  for (pl::column_index c = 0; c < in.schema->ncols; ++c) kinds.push_back(in.kind(c));
  kinds.resize(planned->work.size(), PL_NULL);
  for (std::size_t s = 0; s < set_.size(); ++s) {
    const auto n = planned->visible[s];
    const pl::column_set visible{schema_of(ctx_, std::span(planned->work).first(n)),
                                 {kinds.begin(), kinds.begin() + n}};
    const auto compiled = set_[s].compile(visible);
    if (!compiled.ok()) faults.push_back(compiled.why());
    kinds[planned->step_to[s]] = compiled.ok() ? set_[s].compiled().kind() : std::uint32_t{PL_NULL};
  }
  if (!faults.empty()) {
    for (std::size_t i = 0; i + 1 < faults.size(); ++i) ctx_.option_error(faults[i].option, faults[i].message);
    return faults.back();
  }
  pl::column_set out{output_schema(ctx_, *planned)};
  for (const auto& c : planned->out) out.kinds.push_back(kinds[c.from]);
  return out;
}

// The names in `keep` are those after `rename`. Names that `set` makes are listed, too: the input need not have them.
pl::column_use map::used_columns() const {
  pl::column_use use{options_.keep, options_.keep.empty()};
  for (const auto& [from, to] : options_.rename) use.columns.push_back(from);
  for (const auto& expression : set_) expression.add_columns(use);
  return use;
}

pl::result<void> map::bind(const pl_schema& in) {
  bound_ = nullptr;
  auto planned = plan(names_of(in), options_, nullptr);
  if (!planned.ok()) return planned.why();
  layout_ = std::move(planned).value();
  visible_.clear();
  for (const auto n : layout_.visible) visible_.push_back(schema_of(ctx_, std::span(layout_.work).first(n)));
  out_ = output_schema(ctx_, layout_);
  bound_ = &in;
  return {};
}

pl::result<void> map::apply(pl::batch_view in, pl::emitter& out) {
  if (bound_ != &in.schema())
    if (const auto bound = bind(in.schema()); !bound.ok()) {
      for (const auto row : in.selection()) ctx_.reject(in, row, bound.why().message);
      return {};
    }
  auto made = ctx_.derive(in, out_, in.rows());
  work_.assign(in.raw()->cols, in.raw()->cols + in.columns());
  work_.resize(layout_.work.size(), nullptr);
  auto work = *in.raw();  // a view of the columns that exist so far
  work.cols = work_.data();
  for (std::size_t s = 0; s < set_.size(); ++s) compute(s, work, in, made);
  if (work.nsel == 0 && in.selected() != 0) return {};
  for (pl::column_index c = 0; c < layout_.out.size(); ++c)
    made.share_column(c, {work_[layout_.out[c].from], in.rows()});
  if (work.sel != nullptr) {
    const auto rows = made.allocate<pl::row_index>(work.nsel);
    std::copy_n(work.sel, work.nsel, rows.begin());
    made.select(rows);
  }
  out.emit(std::move(made));
  return {};
}

void map::compute(std::size_t step, pl_batch& work, pl::batch_view in, pl::batch_builder& out) {
  work.schema = visible_[step];
  const auto cells = out.allocate<pl::cell>(in.rows());
  if (work.sel != nullptr) std::fill(cells.begin(), cells.end(), pl::null_cell());
  failed_.clear();
  const pl::batch_view seen(&work);
  set_[step].get().fill(seen, out, cells, &failed_);
  if (!failed_.empty()) {
    const bool rejects = options_.errors == on_error::reject;
    set_[step].report(seen, failed_, rejects ? "they are rejected" : "the column is null in them");
    if (rejects) reject_failed(step, work, in);
  }
  work_[layout_.step_to[step]] = cells.data();
}

// Take the failed rows out of the selection, so that each row is rejected once.
void map::reject_failed(std::size_t step, pl_batch& work, pl::batch_view in) {
  const pl::batch_view seen(&work);
  for (const auto row : failed_) ctx_.reject(in, row, "'" + set_[step].option() + "': " + set_[step].why(seen, row));
  remaining_.clear();
  const auto all = seen.selection();
  std::set_difference(all.begin(), all.end(), failed_.begin(), failed_.end(), std::back_inserter(remaining_));
  std::swap(left_, remaining_);
  work.sel = left_.data();
  work.nsel = static_cast<std::uint32_t>(left_.size());
}

}  // namespace map
