// SPDX-License-Identifier: Apache-2.0
#include "route.hpp"

#include <algorithm>
#include <iterator>

namespace route {

namespace {

constexpr std::string_view otherwise = "otherwise";

// Return why a text is not the name of a port that `from` can read; empty if it is one.
std::string fault_of(std::string_view name) {
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
  if (name == otherwise) return "'otherwise' is the port of the rows that match no route; choose another name";
  if (name.empty() || name.find_first_not_of(letters) != std::string_view::npos)
    return "'" + std::string(name) + "' is not a valid route name; use letters, digits, '_' and '-'";
  return {};
}

}  // namespace

pl::option_table<options> options::table() {
  return {
      pl::option(&options::routes, "routes",
                 "Names of output ports, each with its condition, in the language of docs/expressions.md. The order is "
                 "that of the file. A condition that fails for a row does not match it.")
          .required()
          .example("{cold: temperature < 5, hot: temperature > 30}"),
      pl::option(&options::match, "match",
                 "first: a row leaves on the port of the first route that it matches; all: it leaves on the port of "
                 "each route that it matches.")};
}

pl::description route::describe() {
  return {
      .name = "route",
      .doc =
          "Sends rows to named output ports, by conditions.\n"
          "The ports are the names of the routes, and `otherwise` for rows that match none of them. Other nodes read "
          "from NODE.PORT. If nothing reads from a port, its rows are discarded.",
      .example = "plugin: route\nfrom: parsed\nroutes: {cold: temperature < 5, hot: temperature > 30}\n",
      .abilities = PL_DETERMINISTIC};
}

route::route(const options& o, pl::context ctx) : ctx_(ctx), match_(o.match) {
  bool sound = !o.routes.empty();
  if (!sound) ctx.option_error("routes", "'routes' is empty; name at least one route with its condition");
  for (const auto& [name, condition] : o.routes) {
    if (const auto fault = fault_of(name); !fault.empty()) {
      ctx.option_error("routes." + name, fault);
      sound = false;
    }
    ports_.push_back(name);
    conditions_.emplace_back(ctx, "routes." + name, condition, pl::cel::purpose::condition);
  }
  ports_.emplace_back(otherwise);
  pl::cel::compile_all(ctx, conditions_);
  if (!sound) throw pl::invalid_options{};
}

pl::result<pl::column_set> route::typed_columns(const pl::column_set& in, std::uint32_t) {
  if (auto done = pl::cel::compile_all(ctx_, conditions_, in); !done.ok()) return done.why();
  return in;
}

pl::column_use route::used_columns() const {
  pl::column_use use{.passes_on = true};
  for (const auto& c : conditions_) c.add_columns(use);
  return use;
}

pl::result<void> route::apply(pl::batch_view in, pl::emitter& out) {
  const auto selection = in.selection();
  unmatched_.assign(selection.begin(), selection.end());
  if (match_ == matching::all) all_ = unmatched_;
  for (std::uint32_t r = 0; r < conditions_.size(); ++r) {
    matched_.clear();
    failed_.clear();
    const auto& candidates = match_ == matching::all ? all_ : unmatched_;
    conditions_[r].get().select(in, candidates, matched_, &failed_);
    conditions_[r].report(in, failed_, "they count as not matching");
    emit(in, matched_, r, out);
    if (matched_.empty()) continue;
    remaining_.clear();
    std::set_difference(unmatched_.begin(), unmatched_.end(), matched_.begin(), matched_.end(),
                        std::back_inserter(remaining_));
    std::swap(unmatched_, remaining_);
  }
  emit(in, unmatched_, static_cast<std::uint32_t>(conditions_.size()), out);
  return {};
}

void route::emit(pl::batch_view in, const std::vector<pl::row_index>& rows, std::uint32_t port,
                 pl::emitter& out) const {
  if (rows.empty()) return;
  if (rows.size() == in.selected()) return out.pass(in, port);
  out.emit(ctx_.derive_rows(in, rows), port);
}

}  // namespace route
