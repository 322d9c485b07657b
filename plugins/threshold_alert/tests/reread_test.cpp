// SPDX-License-Identifier: Apache-2.0
// Tests of open alerts after a crash together with a change of the rules: the records since the last snapshot are read
// again under the new rules, and their output is discarded, because it was delivered before.
#include "harness.hpp"

#include <set>

using namespace threshold_alert::testing;

namespace {

using pl::testing::config_value;
using fields = std::map<std::string, std::string>;

config_value over(double limit, const char* name = "hot") {
  return object({{"name", name}, {"metric", "temperature"}, {"above", limit}});
}

config_value silent(std::chrono::seconds missing_for) {
  return object({{"name", "silent"}, {"missing_for", missing_for}});
}

// A host that is killed. Its state is a snapshot, and what was stored with each event since.
struct killed {
  harness::state state;
  std::uint64_t snapshot_at;
  std::vector<row> since;
};

killed kill(harness& h, std::uint64_t snapshot_at, std::vector<row> since) {
  h.host.deliver();
  return {h.host.state(), snapshot_at, std::move(since)};
}

// The next host. The output of the records since the snapshot is discarded, below `delivered`.
struct next_host : harness {
  next_host(const killed& before, std::vector<config_value> rules, std::uint64_t delivered)
      : harness((discarded = delivered, std::move(rules))) {
    continue_after(before, delivered);
  }
  next_host(const killed& before, std::vector<config_value> rules)
      : next_host(before, std::move(rules), before.snapshot_at + before.since.size()) {}

 private:
  void continue_after(const killed& before, std::uint64_t delivered) {
    restore(before.state, "telemetry/0", before.snapshot_at);
    discarded.reset();
    const auto n = static_cast<std::ptrdiff_t>(delivered - before.snapshot_at);
    feed({before.since.begin(), before.since.begin() + n});
    (void)take();
    (void)take(1);
    if (n != static_cast<std::ptrdiff_t>(before.since.size())) feed({before.since.begin() + n, before.since.end()});
  }
};

fields only(harness& h) {
  const auto all = h.take_fields();
  REQUIRE(all.size() == 1);
  return all[0];
}

}  // namespace

TEST_CASE("a crash and a renamed rule: the published alert is resolved once, and the new rule's is published") {
  const std::vector<row> rows{{0, real(85)}, {1, real(86)}};
  harness before({over(80)});
  before.feed(rows);
  const auto fired = only(before);
  next_host after(kill(before, 0, rows), {over(80, "renamed")});
  after.tick(2);
  const auto ended = only(after);
  CHECK((ended.at("id") == fired.at("id") && ended.at("state") == "resolved" && ended.at("rule") == "hot"));
  CHECK(ended.at("message").ends_with("rule removed from the configuration"));
  CHECK(after.host.last("alerts_open{rule=hot}") == 0);
  after.feed({{3, real(87)}});
  const auto again = only(after);
  CHECK((again.at("rule") == "renamed" && again.at("state") == "firing" && again.at("id") != fired.at("id")));
  // Another crash changes nothing, and a clean stop neither.
  next_host third(kill(after, 0, {rows[0], rows[1], {3, real(87)}}), {over(80, "renamed")});
  third.tick(4);
  CHECK(third.take() == lines{});
  third.feed({{5, real(70)}});
  CHECK(only(third).at("id") == again.at("id"));
  CHECK(third.host.last("alerts_open{rule=renamed}") == 0);
}

TEST_CASE("a crash and a removed rule: the published alert is resolved once") {
  const std::vector<row> rows{{0, real(85)}};
  harness before({over(80), over(1000, "other")});
  before.feed(rows);
  const auto fired = only(before);
  next_host after(kill(before, 0, rows), {over(1000, "other")});
  after.tick(2);
  CHECK((after.host.last("alerts_open{rule=hot}") == 0 && only(after).at("id") == fired.at("id")));
  next_host third(kill(after, 0, rows), {over(1000, "other")});
  third.tick(3);
  CHECK(third.take() == lines{});
}

TEST_CASE("a crash and a changed threshold: the published alert stays open, and the next reading resolves it") {
  for (const bool in_snapshot : {false, true}) {
    CAPTURE(in_snapshot);
    harness before({over(80)});
    before.feed({{0, real(in_snapshot ? 85 : 20)}});
    before.snapshot();
    const std::vector<row> rows{{1, real(85)}, {2, real(85)}};
    before.feed(rows);
    const auto fired = only(before);
    next_host after(kill(before, 1, rows), {over(90)});
    after.tick(3);
    CHECK(after.take() == lines{});
    CHECK(after.host.last("alerts_open{rule=hot}") == 1);
    after.feed({{4, real(85)}});
    const auto ended = only(after);
    CHECK((ended.at("id") == fired.at("id") && ended.at("state") == "resolved"));
    CHECK(after.host.last("alerts_open{rule=hot}") == 0);
  }
}

TEST_CASE("a crash and a threshold that other records pass: one alert, under the published id") {
  const std::vector<row> rows{{0, real(75)}, {1, real(85)}, {2, real(86)}};
  harness before({over(80)});
  before.feed(rows);
  const auto fired = only(before);
  next_host after(kill(before, 0, rows), {over(70)});  // its alert opens at the first record
  after.feed({{3, real(86)}});
  CHECK(after.take() == lines{});
  after.feed({{4, real(20)}});
  const auto ended = only(after);
  CHECK((ended.at("id") == fired.at("id") && ended.at("since") == fired.at("since")));
}

TEST_CASE("a crash and a lower threshold: an alert that was resolved does not fire again under its id") {
  const std::vector<row> rows{{0, real(85)}, {1, real(75)}};
  harness before({over(80)});
  before.feed(rows);
  const auto all = before.take_fields();
  REQUIRE(all.size() == 2);  // firing, resolved
  next_host after(kill(before, 0, rows), {over(70)});
  after.feed({{2, real(75)}});
  const auto again = only(after);
  CHECK((again.at("state") == "firing" && again.at("id") != all[0].at("id")));
  after.feed({{3, real(20)}});
  CHECK(only(after).at("id") == again.at("id"));
}

TEST_CASE("a crash without a change of the rules: nothing is repeated, and the alert continues under its id") {
  const std::vector<row> rows{{0, real(85), "a"}, {1, real(85), "b"}, {2, real(20), "b"}, {3, real(90), "a"}};
  harness before({over(80), silent(60s)});
  before.feed(rows);
  const auto all = before.take_fields();
  REQUIRE(all.size() == 3);
  next_host after(kill(before, 0, rows), {over(80), silent(60s)});
  after.tick(4);
  CHECK(after.take() == lines{});
  after.feed({{5, real(20), "a"}});
  CHECK(only(after).at("id") == all[0].at("id"));
}

TEST_CASE("records whose output was not delivered give their events again, also under changed rules") {
  const std::vector<row> rows{{0, real(20)}, {1, real(85)}, {2, real(86)}};
  for (const double limit : {80.0, 90.0}) {
    CAPTURE(limit);
    harness before({over(80)});
    before.feed(rows);
    const auto fired = only(before);
    next_host after(kill(before, 0, rows), {over(limit)}, 1);  // the alert's record is read again
    const auto again = only(after);
    CHECK((again.at("id") == fired.at("id") && again.at("state") == (limit == 80 ? "firing" : "resolved")));
    after.tick(3);
    CHECK(after.take() == lines{});
    CHECK(after.host.last("alerts_open{rule=hot}") == (limit == 80 ? 1 : 0));
    after.feed({{4, real(20)}});
    CHECK(after.take_fields().size() == (limit == 80 ? 1 : 0));
    CHECK(after.host.last("alerts_open{rule=hot}") == 0);
  }
}

TEST_CASE("a crash before any record was settled: all events are given again, and a timer's notice is sent again") {
  const std::vector<row> rows{{0, real(20)}, {1, real(85)}};
  harness before({over(80), silent(60s)});
  before.arrive(rows);
  const auto fired = only(before);
  before.clock(61);
  const auto missed = only(before);
  harness::discarded = 0;
  harness after({over(80), silent(60s)});
  after.restore(before.host.state(), "telemetry/0", 0);
  harness::discarded.reset();
  after.clock(0);
  CHECK(only(after) == missed);
  after.arrive(rows);
  CHECK(only(after) == fired);
  after.clock(62);
  CHECK(after.take() == lines{});
  after.arrive({{70, real(20)}});
  const auto ended = after.take_fields();
  REQUIRE(ended.size() == 2);
  for (const auto& e : ended) CHECK(e.at("state") == "resolved");
  CHECK(after.host.last("alerts_open{rule=hot}") == 0);
}

TEST_CASE("positions that begin anew: the published alert applies to all records that follow") {
  harness before({over(80)});
  before.feed({{0, real(20)}});
  before.snapshot();
  before.feed({{1, real(85)}});
  const auto fired = only(before);
  next_host after({before.host.state(), 0, {{2, real(86)}}}, {over(80)}, 0);
  CHECK(after.take() == lines{});
  after.feed({{3, real(20)}});
  CHECK(only(after).at("id") == fired.at("id"));
}

TEST_CASE("a second crash while records are read again loses nothing of what was published") {
  const std::vector<row> rows{{0, real(85)}, {1, real(86)}};
  harness before({over(80)});
  before.feed(rows);
  const auto fired = only(before);
  const auto first = kill(before, 0, rows);
  harness::discarded = 2;
  harness second({over(80, "renamed")});
  second.restore(first.state, "telemetry/0", 0);
  harness::discarded.reset();
  second.feed({rows[0]});
  next_host third(kill(second, 0, rows), {over(80, "renamed")});
  third.tick(2);
  CHECK(only(third).at("id") == fired.at("id"));
}

TEST_CASE("a crash and a rule that is new: its alert is published with the next reading") {
  const std::vector<row> rows{{0, real(75)}};
  harness before({over(80)});
  before.feed({{-1, real(20)}});
  before.snapshot();
  before.feed(rows);
  next_host after(kill(before, 1, rows), {over(80), over(70, "warm")});
  after.feed({{1, real(76)}});
  CHECK(after.host.last("alerts_open{rule=warm}") == 1);
  CHECK(after.take() == lines{"firing warning 76 @1 d1"});
}

TEST_CASE("a crash, and group_by is changed: the published alert is resolved") {
  const std::vector<row> rows{{0, real(85)}};
  harness before({over(80)});
  before.feed(rows);
  const auto fired = only(before);
  const auto state = kill(before, 0, rows);
  harness::discarded = 1;
  harness after(config_fields{{"rules", list({over(80)})}, {"group_by", list({"device_id"})}});
  after.restore(state.state, "telemetry/0", 0);
  harness::discarded.reset();
  after.feed(rows);
  (void)after.take();
  after.tick(2);
  CHECK(only(after).at("id") == fired.at("id"));
  after.feed({{3, real(85)}});
  CHECK(after.take() == lines{"firing warning 85 @3 d1"});
}

TEST_CASE("each silence has an id of its own, also if changes of the configuration end it") {
  std::set<std::string> ids;
  harness h({silent(1s)});
  h.arrive({{0, real(20)}});
  h.clock(2);
  ids.insert(only(h).at("id"));
  auto state = h.stop();
  for (const auto& rules : {std::vector{silent(3600s)}, std::vector{silent(1s)}, std::vector{over(80)},
                            std::vector{silent(1s)}, std::vector{silent(3600s)}, std::vector{silent(1s)}}) {
    harness next(rules);
    next.host.set_arrival("telemetry/0", epoch + 2 * second, 0, INT64_MIN);
    next.restore(state, "telemetry/0", 1);
    next.clock(3);
    for (const auto& e : next.take_fields())
      if (e.at("state") == "firing") CHECK(ids.insert(e.at("id")).second);
    state = next.stop();
  }
  CHECK(ids.size() == 4);
}
