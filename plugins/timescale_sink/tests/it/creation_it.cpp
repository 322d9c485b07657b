// SPDX-License-Identifier: Apache-2.0
// Tests of 'create': the table is created if it does not exist, and an existing table is never altered.
#include "creation.hpp"
#include "database.hpp"

#include <algorithm>
#include <memory>
#include <thread>

using namespace timescale_test;

namespace {

const pl::testing::config_value everything =
    object({{"columns", object({{"status", "text"}, {"site", "text NOT NULL DEFAULT 'home'"}})},
            {"hypertable", object({{"chunk_interval", std::chrono::nanoseconds(6h)}})},
            {"compression", object({{"segment_by", list({"device_id"})}})},
            {"retention", std::chrono::nanoseconds(90 * 24h)},
            {"indexes", list({"device_id, time DESC"})}});

pl::batch reading(fake_host& host, std::int64_t ns = 1'795'543'823'000'000'000) {
  return host.make_batch({{"time", {pl::time_cell(ns)}},
                          {"user_id", {pl::text_cell("u")}},
                          {"device_id", {pl::text_cell("d")}},
                          {"temperature", {pl::real_cell(21.5)}},
                          {"status", {pl::text_cell("fine")}},
                          {"extra", {pl::json_cell("{\"a\": 1}")}}});
}

strings columns_of(database& db, const std::string& table) {
  return db.rows("SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attrelid = '" +
                 table + "'::regclass AND attnum > 0 ORDER BY attnum");
}

}  // namespace

TEST_CASE("a table is created from the input schema") {
  database db;
  sink s(db.name("telemetry"), {{"create", everything}});
  REQUIRE(s.create() == PL_OK);
  const auto batch = reading(s.host);
  REQUIRE(s.set_input(batch) == PL_OK);
  CHECK(s.instance_.check() == PL_OK);
  CHECK(db.one("SELECT to_regclass('telemetry') IS NULL") == "t");  // check changes nothing
  REQUIRE_MESSAGE(s.instance_.start() == PL_OK, s.host.error_text());
  CHECK(columns_of(db, "telemetry") == strings{"time|timestamp with time zone|t", "user_id|text|f", "device_id|text|f",
                                               "temperature|double precision|f", "status|text|f", "extra|jsonb|f",
                                               "site|text|t"});
  const auto logs = s.host.logs();
  const auto warned = [&](std::string_view piece) {
    return std::any_of(logs.begin(), logs.end(),
                       [&](const auto& l) { return l.level == PL_LOG_WARN && has(l.message, piece); });
  };
  s.write_all(batch);
  CHECK(db.rows("SELECT device_id, temperature, status, extra, site FROM telemetry") ==
        strings{"d|21.5|fine|{\"a\": 1}|home"});
  CHECK(
      db.one(
          "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%telemetry USING btree (device_id, \"time\" DESC)'") ==
      "1");
  if (db.has_timescale()) {
    CHECK(db.one("SELECT time_interval FROM timescaledb_information.dimensions WHERE hypertable_name = 'telemetry' AND "
                 "hypertable_schema = '" +
                 db.schema() + "'") == "06:00:00");
    const auto policies =
        db.one("SELECT count(*) FROM timescaledb_information.jobs WHERE hypertable_schema = '" + db.schema() + "'");
    const bool community = db.one("SELECT current_setting('timescaledb.license')") == "timescale";
    CHECK(policies == (community ? "2" : "0"));
    CHECK(warned("'create.retention' has no effect: TimescaleDB's Apache edition") == !community);
  } else {
    CHECK(warned("TimescaleDB is not installed in this database"));
    CHECK(warned("'create.retention' has no effect: PostgreSQL without TimescaleDB"));
  }
}

TEST_CASE("a table that is not meant to be a hypertable gets no warning about TimescaleDB") {
  database db;
  sink s(db.name("telemetry"), {{"create", object({{"hypertable", object({{"enabled", false}})}})}});
  s.start();
  s.write_all(s.host.make_batch({{"time", {pl::time_cell(0)}}, {"humidity", {pl::real_cell(40)}}}));
  CHECK(db.one("SELECT humidity FROM telemetry") == "40");
  for (const auto& l : s.host.logs()) CHECK_FALSE(has(l.message, "TimescaleDB is not installed"));
}

TEST_CASE("if the input is not known in advance, the table is created from the first rows") {
  database db;
  sink s(db.name("telemetry"), {{"create", object({})}});
  s.start();
  CHECK(db.one("SELECT to_regclass('telemetry') IS NULL") == "t");
  const auto batch = s.host.make_batch({{"time", {pl::time_cell(0), pl::time_cell(1)}},
                                        {"humidity", {pl::int_cell(40), pl::int_cell(41)}},
                                        {"load", {pl::null_cell(), pl::real_cell(0.5)}},
                                        {"level", {pl::int_cell(1), pl::real_cell(1.5)}},
                                        {"name", {pl::text_cell("a"), pl::null_cell()}},
                                        {"odd", {pl::text_cell("a"), pl::bool_cell(true)}},
                                        {"empty", {pl::null_cell(), pl::null_cell()}}});
  s.write_all(batch);
  CHECK(columns_of(db, "telemetry") == strings{"time|timestamp with time zone|t", "humidity|bigint|f",
                                               "load|double precision|f", "level|double precision|f", "name|text|f",
                                               "odd|text|f", "empty|text|f"});
  const auto logs = s.host.logs();
  CHECK(std::any_of(logs.begin(), logs.end(), [](const auto& l) {
    return l.level == PL_LOG_WARN &&
           has(l.message, "with the type text, which accepts every value, for 'odd', 'empty'");
  }));
  s.write_all(batch);
  CHECK(db.rows("SELECT humidity, odd FROM telemetry ORDER BY humidity") ==
        strings{"40|a", "40|a", "41|true", "41|true"});
}

TEST_CASE("several hosts that start at the same time create one table") {
  database db;
  constexpr int hosts = 8;
  std::vector<std::unique_ptr<sink>> sinks;
  std::vector<pl::batch> batches;
  std::vector<pl_status> started(hosts), written(hosts);
  for (int i = 0; i < hosts; ++i) {
    sinks.push_back(std::make_unique<sink>(db.name("telemetry"), config_fields{{"create", everything}}));
    REQUIRE(sinks.back()->create() == PL_OK);
    batches.push_back(reading(sinks.back()->host, 1'000'000'000LL * i));
    REQUIRE(sinks.back()->set_input(batches.back()) == PL_OK);
  }
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < hosts; ++i)
      threads.emplace_back([&, i] {
        started[i] = sinks[i]->instance_.start();
        if (started[i] == PL_OK) written[i] = sinks[i]->write(batches[i]);
      });
  }
  int created = 0;
  for (std::size_t i = 0; i < hosts; ++i) {
    CHECK_MESSAGE(started[i] == PL_OK, sinks[i]->host.error_text());
    CHECK(written[i] == PL_OK);
  }
  CHECK(db.one("SELECT count(*), count(DISTINCT time) FROM telemetry") == "8|8");
  // A second CREATE TABLE would have failed above with "already exists". Another start creates nothing.
  sink again(db.name("telemetry"), {{"create", everything}});
  again.start();
  for (const auto& l : again.host.logs()) created += has(l.message, "created");
  CHECK(created == 0);
}

TEST_CASE("a host that creates the table slowly causes a retry in other hosts, not a failure") {
  database db;
  sink s(db.name("telemetry"), {{"create", everything}, {"lock_timeout", std::chrono::nanoseconds(300ms)}});
  REQUIRE(s.create() == PL_OK);
  const auto batch = reading(s.host);
  REQUIRE(s.set_input(batch) == PL_OK);
  {
    pqxx::connection other(direct_url());
    pqxx::work tx(other);
    timescale::lock_creation(tx, {db.schema(), "telemetry"});
    CHECK(s.instance_.start() == PL_RETRY);
    CHECK(has(s.host.error_text(), "(SQLSTATE 55P03)"));
  }
  CHECK(s.instance_.start() == PL_OK);
}

TEST_CASE("an existing table is checked and never altered") {
  database db;
  db.run("CREATE TABLE telemetry (time timestamptz, temperature real)");
  const auto before = columns_of(db, "telemetry");
  sink s(db.name("telemetry"), {{"create", everything}});
  const auto batch = reading(s.host);
  const auto error = s.start_error(&batch.get().schema());
  CHECK(has(error, "it has no column for the input field 'user_id'"));
  CHECK(has(error, "it has no column for the input field 'extra'"));
  CHECK(columns_of(db, "telemetry") == before);
  CHECK(db.one("SELECT count(*) FROM pg_index WHERE indrelid = 'telemetry'::regclass") == "0");

  sink fits(db.name("telemetry"), {{"create", everything}, {"unmapped", "ignore"}});
  fits.start();
  fits.write_all(reading(fits.host));
  CHECK(columns_of(db, "telemetry") == before);
  CHECK(db.rows("SELECT temperature FROM telemetry") == strings{"21.5"});
}

TEST_CASE("a failure to create the table is reported with the reason") {
  database db;
  sink s(db.name("telemetry"), {{"create", object({{"columns", object({{"status", "txet"}})}})}});
  REQUIRE(s.create() == PL_OK);
  const auto batch = reading(s.host);
  REQUIRE(s.set_input(batch) == PL_OK);
  CHECK(s.instance_.start() == PL_FATAL);
  CHECK(has(s.host.error_text(), "create: cannot create table '" + db.name("telemetry") + "' at "));
  CHECK(has(s.host.error_text(), "type \"txet\" does not exist (SQLSTATE 42704)"));

  sink no_time(db.name("telemetry"), {{"create", object({})}});
  const auto timeless = no_time.host.make_batch({{"device_id", {pl::text_cell("d")}}});
  CHECK(has(no_time.start_error(timeless),
            "create.hypertable.time_column: the table to be created has no column 'time'. Its columns: 'device_id'"));

  sink no_schema("no_such_schema.telemetry", {{"create", object({})}});
  CHECK(has(no_schema.start_error(&batch.get().schema()), "table: there is no schema 'no_such_schema' at "));
}
