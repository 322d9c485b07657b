// SPDX-License-Identifier: Apache-2.0
// Tests that each contradiction in the configuration is reported at its option, with the remedy.
#include "harness.hpp"

using namespace threshold_alert::testing;

namespace {

struct found {
  std::string option, message;
};

// Return the errors that the constructor reports.
std::vector<found> errors_of(const config_fields& options) {
  pl::testing::fake_host host;
  pl::testing::instance i(host, component(), options);
  const auto status = i.create();
  std::vector<found> all;
  for (const auto& e : host.errors()) all.push_back({e.option, e.detail});
  CHECK((status == PL_OK) == all.empty());
  return all;
}
std::vector<found> errors_of_rule(config_fields more) {
  config_fields fields{{"name", "hot"}, {"metric", "temperature"}};
  fields.insert(fields.end(), more.begin(), more.end());
  return errors_of({{"rules", list({object(fields)})}});
}

void expect(const std::vector<found>& errors, const std::string& option, const std::string& message) {
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].option == option);
  CHECK(errors[0].message == message);
}

pl::testing::config_value level(std::string severity, config_fields more) {
  more.insert(more.begin(), {"severity", severity});
  return object(more);
}

}  // namespace

TEST_CASE("a valid rule has no errors") {
  CHECK(errors_of_rule({{"above", 80.0}, {"clear_below", 75.0}, {"for", 10s}, {"severity", "critical"}}).empty());
}

TEST_CASE("a rule with no condition or two conditions is rejected") {
  expect(errors_of_rule({}), "rules[0]",
         "rule 'hot' has no condition; add one of above, below, outside, equals, missing_for or when, or severities "
         "with a threshold each");
  expect(errors_of_rule({{"above", 80.0}, {"below", 5.0}}), "rules[0].below",
         "rule 'hot' has two conditions, above and below; keep one, and add a second rule for the other");
  expect(errors_of_rule({{"severities", list({level("warning", {})})}}), "rules[0].severities[0]",
         "this severity has no condition; add one of above, below, outside, equals, missing_for or when");
  expect(errors_of({{"rules", list({})}}), "rules",
         "rules is empty, so that no alert could fire; write at least one rule");
}

TEST_CASE("contradictory hysteresis is rejected") {
  expect(
      errors_of_rule({{"above", 80.0}, {"clear_below", 80.0}}), "rules[0].clear_below",
      "clear_below 80 is not less than above 80, so there is no hysteresis; use a number less than 80, or remove it");
  expect(errors_of_rule({{"below", 5.0}, {"clear_above", 4.5}}), "rules[0].clear_above",
         "clear_above 4.5 is not greater than below 5, so there is no hysteresis; use a number greater than 5, or "
         "remove it");
  expect(errors_of_rule({{"above", 80.0}, {"clear_above", 90.0}}), "rules[0].clear_above",
         "clear_above applies to below; with above use clear_below: the alert clears when the value is less");
  expect(errors_of_rule({{"below", 80.0}, {"clear_below", 90.0}}), "rules[0].clear_below",
         "clear_below applies to above; with below use clear_above: the alert clears when the value is greater");
  expect(errors_of_rule({{"equals", "x"}, {"clear_below", 90.0}}), "rules[0].clear_below",
         "hysteresis applies only to above, below and outside; remove it from equals");
  expect(errors_of_rule({{"outside", list({10.0, 80.0})}, {"clear_above", 60.0}, {"clear_below", 50.0}}),
         "rules[0].clear_below",
         "no value is greater than 60 and less than 50: the alert would never clear; leave a gap between the two");
  expect(errors_of_rule({{"outside", list({10.0, 80.0})}, {"clear_below", 5.0}}), "rules[0].clear_below",
         "no value is greater than 10 and less than 5: the alert would never clear; leave a gap between the two");
}

TEST_CASE("outside must be a range of two ascending numbers") {
  expect(errors_of_rule({{"outside", list({10.0})}}), "rules[0].outside",
         "outside needs two numbers, the lowest and the highest good value, such as [10, 80]; found 1");
  expect(errors_of_rule({{"outside", list({80.0, 10.0})}}), "rules[0].outside",
         "outside [80, 10] leaves no good value; put the lower number first");
}

TEST_CASE("thresholds must be finite") {
  expect(errors_of_rule({{"above", HUGE_VAL}}), "rules[0].above", "a threshold must be a finite number");
  expect(errors_of_rule({{"above", 1.0}, {"clear_below", std::nan("")}}), "rules[0].clear_below",
         "a threshold must be a finite number");
}

TEST_CASE("missing_for cannot be combined with for, times, keep_firing_for or rate_of_change") {
  expect(errors_of_rule({{"missing_for", 60s}, {"for", 10s}}), "rules[0].for",
         "for cannot be combined with missing_for: missing_for is already a duration; set it to the sum of the two "
         "durations");
  expect(errors_of_rule({{"missing_for", 60s}, {"times", 2}}), "rules[0].times",
         "times cannot be combined with missing_for: a silence has no readings to count; remove it");
  expect(errors_of_rule({{"missing_for", 60s}, {"keep_firing_for", 10s}}), "rules[0].keep_firing_for",
         "keep_firing_for cannot be combined with missing_for: the first record ends a silence; remove it, or use "
         "flapping to detect an unsteady device");
  expect(errors_of_rule({{"missing_for", 60s}, {"rate_of_change", "minute"}}), "rules[0].rate_of_change",
         "rate_of_change needs a limit for the rate: above, below or outside, not missing_for");
}

TEST_CASE("contradictory rate options are rejected") {
  expect(errors_of_rule({{"equals", 5}, {"rate_of_change", "minute"}}), "rules[0].rate_of_change",
         "rate_of_change needs a limit for the rate: above, below or outside, not equals");
  expect(errors_of_rule({{"above", 5.0}, {"over", 10s}}), "rules[0].over",
         "over applies only to rates; add rate_of_change: minute (or second, hour), or remove it");
}

TEST_CASE("missing or duplicate names and missing metrics are rejected") {
  expect(errors_of({{"rules", list({object({{"name", "hot"}, {"metric", "t"}, {"above", 1.0}}),
                                    object({{"name", "hot"}, {"metric", "t"}, {"above", 2.0}})})}}),
         "rules[1].name", "another rule is already called 'hot'; give each rule its own name");
  expect(errors_of({{"rules", list({object({{"name", "hot"}, {"above", 1.0}})})}}), "rules[0].metric",
         "rule 'hot' has no metric; add metric: with the name of a column");
  expect(errors_of({{"rules", list({object({{"name", ""}, {"metric", "t"}, {"above", 1.0}})})}}), "rules[0].name",
         "the rule needs a name; choose one that describes the problem, such as overheating");
}

TEST_CASE("invalid severities are rejected") {
  expect(errors_of_rule({{"above", 80.0}, {"severity", "criticl"}}), "rules[0].severity",
         "severity 'criticl' is not in severity_order (if it is new, add it there, lowest first); did you mean "
         "'critical'?");
  expect(errors_of_rule({{"severity", "info"}, {"severities", list({level("warning", {{"above", 1.0}})})}}),
         "rules[0].severity", "severity cannot be combined with severities, whose entries have their own; remove it");
  expect(errors_of_rule({{"above", 5.0}, {"severities", list({level("warning", {{"above", 1.0}})})}}), "rules[0].above",
         "'above' cannot be combined with severities; move the condition into their entries");
  expect(errors_of_rule({{"clear_below", 5.0}, {"severities", list({level("warning", {{"above", 1.0}})})}}),
         "rules[0].clear_below", "hysteresis cannot be combined with severities; move it into their entries");
  expect(
      errors_of_rule({{"severities", list({level("warning", {{"above", 1.0}}), level("critical", {{"below", 1.0}})})}}),
      "rules[0].severities[1]",
      "this severity has a different condition than the first; use one condition for all severities of a rule (or add "
      "a separate rule for the same metric)");
  expect(
      errors_of_rule({{"severities", list({level("warning", {{"above", 1.0}}), level("warning", {{"above", 2.0}})})}}),
      "rules[0].severities[1].severity",
      "severity 'warning' is listed twice; each severity of a rule has one threshold");
}

TEST_CASE("severities whose thresholds are out of order are rejected") {
  expect(errors_of_rule(
             {{"severities", list({level("critical", {{"above", 70.0}}), level("warning", {{"above", 85.0}})})}}),
         "rules[0].severities[0]",
         "'critical' is not reached after the lower severity 'warning'; move its threshold further out, or swap the "
         "severities");
  expect(errors_of_rule({{"severities", list({level("warning", {{"above", 70.0}, {"clear_below", 65.0}}),
                                              level("critical", {{"above", 85.0}, {"clear_below", 60.0}})})}}),
         "rules[0].severities[1]",
         "'critical' clears after the lower severity 'warning', but an alert must fall through its severities in "
         "order; move clear_below or clear_above of 'critical' further out");
  expect(errors_of_rule({{"severities", list({level("warning", {{"missing_for", 60s}}),
                                              level("critical", {{"missing_for", 60s}})})}}),
         "rules[0].severities[1].missing_for",
         "'critical' is not reached after the lower severity 'warning'; set a longer duration");
  expect(errors_of_rule(
             {{"severities", list({level("warning", {{"equals", "a"}}), level("critical", {{"equals", "a"}})})}}),
         "rules[0].severities[1].equals",
         "'critical' has the same value as the lower severity 'warning'; use different values");
}

TEST_CASE("invalid match patterns are rejected") {
  expect(errors_of_rule({{"above", 1.0}, {"match", object({{"device", "a*"}})}}), "rules[0].match.device",
         "'device' is not a column of group_by; did you mean 'device_id'?");
  expect(errors_of_rule({{"above", 1.0}, {"match", object({{"device_id", "a[b"}})}}), "rules[0].match.device_id",
         "in the pattern 'a[b': '[' at character 2 is not closed by ']'; write \\[ for a bracket");
}

TEST_CASE("invalid message templates are rejected") {
  expect(errors_of_rule({{"above", 1.0}, {"message", "{devce_id} is hot"}}), "rules[0].message",
         "unknown placeholder {devce_id} in a message; did you mean 'device_id'?");
  expect(errors_of_rule({{"above", 1.0}, {"resolved_message", "cool {"}}), "rules[0].resolved_message",
         "'{' at character 6 is not closed; write '{{' for a brace");
  expect(errors_of_rule({{"above", 1.0}, {"send_resolved", false}, {"resolved_message", "x"}}),
         "rules[0].resolved_message",
         "resolved_message is never sent with send_resolved: false; remove one of the two");
}

TEST_CASE("invalid group_by and severity_order are rejected") {
  const auto rule = list({object({{"name", "hot"}, {"metric", "t"}, {"above", 1.0}})});
  expect(errors_of({{"rules", rule}, {"group_by", list({})}}), "group_by",
         "group_by is empty, so that all devices would share one alert; name at least one column");
  expect(errors_of({{"rules", rule}, {"group_by", list({"a", "a"})}}), "group_by[1]",
         "'a' is listed twice; remove one of them");
  expect(errors_of({{"rules", rule}, {"group_by", list({"stream"})}}), "group_by[0]",
         "every alert already has a column 'stream'; choose another column, or rename it in an earlier transform");
  expect(errors_of({{"rules", rule}, {"severity_order", list({"a", "b", "a"})}}), "severity_order[2]",
         "'a' is listed twice; remove one of them");
}

TEST_CASE("the lowest severity is the default if severity_order does not contain 'warning'") {
  harness h(config_fields{{"rules", list({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 1.0}})})},
                          {"severity_order", list({"minor", "major"})}});
  h.feed({{0, real(2)}});
  CHECK(h.take() == lines{"firing minor 2 @0 d1"});
}

TEST_CASE("all errors are reported together") {
  const auto errors = errors_of(
      {{"rules",
        list({object({{"name", "a"}, {"metric", "t"}}),
              object({{"name", "b"}, {"metric", "t"}, {"above", 1.0}, {"clear_below", 2.0}, {"severity", "x"}})})}});
  CHECK(errors.size() == 3);
}
