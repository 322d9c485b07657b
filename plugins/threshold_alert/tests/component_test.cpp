// SPDX-License-Identifier: Apache-2.0
// Tests of the component through the host interface: conformance, columns, emitted rows, memory use.
#include "harness.hpp"

#include <pipeline/testing/conformance.hpp>

using namespace threshold_alert::testing;

namespace {

config_fields sample() {
  return {{"rules", list({object({{"name", "hot"},
                                  {"metric", "temperature"},
                                  {"above", 80.0},
                                  {"clear_below", 75.0},
                                  {"severity", "critical"},
                                  {"labels", object({{"team", "cooling \"A\""}})}}),
                          object({{"name", "range"}, {"metric", "value"}, {"outside", list({10.0, 80.0})}}),
                          object({{"name", "text"}, {"metric", "value"}, {"equals", "x"}}),
                          object({{"name", "jump"}, {"metric", "value"}, {"rate_of_change", "hour"}, {"above", 1.0}}),
                          object({{"name", "silent"}, {"missing_for", 60s}})})},
          {"labels", object({{"plant", "north"}, {"team", "overridden"}})}};
}

const pl_schema* schema_of(pl::testing::fake_host& host, std::vector<std::string_view> names) {
  return pl::context(&host.raw()).schema(names);
}

}  // namespace

TEST_CASE("passes the conformance tests, as a class and as the built plugin") {
  const std::vector<std::string> columns{"time", "user_id", "device_id", "temperature", "value"};
  for (const auto& problem : pl::testing::check_life(component(), sample(), columns)) FAIL_CHECK(problem);
  const char* folder = std::getenv("PIPELINE_PLUGIN_DIR");
  REQUIRE(folder != nullptr);
  std::string error;
  const auto* plugin = pl::testing::load_plugin(std::string(folder) + "/threshold_alert.so", error);
  REQUIRE_MESSAGE(plugin != nullptr, error);
  for (const auto& problem : pl::testing::check_plugin(*plugin)) FAIL_CHECK(problem);
  const auto* built = pl::testing::find_component(*plugin, "threshold_alert");
  REQUIRE(built != nullptr);
  for (const auto& problem : pl::testing::check_life(*built, sample(), columns)) FAIL_CHECK(problem);
}

TEST_CASE("an alert's row contains every column") {
  harness h(sample());
  auto b = h.host.make_batch({{"time", {pl::time_cell(epoch), pl::time_cell(epoch + second)}},
                              {"user_id", {text("u1"), text("u1")}},
                              {"device_id", {text("d/1"), text("d/1")}},
                              {"temperature", {real(20), real(81.5)}},
                              {"value", {pl::null_cell(), pl::null_cell()}}},
                             "iot-stream/3", 1000);
  h.apply(b.get());
  const auto rows = h.take_rows();
  REQUIRE(rows.size() == 1);
  // uuid5(uuid5(NAMESPACE_DNS, "threshold_alert.pipeline-host"),
  //       "test\x1fnode\x1fhot\x1fiot-stream/3\x1f1001\x1fu1\x1fd/1")
  CHECK(rows[0] ==
        R"({"id":"662aa3d8-3c9f-57d0-8bd4-f7f0b73bc36a","rule":"hot","state":"firing","severity":"critical",)"
        R"("metric":"temperature","value":81.5,)"
        R"("threshold":80,"message":"hot: temperature of u1/d/1 is 81.5, above 80","user_id":"u1","device_id":"d/1",)"
        R"("labels":{"plant":"north","team":"cooling \"A\""},"since":"2023-11-14T22:13:21Z",)"
        R"("time":"2023-11-14T22:13:21Z",)"
        R"("stream":"iot-stream/3","position":1001})");
}

TEST_CASE("emitted rows keep the position and stream of the record that caused them") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}})});
  auto b = h.host.make_batch({{"time", std::vector(4, pl::time_cell(epoch))},
                              {"user_id", std::vector(4, text("u"))},
                              {"device_id", {text("a"), text("b"), text("c"), text("d")}},
                              {"temperature", {real(81), real(20), real(82), real(83)}}});
  auto* raw = b.get().raw();
  const pl_range ranges[] = {pl::range_of(pl::borrow("t/0"), 10, 20, 30),
                             pl::range_of(pl::borrow("t/1"), 500, 600, 600)};
  const std::uint32_t origin[] = {0, 0, 1, 0};
  const std::uint64_t pos[] = {10, 11, 500, 13};
  raw->ranges = ranges;
  raw->nranges = 2;
  raw->origin = origin;
  raw->pos = pos;
  h.apply(b.get());
  REQUIRE(h.output().size() == 1);
  const auto out = h.output()[0].data.get();
  REQUIRE(out.rows() == 3);
  CHECK(out.ranges().size() == 2);
  CHECK((out.position(0) == 10 && out.position(1) == 500 && out.position(2) == 13));
  CHECK((out.stream(0) == "t/0" && out.stream(1) == "t/1" && out.stream(2) == "t/0"));
  CHECK(pl::bytes_of(out.at(*out.find("stream"), 1)) == "t/1");
  CHECK(out.at(*out.find("position"), 2).as.i == 13);
  h.output().clear();
}

TEST_CASE("alerts keep the position of their own record even if a batch has as many alerts as records") {
  harness h({object({{"name", "a"}, {"metric", "temperature"}, {"above", 80.0}}),
             object({{"name", "b"}, {"metric", "temperature"}, {"above", 81.0}})});
  h.feed({{0, real(20)}, {1, real(99)}});  // two rows in, two alerts out, both of the second
  const auto out = h.output().at(0).data.get();
  CHECK((out.rows() == 2 && out.position(0) == 1 && out.position(1) == 1));
}

TEST_CASE("a batch outlives the instance that emitted it") {
  pl::testing::fake_host host;
  pl::batch kept;
  {
    pl::testing::instance alerts(host, component(), sample());
    REQUIRE(alerts.create() == PL_OK);
    auto b = host.make_batch({{"time", {pl::time_cell(epoch)}},
                              {"user_id", {text("u")}},
                              {"device_id", {text("d")}},
                              {"temperature", {real(81)}},
                              {"value", {text("x")}}});
    REQUIRE(alerts.apply(b.get()) == PL_OK);
    REQUIRE(alerts.output().size() == 1);
    kept = std::move(alerts.output()[0].data);
  }
  std::string json;
  for (const auto r : kept.get().selection()) pl::append_json_row(json, kept.get(), r);
  CHECK(json.find("\"threshold\":\"x\"") != std::string::npos);
}

TEST_CASE("columns: those of times, keys, metrics and expressions are used, and nothing is passed on") {
  pl::testing::fake_host host;
  pl::testing::instance alerts(
      host, component(),
      {{"group_by", list({"device_id"})},
       {"rules", list({object({{"name", "hot"}, {"metric", "temperature"}, {"above", "limits.high + offset"}}),
                       object({{"name", "silent"}, {"missing_for", 60s}})})}});
  REQUIRE_MESSAGE(alerts.create() == PL_OK, host.error_text());
  CHECK(pl::testing::ask_used_columns(component(), alerts.self()) ==
        std::vector<std::string>{"time", "device_id", "temperature", "limits", "offset"});
}

TEST_CASE("columns: the output schema is known in advance, and a misspelt metric is reported") {
  pl::testing::fake_host host;
  pl::testing::instance alerts(host, component(), sample());
  REQUIRE(alerts.create() == PL_OK);
  const auto* table =
      static_cast<const pl_ext_columns*>(component().extension(alerts.self(), pl::borrow(PL_EXT_COLUMNS)));
  REQUIRE(table != nullptr);
  const pl_schema* out = nullptr;
  REQUIRE(pl::testing::ask_columns(*table, alerts.self(), nullptr, 0, out) == PL_OK);
  CHECK(out == schema_of(host, {"id", "rule", "state", "severity", "metric", "value", "threshold", "message", "user_id",
                                "device_id", "labels", "since", "time", "stream", "position"}));
  CHECK(pl::testing::ask_columns(*table, alerts.self(),
                                 schema_of(host, {"time", "user_id", "device_id", "temperature", "value"}), 0,
                                 out) == PL_OK);

  CHECK(pl::testing::ask_columns(*table, alerts.self(),
                                 schema_of(host, {"time", "user_id", "device", "temprature", "value", "extra"}), 0,
                                 out) == PL_FATAL);
  const auto errors = host.errors();
  REQUIRE(errors.size() == 2);
  CHECK(errors[0].option == "group_by[1]");
  CHECK(errors[1].option == "rules[0].metric");
  CHECK(errors[1].detail ==
        "the input has no column 'temperature' (a field in 'extra' becomes a column if json_telemetry maps it); did "
        "you mean 'temprature'?");
}

TEST_CASE("kinds: those of alerts, and a metric that a rule can never compare") {
  const auto asked = [](std::vector<pl::testing::config_value> rules, std::vector<std::uint32_t> kinds,
                        pl::column_set& out) {
    pl::testing::fake_host host;
    pl::testing::instance alerts(host, component(), {{"rules", list(std::move(rules))}});
    REQUIRE(alerts.create() == PL_OK);
    const auto* in = schema_of(host, {"time", "user_id", "device_id", "temperature", "status"});
    const auto status = pl::testing::ask_columns(component(), alerts.self(), {in, std::move(kinds)}, 0, out);
    out.schema = nullptr;  // belongs to the host, which is destroyed
    CHECK((status == PL_OK) == host.error_text().empty());
    return host.error_text();
  };
  const auto hot = object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}});
  const auto down = object({{"name", "down"}, {"metric", "status"}, {"equals", "down"}});
  const auto silent = object({{"name", "silent"}, {"missing_for", 60s}});
  const auto kinds_of = [&](std::vector<pl::testing::config_value> rules, std::uint32_t status = PL_TEXT) {
    pl::column_set out;
    CHECK(asked(std::move(rules), {PL_TIME_NS, PL_TEXT, PL_I64, PL_I64, status}, out).empty());
    return out.kinds;
  };
  using kinds = std::vector<std::uint32_t>;
  const auto with = [](std::uint32_t value, std::uint32_t threshold) {
    return kinds{PL_TEXT, PL_TEXT, PL_TEXT, PL_TEXT,    PL_TEXT,    value,   threshold, PL_TEXT,
                 PL_TEXT, PL_I64,  PL_JSON, PL_TIME_NS, PL_TIME_NS, PL_TEXT, PL_I64};
  };
  CHECK(kinds_of({hot, silent}) == with(PL_F64, PL_F64));  // floats, even of an int metric
  CHECK(kinds_of({down}) == with(PL_TEXT, PL_TEXT));
  CHECK(kinds_of({hot, down}) == with(PL_NULL, PL_NULL));  // mixed
  CHECK(kinds_of({down}, PL_NULL) == with(PL_NULL, PL_TEXT));

  pl::column_set out;
  CHECK(asked({hot, silent}, {PL_TIME_NS, PL_TEXT, PL_TEXT, PL_TEXT, PL_TEXT}, out) ==
        "rules[0].metric: the column 'temperature' has the kind text; this option needs int or float");
  CHECK(asked({hot}, {PL_I64, PL_TEXT, PL_TEXT, PL_F64, PL_TEXT}, out) ==
        "time_column: the column 'time' has the kind int; this option needs time");
  CHECK(asked({hot}, {}, out).empty());
}

TEST_CASE("numbers in alerts are floats, so that the kind of the column is the declared one") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}}),
             object({{"name", "code"}, {"metric", "status"}, {"equals", 7}})});
  auto b = h.host.make_batch({{"time", {pl::time_cell(epoch)}},
                              {"user_id", {text("u")}},
                              {"device_id", {text("d")}},
                              {"temperature", {pl::int_cell(81)}},
                              {"status", {pl::int_cell(7)}}});
  h.apply(b.get());
  const auto rows = h.take_rows();
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].find(R"("value":81,"threshold":80,)") != std::string::npos);
  CHECK(rows[1].find(R"("value":7,"threshold":7,)") != std::string::npos);
}

TEST_CASE("a metric that an input lacks is logged once; a missing device id column stops the pipeline") {
  harness h({object({{"name", "hot"}, {"metric", "pressure"}, {"above", 80.0}})});
  h.feed({{0, real(81)}});
  h.feed({{1, real(81)}});
  REQUIRE(h.host.logs().size() == 1);
  CHECK(h.host.logs()[0].message.starts_with(
      "rule 'hot' cannot be evaluated on these records: the input has no column 'pressure'"));
  auto b = h.host.make_batch({{"time", {pl::time_cell(epoch)}}, {"pressure", {real(99)}}});
  CHECK_THROWS_WITH(h.apply(b.get()),
                    "group_by: the input has no column 'user_id' (group_by names it by default; to use another column, "
                    "set group_by: [device_id]); valid names: time, pressure");
}

TEST_CASE("events, open alerts, devices and memory are counted") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}})});
  h.feed({{0, real(81)}, {1, real(70)}, {2, real(81)}});
  CHECK(h.host.sum("alert_events_total{rule=hot,state=firing}") == 2);
  CHECK(h.host.sum("alert_events_total{rule=hot,state=resolved}") == 1);
  CHECK(h.host.last("alerts_open{rule=hot}") == 1);
  CHECK(h.host.last("alert_devices") == 1);
  CHECK(h.host.last("alert_state_bytes") > 0);
}

TEST_CASE("a million devices use less than 140 bytes each, and are discarded when their stream is revoked") {
  harness h({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}}),
             object({{"name", "silent"}, {"missing_for", 1h}})});
  constexpr int batch = 5000, devices = 1'000'000;
  for (int first = 0; first < devices; first += batch) {
    std::vector<row> rows;
    for (int i = first; i < first + batch; ++i) rows.push_back({i * 1e-3, real(20), "device-" + std::to_string(i)});
    h.feed(rows);
  }
  CHECK(h.host.last("alert_devices") == devices);
  CHECK(h.host.last("alert_state_bytes") / devices < 140);
  h.revoked("telemetry/0");
  h.feed({{0, real(20)}});
  CHECK(h.host.last("alert_devices") == 1);
}
