// SPDX-License-Identifier: Apache-2.0
// Tests of the catalog checks at start, and of names that need quoting.
#include "database.hpp"

using namespace timescale_test;

namespace {

std::string start_error(database& db, const std::string& table, std::initializer_list<std::string_view> fields,
                        config_fields options = {}) {
  sink s(db.name(table), std::move(options));
  return s.start_error(pl::context(&s.host.raw()).schema(fields));
}

}  // namespace

TEST_CASE("a table that does not exist is an error with a suggestion") {
  database db;
  db.run("CREATE TABLE raw_telemetry (time timestamptz)");
  CHECK(
      has(start_error(db, "raw_telemtry", {"time"}), "table: there is no table '" + db.name("raw_telemtry") + "' at "));
  CHECK(has(start_error(db, "raw_telemtry", {"time"}),
            "; did you mean '" + db.name("raw_telemetry") + "'? Create it, or set 'create: {}'"));
  CHECK(has(start_error(db, "Raw_Telemetry", {"time"}), "did you mean '" + db.name("raw_telemetry") + "'?"));
  sink s("no_such_schema.t");
  CHECK(has(s.start_error(), "table: there is no schema 'no_such_schema' at "));
}

TEST_CASE("all errors in columns are reported together") {
  database db;
  db.run(
      "CREATE TABLE t (time timestamptz NOT NULL, temperature double precision, place point, twice double precision "
      "GENERATED "
      "ALWAYS AS (temperature * 2) STORED, id bigint GENERATED ALWAYS AS IDENTITY, made timestamptz NOT NULL DEFAULT "
      "now())");
  const auto error = start_error(db, "t", {"time", "temprature", "place", "twice"});
  CHECK(has(error, "no column for the input field 'temprature'; did you mean 'temperature'?"));
  CHECK(has(error, "column 'place' has the type point, which this sink cannot write"));
  CHECK(has(error, "column 'twice' is computed by the database (GENERATED)"));
  CHECK(has(start_error(db, "t", {"temperature"}),
            "column 'time' is NOT NULL and has no default, and no field is mapped to it"));
  CHECK(has(start_error(db, "t", {"ts"}, {{"columns", object({{"tiem", "ts"}})}}),
            "columns.tiem: table '" + db.name("t") + "': it has no column 'tiem'"));
  sink fine(db.name("t"));
  fine.start();
  fine.write_all(fine.host.make_batch({{"time", {pl::time_cell(0)}}, {"temperature", {pl::int_cell(4)}}}));
  CHECK(db.rows("SELECT twice, id FROM t") == strings{"8|1"});
}

TEST_CASE("views and sequences are errors") {
  database db;
  db.run("CREATE TABLE t (time timestamptz)");
  db.run("CREATE VIEW v AS SELECT * FROM t");
  db.run("CREATE SEQUENCE s");
  CHECK(has(start_error(db, "v", {"time"}), "is a view; use the table in which the rows are to be stored"));
  CHECK(has(start_error(db, "s", {"time"}), "is not a table"));
}

TEST_CASE("missing privileges are errors that contain the GRANT statement") {
  database db;
  const auto role = db.schema() + "_user";
  db.run("CREATE TABLE t (time timestamptz, v double precision)");
  db.run("CREATE ROLE " + role + " LOGIN");
  struct dropped {
    database& db;
    const std::string& role;
    ~dropped() { db.run("DROP OWNED BY " + role + "; DROP ROLE " + role); }
  } const cleanup{db, role};
  auto as_role = direct_url();
  as_role.replace(as_role.find("postgres@"), 8, role);
  const auto error = [&] {
    sink s(db.name("t"), {}, as_role);
    return s.start_error(pl::context(&s.host.raw()).schema({"time", "v"}));
  };
  CHECK(has(error(), "table: no privilege to use schema '" + db.schema() + "': GRANT USAGE ON SCHEMA"));
  db.run("GRANT USAGE ON SCHEMA " + db.schema() + " TO " + role);
  CHECK(has(error(), "no privilege to write to '" + db.name("t") + "': GRANT INSERT ON"));
  db.run("GRANT INSERT (time) ON t TO " + role);
  CHECK(has(error(), "no privilege to write column 'v': GRANT INSERT ON"));
  db.run("GRANT INSERT ON t TO " + role);
  {
    sink s(db.name("t"), {}, as_role);
    s.start();
    const auto row = s.host.make_batch({{"time", {pl::time_cell(0)}}, {"v", {pl::int_cell(4)}}});
    s.write_all(row);
    db.run("REVOKE INSERT ON t FROM " + role);
    CHECK(s.write(row) == PL_RETRY);
    CHECK(has(s.host.error_text(), "permission denied for table t (SQLSTATE 42501): grant the user of 'url' INSERT"));
    db.run("GRANT INSERT ON t TO " + role);
    s.write_all(row);
  }
  db.run("ALTER TABLE t ENABLE ROW LEVEL SECURITY");
  CHECK(has(error(), "has row-level security for this user"));
}

TEST_CASE("names with quotes, dots, spaces, upper case and reserved words are supported") {
  database db;
  db.run(R"(CREATE TABLE "Ta""b.le '%s" ("order" bigint, )"
         R"("UPPER" text, "sp ace" text, "quo""te" text, "back\slash" text))");
  sink s(db.schema() + R"(."Ta""b.le '%s")", {{"columns", object({{"order", "select"},
                                                                  {"UPPER", "upper"},
                                                                  {"sp ace", "a b"},
                                                                  {"quo\"te", "it's"},
                                                                  {"back\\slash", "back\\slash"}})}});
  s.start();
  s.write_all(s.host.make_batch({{"select", {pl::int_cell(1)}},
                                 {"upper", {pl::text_cell("U")}},
                                 {"a b", {pl::text_cell("S")}},
                                 {"it's", {pl::text_cell("Q")}},
                                 {"back\\slash", {pl::text_cell("B")}}}));
  CHECK(db.rows(R"(SELECT * FROM "Ta""b.le '%s")") == strings{"1|U|S|Q|B"});
  // Check the same for a table that the sink creates.
  sink c(db.schema() + R"(."New ""Ta.ble")",
         {{"columns", object({{"The \"Time\"", "time"}, {"it's", "temperature"}})},
          {"create", object({{"hypertable", object({{"time_column", "The \"Time\""}})}})}});
  c.start();
  c.write_all(c.host.make_batch({{"time", {pl::time_cell(0)}}, {"temperature", {pl::real_cell(1.5)}}}));
  CHECK(db.rows(R"(SELECT "it's" FROM "New ""Ta.ble")") == strings{"1.5"});
}

TEST_CASE("a table without a schema is found through the search_path") {
  database db;
  db.run("CREATE TABLE public." + db.schema() + "_t (n bigint, v text)");
  struct dropped {
    database& db;
    ~dropped() { db.run("DROP TABLE public." + db.schema() + "_t"); }
  } const cleanup{db};
  sink s(db.schema() + "_t");
  s.start();
  s.write_all(numbered(s.host, {pl::text_cell("x")}));
  CHECK(db.one("SELECT count(*) FROM public." + db.schema() + "_t") == "1");
}

TEST_CASE("a row without a partition is rejected") {
  database db;
  db.run("CREATE TABLE t (n bigint, v text) PARTITION BY RANGE (n)");
  db.run("CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (2)");
  sink s(db.name("t"));
  s.start();
  s.write_all(numbered(s.host, {pl::text_cell("a"), pl::text_cell("b"), pl::text_cell("c")}));
  CHECK(db.rows("SELECT v FROM t ORDER BY n") == strings{"a", "b"});
  REQUIRE(s.host.rejects().size() == 1);
  CHECK(has(s.host.rejects()[0].reason, "no partition of relation \"t\" found for row"));
}
