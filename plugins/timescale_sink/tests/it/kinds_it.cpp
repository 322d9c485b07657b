// SPDX-License-Identifier: Apache-2.0
// Tests of column kinds against a real catalog: check() finds every kind that a column never accepts, and no other;
// a table that `create` makes accepts every value of the declared kinds.
#include "database.hpp"

#include <algorithm>

using namespace timescale_test;

namespace {

constexpr std::string_view uuid = "7b0f8a5e-4d1c-4e55-9d0a-0f6a1f9b3c21";

// One value of each kind that a component can declare.
pl::batch every_kind(fake_host& host) {
  return host.make_batch({{"time", {pl::time_cell(1'795'543'823'000'000'000)}},
                          {"flag", {pl::bool_cell(true)}},
                          {"count", {pl::int_cell(9'007'199'254'740'993)}},
                          {"level", {pl::real_cell(0.1)}},
                          {"since", {pl::time_cell(1'000)}},
                          {"name", {pl::text_cell("caf\xC3\xA9")}},
                          {"raw", {pl::bytes_cell(std::string_view("\0\xFF", 2))}},
                          {"extra", {pl::json_cell("{\"a\": [1]}")}}});
}

// Return what check() reports for the declared columns of this batch.
std::string checked(database& db, const pl::batch& batch, sink& s) {
  REQUIRE(s.create() == PL_OK);
  REQUIRE(s.set_input(batch) == PL_OK);
  s.host.forget();
  const auto status = s.instance_.check();
  CHECK((status == PL_OK) == s.host.error_text().empty());
  CHECK(db.one("SELECT count(*) FROM pg_class WHERE relname LIKE '%trial%'") == "0");
  return s.host.error_text();
}

std::string checked(database& db, const std::string& type, const pl::cell& value, std::string& written) {
  db.run("DROP TABLE IF EXISTS t");
  db.run("CREATE TABLE t (v " + type + ")");
  sink s(db.name("t"));
  const auto batch = s.host.make_batch({{"v", {value}}});
  const auto why = checked(db, batch, s);
  sink writing(db.name("t"));
  writing.start();
  const auto again = writing.host.make_batch({{"v", {value}}});
  writing.write_all(again);
  written = writing.host.rejects().empty() ? "" : writing.host.rejects().front().reason;
  return why;
}

bool warned(fake_host& host, std::string_view piece) {
  const auto logs = host.logs();
  return std::any_of(logs.begin(), logs.end(),
                     [&](const auto& l) { return l.level == PL_LOG_WARN && has(l.message, piece); });
}

}  // namespace

TEST_CASE("a created table has the types of the declared kinds, and stores every value exactly") {
  database db;
  sink s(db.name("t"), {{"create", object({})}});
  const auto batch = every_kind(s.host);
  REQUIRE(s.create() == PL_OK);
  REQUIRE(s.set_input(batch) == PL_OK);
  REQUIRE_MESSAGE(s.instance_.start() == PL_OK, s.host.error_text());
  CHECK(db.rows("SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = "
                "'t'::regclass AND attnum > 0 ORDER BY attnum") ==
        strings{"time timestamp with time zone", "flag boolean", "count bigint", "level double precision",
                "since timestamp with time zone", "name text", "raw bytea", "extra jsonb"});
  s.write_all(batch);
  CHECK(s.host.rejects().empty());
  CHECK(db.rows("SELECT flag, count, level, extract(epoch FROM since) * 1000000 = 1, name, encode(raw, 'hex'), extra "
                "FROM t") == strings{"t|9007199254740993|0.1|t|caf\xC3\xA9|00ff|{\"a\": [1]}"});
}

TEST_CASE("check() and the encoder agree for every kind and type") {
  database db;
  const std::vector<pl::cell> values{pl::bool_cell(true), pl::int_cell(1),     pl::real_cell(1),   pl::time_cell(0),
                                     pl::text_cell("x"),  pl::bytes_cell("x"), pl::json_cell("{}")};
  // For each type, the kinds that it never accepts.
  const std::vector<std::pair<std::string, std::string>> never{{"boolean", "int float time text bytes json"},
                                                               {"smallint", "bool time text bytes json"},
                                                               {"integer", "bool time text bytes json"},
                                                               {"bigint", "bool time text bytes json"},
                                                               {"real", "bool time text bytes json"},
                                                               {"double precision", "bool time text bytes json"},
                                                               {"numeric", "bool time bytes"},
                                                               {"timestamptz", "bool int float bytes json"},
                                                               {"timestamp", "bool int float bytes json"},
                                                               {"date", "bool int float bytes json"},
                                                               {"text", ""},
                                                               {"varchar(20)", ""},
                                                               {"json", ""},
                                                               {"jsonb", ""},
                                                               {"bytea", "bool int float time"},
                                                               {"uuid", "bool int float time json"}};
  for (const auto& [type, kinds] : never)
    for (const auto& value : values) {
      const std::string kind(pl::kind_name(value.kind));
      CAPTURE(type);
      CAPTURE(kind);
      std::string rejected;
      const auto why = checked(db, type, value, rejected);
      const bool expected = has(" " + kinds + " ", " " + kind + " ");
      CHECK(why.empty() != expected);
      if (!expected) continue;
      CHECK(has(why, "column 'v' ("));
      CHECK(has(why, "the field 'v' has the kind " + kind));
      CHECK_MESSAGE(!rejected.empty(), "check() reports a value that the encoder accepts");
    }
}

TEST_CASE("values that may fit are accepted: texts that are UUIDs, times and numbers; whole reals in integers") {
  database db;
  db.run("CREATE DOMAIN percent AS smallint CHECK (VALUE BETWEEN 0 AND 100)");
  db.run("CREATE TYPE state AS ENUM ('on', 'off')");
  db.run("CREATE TABLE t (id uuid, at timestamptz, day date, amount numeric(10, 2), battery percent, now state)");
  sink s(db.name("t"));
  const auto batch = s.host.make_batch({{"id", {pl::text_cell(uuid)}},
                                        {"at", {pl::text_cell("2026-11-24T18:10:23Z")}},
                                        {"day", {pl::text_cell("2026-11-24")}},
                                        {"amount", {pl::text_cell("12.5")}},
                                        {"battery", {pl::real_cell(87)}},
                                        {"now", {pl::text_cell("on")}}});
  CHECK(checked(db, batch, s) == "");
  CHECK(warned(s.host, "percent) stores whole numbers only, but the field 'battery' has the kind float"));
  REQUIRE_MESSAGE(s.instance_.start() == PL_OK, s.host.error_text());
  s.write_all(batch);
  CHECK(s.host.rejects().empty());
  CHECK(db.rows("SELECT id, battery, now FROM t") == strings{std::string(uuid) + "|87|on"});
}

TEST_CASE("times into a bigint column: an error of check(), logged at start, and one dead letter for each row") {
  database db;
  db.run("CREATE TABLE t (time bigint NOT NULL, v double precision)");
  sink s(db.name("t"));
  const auto batch = s.host.make_batch({{"time", {pl::time_cell(1)}}, {"v", {pl::real_cell(1)}}});
  const auto why = checked(db, batch, s);
  CHECK(has(why, "table: table '" + db.name("t") +
                     "': column 'time' (bigint) accepts the kinds int and float, but the "
                     "field 'time' has the kind time"));
  REQUIRE(s.instance_.start() == PL_OK);
  const auto logs = s.host.logs();
  CHECK(std::any_of(logs.begin(), logs.end(),
                    [](const auto& l) { return l.level == PL_LOG_ERROR && has(l.message, "column 'time' (bigint)"); }));
  s.write_all(batch);
  REQUIRE(s.host.rejects().size() == 1);
  CHECK(has(s.host.rejects().front().reason, "accepts only whole numbers"));
}

TEST_CASE("check() tries out the creation of the table, and changes nothing") {
  database db;
  const auto wrong_type = object({{"columns", object({{"name", "integer"}, {"count", "text"}})}});
  sink s(db.name("t"), {{"create", wrong_type}});
  const auto batch = every_kind(s.host);
  CHECK(has(checked(db, batch, s), "create.columns.name: table '" + db.name("t") +
                                       "': column 'name' (integer) accepts the kinds int and float, but the field "
                                       "'name' has the kind text"));
  sink no_type(db.name("t"), {{"create", object({{"columns", object({{"name", "txet"}})}})}});
  CHECK(has(checked(db, every_kind(no_type.host), no_type), "type \"txet\" does not exist (SQLSTATE 42704)"));
  sink fine(db.name("t"), {{"create", object({})}});
  CHECK(checked(db, every_kind(fine.host), fine) == "");
  CHECK(db.one("SELECT to_regclass('t') IS NULL") == "t");
}

TEST_CASE("each of several inputs is compared, and a created table has the columns of all") {
  database db;
  sink s(db.name("t"), {{"create", object({})}, {"unmapped", "ignore"}});
  const auto first = s.host.make_batch({{"time", {pl::time_cell(0)}}, {"a", {pl::int_cell(1)}}});
  const auto second = s.host.make_batch(
      {{"time", {pl::time_cell(1'000'000)}}, {"a", {pl::real_cell(1.5)}}, {"b", {pl::text_cell("x")}}});
  REQUIRE(s.create() == PL_OK);
  REQUIRE(s.set_input(first) == PL_OK);
  REQUIRE(s.set_input(second) == PL_OK);
  REQUIRE_MESSAGE(s.instance_.start() == PL_OK, s.host.error_text());
  s.write_all(first);
  s.write_all(second);
  CHECK(s.host.rejects().empty());
  CHECK(db.rows("SELECT a, b FROM t ORDER BY time") == strings{"1|null", "1.5|x"});

  db.run("CREATE TABLE other (time timestamptz, a bigint, b boolean)");
  sink strict(db.name("other"));
  const auto one = strict.host.make_batch({{"time", {pl::time_cell(0)}}, {"a", {pl::int_cell(1)}}});
  REQUIRE(strict.create() == PL_OK);
  REQUIRE(strict.set_input(one) == PL_OK);
  CHECK(strict.instance_.check() == PL_OK);
  const auto two = strict.host.make_batch({{"time", {pl::time_cell(0)}}, {"b", {pl::text_cell("x")}}});
  REQUIRE(strict.set_input(two) == PL_OK);
  CHECK(strict.instance_.check() == PL_FATAL);
  CHECK(has(strict.host.error_text(), "column 'b' (boolean) accepts the kind bool"));
}

TEST_CASE("a NOT NULL of a domain counts, and so does its default") {
  database db;
  db.run("CREATE DOMAIN place AS text NOT NULL");
  db.run("CREATE DOMAIN site AS text NOT NULL DEFAULT 'home'");
  db.run("CREATE TABLE t (v bigint, p place, s site)");
  sink s(db.name("t"));
  const auto batch = s.host.make_batch({{"v", {pl::int_cell(1)}}});
  const auto why = checked(db, batch, s);
  CHECK(has(why, "column 'p' is NOT NULL and has no default, and no field is mapped to it"));
  CHECK_FALSE(has(why, "column 's'"));
}
