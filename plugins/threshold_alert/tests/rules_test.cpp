// SPDX-License-Identifier: Apache-2.0
// Contradictions in the configuration: each is found, at its option, with the fix.
#include "harness.hpp"

using namespace threshold_alert::testing;

namespace {

struct found {
  std::string option, message;
};

// What the constructor says.
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

TEST_CASE("a sound rule has no errors") {
  CHECK(errors_of_rule({{"above", 80.0}, {"clear_below", 75.0}, {"for", 10s}, {"severity", "critical"}}).empty());
}

TEST_CASE("none or two conditions") {
  expect(errors_of_rule({}), "rules[0]",
         "rule 'hot' has no condition; give it one of above, below, outside, equals or missing_for, or severities with "
         "a threshold each");
  expect(errors_of_rule({{"above", 80.0}, {"below", 5.0}}), "rules[0].below",
         "rule 'hot' has two conditions, above and below; keep one, and make a second rule of the other");
  expect(errors_of_rule({{"severities", list({level("warning", {})})}}), "rules[0].severities[0]",
         "this severity has no condition; give it one of above, below, outside, equals or missing_for");
  expect(errors_of({{"rules", list({})}}), "rules",
         "there are no rules, so nothing would ever fire; write at least one");
}

TEST_CASE("hysteresis the wrong way round") {
  expect(
      errors_of_rule({{"above", 80.0}, {"clear_below", 80.0}}), "rules[0].clear_below",
      "clear_below 80 is not less than above 80: it gives no hysteresis; write a number less than 80, or leave it out");
  expect(errors_of_rule({{"below", 5.0}, {"clear_above", 4.5}}), "rules[0].clear_above",
         "clear_above 4.5 is not greater than below 5: it gives no hysteresis; write a number greater than 5, or leave "
         "it out");
  expect(errors_of_rule({{"above", 80.0}, {"clear_above", 90.0}}), "rules[0].clear_above",
         "clear_above belongs to below; with above write clear_below: the alert clears when the value is less");
  expect(errors_of_rule({{"below", 80.0}, {"clear_below", 90.0}}), "rules[0].clear_below",
         "clear_below belongs to above; with below write clear_above: the alert clears when the value is greater");
  expect(errors_of_rule({{"equals", "x"}, {"clear_below", 90.0}}), "rules[0].clear_below",
         "hysteresis fits above, below and outside only; leave it out with equals");
  expect(errors_of_rule({{"outside", list({10.0, 80.0})}, {"clear_above", 60.0}, {"clear_below", 50.0}}),
         "rules[0].clear_below",
         "no value is greater than 60 and less than 50: the alert would never clear; leave room between the two");
  expect(errors_of_rule({{"outside", list({10.0, 80.0})}, {"clear_below", 5.0}}), "rules[0].clear_below",
         "no value is greater than 10 and less than 5: the alert would never clear; leave room between the two");
}

TEST_CASE("outside that isn't a range") {
  expect(errors_of_rule({{"outside", list({10.0})}}), "rules[0].outside",
         "outside takes two numbers, the lowest and the highest good value, such as [10, 80]; here are 1");
  expect(errors_of_rule({{"outside", list({80.0, 10.0})}}), "rules[0].outside",
         "outside [80, 10] leaves no good value; write the lower number first");
}

TEST_CASE("numbers must be finite") {
  expect(errors_of_rule({{"above", HUGE_VAL}}), "rules[0].above", "a threshold must be a finite number");
  expect(errors_of_rule({{"above", 1.0}, {"clear_below", std::nan("")}}), "rules[0].clear_below",
         "a threshold must be a finite number");
}

TEST_CASE("missing_for stands alone") {
  expect(errors_of_rule({{"missing_for", 60s}, {"for", 10s}}), "rules[0].for",
         "for can't stand with missing_for: it says already how long; add the two durations up in missing_for");
  expect(errors_of_rule({{"missing_for", 60s}, {"times", 2}}), "rules[0].times",
         "times can't stand with missing_for: a silence has no readings to count; leave it out");
  expect(errors_of_rule({{"missing_for", 60s}, {"keep_firing_for", 10s}}), "rules[0].keep_firing_for",
         "keep_firing_for can't stand with missing_for: the first record ends a silence; leave it out, or write "
         "flapping to tell an "
         "unsteady device");
  expect(errors_of_rule({{"missing_for", 60s}, {"rate_of_change", "minute"}}), "rules[0].rate_of_change",
         "rate_of_change needs a limit for the rate: above, below or outside, not missing_for");
}

TEST_CASE("rates") {
  expect(errors_of_rule({{"equals", 5}, {"rate_of_change", "minute"}}), "rules[0].rate_of_change",
         "rate_of_change needs a limit for the rate: above, below or outside, not equals");
  expect(errors_of_rule({{"above", 5.0}, {"over", 10s}}), "rules[0].over",
         "over says how a rate is measured; add rate_of_change: minute (or second, hour), or leave it out");
}

TEST_CASE("names and metrics") {
  expect(errors_of({{"rules", list({object({{"name", "hot"}, {"metric", "t"}, {"above", 1.0}}),
                                    object({{"name", "hot"}, {"metric", "t"}, {"above", 2.0}})})}}),
         "rules[1].name", "a rule 'hot' stands above already; give each its own name");
  expect(errors_of({{"rules", list({object({{"name", "hot"}, {"above", 1.0}})})}}), "rules[0].metric",
         "rule 'hot' needs the metric that it watches; write metric: and the column's name");
  expect(errors_of({{"rules", list({object({{"name", ""}, {"metric", "t"}, {"above", 1.0}})})}}), "rules[0].name",
         "the rule needs a name; write one that says what is wrong, such as overheating");
}

TEST_CASE("severities") {
  expect(errors_of_rule({{"above", 80.0}, {"severity", "criticl"}}), "rules[0].severity",
         "severity 'criticl' is not in severity_order; did you mean 'critical'? Otherwise add it to severity_order, in "
         "its place from "
         "mild to grave");
  expect(errors_of_rule({{"severity", "info"}, {"severities", list({level("warning", {{"above", 1.0}})})}}),
         "rules[0].severity", "severity stands beside severities; each entry there has its own, so leave this one out");
  expect(errors_of_rule({{"above", 5.0}, {"severities", list({level("warning", {{"above", 1.0}})})}}), "rules[0].above",
         "'above' stands beside severities; give each entry there its own threshold, and none here");
  expect(errors_of_rule({{"clear_below", 5.0}, {"severities", list({level("warning", {{"above", 1.0}})})}}),
         "rules[0].clear_below", "hysteresis stands beside severities; write it in each entry there");
  expect(
      errors_of_rule({{"severities", list({level("warning", {{"above", 1.0}}), level("critical", {{"below", 1.0}})})}}),
      "rules[0].severities[1]",
      "this severity has another condition than the first; all severities of a rule need the same one (a rule of its "
      "own may watch "
      "the same metric)");
  expect(
      errors_of_rule({{"severities", list({level("warning", {{"above", 1.0}}), level("warning", {{"above", 2.0}})})}}),
      "rules[0].severities[1].severity",
      "severity 'warning' stands here twice; each severity of a rule has one threshold");
}

TEST_CASE("severities in a senseless order") {
  expect(errors_of_rule(
             {{"severities", list({level("critical", {{"above", 70.0}}), level("warning", {{"above", 85.0}})})}}),
         "rules[0].severities[0]",
         "'critical' is reached before the milder 'warning'; its threshold must lie further out, or the severities be "
         "exchanged");
  expect(errors_of_rule({{"severities", list({level("warning", {{"above", 70.0}, {"clear_below", 65.0}}),
                                              level("critical", {{"above", 85.0}, {"clear_below", 60.0}})})}}),
         "rules[0].severities[1]",
         "'critical' clears later than the milder 'warning': an alert falls one severity after the other; its "
         "clear_below or "
         "clear_above must lie further out too");
  expect(errors_of_rule({{"severities", list({level("warning", {{"missing_for", 60s}}),
                                              level("critical", {{"missing_for", 60s}})})}}),
         "rules[0].severities[1].missing_for",
         "'critical' comes no later than the milder 'warning'; give it a longer time");
  expect(errors_of_rule(
             {{"severities", list({level("warning", {{"equals", "a"}}), level("critical", {{"equals", "a"}})})}}),
         "rules[0].severities[1].equals", "'critical' has the same value as the milder 'warning'; give each its own");
}

TEST_CASE("patterns") {
  expect(errors_of_rule({{"above", 1.0}, {"match", object({{"device", "a*"}})}}), "rules[0].match.device",
         "'device' is none of the columns of group_by; there are: user_id, device_id");
  expect(errors_of_rule({{"above", 1.0}, {"match", object({{"device_id", "a[b"}})}}), "rules[0].match.device_id",
         "in the pattern 'a[b': '[' at character 2 is not closed by ']'; write \\[ for a bracket");
}

TEST_CASE("messages") {
  expect(errors_of_rule({{"above", 1.0}, {"message", "{devce_id} is hot"}}), "rules[0].message",
         "a message knows no {devce_id}; did you mean 'device_id'?");
  expect(errors_of_rule({{"above", 1.0}, {"resolved_message", "cool {"}}), "rules[0].resolved_message",
         "'{' at character 6 is not closed; write '{{' for a brace");
  expect(errors_of_rule({{"above", 1.0}, {"send_resolved", false}, {"resolved_message", "x"}}),
         "rules[0].resolved_message",
         "resolved_message is never sent with send_resolved: false; leave one of the two out");
}

TEST_CASE("groups and orders") {
  const auto rule = list({object({{"name", "hot"}, {"metric", "t"}, {"above", 1.0}})});
  expect(errors_of({{"rules", rule}, {"group_by", list({})}}), "group_by",
         "group_by is empty: there would be one alert for all devices; name at least one column");
  expect(errors_of({{"rules", rule}, {"group_by", list({"a", "a"})}}), "group_by[1]",
         "'a' stands here twice; leave one out");
  expect(errors_of({{"rules", rule}, {"group_by", list({"stream"})}}), "group_by[0]",
         "'stream' is a column that every alert has already; group by another, or rename it before");
  expect(errors_of({{"rules", rule}, {"severity_order", list({"a", "b", "a"})}}), "severity_order[2]",
         "'a' stands here twice; leave one out");
}

TEST_CASE("a severity_order without 'warning': its mildest is the default") {
  harness h(config_fields{{"rules", list({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 1.0}})})},
                          {"severity_order", list({"minor", "major"})}});
  h.feed({{0, real(2)}});
  CHECK(h.take() == lines{"firing minor 2 @0 d1"});
}

TEST_CASE("all mistakes are told at once") {
  const auto errors = errors_of(
      {{"rules",
        list({object({{"name", "a"}, {"metric", "t"}}),
              object({{"name", "b"}, {"metric", "t"}, {"above", 1.0}, {"clear_below", 2.0}, {"severity", "x"}})})}});
  CHECK(errors.size() == 3);
}
