// SPDX-License-Identifier: Apache-2.0
#include "../database.hpp"

#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

using namespace std::chrono_literals;
using pl::testing::config_fields;
using pl::testing::list;
using pl::testing::object;
using pl::testing::temp_dir;

namespace {

const pl_plugin& plugin() {
  static const pl_plugin* loaded = [] {
    std::string error;
    const auto* p =
        pl::testing::load_plugin(std::string(std::getenv("PIPELINE_PLUGIN_DIR")) + "/sqlite_sink.so", error);
    REQUIRE_MESSAGE(p != nullptr, error);
    return p;
  }();
  return *loaded;
}
const pl_component& sqlite_sink() { return *pl::testing::find_component(plugin(), "sqlite_sink"); }

struct running {
  pl::testing::fake_host host;
  pl::testing::instance sink;
  explicit running(const config_fields& options) : sink(host, sqlite_sink(), options) {
    REQUIRE_MESSAGE(sink.create() == PL_OK, host.error_text());
    REQUIRE_MESSAGE(sink.start() == PL_OK, host.error_text());
  }
};

sqlite::database open(const std::string& path) {
  sqlite::database d;
  REQUIRE(d.open(path, sqlite::database::access::create, 1s).ok());
  return d;
}

// Return all rows of a query: values separated by '|', rows by '\n'.
std::string query(const std::string& path, const std::string& sql) {
  auto d = open(path);
  auto s = d.prepare(sql);
  REQUIRE_MESSAGE(s.ok(), (s.ok() ? "" : s.why().message));
  std::string out;
  while (sqlite3_step(s->get()) == SQLITE_ROW) {
    for (int c = 0; c < sqlite3_column_count(s->get()); ++c) {
      if (c > 0) out += "|";
      const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(s->get(), c));
      out += text != nullptr ? text : "NULL";
    }
    out += "\n";
  }
  return out;
}

pl::batch readings(pl::testing::fake_host& host) {
  return host.make_batch({{"time", {pl::time_cell(0), pl::time_cell(1'500'000'000)}},
                          {"device_id", {pl::text_cell("a'; DROP TABLE t; --"), pl::text_cell("b")}},
                          {"temperature", {pl::real_cell(21.5), pl::null_cell()}},
                          {"n", {pl::int_cell(INT64_MAX), pl::bool_cell(true)}},
                          {"raw", {pl::bytes_cell(std::string_view("\0\xFF", 2)), pl::null_cell()}},
                          {"extra", {pl::json_cell("{\"x\":1}"), pl::null_cell()}}});
}

config_fields options_for(const std::string& path, config_fields more = {}) {
  config_fields o = {{"path", path}, {"table", "t"}};
  for (auto& m : more) o.push_back(std::move(m));
  return o;
}

}  // namespace

TEST_CASE("the table is created from the columns, and values are stored exactly") {
  temp_dir dir;
  running r(options_for(dir / "a/{pipeline}.db"));
  auto b = readings(r.host);
  REQUIRE_MESSAGE(r.sink.write({b.get(), b.get()}) == PL_OK, r.host.error_text());
  REQUIRE(r.sink.stop() == PL_OK);
  const auto path = dir / "a/test.db";
  CHECK(query(path, "SELECT time, device_id, temperature, n, hex(raw), extra FROM t LIMIT 2") ==
        "1970-01-01T00:00:00Z|a'; DROP TABLE t; --|21.5|9223372036854775807|00FF|{\"x\":1}\n"
        "1970-01-01T00:00:01.5Z|b|NULL|1||NULL\n");
  CHECK(query(path, "SELECT count(*), typeof(temperature), typeof(n), typeof(raw) FROM t") == "4|real|integer|blob\n");
  CHECK(query(path, "PRAGMA journal_mode") == "wal\n");
  CHECK(query(path, "SELECT strftime('%s', time) FROM t LIMIT 1") == "0\n");
}

TEST_CASE("names with quotes, reserved words and upper case are quoted") {
  temp_dir dir;
  running r({{"path", dir / "x.db"}, {"table", "select \"from\""}, {"time_as", "nanoseconds"}});
  auto b = r.host.make_batch({{"order", {pl::int_cell(1)}}, {"a\"b", {pl::int_cell(2)}}, {"Time", {pl::time_cell(5)}}});
  REQUIRE_MESSAGE(r.sink.write(b.get()) == PL_OK, r.host.error_text());
  CHECK(query(dir / "x.db", "SELECT \"order\", \"a\"\"b\", time FROM \"select \"\"from\"\"\"") == "1|2|5\n");
}

TEST_CASE("a row that violates a constraint is rejected with the reason; the others are stored") {
  temp_dir dir;
  CHECK(open(dir / "x.db").run("CREATE TABLE t (id INTEGER PRIMARY KEY, temp REAL CHECK (temp < 100))").ok());
  running r(options_for(dir / "x.db", {{"columns", object({{"id", "n"}, {"temp", "temperature"}})}}));
  auto b = r.host.make_batch(
      {{"n", {pl::int_cell(1), pl::int_cell(2), pl::int_cell(1), pl::text_cell("x"), pl::int_cell(3)}},
       {"temperature", {pl::real_cell(1), pl::real_cell(200), pl::real_cell(3), pl::real_cell(4), pl::real_cell(5)}}});
  REQUIRE_MESSAGE(r.sink.write(b.get()) == PL_OK, r.host.error_text());
  CHECK(query(dir / "x.db", "SELECT id, temp FROM t") == "1|1.0\n3|5.0\n");
  const auto rejects = r.host.rejects();
  REQUIRE(rejects.size() == 3);
  CHECK(rejects[0].position == 1);
  CHECK(rejects[0].reason == "table 't' rejected the row: CHECK constraint failed: temp < 100");
  CHECK(rejects[1].reason == "table 't' rejected the row: UNIQUE constraint failed: t.id");
  CHECK(rejects[2].reason == "table 't' rejected the row: datatype mismatch");
}

TEST_CASE("with a key, writing rows twice stores them once") {
  for (const char* policy : {"ignore", "replace"}) {
    temp_dir dir;
    running r(options_for(dir / "x.db", {{"key", list({"time", "device_id"})}, {"on_conflict", policy}}));
    auto b = readings(r.host);
    REQUIRE_MESSAGE(r.sink.write(b.get()) == PL_OK, r.host.error_text());
    REQUIRE(r.sink.write(b.get()) == PL_OK);
    CHECK(query(dir / "x.db", "SELECT count(*) FROM t") == "2\n");
    CHECK(r.host.rejects().empty());
  }
}

TEST_CASE("a deferred constraint that fails at COMMIT stores nothing and rejects the write, so that the host bisects") {
  temp_dir dir;
  CHECK(open(dir / "x.db")
            .run("CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE t (p INTEGER REFERENCES p DEFERRABLE INITIALLY "
                 "DEFERRED)")
            .ok());
  running r(options_for(dir / "x.db"));
  auto b = r.host.make_batch({{"p", {pl::int_cell(1)}}});
  CHECK(r.sink.write(b.get()) == PL_REJECT);
  CHECK(r.host.error_text() == "table 't' rejected the rows: FOREIGN KEY constraint failed");
  CHECK(query(dir / "x.db", "SELECT count(*) FROM t") == "0\n");
  REQUIRE(open(dir / "x.db").run("INSERT INTO p VALUES (1)").ok());
  CHECK(r.sink.write(b.get()) == PL_OK);
}

TEST_CASE("a database locked by another program is a retry, and no rows are stored") {
  temp_dir dir;
  running r(options_for(dir / "x.db", {{"busy_timeout", std::chrono::nanoseconds(20ms)}}));
  auto b = readings(r.host);
  REQUIRE(r.sink.write(b.get()) == PL_OK);
  auto other = open(dir / "x.db");
  REQUIRE(other.run("BEGIN IMMEDIATE").ok());
  CHECK(r.sink.write(b.get()) == PL_RETRY);
  CHECK(r.host.error_text().find(
            "database is locked; another program has locked the database; the write will be retried") !=
        std::string::npos);
  REQUIRE(other.run("COMMIT").ok());
  CHECK(r.sink.write(b.get()) == PL_OK);
  CHECK(query(dir / "x.db", "SELECT count(*) FROM t") == "4\n");
}

TEST_CASE("two writers share a database") {
  temp_dir dir;
  std::vector<std::thread> threads;
  std::atomic<int> failed = 0;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&] {
      pl::testing::fake_host host;
      pl::testing::instance sink(
          host, sqlite_sink(),
          options_for(dir / "x.db", {{"synchronous", "normal"}, {"busy_timeout", std::chrono::nanoseconds(30s)}}));
      auto b = readings(host);
      REQUIRE(sink.create() == PL_OK);
      // SQLite does not wait if both switch to WAL at the same time. Retry then, as the host does.
      auto started = sink.start();
      for (int tries = 0; started == PL_RETRY && tries < 1000; ++tries) started = sink.start();
      failed += started != PL_OK;
      for (int i = 0; i < 50; ++i) failed += sink.write(b.get()) != PL_OK;
    });
  for (auto& t : threads) t.join();
  CHECK(failed == 0);
  CHECK(query(dir / "x.db", "SELECT count(*) FROM t") == "200\n");
}

TEST_CASE("a full disk is a retry, and the batch is complete afterwards") {
  temp_dir dir;
  running r(options_for(dir / "x.db"));
  const std::string big(3'000'000, 'x');
  auto b = r.host.make_batch({{"text", {pl::text_cell("small"), pl::text_cell(big)}}});
  {
    // Simulate the full disk with a limit on the file size.
    auto* const old_handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit old{};
    ::getrlimit(RLIMIT_FSIZE, &old);
    const rlimit limit{1'000'000, old.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    CHECK(r.sink.write(b.get()) == PL_RETRY);
    ::setrlimit(RLIMIT_FSIZE, &old);
    std::signal(SIGXFSZ, old_handler);
  }
  CHECK(r.host.error_text().find("x.db: disk I/O error; check the disk") != std::string::npos);
  CHECK(r.sink.write(b.get()) == PL_OK);
  CHECK(query(dir / "x.db", "SELECT count(*), max(length(text)) FROM t") == "2|3000000\n");
}

TEST_CASE("a table that does not fit is reported before anything is stored") {
  temp_dir dir;
  CHECK(open(dir / "x.db").run("CREATE TABLE t (a, b NOT NULL)").ok());
  {
    running r(options_for(dir / "x.db"));
    auto b = r.host.make_batch({{"a", {pl::int_cell(1)}}, {"c", {pl::int_cell(1)}}});
    CHECK(r.sink.write(b.get()) == PL_FATAL);
    CHECK(r.host.error_text() ==
          "columns: table 't' in " + (dir / "x.db") +
              " has no column 'c'; its columns: a, b; map the columns with `columns`, or add the column (ALTER TABLE)");
  }
  {
    running r(options_for(dir / "x.db", {{"columns", object({{"a", "a"}})}}));
    auto b = r.host.make_batch({{"a", {pl::int_cell(1)}}});
    CHECK(r.sink.write(b.get()) == PL_FATAL);
    CHECK(r.host.error_text().find("columns: column 'b' of table 't' in " + (dir / "x.db") +
                                   " is NOT NULL and has no default") == 0);
  }
  {
    running r({{"path", dir / "x.db"}, {"table", "missing"}, {"create", false}});
    auto b = r.host.make_batch({{"a", {pl::int_cell(1)}}});
    CHECK(r.sink.check() == PL_FATAL);
    CHECK(r.sink.write(b.get()) == PL_FATAL);
    CHECK(r.host.error_text().find("table: there is no table 'missing' in ") == 0);
  }
  CHECK(query(dir / "x.db", "SELECT count(*) FROM t") == "0\n");
}

TEST_CASE("check changes nothing, and rejects a file that is not a database") {
  temp_dir dir;
  pl::testing::fake_host host;
  pl::testing::instance fresh(host, sqlite_sink(), options_for(dir / "sub/x.db"));
  REQUIRE(fresh.create() == PL_OK);
  CHECK(fresh.check() == PL_OK);
  CHECK(std::filesystem::is_empty(dir.path()));
  pl::testing::write_file(dir / "y.db",
                          "this is not a database, but it is long enough to look like a file of some kind or other");
  pl::testing::instance wrong(host, sqlite_sink(), options_for(dir / "y.db"));
  REQUIRE(wrong.create() == PL_OK);
  CHECK(wrong.check() == PL_FATAL);
  CHECK(host.error_text().find("the file is not an SQLite database; change `path`") != std::string::npos);
  host.forget();
  pl::testing::instance reserved(host, sqlite_sink(), {{"path", dir / "z.db"}, {"table", "sqlite_master"}});
  CHECK(reserved.create() == PL_FATAL);
  CHECK(host.error_text().find("table: 'sqlite_master' is not a valid table name") == 0);
}

TEST_CASE("check compares an existing table with the declared columns and kinds") {
  temp_dir dir;
  const auto path = dir / "x.db";
  const auto checked = [&](const std::string& table, std::initializer_list<std::pair<std::string, pl::cell>> columns,
                           config_fields more = {}) {
    CHECK(open(path).run("DROP TABLE IF EXISTS t").ok());
    const auto made = open(path).run(table);
    REQUIRE_MESSAGE(made.ok(), (made.ok() ? "" : made.why().message));
    pl::testing::fake_host host;
    pl::testing::instance sink(host, sqlite_sink(), options_for(path, std::move(more)));
    REQUIRE(sink.create() == PL_OK);
    std::vector<std::pair<std::string, std::vector<pl::cell>>> data;
    pl::column_set in, out;
    for (const auto& [name, cell] : columns) {
      data.push_back({name, {cell}});
      in.kinds.push_back(cell.kind);
    }
    const auto batch = host.make_batch(data);
    in.schema = &batch.get().schema();
    REQUIRE(pl::testing::ask_columns(sqlite_sink(), sink.self(), in, 0, out) == PL_OK);
    const auto status = sink.check();
    auto why = host.error_text();
    CHECK((status == PL_OK) == why.empty());
    host.forget();
    if (why.find("rejects every value") == std::string::npos && status != PL_OK) {
      CHECK(sink.start() == PL_FATAL);  // no row could ever be written
      return why;
    }
    REQUIRE(sink.start() == PL_OK);
    CHECK(sink.write(batch.get()) == PL_OK);
    CHECK(host.rejects().empty() == why.empty());  // check and the database agree
    return why;
  };
  const auto time = pl::time_cell(0);
  CHECK(checked("CREATE TABLE t (a, b)", {{"a", pl::int_cell(1)}}).empty());
  CHECK(checked("CREATE TABLE t (a, b NOT NULL)", {{"a", pl::int_cell(1)}}).find("column 'b' of table 't'") !=
        std::string::npos);
  CHECK(checked("CREATE TABLE t (a)", {{"a", pl::int_cell(1)}, {"c", pl::int_cell(1)}}).find("has no column 'c'") !=
        std::string::npos);
  CHECK(checked("CREATE TABLE t (a TEXT NOT NULL, b, PRIMARY KEY (a)) WITHOUT ROWID", {{"b", pl::int_cell(1)}})
            .find("column 'a' of table 't'") != std::string::npos);
  CHECK(checked("CREATE TABLE t (id INTEGER PRIMARY KEY NOT NULL, b)", {{"b", pl::int_cell(1)}}).empty());
  CHECK(checked("CREATE TABLE t (b BLOB)", {{"b", time}}).empty());  // not STRICT: any value is stored
  const auto why = checked("CREATE TABLE t (at INTEGER, v REAL) STRICT", {{"at", time}, {"v", pl::real_cell(1)}});
  CHECK(why == "columns: column 'at' (INTEGER) of table 't' in " + path +
                   " rejects every value of 'at', which has the kind time and is stored as text; set 'time_as: "
                   "nanoseconds', or change the type of the column to TEXT");
  CHECK(checked("CREATE TABLE t (at INTEGER) STRICT", {{"at", time}}, {{"time_as", "nanoseconds"}}).empty());
  CHECK(checked("CREATE TABLE t (at INTEGER PRIMARY KEY)", {{"at", time}}).find("(INTEGER)") != std::string::npos);
  for (const auto& [type, cell] : std::initializer_list<std::pair<std::string, pl::cell>>{{"BLOB", pl::text_cell("x")},
                                                                                          {"BLOB", pl::real_cell(1)},
                                                                                          {"TEXT", pl::bytes_cell("x")},
                                                                                          {"INT", pl::bytes_cell("x")},
                                                                                          {"REAL", pl::bytes_cell("x")},
                                                                                          {"REAL", time}})
    CHECK_FALSE(checked("CREATE TABLE t (v " + type + ") STRICT", {{"v", cell}}).empty());
  for (const auto& [type, cell] :
       std::initializer_list<std::pair<std::string, pl::cell>>{{"TEXT", time},
                                                               {"TEXT", pl::real_cell(1.5)},
                                                               {"INTEGER", pl::real_cell(2)},
                                                               {"INTEGER", pl::bool_cell(true)},
                                                               {"INTEGER", pl::text_cell("12")},
                                                               {"ANY", pl::bytes_cell("x")},
                                                               {"BLOB", pl::bytes_cell("x")}})
    CHECK(checked("CREATE TABLE t (v " + type + ") STRICT", {{"v", cell}}).empty());
}

TEST_CASE("passes the conformance tests") {
  for (const auto& p : pl::testing::check_plugin(plugin())) FAIL_CHECK(p);
  temp_dir dir;
  for (const auto& p : pl::testing::check_life(sqlite_sink(), {{"path", dir / "x.db"}, {"table", "t"}})) FAIL_CHECK(p);
}

TEST_CASE("other users cannot read a new database, its log or its folder") {
  const temp_dir dir;
  const auto before = ::umask(0);
  {
    running r(options_for(dir / "sub/new.db"));
    ::umask(before);
    REQUIRE(r.sink.write(readings(r.host).get()) == PL_OK);
    const auto mode_of = [&](const std::string& name) {
      return static_cast<unsigned>(std::filesystem::status(dir / name).permissions());
    };
    CHECK(mode_of("sub") == 0750);
    CHECK(mode_of("sub/new.db") == 0640);
    CHECK(mode_of("sub/new.db-wal") == 0640);
    REQUIRE(r.sink.stop() == PL_OK);
  }
}
