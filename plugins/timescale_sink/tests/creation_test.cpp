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
  const pl_schema* schema(std::initializer_list<std::string_view> names) {
    return pl::context(&host.raw()).schema(names);
  }
  strings types(const pl_schema* in) {
    design.clear();
    strings all;
    CHECK(design_table(o, in, design).empty());
    for (const auto& [name, type] : design) all.push_back(name + " " + type);
    return all;
  }
};

}  // namespace

TEST_CASE_FIXTURE(fixture, "types follow from the fields' names, in the order in which they come") {
  CHECK(types(schema({"time", "user_id", "device_id", "temperature", "value", "extra"})) ==
        strings{"time timestamptz NOT NULL", "user_id text", "device_id text", "temperature double precision",
                "value double precision", "extra jsonb"});
  CHECK(types(schema({"value", "key", "time", "topic", "partition", "offset", "headers"})) ==
        strings{"value bytea", "key bytea", "time timestamptz NOT NULL", "topic text", "partition integer",
                "offset bigint", "headers jsonb"});
}

TEST_CASE_FIXTURE(fixture, "the configuration has the last word, and may add columns") {
  o.create->columns = {{"site", "text NOT NULL DEFAULT 'home'"}, {"temperature", "real"}};
  CHECK(types(schema({"time", "temperature"})) ==
        strings{"time timestamptz NOT NULL", "temperature real", "site text NOT NULL DEFAULT 'home'"});
}

TEST_CASE_FIXTURE(fixture, "renamed columns") {
  o.columns = {{"temp", "temperature"}, {"ts", "time"}};
  o.create->hypertable.time_column = "ts";
  CHECK(can_design(o, nullptr));
  CHECK(types(nullptr) == strings{"temp double precision", "ts timestamptz NOT NULL"});
  o.columns.clear();
  CHECK_FALSE(can_design(o, nullptr));
}

TEST_CASE_FIXTURE(fixture, "columns that the new table would not have") {
  o.create->hypertable.time_column = "tmie";
  o.create->compression.emplace().segment_by = {"device_id", "device"};
  const auto found = design_table(o, schema({"time", "device_id"}), design);
  REQUIRE(found.size() == 2);
  CHECK(found[0].option == "create.hypertable.time_column");
  CHECK(found[0].message == "the table to be created has no column 'tmie'. It has: 'time', 'device_id'");
  CHECK(found[1].option == "create.compression.segment_by[1]");
}

TEST_CASE_FIXTURE(fixture, "the SQL of a hypertable with everything") {
  o.create->indexes = {"device_id, time DESC"};
  o.create->compression.emplace().segment_by = {"device_id", "odd'name"};
  o.create->retention = 90 * 24h;
  o.create->hypertable.chunk_interval = 12h;
  design = {{"time", "timestamptz NOT NULL"}, {"device_id", "text"}};
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

TEST_CASE_FIXTURE(fixture, "the unique index over a key") {
  design = {{"time", "timestamptz NOT NULL"}, {"device_id", "text"}};
  const strings key{"device_id", "time"};
  const auto sql = creation_sql({"metrics", "Raw"}, design, *o.create, key, timescale_server(true));
  CHECK(sql.back() == R"(CREATE UNIQUE INDEX ON "metrics"."Raw" ("device_id", "time"))");

  o.key = {"device_id", "tmie"};
  design.clear();
  const auto found = design_table(o, schema({"time", "device_id"}), design);
  REQUIRE(found.size() == 2);
  CHECK(found[0].option == "key[1]");
  CHECK(found[0].message.find("the table to be created has no column 'tmie'") == 0);
  CHECK(found[1].option == "key");
  CHECK(found[1].message.find("add 'time' to the key") != std::string::npos);
}

TEST_CASE_FIXTURE(fixture, "mistakes that show without a database") {
  o.create->columns = {{"a", ""}, {"b", "text; DROP TABLE x"}};
  o.create->indexes = {"a", "b;"};
  o.create->hypertable.enabled = false;
  o.create->retention = 24h;
  strings options;
  for (const auto& f : creation_findings(*o.create)) options.push_back(f.option);
  CHECK(options == strings{"create.columns.a", "create.columns.b", "create.indexes[1]", "create.retention"});
}
