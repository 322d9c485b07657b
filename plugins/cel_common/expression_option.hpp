// SPDX-License-Identifier: Apache-2.0
// An expression among the options of a transform: compiled with the instance, and again once the columns are known; its
// failures are counted, and explained in the log.
#pragma once

#include "cel_common/program.hpp"

#include <pipeline/component.hpp>
#include <pipeline/context.hpp>

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace pl::cel {

class expression_option {
 public:
  // option: the path of the option, such as "set.fahrenheit"; also the label of the metric.
  expression_option(context ctx, std::string option, std::string text, purpose want);

  // Compile for these columns. The expression can be used after the first success. A failure names the place.
  [[nodiscard]] result<void> compile(const column_set& columns);

  [[nodiscard]] evaluator& get() noexcept { return *evaluator_; }
  [[nodiscard]] const program& compiled() const noexcept { return evaluator_->compiled(); }
  [[nodiscard]] const std::string& option() const noexcept { return option_; }
  // Add the columns that the expression uses, as far as they are known before those of the input are.
  void add_columns(pl::column_use& to) const;

  // Return why a row failed.
  [[nodiscard]] std::string why(batch_view in, row_index row);

  // Count rows that failed. From time to time, log why the first of them failed, and its consequence: "they count as not
  // matching".
  void report(batch_view in, std::span<const row_index> failed, std::string_view consequence);

 private:
  context ctx_;
  std::string option_, text_;
  purpose want_;
  counter failures_;
  std::optional<evaluator> evaluator_;
  std::chrono::steady_clock::time_point next_log_{};
};

// Compile all of them without knowledge of the columns, in a constructor: report every mistake, and throw invalid_options
// if there is one.
void compile_all(context ctx, std::span<expression_option> expressions);

// Compile all of them for these columns, in typed_columns. Report every mistake.
[[nodiscard]] result<void> compile_all(context ctx, std::span<expression_option> expressions,
                                       const column_set& columns);

}  // namespace pl::cel
