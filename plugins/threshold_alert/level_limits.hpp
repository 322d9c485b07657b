// SPDX-License-Identifier: Apache-2.0
// The condition of a rule or of one of its severities, as it is configured, and its compilation to a level.
#pragma once

#include "options.hpp"
#include "report_error.hpp"
#include "rule.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace threshold_alert {

struct limits {
  pl::scalar above, below;
  std::optional<std::vector<pl::scalar>> outside;
  pl::scalar equals;
  std::optional<nanoseconds> missing_for;
  std::optional<std::string> when;
  pl::scalar clear_below, clear_above;

  template <class Given>
  static limits of(const Given& g) {
    return {g.above, g.below, g.outside, g.equals, g.missing_for, g.when, g.clear_below, g.clear_above};
  }
  // Return the names of the conditions that are given.
  [[nodiscard]] std::vector<std::string_view> conditions() const;
  [[nodiscard]] bool has_hysteresis() const noexcept { return clear_below.index() != 0 || clear_above.index() != 0; }
  // Return the name of the option that sets a hysteresis.
  [[nodiscard]] std::string_view hysteresis() const noexcept {
    return clear_below.index() != 0 ? "clear_below" : "clear_above";
  }
};

// Compiles one level.
class limit_compiler {
 public:
  // path: of the rule or the severity. expressions: gets those of the level appended.
  limit_compiler(std::string path, std::vector<rule_expression>& expressions, const report_error& report)
      : path_(std::move(path)), expressions_(expressions), report_(report) {}

  // given: exactly one condition. Return it; nothing if an error was reported.
  [[nodiscard]] std::optional<condition> compile(const limits& given, level& to);
  // Return the texts of the level's expressions.
  [[nodiscard]] const std::vector<std::string>& texts() const noexcept { return texts_; }

 private:
  // A limit is a number, or computed.
  struct limit {
    double number = 0;
    computed_by from;
  };

  [[nodiscard]] bool compile_condition(condition what, const limits& given, level& to);
  [[nodiscard]] bool compile_above(const limits& given, level& to);
  [[nodiscard]] bool compile_below(const limits& given, level& to);
  [[nodiscard]] bool compile_outside(const limits& given, level& to);
  [[nodiscard]] bool set_clear_below(const pl::scalar& given, const std::string& what, level& to);
  [[nodiscard]] bool set_clear_above(const pl::scalar& given, const std::string& what, level& to);
  [[nodiscard]] std::optional<limit> read(const pl::scalar& given, const std::string& option);
  [[nodiscard]] std::size_t add_expression(const std::string& option, const std::string& text, bool is_condition);
  void error(std::string_view option, const std::string& message) const {
    report_(path_ + "." + std::string(option), message);
  }

  std::string path_;
  std::vector<rule_expression>& expressions_;
  const report_error& report_;
  std::vector<std::string> texts_;
};

}  // namespace threshold_alert
