// SPDX-License-Identifier: Apache-2.0
// Tests of silence by the arrival clock, and of devices with wrong clocks.
#include "harness.hpp"

using namespace threshold_alert::testing;

namespace {

pl::testing::config_value silent(config_fields more = {}) {
  config_fields fields{{"name", "silent"}, {"missing_for", 60s}};
  fields.insert(fields.end(), more.begin(), more.end());
  return object(fields);
}

pl::testing::config_value hot(config_fields more = {}) {
  config_fields fields{{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}};
  fields.insert(fields.end(), more.begin(), more.end());
  return object(fields);
}

// A record whose device's clock is off.
row off_by(double seconds, double arrived, std::string device, double temperature = 20) {
  row r{arrived + seconds, real(temperature), std::move(device)};
  r.arrived = arrived;
  return r;
}

// A host that starts after a crash. delivered: the output of the records below is discarded.
struct after_crash : harness {
  after_crash(std::vector<pl::testing::config_value> rules, std::uint64_t delivered)
      : harness((discarded = delivered, std::move(rules))) {}
  ~after_crash() { discarded.reset(); }
};

}  // namespace

TEST_CASE("a device is silent when the arrival clock has advanced by missing_for, whatever the wall clock says") {
  harness h({silent()});
  h.arrive({{0, {}, "a"}});
  h.clock(59.9);
  CHECK(h.take() == lines{});
  h.clock(60);
  CHECK(h.take() == lines{"firing warning 60 @60 a"});
  h.clock(61);
  CHECK(h.take() == lines{});
  h.arrive({{90, {}, "a"}});
  CHECK(h.take() == lines{"resolved warning 90 @90 a"});
}

TEST_CASE("a clock that stands still raises nothing, for example while the lane is blocked") {
  harness h({silent()});
  h.arrive({{0, {}, "a"}});
  for (int i = 0; i < 10; ++i) h.tick(1000.0 * i);
  CHECK(h.take() == lines{});
}

TEST_CASE("a record does not raise the silence of other devices: timers do, when everything that arrived is read") {
  harness h({silent()});
  h.arrive({{0, {}, "a"}, {0, {}, "b"}});
  h.arrive({{100, {}, "b"}});  // a backlog: a's record may follow
  CHECK(h.take() == lines{"firing warning 60 @60 b", "resolved warning 100 @100 b"});
  h.arrive({{101, {}, "a"}});
  CHECK(h.take() == lines{"firing warning 60 @60 a", "resolved warning 101 @101 a"});
}

TEST_CASE("a timer and the device's next record raise the same events") {
  const auto rules = [] {
    return std::vector{object({{"name", "silent"},
                               {"severities", list({object({{"severity", "warning"}, {"missing_for", 60s}}),
                                                    object({{"severity", "critical"}, {"missing_for", 100s}})})}})};
  };
  harness by_timer(rules()), by_record(rules());
  for (auto* h : {&by_timer, &by_record}) h->arrive({{0, {}, "a"}});
  by_timer.clock(70);
  by_timer.clock(110);
  for (auto* h : {&by_timer, &by_record}) h->arrive({{120, {}, "a"}});
  const auto expected = by_timer.take_rows();
  CHECK(expected.size() == 3);
  CHECK(by_record.take_rows() == expected);
}

TEST_CASE("timers run right after the state is restored, without any record") {
  harness before({silent()});
  before.arrive({{0, {}, "a"}, {30, {}, "b"}});
  harness after({silent()});
  after.restore(before.stop());
  after.clock(60);
  CHECK(after.take() == lines{"firing warning 60 @60 a"});
  after.clock(90);
  CHECK(after.take() == lines{"firing warning 60 @90 b"});
}

TEST_CASE("a device's clock that is ahead or behind affects neither other devices nor its own silence") {
  for (const double off : {3000.0, -3000.0, 1e7, -1e7}) {
    CAPTURE(off);
    harness h({silent(), hot()});
    for (double t = 0; t < 200; t += 10) {
      h.arrive({off_by(off, t, "wrong"), {t, real(20), "right"}});
      h.clock(t + 1);
    }
    CHECK(h.take() == lines{});
    h.arrive({{200, real(85), "right"}});
    CHECK(h.take() == lines{"firing warning 85 @200 right"});
    h.clock(250);  // the wrong device was last seen at 190
    CHECK(h.take() == lines{"firing warning 60 @250 wrong"});
  }
}

TEST_CASE("a device that returns from a wrong clock is evaluated after at most three records") {
  harness h({hot(), silent()});
  h.arrive({off_by(3000, 0, "a", 85)});
  CHECK(h.take() == lines{"firing warning 85 @3000 a"});
  h.arrive({{1, real(85), "a"}, {2, real(85), "a"}});
  CHECK(h.take() == lines{});
  h.arrive({{3, real(70), "a"}});
  CHECK(h.take() == lines{"resolved warning 70 @3 a"});
  h.arrive({{4, real(81), "a"}});
  CHECK(h.take() == lines{"firing warning 81 @4 a"});
  CHECK(h.host.sum("alert_records_skipped_total{reason=late}") == 2);
}

TEST_CASE("a device that returns restarts its counts, durations and rates") {
  harness h({hot({{"times", 2}, {"for", 1s}}),
             object({{"name", "jump"}, {"metric", "temperature"}, {"rate_of_change", "second"}, {"above", 1.0}})});
  h.arrive({off_by(3000, 0, "a", 85), {1, real(20), "a"}, {2, real(20), "a"}, {3, real(85), "a"}});
  CHECK(h.take() == lines{});
  h.arrive({{4, real(85), "a"}});
  CHECK(h.take() == lines{"firing warning 85 @4 a"});
}

TEST_CASE("late records of a device with a right clock stay late") {
  harness h({hot()});
  h.arrive({{100, real(20), "a"}});
  for (int i = 1; i < 10; ++i) h.arrive({off_by(-50, 100 + i * 0.1, "a", 85)});
  CHECK(h.take() == lines{});
}

TEST_CASE("a record with a time far ahead of its arrival is counted, and its device is not silent") {
  harness h({silent(), hot()});
  h.arrive({off_by(4000, 0, "a", 85)});
  for (double t = 10; t < 200; t += 10) {
    h.arrive({off_by(4000, t, "a", 85)});
    h.clock(t + 1);
  }
  CHECK(h.take() == lines{});
  CHECK(h.host.sum("alert_records_skipped_total{reason=ahead_of_clock}") == 20);
}

TEST_CASE("after a gap, absence is judged after the settling time, and the gap does not count") {
  harness h({silent()});
  h.arrive({{0, {}, "a"}, {30, {}, "b"}});
  h.clock(50);
  h.gap(1000);
  h.clock(1060);  // a reading of 60
  CHECK(h.take() == lines{});
  h.arrive({{1070, {}, "b"}});
  h.clock(1109.9);
  CHECK(h.take() == lines{});
  h.clock(1110);  // the clock was at 50 when records could arrive again
  CHECK(h.take() == lines{"firing warning 110 @1110 a"});
  h.clock(1129.9);
  CHECK(h.take() == lines{});
  h.clock(1130);
  CHECK(h.take() == lines{"firing warning 60 @1130 b"});
}

TEST_CASE("a gap shorter than the settling time: missing_for itself is the settling time of short rules") {
  harness h({silent({{"missing_for", 5s}})});
  h.arrive({{0, {}, "a"}});
  h.clock(4);
  h.gap(10);
  h.clock(18.9);
  CHECK(h.take() == lines{});
  h.clock(19);
  CHECK(h.take() == lines{"firing warning 9 @19 a"});
}

TEST_CASE("a metric may be silent while its device reports; late and null values are distinguished") {
  harness h({object({{"name", "no_temperature"}, {"metric", "temperature"}, {"missing_for", 60s}})});
  h.arrive({{0, real(20), "a"}, {50, pl::null_cell(), "a"}});
  h.clock(60);
  CHECK(h.take() == lines{"firing warning 60 @60 a"});
  h.arrive({off_by(-500, 70, "a")});
  CHECK(h.take() == lines{"resolved warning 70 @70 a"});
  h.clock(129.9);
  CHECK(h.take() == lines{});
  h.clock(130);
  CHECK(h.take() == lines{"firing warning 60 @130 a"});
}

TEST_CASE("forget_after is measured by the arrival clock") {
  harness h(config_fields{{"forget_after", 100s}, {"rules", list({hot()})}});
  h.arrive({off_by(3000, 0, "a"), {50, real(20), "b"}});
  h.clock(99);
  CHECK(h.host.last("alert_devices") == 2);
  h.clock(100);
  CHECK(h.host.last("alert_devices") == 1);
}

TEST_CASE("an alert is repeated by the arrival clock, also after a gap") {
  harness h({silent({{"repeat_interval", 100s}})});
  h.arrive({{0, {}, "a"}});
  h.clock(60);
  h.clock(160);
  CHECK(h.take() == lines{"firing warning 60 @60 a", "firing warning 160 @160 a"});
  h.gap(1000);
  h.clock(1170);
  CHECK(h.take() == lines{"firing warning 160 @1160 a"});
}

TEST_CASE("a stream whose state was stored without an arrival clock continues") {
  harness before({silent()});
  before.feed({{0, {}, "a"}, {50, {}, "b"}}, "telemetry/0", 0);
  harness after({silent()});
  after.restore(before.stop(), "telemetry/0", 2);
  after.clock(59);
  CHECK(after.take() == lines{});
  after.clock(60);
  CHECK(after.take() == lines{"firing warning 60 @60 a"});
  after.arrive({{61, {}, "a"}});
  after.clock(110);
  CHECK(after.take() == lines{"resolved warning 61 @61 a", "firing warning 60 @110 b"});
}

TEST_CASE("a clean stop repeats nothing; after a crash only what was in flight is sent again, under its id") {
  harness before({silent({{"repeat_interval", 1h}})});
  before.arrive({{0, {}, "a"}, {30, {}, "b"}});
  before.snapshot();
  before.clock(60);
  const auto first = before.take_fields();
  REQUIRE(first.size() == 1);
  before.host.deliver();
  before.clock(90);
  const auto second = before.take_fields();
  REQUIRE(second.size() == 1);

  harness crashed({silent({{"repeat_interval", 1h}})});
  crashed.restore(before.host.state(), "telemetry/0", 2);
  crashed.clock(91);
  CHECK(crashed.take_fields() == second);
  CHECK(crashed.host.last("alerts_open{rule=silent}") == 2);

  harness clean({silent({{"repeat_interval", 1h}})});
  clean.restore(crashed.stop(), "telemetry/0", 2);
  clean.clock(92);
  CHECK(clean.take() == lines{});
  CHECK(clean.host.last("alerts_open{rule=silent}") == 2);

  harness transactional({silent({{"repeat_interval", 1h}})});
  transactional.restore(before.host.state(), "telemetry/0", 2, PL_RESTORED_DELIVERED);
  transactional.clock(92);
  CHECK(transactional.take() == lines{});
  CHECK(transactional.host.last("alerts_open{rule=silent}") == 2);
}

TEST_CASE("a notice in flight is sent again before the device's next one, also if that one was stored before") {
  for (const std::uint64_t delivered : {2, 3}) {
    CAPTURE(delivered);
    harness before({silent()});
    before.arrive({{0, {}, "a"}, {0, {}, "b"}});
    before.snapshot();
    before.clock(60);
    const auto sent = before.take_fields();
    before.arrive({{70, {}, "a"}});
    after_crash after({silent()}, delivered);
    after.restore(before.host.state(), "telemetry/0", 2);
    after.arrive({{70, {}, "a"}});
    const auto all = after.take_fields();
    REQUIRE(all.size() == 2);
    CHECK((all[0] == sent[0] && all[1].at("state") == "resolved" && all[1].at("id") == sent[0].at("id")));
    after.clock(71);
    CHECK(after.take_fields() == std::vector{sent[1]});
  }
}

TEST_CASE("a notice in flight is not sent with an older record, whose output is discarded when it is read again") {
  const std::vector rules{silent(), hot()};
  harness before(rules);
  before.arrive({{0, real(20), "a"}});
  before.snapshot();
  before.arrive({{1, real(85), "a"}});
  REQUIRE(before.take() == lines{"firing warning 85 @1 a"});
  before.clock(61);
  const auto sent = before.take_fields();
  REQUIRE(sent.size() == 1);
  for (const bool first_version : {false, true}) {
    CAPTURE(first_version);
    auto state = before.host.state();
    for (auto& [id, value] : state)
      if (first_version && id.second.starts_with('p')) value = value.replace(0, 1, 1, '\1').erase(2, 8);
    after_crash after(rules, 2);
    after.restore(state, "telemetry/0", 1);
    CHECK(after.host.logs().empty());
    after.arrive({{1, real(85), "a"}});
    CHECK(after.take() == lines{"firing warning 85 @1 a"});  // discarded by the host
    after.clock(62);
    CHECK(after.take_fields() == sent);
    CHECK(after.host.last("alerts_open{rule=silent}") == 1);
    after.arrive({{70, real(85), "a"}});
    const auto ended = after.take_fields();
    REQUIRE(ended.size() == 1);
    CHECK((ended[0].at("id") == sent[0].at("id") && ended[0].at("state") == "resolved"));
  }
}

TEST_CASE("notices in flight of one alert are sent again in their order") {
  const auto rule = object({{"name", "silent"},
                            {"severities", list({object({{"severity", "warning"}, {"missing_for", 60s}}),
                                                 object({{"severity", "critical"}, {"missing_for", 90s}})})}});
  harness before({rule});
  before.arrive({{0, {}, "a"}});
  before.snapshot();
  before.clock(60);
  before.clock(90);
  const auto sent = before.take_fields();
  REQUIRE(sent.size() == 2);
  after_crash after({rule}, 1);
  after.restore(before.host.state(), "telemetry/0", 1);
  after.clock(91);
  CHECK(after.take_fields() == sent);
}

TEST_CASE("records that are read again after a crash give their events again, and then what the timer stored applies") {
  const std::vector rules{silent({{"missing_for", 10s}}), hot()};
  harness before(rules);
  before.arrive({{0, real(20), "a"}});
  before.snapshot();
  before.arrive({{20, real(85), "a"}});  // silence, its end and a hot alert: in flight
  before.clock(30);                      // silent again
  const auto sent = before.take_fields();
  REQUIRE(sent.size() == 4);

  harness after(rules);
  after.restore(before.host.state(), "telemetry/0", 1);
  after.arrive({{20, real(85), "a"}});
  after.clock(31);
  auto again = after.take_fields();
  CHECK(again.size() == 4);
  for (const auto& s : sent) CHECK(std::ranges::count(again, s) == 1);
  after.arrive({{40, real(85), "a"}});
  again = after.take_fields();
  REQUIRE(again.size() == 1);
  CHECK((again[0].at("id") == sent[3].at("id") && again[0].at("state") == "resolved"));
}

TEST_CASE("three copies of one reading are one reading") {
  harness h({hot({{"times", 3}})});
  h.arrive({{1, real(85), "a"}, {1, real(85), "a"}, {1, real(85), "a"}, {1, real(85), "a"}});
  CHECK(h.take() == lines{});
  h.arrive({{1, real(86), "a"}, {1, real(85), "a"}, {1, real(86), "a"}});  // another reading of the same time
  CHECK(h.take() == lines{});
  harness after({hot({{"times", 3}})});
  after.restore(h.stop(), "telemetry/0", h.next());
  after.arrive({{1, real(86), "a"}});
  CHECK(after.take() == lines{});
  after.arrive({{2, real(86), "a"}});
  CHECK(after.take() == lines{"firing warning 86 @2 a"});
  CHECK(h.host.sum("alert_values_skipped_total{reason=copy}") == 5);
}

TEST_CASE("copies of the readings that fired and resolved an alert do not fire again") {
  harness h({hot()});
  h.arrive({{1, real(85), "a"}, {1, real(70), "a"}, {1, real(85), "a"}, {1, real(70), "a"}});
  CHECK(h.take() == lines{"firing warning 85 @1 a", "resolved warning 70 @1 a"});
  h.arrive({{2, real(85), "a"}});
  CHECK(h.take() == lines{"firing warning 85 @2 a"});
}

TEST_CASE("a repeat of a value within the hysteresis does not say that it breaches") {
  harness h({hot({{"clear_below", 60.0}, {"repeat_interval", 10s}})});
  h.arrive({{0, real(85), "a"}, {10, real(70), "a"}, {20, real(81), "a"}});
  const auto all = h.take_fields();
  REQUIRE(all.size() == 3);
  CHECK(all[1].at("message") == "hot: temperature of u/a is 70, was above 80 and has not cleared yet");
  CHECK(all[2].at("message") == "hot: temperature of u/a is 81, above 80");
}
