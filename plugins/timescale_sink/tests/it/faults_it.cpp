// SPDX-License-Identifier: Apache-2.0
// Tests of broken connections, stalled servers and changed tables: errors are clear, no rows are lost, and the sink
// recovers automatically.
#include "database.hpp"

#include <thread>

using namespace timescale_test;

namespace {

// A table whose trigger fails as configured in the table `how`: with an SQLSTATE, 'die' or 'sleep'.
class failing_table {
 public:
  failing_table() {
    db.run("CREATE TABLE how (way text)");
    db.run("CREATE TABLE t (n bigint, v double precision)");
    db.run(
        "CREATE FUNCTION misbehave() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE w text; BEGIN SELECT way INTO w "
        "FROM " +
        db.name("how") +
        " LIMIT 1; IF w = 'die' THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); ELSIF w = "
        "'sleep' THEN "
        "PERFORM pg_sleep(60); ELSIF w IS NOT NULL THEN RAISE EXCEPTION 'provoked' USING ERRCODE = w; END IF; RETURN "
        "NEW; END $$");
    db.run("CREATE TRIGGER unruly BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION misbehave()");
  }
  void fail_by(const std::string& way) {
    db.run("DELETE FROM how");
    if (!way.empty()) db.run("INSERT INTO how VALUES ('" + way + "')");
  }
  database db;
};

std::vector<pl::cell> some(std::size_t n) { return std::vector<pl::cell>(n, pl::real_cell(1.5)); }

}  // namespace

TEST_CASE("an ended connection is opened again") {
  database db;
  db.run("CREATE TABLE t (n bigint, v double precision)");
  sink s(db.name("t"));
  s.start();
  s.write_all(numbered(s.host, some(10)));
  db.end_writers();
  const auto b = numbered(s.host, some(10), 10);
  s.write_with_retries({b.get()});
  CHECK(db.one("SELECT count(*), count(DISTINCT n) FROM t") == "20|20");
}

TEST_CASE("a server process that dies during COPY causes a retry") {
  failing_table t;
  sink s(t.db.name("t"));
  s.start();
  const auto b = numbered(s.host, some(5'000));
  t.fail_by("die");
  CHECK(s.write(b) == PL_RETRY);
  CHECK(s.host.rejects().empty());
  CHECK(s.write(b) == PL_RETRY);
  t.fail_by("");
  s.write_all(b);
  CHECK(t.db.one("SELECT count(*), count(DISTINCT n) FROM t") == "5000|5000");
}

TEST_CASE("transient errors are retried with advice, and no row is rejected") {
  failing_table t;
  sink s(t.db.name("t"));
  s.start();
  const auto b = numbered(s.host, some(100));
  struct provoked {
    std::string code, hint;
  };
  const std::vector<provoked> all{{"40001", "the transaction conflicted with another transaction"},
                                  {"40P01", "the transaction conflicted with another transaction"},
                                  {"53100", "disk is full"},
                                  {"53300", "no free connections"},
                                  {"25006", "point 'url' at the primary"},
                                  {"57P01", "the server is shutting down"},
                                  {"XX000", "see the server's log"}};
  for (const auto& p : all) {
    const auto& code = p.code;
    CAPTURE(code);
    t.fail_by(code);
    CHECK(s.write(b) == PL_RETRY);
    CHECK(has(s.host.error_text(), "provoked (SQLSTATE " + code + ")"));
    CHECK(has(s.host.error_text(), p.hint));
    CHECK(s.host.rejects().empty());
  }
  t.fail_by("");
  s.write_all(b);
  CHECK(t.db.one("SELECT count(*), count(DISTINCT n) FROM t") == "100|100");
}

TEST_CASE("a statement that takes too long is cancelled by the server") {
  failing_table t;
  sink s(t.db.name("t"), {{"statement_timeout", std::chrono::nanoseconds(2s)}});
  s.start();
  const auto b = numbered(s.host, some(10));
  t.fail_by("sleep");
  CHECK(s.write(b) == PL_RETRY);
  CHECK(has(s.host.error_text(), "(SQLSTATE 57014): the statement took longer than 'statement_timeout'"));
  t.fail_by("");
  s.write_all(b);
  CHECK(t.db.one("SELECT count(*) FROM t") == "10");
}

TEST_CASE("the connection to a server that does not respond is closed") {
  failing_table t;
  sink s(t.db.name("t"), {{"statement_timeout", std::chrono::nanoseconds(0)},
                          {"lock_timeout", std::chrono::nanoseconds(0)},
                          {"stall_timeout", std::chrono::nanoseconds(3s)}});
  s.start();
  const auto b = numbered(s.host, some(10));
  t.fail_by("sleep");
  const auto began = std::chrono::steady_clock::now();
  CHECK(s.write(b) == PL_RETRY);
  CHECK(std::chrono::steady_clock::now() - began < 40s);
  CHECK(has(s.host.error_text(),
            "the server sent nothing for 3 s while waiting for a response; the connection was closed"));
  t.db.end_writers();
  t.fail_by("");
  s.write_with_retries({b.get()});
  CHECK(t.db.one("SELECT count(*) FROM t") == "10");
}

TEST_CASE("the server ends the transaction of a host that stalls") {
  database db;
  db.run(
      "CREATE TABLE t (n bigint, v double precision, patience text DEFAULT "
      "current_setting('idle_in_transaction_session_timeout'))");
  sink s(db.name("t"), {{"stall_timeout", std::chrono::nanoseconds(45s)}});
  s.start();
  s.write_all(numbered(s.host, some(1)));
  CHECK(db.one("SELECT patience FROM t") == "45s");
}

TEST_CASE("a lock of another session on the table causes a retry") {
  database db;
  db.run("CREATE TABLE t (n bigint, v double precision)");
  sink s(db.name("t"), {{"lock_timeout", std::chrono::nanoseconds(300ms)}});
  s.start();
  const auto b = numbered(s.host, some(10));
  s.write_all(b);
  {
    pqxx::connection other(direct_url());
    pqxx::work tx(other);
    tx.exec("LOCK TABLE " + db.name("t") + " IN ACCESS EXCLUSIVE MODE");
    CHECK(s.write(b) == PL_RETRY);
    CHECK(has(s.host.error_text(), "(SQLSTATE 55P03): another session holds a lock on the table"));
  }
  s.write_all(b);
  CHECK(db.one("SELECT count(*) FROM t") == "20");
}

TEST_CASE("a column that is dropped and added again while the sink runs") {
  database db;
  db.run("CREATE TABLE t (n bigint, v double precision)");
  sink s(db.name("t"));
  s.start();
  s.write_all(numbered(s.host, some(1)));
  db.run("ALTER TABLE t DROP COLUMN v");
  const auto b = numbered(s.host, some(1), 1);
  CHECK(s.write(b) == PL_RETRY);
  CHECK(has(s.host.error_text(), "it has no column for the input field 'v'"));
  CHECK(s.write(b) == PL_RETRY);
  db.run("ALTER TABLE t ADD COLUMN v text");
  s.write_all(b);
  CHECK(db.rows("SELECT n, v FROM t ORDER BY n") == strings{"0|null", "1|1.5"});
}

TEST_CASE("if a column's type changes while the sink runs, values are written in the new type") {
  database db;
  db.run("CREATE TABLE t (n bigint, v bigint)");
  sink s(db.name("t"));
  s.start();
  s.write_all(numbered(s.host, {pl::int_cell(5)}));
  db.run("ALTER TABLE t ALTER COLUMN v TYPE double precision");  // also eight bytes: COPY alone would not detect it
  s.write_all(numbered(s.host, {pl::int_cell(6)}, 1));
  db.run("ALTER TABLE t ALTER COLUMN v TYPE text");
  s.write_all(numbered(s.host, {pl::int_cell(7)}, 2));
  db.run("ALTER TABLE t ALTER COLUMN v TYPE integer USING v::integer");
  s.write_all(numbered(s.host, {pl::int_cell(8), pl::text_cell("x")}, 3));
  REQUIRE(s.host.rejects().size() == 1);
  CHECK(has(s.host.rejects()[0].reason, "column 'v' (integer) accepts only whole numbers"));
  CHECK(db.rows("SELECT n, v FROM t ORDER BY n") == strings{"0|5", "1|6", "2|7", "3|8"});
}

TEST_CASE("a changed type is detected in hypertables and partitioned tables, too") {
  database db;
  db.run("CREATE TABLE parts (n bigint, v bigint) PARTITION BY RANGE (n)");
  db.run("CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (100)");
  strings tables{"parts"};
  if (db.has_timescale()) {
    db.run("CREATE TABLE hyper (n bigint NOT NULL, v bigint)");
    db.run("SELECT create_hypertable('hyper', 'n', chunk_time_interval => 10)");
    tables.emplace_back("hyper");
  }
  for (const auto& table : tables) {
    CAPTURE(table);
    sink s(db.name(table));
    s.start();
    s.write_all(numbered(s.host, {pl::int_cell(5)}));
    db.run("ALTER TABLE " + table + " ALTER COLUMN v TYPE double precision");
    s.write_all(numbered(s.host, {pl::int_cell(6)}, 1));
    CHECK(db.rows("SELECT n, v FROM " + table + " ORDER BY n") == strings{"0|5", "1|6"});
  }
}

TEST_CASE("a table that is dropped and created again while the sink runs") {
  database db;
  db.run("CREATE TABLE t (n bigint, v double precision)");
  sink s(db.name("t"));
  s.start();
  s.write_all(numbered(s.host, some(1)));
  db.run("DROP TABLE t");
  CHECK(s.write(numbered(s.host, some(1), 1)) == PL_RETRY);
  CHECK(has(s.host.error_text(), "there is no table '" + db.name("t") + "' at "));
  db.run("CREATE TABLE t (v real, n integer)");
  s.write_all(numbered(s.host, some(1), 1));
  CHECK(db.rows("SELECT n, v FROM t") == strings{"1|1.5"});
}

TEST_CASE("a changed type does not cause good rows to be rejected") {
  database db;
  db.run("CREATE TABLE t (n bigint, v bigint CHECK (v < 1000))");
  sink s(db.name("t"));
  s.start();
  s.write_all(numbered(s.host, {pl::int_cell(5)}));
  // The new type has eight bytes, too. With the old plan, the CHECK constraint would reject good rows.
  db.run("ALTER TABLE t ALTER COLUMN v TYPE double precision USING v");
  s.write_all(numbered(s.host, {pl::int_cell(-5), pl::int_cell(5000), pl::int_cell(7)}, 1));
  REQUIRE(s.host.rejects().size() == 1);
  CHECK(s.host.rejects()[0].position == 2);
  CHECK(db.rows("SELECT n, v FROM t ORDER BY n") == strings{"0|5", "1|-5", "3|7"});
}

TEST_CASE("the sink leaves no state in a session that a pooler gives to another client") {
  database db;
  db.run("CREATE TABLE t (n bigint, v double precision CHECK (v > 0))");
  std::vector<std::unique_ptr<sink>> sinks;
  for (int i = 0; i < 6; ++i) sinks.push_back(std::make_unique<sink>(db.name("t")));
  for (auto& s : sinks) s->start();
  std::vector<std::jthread> threads;
  std::vector<int> failures(sinks.size());
  for (std::size_t i = 0; i < sinks.size(); ++i)
    threads.emplace_back([&, i] {
      for (int k = 0; k < 30; ++k) {
        auto values = some(50);
        if (k % 3 == 0) values[static_cast<std::size_t>(k)] = pl::real_cell(-1);
        const auto b = numbered(sinks[i]->host, values, static_cast<std::int64_t>(i) * 10'000 + k * 50);
        failures[i] += sinks[i]->instance_.write(b.get()) != PL_OK;
      }
    });
  threads.clear();
  for (const auto f : failures) CHECK(f == 0);
  CHECK(db.one("SELECT count(*), count(DISTINCT n) FROM t") == "8940|8940");
  pqxx::connection next(url());
  pqxx::work tx(next);
  const auto timeout = tx.exec("SELECT setting = reset_val FROM pg_settings WHERE name = 'statement_timeout'");
  CHECK(timeout[0][0].as<std::string>() == "t");
}
