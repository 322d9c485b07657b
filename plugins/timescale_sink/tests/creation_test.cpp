// SPDX-License-Identifier: Apache-2.0
#include "creation.hpp"

#include <pipeline/context.hpp>
#include <pipeline/testing/fake_host.hpp>

#include <doctest/doctest.h>

using namespace timescale;
using strings = std::vector<std::string>;

namespace {

server_info timescale_server(bool community) {
  server_info s;
  s.version = "17.4";
  s.timescale = "2.19.0";
  s.community = community;
  return s;
}

struct fixture {
  pl::testing::fake_host host;
  options o;
  table_design design;

  fixture() { o.create.emplace(); }
  pl::column_set typed(std::initializer_list<std::string_view> names, std::vector<std::uint32_t> kinds) {
    return {pl::context(&host.raw()).schema(names), std::move(kinds)};
  }
  strings types(const pl::column_set& in) {
    strings all;
    CHECK(design_table(o, in, design).empty());
    for (const auto& [name, type] : design.columns) all.push_back(name + " " + type);
    return all;
  }
};

}  // namespace

TEST_CASE_FIXTURE(fixture, "types are derived from the kinds, in the order of the fields; unknown ones are text") {
  CHECK(types(typed({"time", "on", "count", "value", "since", "name", "key", "extra", "mixed"},
                    {PL_TIME_NS, PL_BOOL, PL_I64, PL_F64, PL_TIME_NS, PL_TEXT, PL_BYTES, PL_JSON, PL_NULL})) ==
        strings{"time timestamptz NOT NULL", "on boolean", "count bigint", "value double precision",
                "since timestamptz", "name text", "key bytea", "extra jsonb", "mixed text"});
  CHECK(design.untyped == strings{"mixed"});
}

TEST_CASE_FIXTURE(fixture, "the configuration overrides types and can add columns") {
  o.create->columns = {{"site", "text NOT NULL DEFAULT 'home'"}, {"temperature", "real"}};
  CHECK(types(typed({"time", "temperature"}, {PL_TIME_NS, PL_F64})) ==
        strings{"time timestamptz NOT NULL", "temperature real", "site text NOT NULL DEFAULT 'home'"});
}

TEST_CASE_FIXTURE(fixture, "renamed columns get the types of their fields") {
  o.columns = {{"temp", "temperature"}, {"ts", "time"}};
  o.create->hypertable.time_column = "ts";
  const auto in = typed({"time", "temperature"}, {PL_TIME_NS, PL_I64});
  CHECK(can_design(o, in));
  CHECK(types(in) == strings{"temp bigint", "ts timestamptz NOT NULL"});
}

TEST_CASE_FIXTURE(fixture, "a table is designed only if the type of each column is known") {
  CHECK_FALSE(can_design(o, {}));
  CHECK(can_design(o, typed({"time", "x"}, {PL_TIME_NS, PL_NULL})));  // declared as mixed
  CHECK_FALSE(can_design(o, typed({"time", "x"}, {})));
  o.create->columns = {{"x", "real"}};
  CHECK(can_design(o, typed({"time", "x"}, {})));
  o.columns = {{"time", "ts"}, {"x", "y"}};
  CHECK(can_design(o, {}));
  o.columns = {{"time", "ts"}, {"z", "y"}};
  CHECK_FALSE(can_design(o, {}));
}

TEST_CASE_FIXTURE(fixture, "a hypertable needs a column with times") {
  const auto in = typed({"time", "x"}, {PL_I64, PL_F64});
  const auto found = design_table(o, in, design);
  REQUIRE(found.size() == 1);
  CHECK(found[0].option == "create.hypertable.time_column");
  CHECK(found[0].message.find(
            "the field 'time' has the kind int, but the table to be created is partitioned by times") == 0);
  CHECK(types(typed({"time"}, {PL_TEXT})) == strings{"time timestamptz NOT NULL"});
  o.create->hypertable.enabled = false;
  CHECK(types(in) == strings{"time bigint", "x double precision"});
}

TEST_CASE_FIXTURE(fixture, "options that name columns which the new table would not have are errors") {
  o.create->hypertable.time_column = "tmie";
  o.create->compression.emplace().segment_by = {"device_id", "device"};
  const auto found = design_table(o, typed({"time", "device_id"}, {PL_TIME_NS, PL_TEXT}), design);
  REQUIRE(found.size() == 2);
  CHECK(found[0].option == "create.hypertable.time_column");
  CHECK(found[0].message ==
        "the table to be created has no column 'tmie'; did you mean 'time'? Its columns: 'time', 'device_id'");
  CHECK(found[1].option == "create.compression.segment_by[1]");
}

TEST_CASE_FIXTURE(fixture, "the SQL of a hypertable with all features") {
  o.create->indexes = {"device_id, time DESC"};
  o.create->compression.emplace().segment_by = {"device_id", "odd'name"};
  o.create->retention = 90 * 24h;
  o.create->hypertable.chunk_interval = 12h;
  design.columns = {{"time", "timestamptz NOT NULL"}, {"device_id", "text"}};
  const table_name name{"metrics", "Raw"};
  CHECK(creation_sql(name, design, *o.create, {}, timescale_server(true)) ==
        strings{R"(CREATE TABLE "metrics"."Raw" ("time" timestamptz NOT NULL, "device_id" text))",
                R"(SELECT create_hypertable(E'"metrics"."Raw"'::regclass, E'time', )"
                R"(chunk_time_interval => INTERVAL '43200000000 microseconds'))",
                R"(CREATE INDEX ON "metrics"."Raw" (device_id, time DESC))",
                R"(ALTER TABLE "metrics"."Raw" SET (timescaledb.compress, )"
                R"(timescaledb.compress_orderby = E'"time" DESC', )"
                R"(timescaledb.compress_segmentby = E'"device_id","odd''name"'))",
                R"(SELECT add_compression_policy(E'"metrics"."Raw"'::regclass, INTERVAL '7 days'))",
                R"(SELECT add_retention_policy(E'"metrics"."Raw"'::regclass, INTERVAL '90 days'))"});
  CHECK(creation_sql(name, design, *o.create, {}, timescale_server(false)).size() == 3);
  CHECK(creation_sql(name, design, *o.create, {}, server_info{}) ==
        strings{R"(CREATE TABLE "metrics"."Raw" ("time" timestamptz NOT NULL, "device_id" text))",
                R"(CREATE INDEX ON "metrics"."Raw" ("time" DESC))",
                R"(CREATE INDEX ON "metrics"."Raw" (device_id, time DESC))"});
}

TEST_CASE_FIXTURE(fixture, "the unique index over a key is created, and must include the time column") {
  design.columns = {{"time", "timestamptz NOT NULL"}, {"device_id", "text"}};
  const strings key{"device_id", "time"};
  const auto sql = creation_sql({"metrics", "Raw"}, design, *o.create, key, timescale_server(true));
  CHECK(sql.back() == R"(CREATE UNIQUE INDEX ON "metrics"."Raw" ("device_id", "time"))");

  o.key = {"device_id", "tmie"};
  const auto found = design_table(o, typed({"time", "device_id"}, {PL_TIME_NS, PL_TEXT}), design);
  REQUIRE(found.size() == 2);
  CHECK(found[0].option == "key[1]");
  CHECK(found[0].message.find("the table to be created has no column 'tmie'") == 0);
  CHECK(found[1].option == "key");
  CHECK(found[1].message.find("add 'time' to the key") != std::string::npos);
}

TEST_CASE_FIXTURE(fixture, "some errors are found without a database") {
  o.create->columns = {{"a", ""}, {"b", "text; DROP TABLE x"}};
  o.create->indexes = {"a", "b;"};
  o.create->hypertable.enabled = false;
  o.create->retention = 24h;
  strings options;
  for (const auto& f : creation_findings(*o.create)) options.push_back(f.option);
  CHECK(options == strings{"create.columns.a", "create.columns.b", "create.indexes[1]", "create.retention"});
}
