// SPDX-License-Identifier: Apache-2.0
#include "mapping.hpp"

#include <pipeline/context.hpp>
#include <pipeline/testing/fake_host.hpp>

#include <doctest/doctest.h>

using namespace timescale;

namespace {

table_column column(std::string name, std::string type, std::optional<wire> w) {
  table_column c;
  c.name = std::move(name);
  c.type = std::move(type);
  c.wire_type = w;
  c.may_insert = true;
  return c;
}

table_info telemetry_table() {
  table_info t;
  t.name = {"public", "raw_telemetry"};
  t.may_insert_all = true;
  t.columns = {column("time", "timestamp with time zone", wire::timestamp), column("device_id", "text", wire::text),
               column("temperature", "double precision", wire::float8), column("extra", "jsonb", wire::jsonb)};
  t.columns[0].not_null = true;
  return t;
}

struct fixture {
  pl::testing::fake_host host;
  options o;
  table_info table = telemetry_table();
  copy_plan plan;

  const pl_schema* schema(std::initializer_list<std::string_view> names) {
    return pl::context(&host.raw()).schema(names);
  }
  // Return all errors as "option: message".
  std::vector<std::string> wrong(const pl_schema* in) {
    std::vector<std::string> all;
    for (const auto& f : make_plan(o, table, in, plan)) all.push_back(f.option + ": " + f.message);
    return all;
  }
  std::string only(const pl_schema* in) {
    const auto all = wrong(in);
    REQUIRE(all.size() == 1);
    return all[0];
  }
};

using strings = std::vector<std::string>;

}  // namespace

TEST_CASE_FIXTURE(fixture, "fields are mapped to the columns of the same names, in the order of the fields") {
  const auto* in = schema({"temperature", "time", "device_id"});
  CHECK(wrong(in) == strings{});
  CHECK(plan.sql == R"(COPY "public"."raw_telemetry" ("temperature", "time", "device_id") FROM STDIN (FORMAT binary))");
  REQUIRE(plan.columns.size() == 3);
  CHECK(plan.columns[0].from == 0);
  CHECK(plan.columns[0].type == wire::float8);
  CHECK(plan.columns[1].not_null);
  CHECK(plan.table == "raw_telemetry");
}

TEST_CASE_FIXTURE(fixture, "fields without a column in the table are errors unless they are ignored") {
  const auto* in = schema({"time", "temprature", "co2"});
  CHECK(wrong(in) ==
        strings{"table: table 'public.raw_telemetry': it has no column for the input field 'temprature'; did you mean "
                "'temperature'? Add the column, map the fields with 'columns', or set 'unmapped: ignore'",
                "table: table 'public.raw_telemetry': it has no column for the input field 'co2'. Add the column, map "
                "the fields with 'columns', or set 'unmapped: ignore'"});
  o.unmapped = unmapped_fields::ignore;
  CHECK(wrong(in) == strings{});
}

TEST_CASE_FIXTURE(fixture, "'columns' maps fields to columns") {
  o.columns = {{"temperature", "temp"}, {"time", "ts"}};
  CHECK(wrong(schema({"ts", "x", "temp"})) == strings{});
  CHECK(plan.sql == R"(COPY "public"."raw_telemetry" ("temperature", "time") FROM STDIN (FORMAT binary))");
  CHECK(plan.columns[0].from == 2);
  CHECK(plan.columns[1].from == 0);
  CHECK(wrong(nullptr) == strings{});

  CHECK(only(schema({"ts", "tmp"})) ==
        "columns.temperature: the input has no field 'temp'; did you mean 'tmp'? Input fields: 'ts', 'tmp'");
  o.columns = {{"tempertaure", "temp"}, {"time", "ts"}};
  CHECK(
      only(nullptr) ==
      "columns.tempertaure: table 'public.raw_telemetry': it has no column 'tempertaure'; did you mean 'temperature'?");
  CHECK(field_findings(o, *schema({"time", "temp"})).size() == 1);
}

TEST_CASE_FIXTURE(fixture, "columns that cannot be written are errors") {
  table.columns[2].generated = true;
  CHECK(only(schema({"time", "temperature"})) ==
        "table: table 'public.raw_telemetry': column 'temperature' is computed by the database (GENERATED) and cannot "
        "be written");
  table = telemetry_table();
  table.columns[2].wire_type.reset();
  table.columns[2].type = "point";
  CHECK(only(schema({"time", "temperature"}))
            .find("column 'temperature' has the type point, which this sink cannot write; supported types: boolean") !=
        std::string::npos);
  table = telemetry_table();
  table.columns[2].may_insert = false;
  CHECK(only(schema({"time", "temperature"})).find("GRANT INSERT ON \"public\".\"raw_telemetry\"") !=
        std::string::npos);
}

TEST_CASE_FIXTURE(fixture, "NOT NULL columns to which no field is mapped are errors") {
  CHECK(only(schema({"device_id"})) ==
        "table: table 'public.raw_telemetry': column 'time' is NOT NULL and has no default, and no field is mapped to "
        "it; map a field to it, or set a default in the database");
  table.columns[0].has_default = true;
  CHECK(wrong(schema({"device_id"})) == strings{});
  CHECK(only(schema({})) == "table: table 'public.raw_telemetry': none of its columns has the name of an input field");
}

TEST_CASE_FIXTURE(fixture, "views, sequences and tables without privileges are errors") {
  const auto* in = schema({"time"});
  table.kind = 'v';
  CHECK(only(in) == "table: 'public.raw_telemetry' is a view; use the table in which the rows are to be stored");
  table.kind = 'S';
  CHECK(only(in) == "table: 'public.raw_telemetry' is not a table; change 'table'");
  table.kind = 'p';
  CHECK(wrong(in) == strings{});
  table.row_security = true;
  CHECK(only(in).find("row-level security") != std::string::npos);
  table = telemetry_table();
  table.may_insert_all = false;
  for (auto& c : table.columns) c.may_insert = false;
  CHECK(only(in) ==
        "table: no privilege to write to 'public.raw_telemetry': GRANT INSERT ON \"public\".\"raw_telemetry\" to the "
        "user of 'url'");
}

TEST_CASE_FIXTURE(fixture, "with a key the rows are copied through a temporary table") {
  for (auto& c : table.columns) c.may_select = c.may_update = true;
  table.may_stage = true;
  table.unique_keys = {{"device_id"}, {"time", "device_id"}};
  o.conflict = conflict_policy::update;
  o.key = {"device_id", "time"};
  const auto* in = schema({"temperature", "time", "device_id"});
  CHECK(wrong(in) == strings{});
  CHECK(plan.table == "pipeline_host_rows");
  CHECK(plan.staging ==
        "CREATE TEMPORARY TABLE pipeline_host_rows ON COMMIT DROP AS SELECT \"temperature\", \"time\", \"device_id\" "
        "FROM \"public\".\"raw_telemetry\" WITH NO DATA;");
  CHECK(plan.sql ==
        "COPY pg_temp.pipeline_host_rows (\"temperature\", \"time\", \"device_id\") FROM STDIN (FORMAT binary)");
  CHECK(plan.landing ==
        "INSERT INTO \"public\".\"raw_telemetry\" (\"temperature\", \"time\", \"device_id\") OVERRIDING SYSTEM VALUE "
        "SELECT DISTINCT ON "
        "(\"device_id\", \"time\") \"temperature\", \"time\", \"device_id\" FROM pg_temp.pipeline_host_rows ORDER BY "
        "\"device_id\", \"time\", ctid DESC ON CONFLICT (\"device_id\", \"time\") DO UPDATE SET \"temperature\" = "
        "EXCLUDED.\"temperature\"");
  CHECK(plan.columns[2].not_null);
  CHECK_FALSE(plan.columns[0].not_null);

  o.conflict = conflict_policy::ignore;
  CHECK(wrong(in) == strings{});
  CHECK(plan.landing ==
        "INSERT INTO \"public\".\"raw_telemetry\" (\"temperature\", \"time\", \"device_id\") OVERRIDING SYSTEM VALUE "
        "SELECT \"temperature\", "
        "\"time\", \"device_id\" FROM pg_temp.pipeline_host_rows ON CONFLICT (\"device_id\", \"time\") DO NOTHING");
}

TEST_CASE_FIXTURE(fixture, "a key without a unique index, a mapped field or a privilege is an error") {
  for (auto& c : table.columns) c.may_select = c.may_update = true;
  table.may_stage = true;
  table.unique_keys = {{"device_id"}, {"time", "device_id", "temperature"}};
  o.conflict = conflict_policy::ignore;
  o.key = {"device_id", "time"};
  const auto* in = schema({"time", "device_id"});
  CHECK(only(in) ==
        "key: table 'public.raw_telemetry': it has no unique index or primary key over exactly 'device_id', 'time', "
        "which 'conflict' needs; create one: CREATE UNIQUE INDEX ON \"public\".\"raw_telemetry\" (\"device_id\", "
        "\"time\")");
  CHECK(wrong(nullptr).size() == 1);  // before the input is known
  o.key = {"device_id"};
  CHECK(wrong(in) == strings{});
  table.dimensions = {"time"};
  CHECK(only(in).find("add 'time' to the key") != std::string::npos);
  table.dimensions.clear();
  CHECK(only(schema({"time"})) ==
        "key[0]: table 'public.raw_telemetry': no field is mapped to its column 'device_id', which is part of the "
        "key");
  table.may_stage = false;
  CHECK(only(in).find("GRANT TEMPORARY ON DATABASE") != std::string::npos);
  table.may_stage = true;
  table.columns[1].may_select = false;
  CHECK(only(in) ==
        "conflict: table 'public.raw_telemetry': no privilege to read existing rows: GRANT SELECT "
        "ON \"public\".\"raw_telemetry\" to the user of 'url'");
}

TEST_CASE("types are identified by their receive functions") {
  CHECK(wire_of("timestamptz_recv") == wire::timestamp);
  CHECK(wire_of("citextrecv") == wire::text);
  CHECK_FALSE(wire_of("point_recv"));
}
