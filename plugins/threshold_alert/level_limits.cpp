// SPDX-License-Identifier: Apache-2.0
#include "level_limits.hpp"

#include "text.hpp"

#include <cmath>
#include <limits>

namespace threshold_alert {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

condition condition_named(std::string_view name) {
  if (name == "above") return condition::above;
  if (name == "below") return condition::below;
  if (name == "outside") return condition::outside;
  if (name == "equals") return condition::equals;
  return name == "when" ? condition::expression : condition::silence;
}

bool is_given(const pl::scalar& s) noexcept { return s.index() != 0; }

}  // namespace

std::vector<std::string_view> limits::conditions() const {
  std::vector<std::string_view> names;
  if (is_given(above)) names.emplace_back("above");
  if (is_given(below)) names.emplace_back("below");
  if (outside) names.emplace_back("outside");
  if (is_given(equals)) names.emplace_back("equals");
  if (missing_for) names.emplace_back("missing_for");
  if (when) names.emplace_back("when");
  return names;
}

std::optional<condition> limit_compiler::compile(const limits& given, level& to) {
  const auto name = given.conditions().front();
  const auto what = condition_named(name);
  if (!compile_condition(what, given, to)) return std::nullopt;
  if (what < condition::equals || !given.has_hysteresis()) return what;
  error(given.hysteresis(), "hysteresis applies only to above, below and outside; remove it from " + std::string(name));
  return std::nullopt;
}

bool limit_compiler::compile_condition(condition what, const limits& given, level& to) {
  switch (what) {
    case condition::above:
      return compile_above(given, to);
    case condition::below:
      return compile_below(given, to);
    case condition::outside:
      return compile_outside(given, to);
    case condition::equals:
      to.equals = given.equals;
      break;
    case condition::silence:
      to.missing_for = given.missing_for->count();
      break;
    case condition::expression:
      to.when = add_expression("when", *given.when, true);
      break;
  }
  return true;
}

std::size_t limit_compiler::add_expression(const std::string& option, const std::string& text, bool is_condition) {
  texts_.push_back(text);
  expressions_.push_back({path_ + "." + option, text, is_condition});
  return expressions_.size() - 1;
}

std::optional<limit_compiler::limit> limit_compiler::read(const pl::scalar& given, const std::string& option) {
  if (const auto* text = std::get_if<std::string>(&given)) return limit{0, add_expression(option, *text, false)};
  const auto* integer = std::get_if<std::int64_t>(&given);
  const auto* real = std::get_if<double>(&given);
  if (integer == nullptr && real == nullptr) {
    error(option, "a threshold must be a number or an expression");
    return std::nullopt;
  }
  const auto number = integer != nullptr ? static_cast<double>(*integer) : *real;
  if (std::isfinite(number)) return limit{number, std::nullopt};
  error(option, "a threshold must be a finite number");
  return std::nullopt;
}

bool limit_compiler::compile_above(const limits& given, level& to) {
  const auto high = read(given.above, "above");
  if (!high) return false;
  to.high = to.clear_high = high->from ? infinity : high->number;
  to.high_from = to.clear_high_from = high->from;
  if (is_given(given.clear_above)) {
    error("clear_above",
          "clear_above applies to below; with above use clear_below: the alert clears when the value is less");
    return false;
  }
  return !is_given(given.clear_below) || set_clear_below(given.clear_below, "above", to);
}

bool limit_compiler::compile_below(const limits& given, level& to) {
  const auto low = read(given.below, "below");
  if (!low) return false;
  to.low = to.clear_low = low->from ? -infinity : low->number;
  to.low_from = to.clear_low_from = low->from;
  if (is_given(given.clear_below)) {
    error("clear_below",
          "clear_below applies to above; with below use clear_above: the alert clears when the value is greater");
    return false;
  }
  return !is_given(given.clear_above) || set_clear_above(given.clear_above, "below", to);
}

bool limit_compiler::compile_outside(const limits& given, level& to) {
  const auto& both = *given.outside;
  if (both.size() != 2) {
    error("outside", "outside needs two numbers, the lowest and the highest good value, such as [10, 80]; found " +
                         std::to_string(both.size()));
    return false;
  }
  const auto low = read(both[0], "outside[0]");
  const auto high = low ? read(both[1], "outside[1]") : std::nullopt;
  if (!low || !high) return false;
  if (!low->from && !high->from && low->number >= high->number) {
    error("outside", "outside [" + number_text(low->number) + ", " + number_text(high->number) +
                         "] leaves no good value; put the lower number first");
    return false;
  }
  to.low = to.clear_low = low->from ? -infinity : low->number;
  to.high = to.clear_high = high->from ? infinity : high->number;
  to.low_from = to.clear_low_from = low->from;
  to.high_from = to.clear_high_from = high->from;
  bool sound = !is_given(given.clear_below) || set_clear_below(given.clear_below, "outside's upper bound", to);
  sound &= !is_given(given.clear_above) || set_clear_above(given.clear_above, "outside's lower bound", to);
  if (sound && !to.has_computed_limits() && to.clear_low > to.clear_high) {
    // Both are given, or one of them would be the bound itself.
    const auto above = is_given(given.clear_above) ? std::nextafter(to.clear_low, -infinity) : to.low;
    const auto below = is_given(given.clear_below) ? std::nextafter(to.clear_high, infinity) : to.high;
    error("clear_below", "no value is greater than " + number_text(above) + " and less than " + number_text(below) +
                             ": the alert would never clear; leave a gap between the two");
    return false;
  }
  return sound;
}

// Replace "less than y" by "at most the number before y", so that all ranges are closed.
bool limit_compiler::set_clear_below(const pl::scalar& given, const std::string& what, level& to) {
  const auto y = read(given, "clear_below");
  if (!y) return false;
  if (!y->from && !to.high_from && y->number >= to.high) {
    error("clear_below", "clear_below " + number_text(y->number) + " is not less than " + what + " " +
                             number_text(to.high) + ", so there is no hysteresis; use a number less than " +
                             number_text(to.high) + ", or remove it");
    return false;
  }
  to.clear_high = y->from ? infinity : std::nextafter(y->number, -infinity);
  to.clear_high_from = y->from;
  return true;
}

bool limit_compiler::set_clear_above(const pl::scalar& given, const std::string& what, level& to) {
  const auto y = read(given, "clear_above");
  if (!y) return false;
  if (!y->from && !to.low_from && y->number <= to.low) {
    error("clear_above", "clear_above " + number_text(y->number) + " is not greater than " + what + " " +
                             number_text(to.low) + ", so there is no hysteresis; use a number greater than " +
                             number_text(to.low) + ", or remove it");
    return false;
  }
  to.clear_low = y->from ? -infinity : std::nextafter(y->number, infinity);
  to.clear_low_from = y->from;
  return true;
}

}  // namespace threshold_alert
