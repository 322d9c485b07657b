// SPDX-License-Identifier: Apache-2.0
// Tests of rules on values, reading by reading.
#include "harness.hpp"

#include <algorithm>
#include <random>

using namespace threshold_alert::testing;

namespace {

// Feed readings of one device, `step` seconds apart, each in a separate batch.
lines run(harness& h, const std::vector<double>& values, double from = 0, double step = 1) {
  for (const auto v : values) {
    h.feed({{from, real(v)}});
    from += step;
  }
  return h.take();
}

}  // namespace

TEST_CASE("above is strict, and without hysteresis a value at the threshold clears") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}})});
  CHECK(run(h, {79, 80, 80.0000001, 81, 80}) == lines{"firing warning 80.0000001 @2 d1", "resolved warning 80 @4 d1"});
}

TEST_CASE("below is strict") {
  harness h({object({{"name", "cold"}, {"metric", "temperature"}, {"below", 5.0}, {"clear_above", 7.0}})});
  CHECK(run(h, {5, 4.9, 5, 7, 7.1, 5, 4}) ==
        lines{"firing warning 4.9 @1 d1", "resolved warning 7.1 @4 d1", "firing warning 4 @6 d1"});
}

TEST_CASE("outside includes both bounds in the good range, and has hysteresis on either side") {
  harness h({object({{"name", "range"},
                     {"metric", "temperature"},
                     {"outside", list({10.0, 80.0})},
                     {"clear_above", 12.0},
                     {"clear_below", 75.0}})});
  CHECK(run(h, {10, 80, 80.5, 76, 75, 74, 9, 11, 12, 13}) ==
        lines{"firing warning 80.5 @2 d1", "resolved warning 74 @5 d1", "firing warning 9 @6 d1",
              "resolved warning 13 @9 d1"});
}

TEST_CASE("outside reports the bound that was passed as the threshold") {
  harness h({object({{"name", "range"}, {"metric", "temperature"}, {"outside", list({10.0, 80.0})}})});
  h.feed({{0, real(95)}, {1, real(50)}, {2, real(3)}});
  const auto rows = h.take_rows();
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].find("\"threshold\":80,") != std::string::npos);
  CHECK(rows[2].find("\"threshold\":10,") != std::string::npos);
}

TEST_CASE("hysteresis: clears only below clear_below, never at it") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}, {"clear_below", 75.0}})});
  CHECK(run(h, {81, 79, 75, 81, 74.9, 79, 81}) ==
        lines{"firing warning 81 @0 d1", "resolved warning 74.9 @4 d1", "firing warning 81 @6 d1"});
}

TEST_CASE("equals compares text, numbers and bools by kind") {
  using pl::bool_cell, pl::int_cell;
  harness h({object({{"name", "failed"}, {"metric", "status"}, {"equals", "failed"}, {"severity", "critical"}})});
  h.feed({{0, {}, "d1", {}, text("ok")}, {1, {}, "d1", {}, text("failed")}, {2, {}, "d1", {}, text("failed!")}});
  CHECK(h.take() == lines{"firing critical \"failed\" @1 d1", "resolved critical \"failed!\" @2 d1"});

  harness number({object({{"name", "five"}, {"metric", "status"}, {"equals", 5}})});
  number.feed({{0, {}, "d1", {}, int_cell(5)}, {1, {}, "d1", {}, real(5.0)}, {2, {}, "d1", {}, text("5")}});
  CHECK(number.take() == lines{"firing warning 5 @0 d1", "resolved warning \"5\" @2 d1"});

  harness flag({object({{"name", "open"}, {"metric", "status"}, {"equals", true}})});
  flag.feed({{0, {}, "d1", {}, int_cell(1)}, {1, {}, "d1", {}, bool_cell(true)}, {2, {}, "d1", {}, bool_cell(false)}});
  CHECK(flag.take() == lines{"firing warning true @1 d1", "resolved warning false @2 d1"});
}

TEST_CASE("for: the condition must hold without a break for this duration, in the records' time") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}, {"for", 10s}})});
  h.feed({{0, real(81)}, {9.999, real(81)}, {10, real(82)}, {11, real(70)}});
  CHECK(h.take() == lines{"firing warning 82 @10 d1", "resolved warning 70 @11 d1"});
  h.feed({{20, real(81)}, {25, real(80)}, {26, real(81)}, {35, real(81)}, {36, real(81)}});
  CHECK(h.take() == lines{"firing warning 81 @36 d1"});
}

TEST_CASE("`since` is when the condition began, `time` is when the alert fired") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}, {"for", 10s}})});
  h.feed({{5, real(81)}, {16, real(82)}});
  const auto rows = h.take_rows();
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].find("\"since\":\"2023-11-14T22:13:25Z\"") != std::string::npos);
  CHECK(rows[0].find("\"time\":\"2023-11-14T22:13:36Z\"") != std::string::npos);
}

TEST_CASE("times: readings must be consecutive; a good reading restarts the count, a null does not") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}, {"times", 3}})});
  CHECK(run(h, {81, 81, 80, 81, 81}) == lines{});
  h.feed({{5, pl::null_cell()}, {6, real(81)}});
  CHECK(h.take() == lines{"firing warning 81 @6 d1"});
}

TEST_CASE("for and times must both be met") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}, {"times", 3}, {"for", 2s}})});
  h.feed({{0, real(81)}, {0.1, real(81)}, {0.2, real(81)}, {2, real(81)}});
  CHECK(h.take() == lines{"firing warning 81 @2 d1"});
}

TEST_CASE("keep_firing_for: a short dip has no effect, a long dip resolves the alert") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}, {"keep_firing_for", 10s}})});
  h.feed({{0, real(81)}, {1, real(70)}, {9, real(70)}, {10, real(81)}});  // a dip of nine seconds
  CHECK(h.take() == lines{"firing warning 81 @0 d1"});
  h.feed({{20, real(70)}, {29.9, real(70)}, {30, real(69)}});
  CHECK(h.take() == lines{"resolved warning 69 @30 d1"});
}

TEST_CASE("severities: one alert that rises and falls, under one id") {
  harness g({object({{"name", "hot"},
                     {"metric", "temperature"},
                     {"severities", list({object({{"severity", "critical"}, {"above", 90.0}, {"clear_below", 88.0}}),
                                          object({{"severity", "info"}, {"above", 70.0}}),
                                          object({{"severity", "warning"}, {"above", 80.0}})})}})});
  std::vector<row> readings;
  for (const double v : {75., 95., 89., 85., 75., 60., 91.})
    readings.push_back({static_cast<double>(readings.size()), real(v)});
  g.feed(readings);
  std::vector<std::string> ids;
  for (const auto& e : g.output())
    for (const auto r : e.data.get().selection()) ids.emplace_back(pl::bytes_of(e.data.get().at(0, r)));
  CHECK(g.take() == lines{"firing info 75 @0 d1", "changed critical 95 @1 d1", "changed warning 85 @3 d1",
                          "changed info 75 @4 d1", "resolved info 60 @5 d1", "firing critical 91 @6 d1"});
  REQUIRE(ids.size() == 6);
  for (std::size_t i = 1; i < 5; ++i) CHECK(ids[i] == ids[0]);
  CHECK(ids[5] != ids[0]);
}

TEST_CASE("severities: `for` applies to each severity separately") {
  harness h({object({{"name", "hot"},
                     {"metric", "temperature"},
                     {"for", 5s},
                     {"severities", list({object({{"severity", "warning"}, {"above", 70.0}}),
                                          object({{"severity", "critical"}, {"above", 90.0}})})}})});
  h.feed({{0, real(75)}, {3, real(95)}, {5, real(95)}, {7.9, real(95)}, {8, real(95)}});
  CHECK(h.take() == lines{"firing warning 95 @5 d1", "changed critical 95 @8 d1"});
}

TEST_CASE("severities with equals: a value of a lower severity does not resolve the alert") {
  harness h({object({{"name", "status"},
                     {"metric", "status"},
                     {"severities", list({object({{"severity", "warning"}, {"equals", "degraded"}}),
                                          object({{"severity", "critical"}, {"equals", "failed"}})})}})});
  h.feed({{0, {}, "d1", {}, text("failed")}, {1, {}, "d1", {}, text("degraded")}, {2, {}, "d1", {}, text("ok")}});
  CHECK(h.take() == lines{"firing critical \"failed\" @0 d1", "changed warning \"degraded\" @1 d1",
                          "resolved warning \"ok\" @2 d1"});
}

TEST_CASE("rate_of_change is computed per minute, between successive readings") {
  harness h({object({{"name", "jump"}, {"metric", "temperature"}, {"rate_of_change", "minute"}, {"above", 6.0}})});
  h.feed({{0, real(20)}, {10, real(21)}, {20, real(22.5)}, {30, real(22.5)}});  // 6, 9, 0 per minute
  CHECK(h.take() == lines{"firing warning 9 @20 d1", "resolved warning 0 @30 d1"});
}

TEST_CASE("rate_of_change: a fall has a negative rate, equal times have none, and integers are supported") {
  harness h({object({{"name", "fall"}, {"metric", "temperature"}, {"rate_of_change", "second"}, {"below", -2.0}})});
  h.feed({{0, pl::int_cell(20)}, {0, pl::int_cell(0)}, {1, pl::int_cell(17)}});
  CHECK(h.take() == lines{"firing warning -3 @1 d1"});
}

TEST_CASE("rate_of_change with over: readings that are too close to the reference are ignored") {
  harness h({object(
      {{"name", "jump"}, {"metric", "temperature"}, {"rate_of_change", "second"}, {"over", 10s}, {"above", 1.0}})});
  h.feed({{0, real(0)}, {1, real(9)}, {9, real(0)}, {10, real(20)}, {15, real(99)}, {20, real(20)}});
  CHECK(h.take() == lines{"firing warning 2 @10 d1", "resolved warning 0 @20 d1"});
}

TEST_CASE("a late record does not change an alert and is counted; a record with an equal time is not late") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}})});
  h.feed({{10, real(70)}, {9, real(99)}, {10, real(81)}, {5, real(20)}});
  CHECK(h.take() == lines{"firing warning 81 @10 d1"});
  CHECK(h.host.sum("alert_records_skipped_total{reason=late}") == 2);
}

TEST_CASE("lateness is determined for each device separately") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}})});
  h.feed({{1000, real(70), "fast"}, {10, real(81), "slow"}, {11, real(70), "slow"}});
  CHECK(h.take() == lines{"firing warning 81 @10 slow", "resolved warning 70 @11 slow"});
}

TEST_CASE("nulls and values that are not numbers are not evaluated but counted") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}})});
  h.feed({{0, real(81)}, {1, pl::null_cell()}, {2, text("81")}, {3, pl::bool_cell(false)}, {4, pl::json_cell("{}")}});
  CHECK(h.take() == lines{"firing warning 81 @0 d1"});
  CHECK(h.host.sum("alert_values_skipped_total{reason=null}") == 1);
  CHECK(h.host.sum("alert_values_skipped_total{reason=not_a_number}") == 3);
}

TEST_CASE("repeat_interval: an alert that stays open is sent again, a resolved one is not") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}, {"repeat_interval", 60s}})});
  h.feed({{0, real(81)},
          {59, real(82)},
          {60, real(83)},
          {100, real(84)},
          {130, real(85)},
          {131, real(1)},
          {500, real(1)}});
  CHECK(h.take() == lines{"firing warning 81 @0 d1", "firing warning 83 @60 d1", "firing warning 85 @130 d1",
                          "resolved warning 1 @131 d1"});
}

TEST_CASE("a change of severity restarts repeat_interval") {
  harness h({object({{"name", "hot"},
                     {"metric", "temperature"},
                     {"repeat_interval", 60s},
                     {"severities", list({object({{"severity", "warning"}, {"above", 70.0}}),
                                          object({{"severity", "critical"}, {"above", 90.0}})})}})});
  h.feed({{0, real(75)}, {50, real(95)}, {70, real(95)}, {110, real(95)}});
  CHECK(h.take() == lines{"firing warning 75 @0 d1", "changed critical 95 @50 d1", "firing critical 95 @110 d1"});
}

TEST_CASE("send_resolved: false keeps the notice from `out`") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}, {"send_resolved", false}})});
  h.feed({{0, real(81)}, {1, real(70)}});
  CHECK(h.take() == lines{"firing warning 81 @0 d1"});
  CHECK(h.take(1) == lines{"resolved warning 70 @1 d1"});
}

TEST_CASE("flapping is sent once, suppresses further notices, and ends when the value is steady") {
  const auto flapper = object({{"name", "hot"},
                               {"metric", "temperature"},
                               {"above", 80.0},
                               {"flapping", object({{"fires", 3}, {"within", 10s}})}});
  SUBCASE("and clear") {
    harness h({flapper});
    CHECK(run(h, {81, 70, 81, 70, 81, 70, 81, 70, 70}) == lines{"firing warning 81 @0 d1", "resolved warning 70 @1 d1",
                                                                "firing warning 81 @2 d1", "resolved warning 70 @3 d1",
                                                                "flapping warning 81 @4 d1"});
    h.feed({{16.9, real(70)}, {17, real(69)}});  // the last flip was at 7
    CHECK(h.take() == lines{"resolved warning 69 @17 d1"});
  }
  SUBCASE("and firing") {
    harness h({flapper});
    (void)run(h, {81, 70, 81, 70, 81, 70, 81});
    h.feed({{15.9, real(82)}, {16, real(83)}, {17, real(70)}});
    CHECK(h.take() == lines{"firing warning 83 @16 d1", "resolved warning 70 @17 d1"});
  }
  SUBCASE("too slow is not flapping") {
    harness h({flapper});
    CHECK(run(h, {81, 70, 81, 70, 81}, 0, 5) == lines{"firing warning 81 @0 d1", "resolved warning 70 @5 d1",
                                                      "firing warning 81 @10 d1", "resolved warning 70 @15 d1",
                                                      "firing warning 81 @20 d1"});
  }
}

TEST_CASE("flapping: a higher severity is still sent") {
  harness h({object({{"name", "hot"},
                     {"metric", "temperature"},
                     {"flapping", object({{"fires", 2}, {"within", 10s}})},
                     {"severities", list({object({{"severity", "warning"}, {"above", 70.0}}),
                                          object({{"severity", "critical"}, {"above", 90.0}})})}})});
  CHECK(run(h, {75, 60, 75, 60, 95, 60, 95}) == lines{"firing warning 75 @0 d1", "resolved warning 60 @1 d1",
                                                      "flapping warning 75 @2 d1", "flapping critical 95 @4 d1"});
}

TEST_CASE("flapping: the id stays the same from the flapping notice to the end") {
  harness h({object({{"name", "hot"},
                     {"metric", "temperature"},
                     {"above", 80.0},
                     {"flapping", object({{"fires", 2}, {"within", 10s}})}})});
  h.feed({{0, real(81)}, {1, real(1)}, {2, real(81)}, {3, real(1)}, {4, real(81)}, {14, real(81)}, {15, real(1)}});
  std::vector<std::string> ids;
  for (const auto& e : h.output())
    for (const auto r : e.data.get().selection()) ids.emplace_back(pl::bytes_of(e.data.get().at(0, r)));
  CHECK(h.take() == lines{"firing warning 81 @0 d1", "resolved warning 1 @1 d1", "flapping warning 81 @2 d1",
                          "firing warning 81 @14 d1", "resolved warning 1 @15 d1"});
  REQUIRE(ids.size() == 5);
  CHECK(ids[0] == ids[1]);
  CHECK(ids[2] != ids[0]);
  CHECK((ids[3] == ids[2] && ids[4] == ids[2]));
}

TEST_CASE("match: a rule applies only to devices whose ids match") {
  harness h({object({{"name", "pumps"},
                     {"metric", "temperature"},
                     {"above", 80.0},
                     {"match", object({{"device_id", "pump-*|valve-[0-9]"}})}})});
  h.feed({{0, real(99), "pump-1"}, {0, real(99), "fan-1"}, {0, real(99), "valve-7"}, {0, real(99), "valve-77"}});
  CHECK(h.take() == lines{"firing warning 99 @0 pump-1", "firing warning 99 @0 valve-7"});
}

TEST_CASE("devices, streams and rules have separate state") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}}),
             object({{"name", "damp"}, {"metric", "humidity"}, {"above", 90.0}, {"severity", "info"}})});
  h.feed({{0, real(81), "a", real(95)}, {0, real(70), "b"}}, "telemetry/0");
  h.feed({{0, real(81), "a"}}, "telemetry/1");
  CHECK(h.take() == lines{"firing warning 81 @0 a", "firing info 95 @0 a", "firing warning 81 @0 a"});
  h.feed({{1, real(70), "a"}}, "telemetry/1");
  CHECK(h.take() == lines{"resolved warning 70 @1 a"});
  CHECK(h.host.last("alerts_open{rule=hot}") == 1);
}

TEST_CASE("revoked discards a stream's state, including its open alerts") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}})});
  h.feed({{0, real(81)}}, "telemetry/0");
  h.feed({{0, real(81), "d2"}}, "telemetry/1");
  (void)h.take();
  h.revoked("telemetry/0");
  h.feed({{1, real(70)}}, "telemetry/0");
  CHECK(h.take() == lines{});
  h.feed({{1, real(70), "d2"}}, "telemetry/1");
  CHECK(h.take() == lines{"resolved warning 70 @1 d2"});
  CHECK(h.host.last("alerts_open{rule=hot}") == 0);
}

TEST_CASE("group_by: a group has one alert, and its columns appear in the alert") {
  harness h(config_fields{{"rules", list({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}})})},
                          {"group_by", list({"user_id"})}});
  h.feed({{0, real(81), "a"}, {1, real(82), "b"}, {2, real(70), "a"}});
  const auto rows = h.take_rows();
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].find("\"user_id\":\"u\"") != std::string::npos);
  CHECK(rows[0].find("device_id") == std::string::npos);
}

TEST_CASE("records without a device or a time are counted and not evaluated") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}})});
  auto b = h.host.make_batch({{"time", {pl::time_cell(epoch), pl::null_cell(), pl::int_cell(5)}},
                              {"user_id", {text("u"), text("u"), text("u")}},
                              {"device_id", {pl::null_cell(), text("d"), text("d")}},
                              {"temperature", {real(99), real(99), real(99)}}});
  h.apply(b.get());
  CHECK(h.take() == lines{});
  CHECK(h.host.sum("alert_records_skipped_total{reason=no_key}") == 1);
  CHECK(h.host.sum("alert_records_skipped_total{reason=no_time}") == 2);
}

TEST_CASE("only selected rows are evaluated") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}})});
  auto b = h.host.make_batch({{"time", {pl::time_cell(epoch), pl::time_cell(epoch)}},
                              {"user_id", {text("u"), text("u")}},
                              {"device_id", {text("a"), text("b")}},
                              {"temperature", {real(99), real(99)}}});
  const std::uint32_t second_row[] = {1};
  b.get().raw()->sel = second_row;
  b.get().raw()->nsel = 1;
  h.apply(b.get());
  CHECK(h.take() == lines{"firing warning 99 @0 b"});
}

TEST_CASE("max_age: old alerts are recorded, not published; an alert that is still open is published later") {
  const auto options = config_fields{
      {"max_age", 1h}, {"rules", list({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}})})}};
  SUBCASE("alerts of a replay are only recorded") {
    harness h(options);
    h.tick(7 * 86400);
    h.feed({{0, real(81)}, {1, real(70)}, {2, real(81)}, {3, real(82)}});
    CHECK(h.take() == lines{});
    CHECK(h.take(1) == lines{"firing warning 81 @0 d1", "resolved warning 70 @1 d1", "firing warning 81 @2 d1"});
    CHECK(h.host.sum("alert_events_unpublished_total") == 3);
    CHECK(h.host.last("alerts_open{rule=hot}") == 1);
  }
  SUBCASE("an open alert is published when the stream's time is within max_age") {
    harness h(options);
    h.tick(3600 * 5);
    h.feed(
        {{0, real(81)}, {3600 * 3, real(82)}, {3600 * 4, real(83)}, {3600 * 4 + 1, real(84)}, {3600 * 4 + 2, real(1)}});
    CHECK(h.take() == lines{"firing warning 83 @14400 d1", "resolved warning 1 @14402 d1"});
    CHECK(h.take(1) == lines{"firing warning 81 @0 d1"});
  }
  SUBCASE("a published alert is closed regardless of its age") {
    harness h(options);
    h.tick(0);
    h.feed({{0, real(81)}});
    h.tick(86400);
    h.feed({{1, real(1)}});
    CHECK(h.take() == lines{"firing warning 81 @0 d1", "resolved warning 1 @1 d1"});
  }
  SUBCASE("a change of severity that was too old is published when the stream's time is within max_age") {
    harness h(config_fields{
        {"max_age", 1h},
        {"rules", list({object({{"name", "hot"},
                                {"metric", "temperature"},
                                {"severities", list({object({{"severity", "warning"}, {"above", 70.0}}),
                                                     object({{"severity", "critical"}, {"above", 90.0}})})}})})}});
    h.tick(0);
    h.feed({{0, real(75)}});
    h.tick(86400);
    h.feed({{10, real(95)}, {20, real(95)}, {86300, real(95)}});
    CHECK(h.take() == lines{"firing warning 75 @0 d1", "changed critical 95 @86300 d1"});
    CHECK(h.take(1) == lines{"changed critical 95 @10 d1"});
  }
}

TEST_CASE("max_ahead: a device with a wrong clock does not affect other devices or its own next records") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}}),
             object({{"name", "silent"}, {"missing_for", 60s}})});
  h.tick(10);
  h.feed({{9, real(70)}, {86400, real(99), "mad"}, {10, real(81)}, {11, real(82), "mad"}, {3610, real(1), "edge"}});
  CHECK(h.take() == lines{"firing warning 81 @10 d1", "firing warning 82 @11 mad", "firing warning 60 @70 d1",
                          "firing warning 60 @71 mad"});
  CHECK(h.host.sum("alert_records_skipped_total{reason=ahead_of_clock}") == 1);
  REQUIRE(h.host.logs().size() == 1);
  CHECK(
      h.host.logs()[0].message ==
      "1 records are further ahead of the time of their arrival than max_ahead and are not evaluated; check the clocks "
      "of the devices and of this machine, or raise max_ahead");
}

TEST_CASE("forget_after: the state of idle devices is removed, except for devices with an open alert") {
  harness h(config_fields{{"forget_after", 1h},
                          {"max_ahead", 0s},
                          {"rules", list({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}})})}});
  h.feed({{0, real(70), "idle"}, {0, real(81), "open"}, {3601, real(70), "alive"}});
  CHECK(h.host.last("alert_devices") == 2);
  h.feed({{4000, real(70), "open"}, {7700, real(70), "alive"}});
  CHECK(h.take() == lines{"firing warning 81 @0 open", "resolved warning 70 @4000 open"});
  CHECK(h.host.last("alert_devices") == 1 + (7700 - 4000 <= 3600));
}

// --------------------------------------------------------------------------------------------------- determinism ---

namespace {

std::vector<pl::testing::config_value> many_rules() {
  const auto severities = list({object({{"severity", "warning"}, {"above", 70.0}, {"clear_below", 65.0}}),
                                object({{"severity", "critical"}, {"above", 90.0}})});
  return {
      object({{"name", "hot"},
              {"metric", "temperature"},
              {"severities", severities},
              {"for", 2s},
              {"keep_firing_for", 3s},
              {"flapping", object({{"fires", 3}, {"within", 60s}})},
              {"repeat_interval", 20s}}),
      object({{"name", "damp"}, {"metric", "humidity"}, {"outside", list({20.0, 80.0})}, {"times", 2}}),
      object(
          {{"name", "jump"}, {"metric", "temperature"}, {"rate_of_change", "second"}, {"over", 2s}, {"above", 10.0}}),
      object({{"name", "failed"},
              {"metric", "status"},
              {"equals", "failed"},
              {"match", object({{"device_id", "d[0-4]"}})}}),
      object({{"name", "silent"},
              {"repeat_interval", 30s},
              {"flapping", object({{"fires", 2}, {"within", 100s}})},
              {"severities", list({object({{"severity", "warning"}, {"missing_for", 15s}}),
                                   object({{"severity", "critical"}, {"missing_for", 40s}})})}}),
      object({{"name", "no_humidity"}, {"metric", "humidity"}, {"missing_for", 20s}})};
}

// Return random readings of devices that heat up, fail, fall silent and send late records.
std::vector<row> random_readings(std::uint32_t seed, std::size_t n) {
  std::mt19937 random(seed);
  const auto chance = [&](std::uint32_t percent) { return random() % 100 < percent; };
  std::vector<row> rows;
  std::vector<double> temperature(8, 60), silent_until(8, 0);
  double now = 0;
  while (rows.size() < n) {
    now += static_cast<double>(random() % 1000) / 1000;
    const auto d = random() % 8;
    if (now < silent_until[d]) continue;
    if (chance(1)) silent_until[d] = now + static_cast<double>(random() % 80);
    temperature[d] += static_cast<double>(random() % 41) - 20;
    temperature[d] = std::clamp(temperature[d], 40.0, 100.0);
    row r{chance(10) ? now - static_cast<double>(random() % 30) : now, real(temperature[d]), "d" + std::to_string(d)};
    if (chance(50)) r.humidity = real(static_cast<double>(random() % 100));
    if (chance(30)) r.status = text(chance(30) ? "failed" : "ok");
    if (chance(5)) r.temperature = pl::null_cell();
    rows.push_back(r);
  }
  return rows;
}

lines all_rows(harness& h) {
  auto out = h.take_rows();
  return out;
}

}  // namespace

TEST_CASE("a replay returns the same alerts, byte for byte, however the records are divided into batches") {
  for (const std::uint32_t seed : {1U, 2U, 3U, 4U, 5U, 6U, 7U, 8U}) {
    CAPTURE(seed);
    const auto readings = random_readings(seed, 3000);
    harness whole(many_rules());
    whole.feed(readings);
    const auto expected = all_rows(whole);
    REQUIRE(expected.size() > 200);
    for (const auto* state : {"firing", "changed", "resolved", "flapping"})
      CHECK(std::any_of(expected.begin(), expected.end(), [&](const auto& e) {
        return e.find("\"state\":\"" + std::string(state) + "\"") != std::string::npos;
      }));

    std::mt19937 random(seed);
    for (const std::size_t largest : {1U, 7U, 500U}) {
      harness cut(many_rules());
      for (std::size_t at = 0; at < readings.size();) {
        const auto size = std::min<std::size_t>(1 + random() % largest, readings.size() - at);
        cut.feed({readings.begin() + static_cast<std::ptrdiff_t>(at),
                  readings.begin() + static_cast<std::ptrdiff_t>(at + size)});
        at += size;
      }
      CHECK(all_rows(cut) == expected);
    }
  }
}

TEST_CASE("an alert opens once, changes only while open, and resolves once") {
  const auto readings = random_readings(99, 5000);
  harness h(many_rules());
  h.feed(readings);
  std::map<std::string, std::string> last;        // by id
  std::map<std::string, std::string> open_under;  // (rule, device) to id
  std::set<std::string> causes;
  for (const auto& e : h.output()) {
    const auto b = e.data.get();
    for (const auto r : b.selection()) {
      const auto get = [&](std::string_view name) {
        std::string s;
        pl::append_json(s, b.at(*b.find(name), r));
        return s;
      };
      const auto id = get("id"), subject = get("rule") + get("device_id"), state = get("state");
      CHECK(last[id] != "\"resolved\"");
      if (last[id].empty()) {
        CHECK((state == "\"firing\"" || state == "\"flapping\""));
        CHECK(open_under[subject].empty());
      } else {
        CHECK(open_under[subject] == id);
      }
      last[id] = state;
      open_under[subject] = state == "\"resolved\"" ? "" : id;
      // A receiver can find duplicates by these columns.
      CHECK(causes.insert(subject + get("position") + get("time")).second);
    }
  }
  CHECK(last.size() > 100);
}
