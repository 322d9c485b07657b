// SPDX-License-Identifier: Apache-2.0
#include "filter.hpp"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

namespace filter {

pl::option_table<options> options::table() {
  return {
      pl::option(&options::where, "where",
                 "Condition, in the language of docs/expressions.md. Rows for which it is true leave on the port "
                 "`out`, and all others on the port `rest`: also those for which it fails, such as a comparison with "
                 "a column that the row does not have.")
          .required()
          .example("temperature > 30")};
}

pl::description filter::describe() {
  return {.name = "filter",
          .doc =
              "Passes the rows that meet a condition on the port `out`, and the others on the port `rest`.\n"
              "If nothing reads from a port, its rows are discarded.",
          .example = "plugin: filter\nfrom: parsed\nwhere: temperature > 30 && device_id.startsWith('th-')\n",
          .ports = {"out", "rest"},
          .abilities = PL_DETERMINISTIC};
}

filter::filter(options o, pl::context ctx)
    : ctx_(ctx), where_(ctx, "where", std::move(o.where), pl::cel::purpose::condition) {
  pl::cel::compile_all(ctx, {&where_, 1});
}

pl::result<pl::column_set> filter::typed_columns(const pl::column_set& in, std::uint32_t) {
  if (auto done = where_.compile(in); !done.ok()) return done.why();
  return in;
}

pl::column_use filter::used_columns() const {
  pl::column_use use{.passes_on = true};
  where_.add_columns(use);
  return use;
}

pl::result<void> filter::apply(pl::batch_view in, pl::emitter& out) {
  matched_.clear();
  failed_.clear();
  where_.get().select(in, matched_, &failed_);
  where_.report(in, failed_, "they count as not matching");
  if (matched_.size() == in.selected()) return out.pass(in, matching), pl::result<void>();
  if (matched_.empty()) return out.pass(in, rest), pl::result<void>();
  unmatched_.clear();
  const auto all = in.selection();
  std::set_difference(all.begin(), all.end(), matched_.begin(), matched_.end(), std::back_inserter(unmatched_));
  out.emit(ctx_.derive_rows(in, matched_), matching);
  out.emit(ctx_.derive_rows(in, unmatched_), rest);
  return {};
}

}  // namespace filter
