// SPDX-License-Identifier: Apache-2.0
#include "rule_compiler.hpp"

#include "level_limits.hpp"
#include "message.hpp"
#include "rule_identity.hpp"
#include "text.hpp"

#include <pipeline/json.hpp>

#include <algorithm>
#include <set>

namespace threshold_alert {
namespace {

constexpr std::string_view all_conditions = "above, below, outside, equals, missing_for or when";

// Compiles one rule.
class rule_compiler {
 public:
  rule_compiler(const options& all, std::size_t index, std::vector<rule_expression>& expressions,
                const report_error& report)
      : all_(all),
        given_(all.rules[index]),
        path_("rules[" + std::to_string(index) + "]"),
        expressions_(expressions),
        report_(report) {}

  rule compile() {
    to_.name = given_.name;
    to_.metric = given_.metric;
    to_.fingerprint = fingerprint(given_.name);
    if (given_.name.empty())
      error("name", "the rule needs a name; choose one that describes the problem, such as overheating");
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
      error("severity", "severity cannot be combined with severities, whose entries have their own; remove it");
    const auto beside = own.conditions();
    if (!beside.empty())
      error(beside.front(), "'" + std::string(beside.front()) +
                                "' cannot be combined with severities; move the condition into their entries");
    if (own.has_hysteresis())
      error(own.hysteresis(), "hysteresis cannot be combined with severities; move it into their entries");
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
              "this severity has a different condition than the first; use one condition for all severities of a rule "
              "(or add a separate rule for the same metric)");
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
              "severity '" + to_.levels[i].severity + "' is listed twice; each severity of a rule has one threshold");
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
    error(option, "severity '" + severity + "' is not in severity_order (if it is new, add it there, lowest first)" +
                      suggestion(severity, all_.severity_order));
    return false;
  }

  bool compile_limits(const limits& given, const std::string& path, level& to) {
    const auto conditions = given.conditions();
    if (conditions.size() != 1) return count_error(conditions, path);
    limit_compiler compiler(path.empty() ? path_ : path_ + "." + path, expressions_, report_);
    const auto compiled = compiler.compile(given, to);
    if (!compiled) return false;
    to_.when = *compiled;
    for (const auto& text : compiler.texts()) to_.expressions.push_back(text);
    return true;
  }

  bool count_error(const std::vector<std::string_view>& conditions, const std::string& path) {
    const auto subject = path.empty() ? "rule '" + given_.name + "'" : std::string("this severity");
    if (conditions.empty()) {
      error(path, subject + " has no condition; add one of " + std::string(all_conditions) +
                      (path.empty() ? ", or severities with a threshold each" : ""));
    } else {
      error(within(path, conditions[1]), subject + " has two conditions, " + std::string(conditions[0]) + " and " +
                                             std::string(conditions[1]) + "; keep one" +
                                             (path.empty() ? ", and add a second rule for the other" : ""));
    }
    return false;
  }

  void check_metric() {
    if (given_.metric.empty() && to_.when != condition::silence && to_.when != condition::expression)
      error("metric", "rule '" + given_.name + "' has no metric; add metric: with the name of a column");
  }

  void check_rate() {
    to_.rate = given_.rate_of_change;
    to_.over = given_.over.count();
    if (given_.rate_of_change && to_.when >= condition::equals)
      error("rate_of_change", "rate_of_change needs a limit for the rate: above, below or outside, not " +
                                  std::string(to_.when == condition::equals    ? "equals"
                                              : to_.when == condition::silence ? "missing_for"
                                                                               : "when"));
    if (!given_.rate_of_change && to_.over != 0)
      error("over", "over applies only to rates; add rate_of_change: minute (or second, hour), or remove it");
  }

  void check_silence() {
    if (to_.when != condition::silence) return;
    const auto reject = [this](bool is_given, std::string_view option, const std::string& why) {
      if (is_given) error(option, std::string(option) + " cannot be combined with missing_for: " + why);
    };
    reject(given_.hold_for.count() != 0, "for",
           "missing_for is already a duration; set it to the sum of the two durations");
    reject(given_.times != 1, "times", "a silence has no readings to count; remove it");
    reject(given_.keep_firing_for.count() != 0, "keep_firing_for",
           "the first record ends a silence; remove it, or use flapping to detect an unsteady device");
  }

  // Check that a value which breaches a level also breaches the lower levels, and does not clear them while it holds.
  void check_order() {
    for (std::size_t i = 1; i < to_.levels.size(); ++i) {
      const auto &lower = to_.levels[i - 1], &higher = to_.levels[i];
      const auto path = level_path(higher.given_as);
      const auto subject = "'" + higher.severity + "'", than = "the lower severity '" + lower.severity + "'";
      if (to_.when == condition::equals) {
        if (higher.equals == lower.equals)
          error(path + ".equals", subject + " has the same value as " + than + "; use different values");
      } else if (to_.when == condition::silence) {
        if (higher.missing_for <= lower.missing_for)
          error(path + ".missing_for", subject + " is not reached after " + than + "; set a longer duration");
      } else if (to_.when == condition::expression || higher.has_computed_limits() || lower.has_computed_limits()) {
        continue;  // not known before records arrive
      } else if (higher.high < lower.high || higher.low > lower.low ||
                 (higher.high == lower.high && higher.low == lower.low)) {
        error(path,
              subject + " is not reached after " + than + "; move its threshold further out, or swap the severities");
      } else if (higher.clear_high < lower.clear_high || higher.clear_low > lower.clear_low) {
        error(path, subject + " clears after " + than +
                        ", but an alert must fall through its severities in order; move clear_below or clear_above "
                        "of " +
                        subject + " further out");
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
      error("resolved_message", "resolved_message is never sent with send_resolved: false; remove one of the two");
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
        error(option, "'" + column + "' is not a column of group_by" + suggestion(column, all_.group_by));
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
    const auto own = given_.message ? parse_or_report(*given_.message, "message") : message_template();
    const auto text = [&](occasion_text of) { return given_.message ? own : default_message(to_, of); };
    to_.text = text(occasion_text::breached);
    to_.held_text = text(occasion_text::held);
    to_.resolved_text = given_.resolved_message ? parse_or_report(*given_.resolved_message, "resolved_message")
                                                : text(occasion_text::resolved);
  }

  const options& all_;
  const rule_options& given_;
  std::string path_;
  std::vector<rule_expression>& expressions_;  // of all rules
  const report_error& report_;
  rule to_;
};

void check_group(const options& given, const report_error& report) {
  if (given.group_by.empty())
    report("group_by", "group_by is empty, so that all devices would share one alert; name at least one column");
  static const std::set<std::string_view> taken{"id",    "rule",      "state",   "severity", "metric",
                                                "value", "threshold", "message", "labels",   "since",
                                                "time",  "stream",    "position"};
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < given.group_by.size(); ++i) {
    const auto path = "group_by[" + std::to_string(i) + "]";
    const auto& column = given.group_by[i];
    if (!seen.insert(column).second) report(path, "'" + column + "' is listed twice; remove one of them");
    if (column.empty()) report(path, "the column name is empty; write the name of a column");
    if (taken.contains(column))
      report(path, "every alert already has a column '" + column +
                       "'; choose another column, or rename it in an earlier transform");
  }
}

void check_severity_order(const options& given, const report_error& report) {
  std::set<std::string_view> seen;
  if (given.severity_order.empty())
    report("severity_order",
           "severity_order is empty; list the severities, lowest first, such as [info, warning, critical]");
  for (std::size_t i = 0; i < given.severity_order.size(); ++i)
    if (!seen.insert(given.severity_order[i]).second)
      report("severity_order[" + std::to_string(i) + "]",
             "'" + given.severity_order[i] + "' is listed twice; remove one of them");
}

}  // namespace

rule_set compile(const options& given, const report_error& report) {
  rule_set to;
  to.group_by = given.group_by;
  to.time_column = given.time_column;
  to.max_age = given.max_age.count();
  to.max_ahead = given.max_ahead.count();
  to.forget_after = given.forget_after.count();
  to.max_keys = given.max_keys;
  to.when_full = given.when_full;
  to.grouping = grouping_of(given.group_by);
  check_group(given, report);
  check_severity_order(given, report);
  if (given.rules.empty()) report("rules", "rules is empty, so that no alert could fire; write at least one rule");
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < given.rules.size(); ++i) {
    auto r = rule_compiler(given, i, to.expressions, report).compile();
    if (!names.insert(given.rules[i].name).second)
      report("rules[" + std::to_string(i) + "].name",
             "another rule is already called '" + given.rules[i].name + "'; give each rule its own name");
    if (r.rate || (r.when == condition::silence && !r.metric.empty())) r.slot = to.slots++;
    r.definition = definition_of(r);
    to.rules.push_back(std::move(r));
  }
  to.configured = to.rules.size();
  return to;
}

}  // namespace threshold_alert
