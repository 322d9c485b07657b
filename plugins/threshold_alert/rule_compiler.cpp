// SPDX-License-Identifier: Apache-2.0
#include "rule_compiler.hpp"

#include "message.hpp"
#include "text.hpp"

#include <pipeline/json.hpp>

#include <algorithm>
#include <cmath>
#include <set>

namespace threshold_alert {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// The conditions of a rule or of one of its levels.
struct limits {
  std::optional<double> above, below;
  std::optional<std::vector<double>> outside;
  pl::scalar equals;
  std::optional<nanoseconds> missing_for;
  std::optional<double> clear_below, clear_above;

  template <class Given>
  static limits of(const Given& g) {
    return {g.above, g.below, g.outside, g.equals, g.missing_for, g.clear_below, g.clear_above};
  }
  [[nodiscard]] std::vector<std::string_view> conditions() const {
    std::vector<std::string_view> names;
    if (above) names.emplace_back("above");
    if (below) names.emplace_back("below");
    if (outside) names.emplace_back("outside");
    if (equals.index() != 0) names.emplace_back("equals");
    if (missing_for) names.emplace_back("missing_for");
    return names;
  }
};

condition condition_named(std::string_view name) {
  if (name == "above") return condition::above;
  if (name == "below") return condition::below;
  if (name == "outside") return condition::outside;
  return name == "equals" ? condition::equals : condition::silence;
}

constexpr std::string_view all_conditions = "above, below, outside, equals or missing_for";

// Compiles one rule.
class rule_compiler {
 public:
  rule_compiler(const options& all, std::size_t index, const report_error& report)
      : all_(all), given_(all.rules[index]), path_("rules[" + std::to_string(index) + "]"), report_(report) {}

  rule compile() {
    to_.name = given_.name;
    to_.metric = given_.metric;
    to_.fingerprint = fingerprint(given_.name);
    if (given_.name.empty())
      error("name", "the rule needs a name; write one that says what is wrong, such as overheating");
    if (compile_levels()) {
      check_metric();
      check_rate();
      check_silence();
      check_order();
      compile_messages();
    }
    copy_timing();
    compile_flapping();
    compile_match();
    compile_labels();
    return std::move(to_);
  }

 private:
  void error(std::string_view option, const std::string& message) {
    report_(option.empty() ? path_ : path_ + "." + std::string(option), message);
  }
  [[nodiscard]] static std::string level_path(std::size_t index) { return "severities[" + std::to_string(index) + "]"; }
  [[nodiscard]] static std::string within(const std::string& path, std::string_view option) {
    return path.empty() ? std::string(option) : path + "." + std::string(option);
  }

  bool compile_levels() {
    const auto own = limits::of(given_);
    if (given_.severities.empty()) {
      level l;
      l.severity = given_.severity.value_or("warning");
      if (!given_.severity && !known_severity(l.severity) && !all_.severity_order.empty())
        l.severity = all_.severity_order.front();
      else
        check_severity(l.severity, "severity");
      if (!compile_limits(own, "", l)) return false;
      to_.levels.push_back(std::move(l));
      return true;
    }
    if (given_.severity)
      error("severity", "severity stands beside severities; each entry there has its own, so leave this one out");
    const auto beside = own.conditions();
    if (!beside.empty())
      error(beside.front(), "'" + std::string(beside.front()) +
                                "' stands beside severities; give each entry there its own threshold, and none here");
    if (own.clear_below || own.clear_above)
      error(own.clear_below ? "clear_below" : "clear_above",
            "hysteresis stands beside severities; write it in each entry there");
    return compile_severities() && beside.empty();
  }

  bool compile_severities() {
    bool sound = true;
    std::optional<condition> first;
    for (std::size_t i = 0; i < given_.severities.size(); ++i) {
      level l;
      l.severity = given_.severities[i].severity;
      l.given_as = i;
      sound &= check_severity(l.severity, level_path(i) + ".severity");
      if (!compile_limits(limits::of(given_.severities[i]), level_path(i), l)) {
        sound = false;
        continue;
      }
      if (first && *first != to_.when) {
        error(level_path(i),
              "this severity has another condition than the first; all severities of a rule need the same "
              "one (a rule of its own may watch the same metric)");
        sound = false;
      }
      if (!first) first = to_.when;
      to_.levels.push_back(std::move(l));
    }
    return sound && sort_levels();
  }

  bool sort_levels() {
    std::stable_sort(to_.levels.begin(), to_.levels.end(),
                     [this](const level& a, const level& b) { return rank(a.severity) < rank(b.severity); });
    for (std::size_t i = 1; i < to_.levels.size(); ++i)
      if (to_.levels[i].severity == to_.levels[i - 1].severity) {
        error(level_path(to_.levels[i].given_as) + ".severity",
              "severity '" + to_.levels[i].severity + "' stands here twice; each severity of a rule has one threshold");
        return false;
      }
    return true;
  }

  [[nodiscard]] std::ptrdiff_t rank(const std::string& severity) const {
    return std::find(all_.severity_order.begin(), all_.severity_order.end(), severity) - all_.severity_order.begin();
  }
  [[nodiscard]] bool known_severity(const std::string& s) const {
    return rank(s) < static_cast<std::ptrdiff_t>(all_.severity_order.size());
  }
  bool check_severity(const std::string& severity, const std::string& option) {
    if (known_severity(severity)) return true;
    error(option, "severity '" + severity + "' is not in severity_order" + suggestion(severity, all_.severity_order) +
                      " Otherwise add it to severity_order, in its place from mild to grave");
    return false;
  }

  bool compile_limits(const limits& given, const std::string& path, level& to) {
    const auto conditions = given.conditions();
    if (conditions.size() != 1) return count_error(conditions, path);
    to_.when = condition_named(conditions.front());
    switch (to_.when) {
      case condition::above:
        return compile_above(given, path, to);
      case condition::below:
        return compile_below(given, path, to);
      case condition::outside:
        return compile_outside(given, path, to);
      case condition::equals:
        to.equals = given.equals;
        break;
      case condition::silence:
        to.missing_for = given.missing_for->count();
        break;
    }
    if (!given.clear_below && !given.clear_above) return true;
    error(within(path, given.clear_below ? "clear_below" : "clear_above"),
          "hysteresis fits above, below and outside only; leave it out with " + std::string(conditions.front()));
    return false;
  }

  bool count_error(const std::vector<std::string_view>& conditions, const std::string& path) {
    const auto who = path.empty() ? "rule '" + given_.name + "'" : std::string("this severity");
    if (conditions.empty()) {
      error(path, who + " has no condition; give it one of " + std::string(all_conditions) +
                      (path.empty() ? ", or severities with a threshold each" : ""));
    } else {
      error(within(path, conditions[1]), who + " has two conditions, " + std::string(conditions[0]) + " and " +
                                             std::string(conditions[1]) + "; keep one" +
                                             (path.empty() ? ", and make a second rule of the other" : ""));
    }
    return false;
  }

  bool finite(double v, const std::string& option) {
    if (std::isfinite(v)) return true;
    error(option, "a threshold must be a finite number");
    return false;
  }

  bool compile_above(const limits& given, const std::string& path, level& to) {
    to.high = to.clear_high = *given.above;
    if (!finite(*given.above, within(path, "above"))) return false;
    if (given.clear_above) {
      error(within(path, "clear_above"),
            "clear_above belongs to below; with above write clear_below: the alert clears when the value is less");
      return false;
    }
    return !given.clear_below || set_clear_below(*given.clear_below, "above", path, to);
  }

  bool compile_below(const limits& given, const std::string& path, level& to) {
    to.low = to.clear_low = *given.below;
    if (!finite(*given.below, within(path, "below"))) return false;
    if (given.clear_below) {
      error(within(path, "clear_below"),
            "clear_below belongs to above; with below write clear_above: the alert clears when the value is greater");
      return false;
    }
    return !given.clear_above || set_clear_above(*given.clear_above, "below", path, to);
  }

  bool compile_outside(const limits& given, const std::string& path, level& to) {
    const auto& bounds = *given.outside;
    const auto option = within(path, "outside");
    if (bounds.size() != 2) {
      error(option, "outside takes two numbers, the lowest and the highest good value, such as [10, 80]; here are " +
                        std::to_string(bounds.size()));
      return false;
    }
    if (!finite(bounds[0], option) || !finite(bounds[1], option)) return false;
    if (bounds[0] >= bounds[1]) {
      error(option, "outside [" + number_text(bounds[0]) + ", " + number_text(bounds[1]) +
                        "] leaves no good value; write the lower number first");
      return false;
    }
    to.low = to.clear_low = bounds[0];
    to.high = to.clear_high = bounds[1];
    bool sound = !given.clear_below || set_clear_below(*given.clear_below, "outside's upper bound", path, to);
    sound &= !given.clear_above || set_clear_above(*given.clear_above, "outside's lower bound", path, to);
    if (sound && to.clear_low > to.clear_high) {
      error(within(path, "clear_below"), "no value is greater than " + number_text(given.clear_above.value_or(to.low)) +
                                             " and less than " + number_text(given.clear_below.value_or(to.high)) +
                                             ": the alert would never clear; leave room between the two");
      return false;
    }
    return sound;
  }

  // "less than y" is "at most the number before y", which makes all ranges closed.
  bool set_clear_below(double y, const std::string& what, const std::string& path, level& to) {
    if (!finite(y, within(path, "clear_below"))) return false;
    if (y >= to.high) {
      error(within(path, "clear_below"),
            "clear_below " + number_text(y) + " is not less than " + what + " " + number_text(to.high) +
                ": it gives no hysteresis; write a number less than " + number_text(to.high) + ", or leave it out");
      return false;
    }
    to.clear_high = std::nextafter(y, -infinity);
    return true;
  }
  bool set_clear_above(double y, const std::string& what, const std::string& path, level& to) {
    if (!finite(y, within(path, "clear_above"))) return false;
    if (y <= to.low) {
      error(within(path, "clear_above"),
            "clear_above " + number_text(y) + " is not greater than " + what + " " + number_text(to.low) +
                ": it gives no hysteresis; write a number greater than " + number_text(to.low) + ", or leave it out");
      return false;
    }
    to.clear_low = std::nextafter(y, infinity);
    return true;
  }

  void check_metric() {
    if (given_.metric.empty() && to_.when != condition::silence)
      error("metric",
            "rule '" + given_.name + "' needs the metric that it watches; write metric: and the column's name");
  }

  void check_rate() {
    to_.rate = given_.rate_of_change;
    to_.over = given_.over.count();
    if (given_.rate_of_change && (to_.when == condition::equals || to_.when == condition::silence))
      error("rate_of_change", "rate_of_change needs a limit for the rate: above, below or outside, not " +
                                  std::string(to_.when == condition::equals ? "equals" : "missing_for"));
    if (!given_.rate_of_change && to_.over != 0)
      error("over", "over says how a rate is measured; add rate_of_change: minute (or second, hour), or leave it out");
  }

  void check_silence() {
    if (to_.when != condition::silence) return;
    const auto refuse = [this](bool is_given, std::string_view option, const std::string& why) {
      if (is_given) error(option, std::string(option) + " can't stand with missing_for: " + why);
    };
    refuse(given_.hold_for.count() != 0, "for", "it says already how long; add the two durations up in missing_for");
    refuse(given_.times != 1, "times", "a silence has no readings to count; leave it out");
    refuse(given_.keep_firing_for.count() != 0, "keep_firing_for",
           "the first record ends a silence; leave it out, or write flapping to tell an unsteady device");
  }

  // Who breaches a graver level must breach the milder ones, and must not clear them while it holds.
  void check_order() {
    for (std::size_t i = 1; i < to_.levels.size(); ++i) {
      const auto &mild = to_.levels[i - 1], &grave = to_.levels[i];
      const auto path = level_path(grave.given_as);
      const auto who = "'" + grave.severity + "'", than = "the milder '" + mild.severity + "'";
      if (to_.when == condition::equals) {
        if (grave.equals == mild.equals)
          error(path + ".equals", who + " has the same value as " + than + "; give each its own");
      } else if (to_.when == condition::silence) {
        if (grave.missing_for <= mild.missing_for)
          error(path + ".missing_for", who + " comes no later than " + than + "; give it a longer time");
      } else if (grave.high < mild.high || grave.low > mild.low || (grave.high == mild.high && grave.low == mild.low)) {
        error(path, who + " is reached before " + than +
                        "; its threshold must lie further out, or the severities be exchanged");
      } else if (grave.clear_high < mild.clear_high || grave.clear_low > mild.clear_low) {
        error(path, who + " clears later than " + than +
                        ": an alert falls one severity after the other; its clear_below or "
                        "clear_above must lie further out too");
      }
    }
  }

  void copy_timing() {
    to_.hold_for = given_.hold_for.count();
    to_.keep_firing_for = given_.keep_firing_for.count();
    to_.repeat_interval = given_.repeat_interval.count();
    to_.times = given_.times;
    to_.send_resolved = given_.send_resolved;
    if (given_.resolved_message && !given_.send_resolved)
      error("resolved_message", "resolved_message is never sent with send_resolved: false; leave one of the two out");
  }

  void compile_flapping() {
    if (!given_.flapping) return;
    to_.flap_fires = given_.flapping->fires;
    to_.flap_within = given_.flapping->within.count();
  }

  void compile_match() {
    for (const auto& [column, source] : given_.match) {
      const auto at = std::find(all_.group_by.begin(), all_.group_by.end(), column);
      const auto option = "match." + column;
      if (at == all_.group_by.end()) {
        error(option, "'" + column + "' is none of the columns of group_by" + suggestion(column, all_.group_by));
        continue;
      }
      auto accepts = glob::parse(source);
      if (accepts.ok())
        to_.match.push_back({static_cast<std::size_t>(at - all_.group_by.begin()), *std::move(accepts)});
      else
        error(option, "in the pattern '" + source + "': " + accepts.why().message);
    }
  }

  void compile_labels() {
    auto all = given_.labels;
    all.insert(all_.labels.begin(), all_.labels.end());
    if (all.empty()) return;
    for (const auto& [name, value] : all) {
      to_.labels += to_.labels.empty() ? "{" : ",";
      pl::append_json_string(to_.labels, name);
      to_.labels += ":";
      pl::append_json_string(to_.labels, value);
    }
    to_.labels += "}";
  }

  message_template parse_or_report(const std::string& source, std::string_view option) {
    auto parsed = parse_message(source, all_.group_by);
    if (parsed.ok()) return *std::move(parsed);
    error(option, parsed.why().message);
    return {};
  }

  void compile_messages() {
    to_.text = given_.message ? parse_or_report(*given_.message, "message") : default_message(to_, false);
    if (given_.resolved_message)
      to_.resolved_text = parse_or_report(*given_.resolved_message, "resolved_message");
    else
      to_.resolved_text = given_.message ? to_.text : default_message(to_, true);
  }

  const options& all_;
  const rule_options& given_;
  std::string path_;
  const report_error& report_;
  rule to_;
};

void check_group(const options& given, const report_error& report) {
  if (given.group_by.empty())
    report("group_by", "group_by is empty: there would be one alert for all devices; name at least one column");
  static const std::set<std::string_view> taken{"id",    "rule",      "state",   "severity", "metric",
                                                "value", "threshold", "message", "labels",   "since",
                                                "time",  "stream",    "position"};
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < given.group_by.size(); ++i) {
    const auto path = "group_by[" + std::to_string(i) + "]";
    const auto& column = given.group_by[i];
    if (!seen.insert(column).second) report(path, "'" + column + "' stands here twice; leave one out");
    if (column.empty()) report(path, "an empty name is no column");
    if (taken.contains(column))
      report(path, "'" + column + "' is a column that every alert has already; group by another, or rename it before");
  }
}

void check_severity_order(const options& given, const report_error& report) {
  std::set<std::string_view> seen;
  if (given.severity_order.empty())
    report("severity_order",
           "severity_order is empty; write the severities, mildest first, such as [info, warning, critical]");
  for (std::size_t i = 0; i < given.severity_order.size(); ++i)
    if (!seen.insert(given.severity_order[i]).second)
      report("severity_order[" + std::to_string(i) + "]",
             "'" + given.severity_order[i] + "' stands here twice; leave one out");
}

}  // namespace

std::uint64_t fingerprint(std::string_view name) {
  std::uint64_t h = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return h;
}

rule_set compile(const options& given, const report_error& report) {
  rule_set to;
  to.group_by = given.group_by;
  to.time_column = given.time_column;
  to.max_age = given.max_age.count();
  to.max_ahead = given.max_ahead.count();
  to.forget_after = given.forget_after.count();
  check_group(given, report);
  check_severity_order(given, report);
  if (given.rules.empty()) report("rules", "there are no rules, so nothing would ever fire; write at least one");
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < given.rules.size(); ++i) {
    auto r = rule_compiler(given, i, report).compile();
    if (!names.insert(given.rules[i].name).second)
      report("rules[" + std::to_string(i) + "].name",
             "a rule '" + given.rules[i].name + "' stands above already; give each its own name");
    if (r.rate || (r.when == condition::silence && !r.metric.empty())) r.slot = to.slots++;
    to.rules.push_back(std::move(r));
  }
  return to;
}

}  // namespace threshold_alert
