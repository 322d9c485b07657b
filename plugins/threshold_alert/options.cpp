// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

namespace threshold_alert {

pl::option_table<flapping_options> flapping_options::table() {
  return {
      pl::option(&flapping_options::fires, "fires",
                 "Number of firings within `within` that count as flapping. The firing that reaches this number is "
                 "sent as flapping.")
          .range(2, 100),
      pl::option(&flapping_options::within, "within",
                 "Window in which firings are counted. Flapping ends when the condition has stayed true, or has stayed "
                 "clear, for this long. Measured in the records' own time.")
          .range(0.001)};
}

pl::option_table<level_options> level_options::table() {
  return {
      pl::option(&level_options::severity, "severity", "Severity of this level; one of severity_order.")
          .required()
          .example("critical"),
      pl::option(&level_options::above, "above",
                 "Condition of this level: the value is greater than this number, column or expression.")
          .example("85"),
      pl::option(&level_options::below, "below",
                 "Condition of this level: the value is less than this number, column or expression.")
          .example("5"),
      pl::option(&level_options::outside, "outside",
                 "Condition of this level: the value is less than the first or greater than the second number.")
          .example("[0, 95]"),
      pl::option(&level_options::equals, "equals",
                 "Condition of this level: the value is exactly this text, number or bool.")
          .example("failed"),
      pl::option(&level_options::missing_for, "missing_for",
                 "Condition of this level: no record arrived for this long.")
          .range(0.001)
          .example("30m"),
      pl::option(&level_options::when, "when", "Condition of this level: an expression.")
          .example("temperature > 80 && humidity > 90"),
      pl::option(&level_options::clear_below, "clear_below",
                 "Hysteresis: once reached, the level holds until the value is less than this. For above and outside.")
          .example("80"),
      pl::option(
          &level_options::clear_above, "clear_above",
          "Hysteresis: once reached, the level holds until the value is greater than this. For below and outside.")
          .example("8")};
}

// NOLINTNEXTLINE(readability-function-size): a table of options
pl::option_table<rule_options> rule_options::table() {
  return {
      pl::option(&rule_options::name, "name", "Name of the rule, unique in this node; part of each alert and its id.")
          .required()
          .example("overheating"),
      pl::option(
          &rule_options::metric, "metric",
          "Column that the rule watches. Required, except with missing_for and when. With missing_for it limits the "
          "rule to the silence of this metric, while other metrics may still arrive. With when it is the value that "
          "the alert shows.")
          .example("temperature"),
      pl::option(
          &rule_options::above, "above",
          "Condition: the value is greater than this. Exactly this value does not fire. A number, or an expression "
          "in the language of docs/expressions.md, such as the name of a column with the limit.")
          .example("80"),
      pl::option(&rule_options::below, "below",
                 "Condition: the value is less than this. Exactly this value does not fire. A number or an expression.")
          .example("10"),
      pl::option(&rule_options::outside, "outside",
                 "Condition: the value is less than the first or greater than the second number or expression.")
          .example("[10, 80]"),
      pl::option(&rule_options::equals, "equals",
                 "Condition: the value is exactly this text, number (1 and 1.0 are equal) or bool.")
          .example("failed"),
      pl::option(&rule_options::missing_for, "missing_for",
                 "Condition: no record arrived for this long. Measured by the stream's arrival clock, which stands "
                 "still while the host is blocked or cut off, and on which the clocks of devices have no influence. In "
                 "a stream without one (a file): by the newest record, and by the wall clock at its end. A device is "
                 "monitored from its first record on.")
          .range(0.001)
          .example("5m"),
      pl::option(
          &rule_options::when, "when",
          "Condition: this expression is true, in the language of docs/expressions.md. A record for which it fails, "
          "for example because a column is null, neither fires nor resolves the alert, and is counted.")
          .example("temperature > 80 && humidity > 90"),
      pl::option(&rule_options::rate_of_change, "rate_of_change",
                 "Compare the metric's change per second, minute or hour instead of its value: above, below and "
                 "outside then limit the rate. Computed from the records' own times.")
          .example("minute"),
      pl::option(
          &rule_options::over, "over",
          "With rate_of_change: minimum time between the two readings that a rate is computed from. Readings in "
          "between are ignored, so that noise does not look like a jump. 0: use each pair of successive readings.")
          .range(0)
          .example("30s"),
      pl::option(
          &rule_options::clear_below, "clear_below",
          "Hysteresis: a firing alert clears only when the value is less than this. For above and outside. A number or "
          "an expression.")
          .example("75"),
      pl::option(
          &rule_options::clear_above, "clear_above",
          "Hysteresis: a firing alert clears only when the value is greater than this. For below and outside. A number "
          "or an expression.")
          .example("15"),
      pl::option(&rule_options::severity, "severity", "Severity of the alert; one of severity_order. Default: warning.")
          .example("critical"),
      pl::option(&rule_options::severities, "severities",
                 "Several severities, each with its own threshold, instead of one severity and one condition. One "
                 "alert changes its severity as the value passes the thresholds.")
          .example("[{severity: warning, above: 70}, {severity: critical, above: 85}]"),
      pl::option(&rule_options::hold_for, "for",
                 "How long the condition must hold, in the records' own time, before the alert fires or rises to a "
                 "higher severity. 0: fire immediately.")
          .range(0)
          .example("10s"),
      pl::option(&rule_options::times, "times",
                 "Number of consecutive readings that must meet the condition before the alert fires or rises to a "
                 "higher severity. Copies of a reading (same time and value) count once. If `for` is also set, both "
                 "must be met.")
          .range(1, 1'000'000),
      pl::option(
          &rule_options::keep_firing_for, "keep_firing_for",
          "How long readings must be clear, counted from the first clear reading, before the alert resolves or falls "
          "to a lower severity. A shorter dip has no effect.")
          .range(0)
          .example("1m"),
      pl::option(&rule_options::repeat_interval, "repeat_interval",
                 "Interval, in the records' own time, at which an alert that is still open is sent again. 0: never.")
          .range(0)
          .example("4h"),
      pl::option(&rule_options::send_resolved, "send_resolved", "Whether a notice is sent when the alert resolves."),
      pl::option(
          &rule_options::flapping, "flapping",
          "Detect an alert that fires repeatedly, and send it once as flapping instead of as firing and resolved "
          "each time. Off by default.")
          .example("{fires: 4, within: 10m}"),
      pl::option(
          &rule_options::match, "match",
          "Apply the rule only to devices whose ids match: a pattern for one or more group_by columns. * matches any "
          "text, ? one byte, [a-f] one byte of a set; | separates alternatives, \\ escapes the next byte.")
          .example("{device_id: \"pump-*|valve-*\"}"),
      pl::option(&rule_options::labels, "labels", "Fixed texts that are added to each alert, in the column labels.")
          .example("{team: cooling}"),
      pl::option(&rule_options::message, "message",
                 "Text of the alert. Placeholders: {rule} {state} {severity} {metric} {value} {threshold} {since} "
                 "{time} {stream} {position} and the group_by columns. Write {{ for a brace. Default: a sentence that "
                 "names the device and states what is true of the value.")
          .example("\"{device_id}: {metric} is {value} (limit {threshold})\""),
      pl::option(&rule_options::resolved_message, "resolved_message",
                 "Text of the resolved notice, with the placeholders of `message`. Default: `message`, or a sentence "
                 "that describes the condition.")
          .example("\"{device_id}: {metric} is back to {value}\"")};
}

pl::option_table<options> options::table() {
  return {
      pl::option(&options::rules, "rules", "Alert rules: a list of objects, each with a name and one condition.")
          .required()
          .example(
              "[{name: overheating, metric: temperature, above: 80, clear_below: 75, for: 10s, severity: critical}]"),
      pl::option(
          &options::group_by, "group_by",
          "Columns that together identify the subject of an alert. At most one alert is open for each rule and each "
          "combination of their values. The columns also appear in the alerts. If this changes, open alerts are "
          "resolved and the state starts anew.")
          .example("[site]"),
      pl::option(&options::time_column, "time_column", "Column with the record's own time, which all durations use."),
      pl::option(&options::severity_order, "severity_order", "Severities that rules may use, lowest first.")
          .example("[info, minor, major, critical]"),
      pl::option(
          &options::max_age, "max_age",
          "Alerts older than this are counted and emitted on the port `recorded` instead of `out`, so that a replay "
          "of old records does not raise alarms. An alert that is still open when the stream has reached the present "
          "is sent then. 0: no limit.")
          .range(0)
          .example("1h"),
      pl::option(
          &options::max_ahead, "max_ahead",
          "A record whose time is ahead of its arrival (in a stream without an arrival clock: of this machine's clock) "
          "by more than this does not change an alert, and is counted. It ends a silence all the same. 0: no limit.")
          .range(0),
      pl::option(
          &options::max_keys, "max_keys",
          "Maximum number of devices (keys of group_by) of one stream (partition) whose state is kept. The state "
          "also counts against memory_limit: that of all transforms may use three eighths of it.")
          .range(1, 100'000'000),
      pl::option(
          &options::when_full, "when_full",
          "What happens to a record of a device that is not known, if the state of no more devices can be kept. "
          "reject: "
          "it is not evaluated, and counted; known devices are not affected. evict_oldest: the devices that have been "
          "silent for longest and have no open alert are removed; their silence is not noticed."),
      pl::option(
          &options::forget_after, "forget_after",
          "Remove the state of a device that has no open alert and has sent nothing for this long, by the clock of "
          "missing_for. This bounds the "
          "memory if device ids change often. 0: never.")
          .range(0),
      pl::option(&options::labels, "labels",
                 "Labels of all rules. A rule's own label of the same name takes precedence.")
          .example("{plant: north}")};
}

}  // namespace threshold_alert
