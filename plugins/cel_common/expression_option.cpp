// SPDX-License-Identifier: Apache-2.0
#include "cel_common/expression_option.hpp"

#include "cel_common/plan.hpp"

#include <utility>

namespace pl::cel {

expression_option::expression_option(context ctx, std::string option, std::string text, purpose want)
    : ctx_(ctx),
      option_(std::move(option)),
      text_(std::move(text)),
      want_(want),
      failures_(ctx.counter("expression_failures_total", "Rows for which an expression failed, by option.",
                            {{"option", option_}})) {}

result<void> expression_option::compile(const column_set& columns) {
  auto made = pl::cel::compile(text_, columns, {.want = want_});
  if (!made.ok()) return bad_option(option_ + made.why().option, made.why().message);
  evaluator_.emplace(std::move(made).value());
  return {};
}

void expression_option::add_columns(pl::column_use& to) const {
  for (const auto name : compiled().columns()) to.columns.emplace_back(name);
  to.everything = to.everything || compiled().compiled().uses_whole_row;
}

std::string expression_option::why(batch_view in, row_index row) {
  auto reason = evaluator_->explain(in, row);
  if (!reason.empty()) return reason;
  const auto printed = evaluator_->print(in, row, evaluator::notation::text);
  return "no column holds the result " + (printed.ok() ? printed.value() : printed.why().message);
}

void expression_option::report(batch_view in, std::span<const row_index> failed, std::string_view consequence) {
  if (failed.empty()) return;
  failures_.add(static_cast<double>(failed.size()));
  const auto now = std::chrono::steady_clock::now();
  if (now < next_log_) return;
  next_log_ = now + std::chrono::minutes(10);
  ctx_.warn("'" + option_ + "' failed for " + std::to_string(failed.size()) + " of " + std::to_string(in.selected()) +
            " rows, and " + std::string(consequence) + "; the first: " + why(in, failed.front()) +
            " (if this is expected, test for the value first: has(row.NAME) for a column, has(data.x) for a member)");
}

void compile_all(context ctx, std::span<expression_option> expressions) {
  if (const auto done = compile_all(ctx, expressions, {}); !done.ok())
    throw invalid_options(done.why().option, done.why().message);
}

result<void> compile_all(context ctx, std::span<expression_option> expressions, const column_set& columns) {
  result<void> last;
  for (auto& e : expressions) {
    auto done = e.compile(columns);
    if (done.ok()) continue;
    if (!last.ok()) ctx.option_error(last.why().option, last.why().message);
    last = std::move(done);
  }
  return last;
}

}  // namespace pl::cel
