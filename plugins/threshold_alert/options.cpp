// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

namespace threshold_alert {

pl::option_table<flapping_options> flapping_options::table() {
  return {
      pl::option(&flapping_options::fires, "fires",
                 "How often the alert must fire within `within` to count as flapping; the firing that reaches it is "
                 "sent as flapping.")
          .range(2, 100),
      pl::option(&flapping_options::within, "within",
                 "Window in which firings are counted, and how long the condition must stay as it is, true or "
                 "clear, for the flapping to end; in the records' own time.")
          .range(0.001)};
}

pl::option_table<level_options> level_options::table() {
  return {
      pl::option(&level_options::severity, "severity", "Severity of this level; one of severity_order.")
          .required()
          .example("critical"),
      pl::option(&level_options::above, "above", "This level is reached by values greater than this.").example("85"),
      pl::option(&level_options::below, "below", "This level is reached by values less than this.").example("5"),
      pl::option(&level_options::outside, "outside",
                 "This level is reached by values less than the first or greater than the second number.")
          .example("[0, 95]"),
      pl::option(&level_options::equals, "equals", "This level is reached by exactly this value: text, number or bool.")
          .example("failed"),
      pl::option(&level_options::missing_for, "missing_for", "This level is reached by a silence longer than this.")
          .range(0.001)
          .example("30m"),
      pl::option(&level_options::clear_below, "clear_below",
                 "Hysteresis: once reached, the level holds until the value is less than this. With above or outside.")
          .example("80"),
      pl::option(
          &level_options::clear_above, "clear_above",
          "Hysteresis: once reached, the level holds until the value is greater than this. With below or outside.")
          .example("8")};
}

pl::option_table<rule_options> rule_options::table() {
  return {
      pl::option(&rule_options::name, "name", "Name of the rule, unique in this node; part of each alert and its id.")
          .required()
          .example("overheating"),
      pl::option(&rule_options::metric, "metric",
                 "Column that the rule watches. Needed unless the rule has missing_for, where it means: silent in this "
                 "metric, though other metrics may still arrive.")
          .example("temperature"),
      pl::option(&rule_options::above, "above",
                 "Condition: the value is greater than this. Exactly this value does not fire.")
          .example("80"),
      pl::option(&rule_options::below, "below", "Condition: the value is less than this. Exactly this does not fire.")
          .example("10"),
      pl::option(&rule_options::outside, "outside",
                 "Condition: the value is less than the first or greater than the second number.")
          .example("[10, 80]"),
      pl::option(&rule_options::equals, "equals",
                 "Condition: the value is exactly this text, number (1 and 1.0 are equal) or bool.")
          .example("failed"),
      pl::option(&rule_options::missing_for, "missing_for",
                 "Condition: nothing came for longer than this. Measured against the newest record of the device's "
                 "stream, and against the wall clock once the stream has caught up. A device is watched from its first "
                 "record on.")
          .range(0.001)
          .example("5m"),
      pl::option(&rule_options::rate_of_change, "rate_of_change",
                 "Compare how much the metric changes per second, minute or hour instead of its value: above, below or "
                 "outside then limit the rate. Computed from the records' own times.")
          .example("minute"),
      pl::option(
          &rule_options::over, "over",
          "With rate_of_change: shortest time between the two readings that a rate is computed from; readings in "
          "between are passed over, which keeps noise from looking like a jump. 0: each two neighbours.")
          .range(0)
          .example("30s"),
      pl::option(&rule_options::clear_below, "clear_below",
                 "Hysteresis: a firing alert clears only when the value is less than this. With above or outside.")
          .example("75"),
      pl::option(&rule_options::clear_above, "clear_above",
                 "Hysteresis: a firing alert clears only when the value is greater than this. With below or outside.")
          .example("15"),
      pl::option(&rule_options::severity, "severity", "Severity of the alert; one of severity_order. Default: warning.")
          .example("critical"),
      pl::option(&rule_options::severities, "severities",
                 "Several severities with a threshold each, instead of one severity and one condition. One alert rises "
                 "and falls through them.")
          .example("[{severity: warning, above: 70}, {severity: critical, above: 85}]"),
      pl::option(&rule_options::hold_for, "for",
                 "How long the condition must hold, from reading to reading in the records' own time, before the alert "
                 "fires (and before it rises to a higher severity). 0: at once.")
          .range(0)
          .example("10s"),
      pl::option(&rule_options::times, "times",
                 "How many readings in a row must fulfil the condition before the alert fires (or rises). With `for`: "
                 "both must be met.")
          .range(1, 1'000'000),
      pl::option(
          &rule_options::keep_firing_for, "keep_firing_for",
          "How long readings must be clear, from the first clear one on, before the alert resolves (or falls); a "
          "dip that is shorter changes nothing.")
          .range(0)
          .example("1m"),
      pl::option(&rule_options::repeat_interval, "repeat_interval",
                 "Send an alert that is still open again after this long, in the records' own time. 0: never.")
          .range(0)
          .example("4h"),
      pl::option(&rule_options::send_resolved, "send_resolved", "Whether a notice is sent when the alert resolves."),
      pl::option(
          &rule_options::flapping, "flapping",
          "When an alert that fires again and again is sent once as flapping, and not as a firing and a resolved "
          "each time. Off unless given.")
          .example("{fires: 4, within: 10m}"),
      pl::option(
          &rule_options::match, "match",
          "Only devices whose ids match: a pattern for each of some group_by columns. * stands for any text, ? for "
          "one byte, [a-f] for one of a set, | separates alternatives, \\ takes the next as it is.")
          .example("{device_id: \"pump-*|valve-*\"}"),
      pl::option(&rule_options::labels, "labels", "Fixed texts that travel with each alert, in the column labels.")
          .example("{team: cooling}"),
      pl::option(&rule_options::message, "message",
                 "Text of the alert. {rule} {state} {severity} {metric} {value} {threshold} {since} {time} {stream} "
                 "{position} and the group_by columns are filled in; {{ is a brace. Default: a sentence that fits the "
                 "condition.")
          .example("\"{device_id}: {metric} is {value} (limit {threshold})\""),
      pl::option(&rule_options::resolved_message, "resolved_message",
                 "Text of the resolved notice, as in `message`. Default: `message`, or a sentence that fits.")
          .example("\"{device_id}: {metric} is back to {value}\"")};
}

pl::option_table<options> options::table() {
  return {
      pl::option(&options::rules, "rules", "The alert rules: a list of objects, each with a name and one condition.")
          .required()
          .example(
              "[{name: overheating, metric: temperature, above: 80, clear_below: 75, for: 10s, severity: critical}]"),
      pl::option(
          &options::group_by, "group_by",
          "Columns that together name what an alert is about: one open alert for each rule and each combination of "
          "their values. They become columns of the alerts.")
          .example("[site]"),
      pl::option(&options::time_column, "time_column",
                 "Column with the record's own time, on which all durations run."),
      pl::option(&options::severity_order, "severity_order", "The severities that rules may use, mildest first.")
          .example("[info, minor, major, critical]"),
      pl::option(
          &options::max_age, "max_age",
          "Alerts whose time lies further back than this are counted and go to the port `recorded`, not to `out`, "
          "so that a replay of last week makes nobody act; one that is still open when the stream has caught up is "
          "sent then. 0: no limit.")
          .range(0)
          .example("1h"),
      pl::option(
          &options::max_ahead, "max_ahead",
          "A record whose time is further ahead of this machine's clock than this changes no alert and is counted: "
          "a device whose clock is wrong would otherwise make others look silent and its own next records late. "
          "0: no limit.")
          .range(0),
      pl::option(
          &options::forget_after, "forget_after",
          "A device without an open alert is forgotten when nothing came from it for this long, which bounds the "
          "memory where ids come and go. 0: never.")
          .range(0),
      pl::option(&options::labels, "labels", "Labels of all rules; a rule's own label of the same name wins.")
          .example("{plant: north}")};
}

}  // namespace threshold_alert
