// SPDX-License-Identifier: Apache-2.0
// Tests of tables that change while the sink writes: rows are stored with exact values in the new table, or wait with a
// clear message. No good row is rejected, and no table is created that existed before.
#include "position_store.hpp"

using namespace timescale_test;

namespace {

constexpr const char* swap_columns =
    "BEGIN; ALTER TABLE t ADD COLUMN v_new bigint; ALTER TABLE t RENAME COLUMN v TO v_old; ALTER TABLE t RENAME COLUMN "
    "v_new TO v; COMMIT";

std::vector<std::string> kinds_of_table(database& db) {
  std::vector<std::string> all{"CREATE TABLE t (n bigint NOT NULL UNIQUE, v double precision)",
                               "CREATE UNLOGGED TABLE t (n bigint NOT NULL UNIQUE, v double precision)",
                               "CREATE TABLE t (n bigint NOT NULL UNIQUE, v double precision) PARTITION BY RANGE (n); "
                               "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (5000)"};
  if (db.has_timescale())
    all.emplace_back(
        "CREATE TABLE t (n bigint NOT NULL UNIQUE, v double precision); SELECT create_hypertable('t', 'n', "
        "chunk_time_interval => 10)");
  return all;
}

bool warned(const fake_host& host, std::string_view text) {
  for (const auto& l : host.logs())
    if (has(l.message, text)) return true;
  return false;
}

}  // namespace

TEST_CASE("a column that another one replaces under its name: values are exact, in every kind of table") {
  database probe;
  for (const auto& create : kinds_of_table(probe))
    for (const char* conflict : {"error", "update"})
      for (const bool with_rejects : {false, true})
        for (const bool exactly_once : {false, true}) {
          CAPTURE(create);
          CAPTURE(conflict);
          CAPTURE(with_rejects);
          CAPTURE(exactly_once);
          database db;
          db.run(create);
          config_fields options;
          if (std::string(conflict) == "update") options = {{"conflict", "update"}, {"key", list({"n"})}};
          sink s(db.name("t"), options);
          s.start();
          store positions(db.name("t"));
          if (exactly_once) REQUIRE(positions.claim({}, {0, 1}) == PL_OK);
          const std::uint64_t epoch = exactly_once ? 1 : 0;
          s.write_all(read(numbered(s.host, {pl::real_cell(21.5)}), epoch));
          db.run(swap_columns);
          std::vector<pl::cell> values{pl::real_cell(7), pl::int_cell(8)};
          if (with_rejects) values.push_back(pl::real_cell(22.5));
          const auto rows = read(numbered(s.host, values, 1), epoch);
          const auto status = s.write(rows);
          CHECK(status == (with_rejects && exactly_once ? PL_REJECT : PL_OK));
          REQUIRE(s.host.rejects().size() == (with_rejects ? 1 : 0));
          if (with_rejects) CHECK(has(s.host.rejects()[0].reason, "column 'v' (bigint) accepts only whole numbers"));
          if (status == PL_OK)
            CHECK(db.rows("SELECT n, v_old, v FROM t ORDER BY n") == strings{"0|21.5|null", "1|null|7", "2|null|8"});
        }
}

TEST_CASE("rows are not rejected by the old plan of a table that has changed") {
  database db;
  db.run("CREATE TABLE t (n bigint, v bigint CHECK (v < 100))");
  store positions(db.name("t"));
  REQUIRE(positions.claim({}, {0, 1}) == PL_OK);
  sink s(db.name("t"));
  s.start();
  s.write_all(read(numbered(s.host, {pl::int_cell(5)}), 1));
  db.run(
      "BEGIN; ALTER TABLE t ADD COLUMN v_new text; ALTER TABLE t DROP COLUMN v; ALTER TABLE t RENAME COLUMN v_new TO "
      "v; "
      "COMMIT");
  s.write_all(read(numbered(s.host, {pl::text_cell("warm"), pl::int_cell(200)}, 1), 1));
  CHECK(s.host.rejects().empty());
  CHECK(db.rows("SELECT v FROM t ORDER BY n") == strings{"null", "warm", "200"});
}

TEST_CASE("a table that is replaced by another one of the same name") {
  database db;
  db.run("CREATE TABLE t (n bigint, v double precision)");
  sink s(db.name("t"));
  s.start();
  s.write_all(numbered(s.host, {pl::real_cell(1.5)}));
  db.run(
      "BEGIN; CREATE TABLE u (v bigint, n bigint); ALTER TABLE t RENAME TO t_old; ALTER TABLE u RENAME TO t; COMMIT");
  s.write_all(numbered(s.host, {pl::real_cell(3)}, 1));
  CHECK(db.rows("SELECT n, v FROM t") == strings{"1|3"});
  CHECK(db.rows("SELECT n, v FROM t_old") == strings{"0|1.5"});
}

TEST_CASE("a default that is dropped causes a retry, and no row is rejected") {
  database db;
  db.run("CREATE TABLE t (n bigint, v double precision, site text NOT NULL DEFAULT 'home')");
  sink s(db.name("t"));
  s.start();
  s.write_all(numbered(s.host, {pl::real_cell(1.5)}));
  db.run("ALTER TABLE t ALTER COLUMN site DROP DEFAULT");
  const auto row = numbered(s.host, {pl::real_cell(2.5)}, 1);
  CHECK(s.write(row) == PL_RETRY);
  CHECK(has(s.host.error_text(), "column 'site' is NOT NULL and has no default, and no field is mapped to it"));
  CHECK(s.host.rejects().empty());
  db.run("ALTER TABLE t ALTER COLUMN site SET DEFAULT 'home'");
  s.write_all(row);
  CHECK(db.one("SELECT count(*) FROM t") == "2");
}

TEST_CASE("a table that existed at start is never created again while the sink runs") {
  database db;
  db.run("CREATE TABLE t (n bigint, v double precision)");
  sink s(db.name("t"), {{"create", object({{"hypertable", object({{"enabled", false}})}})}});
  const auto row = numbered(s.host, {pl::real_cell(1.5)});
  REQUIRE(s.create() == PL_OK);
  REQUIRE(s.set_input(row) == PL_OK);
  REQUIRE(s.instance_.start() == PL_OK);
  db.run("ALTER TABLE t RENAME TO elsewhere");  // before the first row
  for (int i = 0; i < 3; ++i) {
    CHECK(s.write(row) == PL_RETRY);
    CHECK(has(s.host.error_text(), "which existed before; it is not created again while the pipeline runs"));
    CHECK(db.one("SELECT to_regclass('" + db.name("t") + "')") == "null");
  }
  db.run("ALTER TABLE elsewhere RENAME TO t");
  s.write_all(row);
  CHECK(db.one("SELECT count(*) FROM t") == "1");
}

TEST_CASE("a table that changes before the first row causes a retry, not a stop") {
  database db;
  db.run("CREATE TABLE t (n bigint, v double precision)");
  sink s(db.name("t"));
  const auto row = numbered(s.host, {pl::real_cell(1.5)});
  REQUIRE(s.create() == PL_OK);
  REQUIRE(s.set_input(row) == PL_OK);
  REQUIRE(s.instance_.start() == PL_OK);
  db.run("ALTER TABLE t RENAME COLUMN v TO w");
  CHECK(s.write(row) == PL_RETRY);
  CHECK(has(s.host.error_text(), "it has no column for the input field 'v'"));
  db.run("ALTER TABLE t RENAME COLUMN w TO v");
  s.write_all(row);
  CHECK(db.rows("SELECT n, v FROM t") == strings{"0|1.5"});
}

TEST_CASE("identity columns: a key that is GENERATED ALWAYS is written, and another one cannot be updated") {
  database db;
  db.run("CREATE TABLE t (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v double precision)");
  sink s(db.name("t"), {{"conflict", "update"}, {"key", list({"n"})}});
  s.start();
  s.write_all(numbered(s.host, {pl::real_cell(1.5), pl::real_cell(2.5)}, 7));
  s.write_all(numbered(s.host, {pl::real_cell(3.5)}, 8));
  CHECK(db.rows("SELECT n, v FROM t ORDER BY n") == strings{"7|1.5", "8|3.5"});
  db.run("CREATE TABLE u (n bigint PRIMARY KEY, v bigint GENERATED ALWAYS AS IDENTITY)");
  sink wrong(db.name("u"), {{"conflict", "update"}, {"key", list({"n"})}});
  const auto error = wrong.start_error(pl::context(&wrong.host.raw()).schema({"n", "v"}));
  CHECK(has(error, "its column 'v' is GENERATED ALWAYS AS IDENTITY, so 'conflict: update' cannot set it"));
}

TEST_CASE("an error that no retry can cure stops the first write, and a later one waits for the operator") {
  database db;
  db.run("CREATE TABLE how (code text)");
  db.run("CREATE TABLE t (n bigint, v double precision)");
  db.run(
      "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE c text; BEGIN SELECT code INTO c FROM " +
      db.name("how") +
      "; IF c IS NOT NULL THEN RAISE EXCEPTION 'provoked' USING ERRCODE = c, DETAIL = 'the detail', HINT = 'the hint'; "
      "END IF; RETURN NEW; END $$");
  db.run("CREATE TRIGGER unruly BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fail()");
  db.run("INSERT INTO how VALUES ('428C9')");
  sink s(db.name("t"));
  s.start();
  const auto row = numbered(s.host, {pl::real_cell(1.5)});
  CHECK(s.write(row) == PL_FATAL);
  CHECK(has(s.host.error_text(), "provoked (SQLSTATE 428C9): the detail. HINT: the hint"));
  db.run("DELETE FROM how");
  s.write_all(row);
  db.run("INSERT INTO how VALUES ('428C9')");
  CHECK(s.write(row) == PL_RETRY);
}

TEST_CASE("a write for which the server lacks resources asks for smaller writes, with the server's hint") {
  database db;
  db.run("CREATE TABLE how (code text)");
  db.run("CREATE TABLE t (n bigint, v double precision)");
  db.run(
      "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE c text; BEGIN SELECT code INTO c FROM " +
      db.name("how") +
      "; IF c IS NOT NULL THEN RAISE EXCEPTION 'out of shared memory' USING ERRCODE = c, HINT = 'You might need to "
      "increase max_locks_per_transaction.'; END IF; RETURN NEW; END $$");
  db.run("CREATE TRIGGER unruly BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fail()");
  sink s(db.name("t"));
  s.start();
  const auto rows = numbered(s.host, {pl::real_cell(1.5), pl::real_cell(2.5)});
  int reported = 0;
  for (const char* code : {"53200", "57014"}) {
    db.run("INSERT INTO how VALUES ('" + std::string(code) + "')");
    CHECK(s.write(rows) == PL_RETRY);
    CHECK(s.host.times_too_large() == ++reported);
    CHECK(has(s.host.error_text(), "HINT: You might need to increase max_locks_per_transaction."));
    CHECK(!has(s.host.error_text(), "out of memory"));
    CHECK(s.host.rejects().empty());
    db.run("DELETE FROM how");
  }
  s.write_all(rows);
  CHECK(db.one("SELECT count(*) FROM t") == "2");
}

TEST_CASE("rows that a trigger discards are counted and reported") {
  database db;
  db.run("CREATE TABLE t (n bigint, v double precision)");
  db.run(
      "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.n % 2 = 1 THEN RETURN NULL; END IF; "
      "RETURN NEW; END $$");
  db.run("CREATE TRIGGER odd BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION odd()");
  sink s(db.name("t"));
  s.start();
  s.write_all(numbered(s.host, std::vector<pl::cell>(10, pl::real_cell(1.5))));
  CHECK(db.one("SELECT count(*) FROM t") == "5");
  CHECK(s.host.sum("timescale_rows_total") == 5);
  CHECK(s.host.sum("timescale_rows_discarded_total") == 5);
  CHECK(warned(s.host, "did not take 5 of 10 rows of a write, without an error"));
}

TEST_CASE("tables that a crash of the server empties cause a warning") {
  database db;
  db.run("CREATE UNLOGGED TABLE t (n bigint, v double precision)");
  sink s(db.name("t"));
  s.start();
  CHECK(warned(s.host, "is UNLOGGED: a crash of the server empties it"));
  db.run("CREATE TABLE parts (n bigint, v double precision) PARTITION BY RANGE (n)");
  db.run("CREATE UNLOGGED TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (100)");
  sink p(db.name("parts"));
  p.start();
  CHECK(warned(p.host, "or one of its partitions is UNLOGGED"));
  db.run("CREATE TABLE safe (n bigint, v double precision)");
  sink f(db.name("safe"));
  f.start();
  CHECK(!warned(f.host, "UNLOGGED"));
  db.run(
      "CREATE UNLOGGED TABLE pipeline_positions (pipeline text, sink text, source text, stream text, next bigint NOT "
      "NULL, epoch bigint NOT NULL, token bigint NOT NULL DEFAULT 0, moved timestamptz NOT NULL DEFAULT now(), PRIMARY "
      "KEY (pipeline, sink, source, stream))");
  store positions(db.name("safe"));
  REQUIRE(positions.claim({}, {0, 1}) == PL_OK);
  f.write_all(read(numbered(f.host, {pl::real_cell(1.5)}), 1));
  CHECK(warned(f.host, "pipeline_positions' or '"));
}
