// SPDX-License-Identifier: Apache-2.0
#include "column_kinds.hpp"

#include "encoder.hpp"

#include <pipeline/testing/fake_host.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace timescale;

namespace {

const std::vector<wire> all_types{wire::boolean, wire::int2,    wire::int4,      wire::int8, wire::float4,
                                  wire::float8,  wire::numeric, wire::timestamp, wire::date, wire::text,
                                  wire::json,    wire::jsonb,   wire::bytea,     wire::uuid};

// Return values of a kind: for each type, one that fits if any does, and one that does not if there is any.
std::vector<pl::cell> samples(std::uint32_t kind) {
  switch (kind) {
    case PL_BOOL:
      return {pl::bool_cell(true), pl::bool_cell(false)};
    case PL_I64:
      return {pl::int_cell(1), pl::int_cell(INT64_MAX), pl::int_cell(INT64_MIN)};
    case PL_F64:
      return {pl::real_cell(2.0), pl::real_cell(2.5), pl::real_cell(1e300), pl::real_cell(__builtin_nan(""))};
    case PL_TIME_NS:
      return {pl::time_cell(0), pl::time_cell(1'795'543'823'000'000'000)};
    case PL_TEXT:
      return {pl::text_cell("7"),
              pl::text_cell("x"),
              pl::text_cell("2026-11-24"),
              pl::text_cell("2026-11-24T18:10:23Z"),
              pl::text_cell("true"),
              pl::text_cell("00000000-0000-0000-0000-000000000000"),
              pl::text_cell(std::string_view("\0", 1))};
    case PL_BYTES:
      return {pl::bytes_cell("7"), pl::bytes_cell("\xFF"), pl::bytes_cell("0123456789abcdef"), pl::bytes_cell("true"),
              pl::bytes_cell("2026-11-24T18:10:23Z")};
    default:
      return {pl::json_cell("7"), pl::json_cell("{}"), pl::json_cell("\"\\u0000\""), pl::json_cell("true"),
              pl::json_cell("\"2026-11-24T18:10:23Z\"")};
  }
}

bool encodes(wire type, const pl::cell& value) {
  pl::testing::fake_host host;
  row_encoder encoder({{0, type, false, 0, "field", "column", "its type"}});
  const auto batch = host.make_batch({{"field", {value}}});
  encoder.bind(batch.get());
  byte_buffer out;
  return encoder.append(out, 0);
}

copied_column written(std::string field, std::string column, wire type, std::string sql) {
  return {0, type, false, 0, std::move(field), std::move(column), std::move(sql)};
}

struct fixture {
  pl::testing::fake_host host;
  options o;
  table_info table;
  copy_plan plan;

  fixture() { table.name = {"public", "t"}; }
  pl::column_set typed(std::initializer_list<std::string_view> names, std::vector<std::uint32_t> kinds) {
    return {pl::context(&host.raw()).schema(names), std::move(kinds)};
  }
};

using strings = std::vector<std::string>;

}  // namespace

TEST_CASE("what a kind fits is what the encoder does with its values") {
  for (std::uint32_t kind = PL_BOOL; kind <= PL_JSON; ++kind)
    for (const auto type : all_types) {
      int accepted = 0, rejected = 0;
      for (const auto& value : samples(kind)) ++(encodes(type, value) ? accepted : rejected);
      CAPTURE(pl::kind_name(kind));
      CAPTURE(static_cast<int>(type));
      const auto expected = fit_of(kind, type);
      CHECK((expected == fit::never) == (accepted == 0));
      if (expected == fit::always) CHECK(rejected == 0);
    }
  CHECK(fit_of(PL_NULL, wire::boolean) == fit::always);
  CHECK(fit_of(1000, wire::boolean) == fit::always);
}

TEST_CASE_FIXTURE(fixture, "a kind that a column never accepts is an error that names all four, and the remedy") {
  plan.columns = {written("time", "time", wire::int8, "bigint"), written("temperature", "temp", wire::float8, "real"),
                  written("status", "status", wire::boolean, "boolean"), written("name", "name", wire::uuid, "uuid")};
  const auto in = typed({"time", "temperature", "status", "name"}, {PL_TIME_NS, PL_F64, PL_TEXT, PL_TEXT});
  const auto found = check_kinds(o, table, plan, in);
  REQUIRE(found.errors.size() == 2);
  CHECK(found.errors[0].option == "table");
  CHECK(found.errors[0].message ==
        "table 'public.t': column 'time' (bigint) accepts the kinds int and float, but the field 'time' has the kind "
        "time, so every row with a value in it is rejected; change the type of the column to timestamptz, or map "
        "another field to it with 'columns'");
  CHECK(found.errors[1].message.find("column 'status' (boolean) accepts the kind bool, but the field 'status' has the "
                                     "kind text") != std::string::npos);
  CHECK(found.warnings.empty());
  o.columns = {{"time", "time"}, {"status", "status"}};
  CHECK(check_kinds(o, table, plan, in).errors[0].option == "columns.time");
  o.create.emplace().columns = {{"status", "boolean"}};
  CHECK(check_kinds(o, table, plan, in).errors[1].option == "create.columns.status");
  CHECK(check_kinds(o, table, plan, typed({"time"}, {})).errors.empty());
  CHECK(check_kinds(o, table, plan, typed({"time"}, {PL_NULL})).errors.empty());
}

TEST_CASE_FIXTURE(fixture, "float into an integer column is a warning, because whole numbers fit") {
  plan.columns = {written("battery", "battery", wire::int4, "integer"),
                  written("count", "count", wire::int2, "smallint")};
  const auto found = check_kinds(o, table, plan, typed({"battery", "count"}, {PL_F64, PL_I64}));
  CHECK(found.errors.empty());
  REQUIRE(found.warnings.size() == 1);
  CHECK(found.warnings[0].find("column 'battery' (integer) stores whole numbers only") != std::string::npos);
}

TEST_CASE_FIXTURE(fixture, "several inputs make one set of columns") {
  const pl::context context(&host.raw());
  const auto a = typed({"time", "x", "y"}, {PL_TIME_NS, PL_I64, PL_TEXT});
  const auto b = typed({"y", "x", "z"}, {PL_JSON, PL_F64, PL_BOOL});
  const auto all = merged(context, {a, b});
  REQUIRE(all.schema == context.schema({"time", "x", "y", "z"}));
  CHECK(all.kinds == std::vector<std::uint32_t>{PL_TIME_NS, PL_F64, PL_NULL, PL_BOOL});
  CHECK(merged(context, {a, {}}).schema == nullptr);
  CHECK(merged(context, {}).schema == nullptr);
  CHECK(merged(context, {a, typed({"w"}, {})}).kinds.empty());
}
