// SPDX-License-Identifier: Apache-2.0
// Tests of 'conflict' and 'key': rows whose key already exists are ignored or update the existing row.
#include "database.hpp"

#include <memory>
#include <set>
#include <thread>

using namespace timescale_test;

namespace {

config_fields by(const std::string& conflict, std::vector<pl::testing::config_value> key = {"n"}) {
  return {{"conflict", conflict}, {"key", list(std::move(key))}};
}

// A table of (n bigint PRIMARY KEY, v double precision), and a sink that has started.
struct fixture {
  explicit fixture(const std::string& conflict, const std::string& columns = "n bigint PRIMARY KEY, v double precision")
      : s(db.name("t"), by(conflict)) {
    db.run("CREATE TABLE t (" + columns + ")");
    s.start();
  }
  void write(const std::vector<std::pair<int, double>>& rows) {
    std::vector<pl::cell> n, v;
    for (const auto& [key, value] : rows) {
      n.push_back(pl::int_cell(key));
      v.push_back(pl::real_cell(value));
    }
    s.write_all(s.host.make_batch({{"n", n}, {"v", v}}));
  }
  strings stored() { return db.rows("SELECT n, v FROM t ORDER BY n"); }

  database db;
  sink s;
};

std::string start_error(database& db, const config_fields& options) {
  sink s(db.name("t"), options);
  return s.start_error(pl::context(&s.host.raw()).schema({"n", "v"}));
}

}  // namespace

TEST_CASE("ignore: the existing row stays") {
  fixture f("ignore");
  f.write({{1, 1.0}, {2, 2.0}, {2, 2.5}});
  f.write({{2, 20.0}, {3, 3.0}});
  CHECK(f.stored() == strings{"1|1", "2|2", "3|3"});
  CHECK(f.s.host.rejects().empty());
  CHECK(f.s.host.sum("timescale_searches_total") == 0);
}

TEST_CASE("update: the last row of a key is stored, within a write and across writes") {
  fixture f("update");
  f.write({{1, 1.0}, {2, 2.0}, {1, 1.5}, {2, 2.5}, {1, 1.75}});
  CHECK(f.stored() == strings{"1|1.75", "2|2.5"});
  f.write({{2, 20.0}, {3, 3.0}});
  CHECK(f.stored() == strings{"1|1.75", "2|20", "3|3"});
  CHECK(f.s.host.rejects().empty());
}

TEST_CASE("update: the last row of a key is stored from many rows and wide rows, too") {
  database db;
  db.run("CREATE TABLE t (n bigint PRIMARY KEY, v bigint, w text)");
  sink s(db.name("t"), by("update"));
  s.start();
  std::vector<pl::cell> n, v, w;
  const std::string wide(3'000, 'x');
  for (int i = 0; i < 20'000; ++i) {
    n.push_back(pl::int_cell(i * 7919 % 1000));
    v.push_back(pl::int_cell(i));
    w.push_back(pl::text_cell(i % 50 == 0 ? std::string_view(wide) : std::string_view(wide).substr(0, 20)));
  }
  s.write_all(s.host.make_batch({{"n", n}, {"v", v}, {"w", w}}));
  CHECK(db.one("SELECT count(*), min(v), max(v), count(DISTINCT v) FROM t") == "1000|19000|19999|1000");
}

TEST_CASE("update: columns that are not written stay unchanged, and a row with only a key changes nothing") {
  database db;
  db.run("CREATE TABLE t (n bigint PRIMARY KEY, v double precision, w text DEFAULT 'default')");
  sink s(db.name("t"), by("update"));
  s.start();
  s.write_all(s.host.make_batch({{"n", {pl::int_cell(1)}}, {"w", {pl::text_cell("kept")}}}));
  s.write_all(numbered(s.host, {pl::real_cell(1.5), pl::real_cell(2.5)}, 1));
  s.write_all(s.host.make_batch({{"n", {pl::int_cell(1), pl::int_cell(3)}}}));
  CHECK(db.rows("SELECT n, v, w FROM t ORDER BY n") == strings{"1|1.5|kept", "2|2.5|default", "3|null|default"});
}

TEST_CASE("batches of several schemas in one write keep their order") {
  for (const std::string conflict : {"ignore", "update"}) {
    CAPTURE(conflict);
    database db;
    db.run("CREATE TABLE t (n bigint PRIMARY KEY, v double precision, w text)");
    sink s(db.name("t"), by(conflict));
    s.start();
    const auto a = numbered(s.host, {pl::real_cell(1), pl::real_cell(2)});
    const auto b = s.host.make_batch({{"w", {pl::text_cell("x")}}, {"n", {pl::int_cell(1)}}});
    const auto c = numbered(s.host, {pl::real_cell(3), pl::real_cell(4)}, 1);
    REQUIRE_MESSAGE(s.write({a.get(), b.get(), c.get()}) == PL_OK, s.host.error_text());
    CHECK(db.rows("SELECT n, v, w FROM t ORDER BY n") == (conflict == "ignore"
                                                              ? strings{"0|1|null", "1|2|null", "2|4|null"}
                                                              : strings{"0|1|null", "1|3|x", "2|4|null"}));
  }
}

TEST_CASE("with a key, rows that the database rejects are found, and the others are stored") {
  for (const std::string conflict : {"ignore", "update"}) {
    CAPTURE(conflict);
    fixture f(conflict, "n bigint PRIMARY KEY, v double precision CONSTRAINT sane CHECK (v >= 0), w numeric(3)");
    f.write({{5, 0.5}});
    std::vector<pl::cell> values;
    for (int i = 0; i < 700; ++i) values.push_back(pl::real_cell(i == 3 || i == 400 || i == 401 ? -1 : i));
    const auto a = numbered(f.s.host, values);
    const auto b = f.s.host.make_batch({{"n", {pl::int_cell(700), pl::int_cell(701), pl::int_cell(702)}},
                                        {"w", {pl::int_cell(1), pl::int_cell(1000), pl::text_cell("x")}}},
                                       "test/0", 700);
    REQUIRE_MESSAGE(f.s.write({a.get(), b.get()}) == PL_OK, f.s.host.error_text());
    std::set<std::uint64_t> reported;
    for (const auto& r : f.s.host.rejects()) reported.insert(r.position);
    CHECK(reported == std::set<std::uint64_t>{3, 400, 401, 701, 702});
    CHECK(f.s.host.rejects().size() == 5);
    CHECK(has(f.s.host.rejects()[0].reason, "violates check constraint \"sane\" (SQLSTATE 23514)"));
    CHECK(f.db.one("SELECT count(*) FROM t") == "698");
    CHECK(f.db.one("SELECT v FROM t WHERE n = 5") == (conflict == "ignore" ? "0.5" : "5"));
  }
}

TEST_CASE("keys are compared with the collation of the index") {
  fixture f("update", "n bigint PRIMARY KEY, v double precision");
  f.db.run("CREATE COLLATION either (provider = icu, locale = 'und-u-ks-level2', deterministic = false)");
  f.db.run("CREATE TABLE names (n text COLLATE either PRIMARY KEY, v bigint)");
  sink s(f.db.name("names"), by("update"));
  s.start();
  s.write_all(s.host.make_batch({{"n", {pl::text_cell("Anna"), pl::text_cell("anna"), pl::text_cell("ANNA")}},
                                 {"v", {pl::int_cell(1), pl::int_cell(2), pl::int_cell(3)}}}));
  CHECK(f.db.rows("SELECT lower(n), v FROM names") == strings{"anna|3"});
}

TEST_CASE("a row with a null in its key is rejected") {
  database db;
  db.run("CREATE TABLE t (n bigint UNIQUE, v double precision)");
  sink s(db.name("t"), by("update"));
  s.start();
  s.write_all(
      s.host.make_batch({{"n", {pl::null_cell(), pl::int_cell(1)}}, {"v", {pl::int_cell(1), pl::int_cell(2)}}}));
  REQUIRE(s.host.rejects().size() == 1);
  CHECK(has(s.host.rejects()[0].reason, "column 'n' (bigint) does not accept nulls"));
  CHECK(db.rows("SELECT n, v FROM t") == strings{"1|2"});
}

TEST_CASE("a key without a unique index is reported at start, with the SQL that creates the index") {
  database db;
  db.run("CREATE TABLE t (n bigint, v bigint)");
  const auto sql = "CREATE UNIQUE INDEX ON \"" + db.schema() + "\".\"t\" (\"n\")";
  const auto wrong = "key: table '" + db.name("t") + "': it has no unique index or primary key over exactly 'n'";
  CHECK(has(start_error(db, by("ignore")), wrong));
  CHECK(has(start_error(db, by("update")), "create one: " + sql));
  CHECK(has(start_error(db, by("update", {"n", "vv"})), "key[1]: table '" + db.name("t") + "': it has no column 'vv'"));
  for (const std::string no_use :
       {"CREATE UNIQUE INDEX no_use ON t (n) WHERE v > 0", "CREATE UNIQUE INDEX no_use ON t (abs(n))",
        "CREATE UNIQUE INDEX no_use ON t (n, v)", "CREATE INDEX no_use ON t (n)"}) {
    CAPTURE(no_use);
    db.run(no_use);
    CHECK(has(start_error(db, by("ignore")), wrong));
    db.run("DROP INDEX no_use");
  }
  db.run("ALTER TABLE t ADD CONSTRAINT late UNIQUE (n) DEFERRABLE");
  CHECK(has(start_error(db, by("ignore")), wrong));
  db.run(sql);
  sink s(db.name("t"), by("ignore"));
  s.start();
  db.run("CREATE UNIQUE INDEX ON t (v, n) INCLUDE (n)");
  sink two(db.name("t"), by("update", {"n", "v"}));  // in any order
  two.start();
  two.write_all(numbered(two.host, {pl::int_cell(1)}));
}

TEST_CASE("a key column to which no field is mapped is an error") {
  database db;
  db.run("CREATE TABLE t (n bigint, v bigint, k bigint DEFAULT 1 UNIQUE)");
  CHECK(has(start_error(db, by("ignore", {"k"})), "key[0]: table '" + db.name("t") + "': no field is mapped to"));
}

TEST_CASE("a hypertable's key must include its time column") {
  database db;
  if (!db.has_timescale()) return;
  db.run("CREATE TABLE t (n bigint NOT NULL, v bigint NOT NULL, w text)");
  db.run("SELECT create_hypertable('t', 'n', chunk_time_interval => 10)");
  CHECK(has(start_error(db, by("update", {"v"})),
            "it is a hypertable partitioned by 'n', so its unique indexes must include this column; add 'n' to the "
            "key"));
  CHECK(has(start_error(db, by("update", {"v", "n"})), "(\"v\", \"n\")"));
  db.run("CREATE UNIQUE INDEX ON t (v, n)");
  for (const std::string conflict : {"ignore", "update"}) {
    db.run("TRUNCATE t");
    sink s(db.name("t"), by(conflict, {"v", "n"}));
    s.start();
    for (const auto* text : {"first", "second"}) {
      std::vector<pl::cell> n, v, w;
      for (int i = 0; i < 200; ++i) {
        n.push_back(pl::int_cell(i / 2));
        v.push_back(pl::int_cell(7));
        w.push_back(pl::text_cell(text));
      }
      s.write_all(s.host.make_batch({{"n", n}, {"v", v}, {"w", w}}));
    }
    CHECK(db.rows("SELECT count(*), min(w), max(w) FROM t") ==
          strings{conflict == "ignore" ? "100|first|first" : "100|second|second"});
  }
}

TEST_CASE("rows of a partitioned table are updated") {
  database db;
  db.run("CREATE TABLE t (n bigint PRIMARY KEY, v bigint) PARTITION BY RANGE (n)");
  db.run("CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (2)");
  db.run("CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (2) TO (4)");
  sink s(db.name("t"), by("update"));
  s.start();
  s.write_all(numbered(s.host, {pl::int_cell(1), pl::int_cell(2), pl::int_cell(3)}));
  s.write_all(numbered(s.host, {pl::int_cell(4), pl::int_cell(5), pl::int_cell(6), pl::int_cell(7)}, 1));
  CHECK(db.rows("SELECT n, v FROM t ORDER BY n") == strings{"0|1", "1|4", "2|5", "3|6"});
  REQUIRE(s.host.rejects().size() == 1);
  CHECK(has(s.host.rejects()[0].reason, "no partition of relation \"t\" found for row"));
}

TEST_CASE("the unique index is created with the table") {
  database db;
  const auto made = [&](const std::string& table, const config_fields& options) {
    sink s(db.name(table), options);
    REQUIRE(s.create() == PL_OK);
    const auto rows = s.host.make_batch({{"time", {pl::time_cell(1'000'000'000), pl::time_cell(1'000'000'000)}},
                                         {"device_id", {pl::text_cell("d"), pl::text_cell("d")}},
                                         {"temperature", {pl::int_cell(1), pl::int_cell(2)}}});
    REQUIRE(s.set_input(&rows.get().schema()) == PL_OK);
    if (s.instance_.start() != PL_OK) return s.host.error_text();
    s.write_all(rows);
    s.write_all(rows);
    return db.one("SELECT count(*), min(temperature) FROM " + table);
  };
  auto options = by("update", {"device_id", "time"});
  options.emplace_back("create", object({}));
  CHECK(made("hyper", options) == "1|2");
  options[1] = {"key", list({"device_id"})};
  CHECK(has(made("no_time", options),
            "key: the table to be created is a hypertable, whose unique indexes must include the time column; add "
            "'time' to the key"));
  options[2] = {"create", object({{"hypertable", object({{"enabled", false}})}})};
  CHECK(made("plain", options) == "1|2");
  options[1] = {"key", list({"devce_id"})};
  CHECK(has(made("misspelt", options), "key[0]: the table to be created has no column 'devce_id'; did you mean"));
}

TEST_CASE("a type that changes, and an index that is dropped and created again, while the sink runs") {
  fixture f("update", "n bigint PRIMARY KEY, v bigint");
  f.s.write_all(numbered(f.s.host, {pl::int_cell(5)}));
  f.db.run("ALTER TABLE t ALTER COLUMN v TYPE double precision");
  f.s.write_all(numbered(f.s.host, {pl::int_cell(6), pl::int_cell(7)}));
  CHECK(f.stored() == strings{"0|6", "1|7"});
  f.db.run("ALTER TABLE t DROP CONSTRAINT t_pkey");
  const auto b = numbered(f.s.host, {pl::int_cell(8)});
  CHECK(f.s.write(b) == PL_RETRY);
  CHECK(has(f.s.host.error_text(), "it has no unique index or primary key over exactly 'n'"));
  CHECK(f.s.write(b) == PL_RETRY);
  f.db.run("CREATE UNIQUE INDEX ON t (n)");
  f.s.write_all(b);
  CHECK(f.stored() == strings{"0|8", "1|7"});
}

TEST_CASE("missing privileges to read existing rows are errors") {
  database db;
  const auto role = db.schema() + "_user";
  db.run("CREATE TABLE t (n bigint PRIMARY KEY, v double precision)");
  db.run("CREATE ROLE " + role + " LOGIN");
  struct dropped {
    database& db;
    const std::string& role;
    ~dropped() { db.run("DROP OWNED BY " + role + "; DROP ROLE " + role); }
  } const cleanup{db, role};
  auto as_role = direct_url();
  as_role.replace(as_role.find("postgres@"), 8, role);
  db.run("GRANT USAGE ON SCHEMA " + db.schema() + " TO " + role);
  db.run("GRANT INSERT ON t TO " + role);
  const auto error = [&](const std::string& conflict) {
    sink s(db.name("t"), by(conflict), as_role);
    return s.start_error(pl::context(&s.host.raw()).schema({"n", "v"}));
  };
  CHECK(has(error("ignore"), "conflict: table '" + db.name("t") +
                                 "': no privilege to read existing rows: GRANT "
                                 "SELECT ON"));
  CHECK(has(error("update"), "GRANT SELECT, UPDATE ON"));
  db.run("GRANT SELECT (n) ON t TO " + role);
  sink ignoring(db.name("t"), by("ignore"), as_role);
  ignoring.start();
  ignoring.write_all(numbered(ignoring.host, {pl::int_cell(1)}));
  db.run("GRANT SELECT, UPDATE ON t TO " + role);
  sink updating(db.name("t"), by("update"), as_role);
  updating.start();
  updating.write_all(numbered(updating.host, {pl::int_cell(2), pl::int_cell(3)}));
  CHECK(db.rows("SELECT n, v FROM t ORDER BY n") == strings{"0|2", "1|3"});
}

TEST_CASE("many writers of the same keys do not deadlock") {
  database db;
  db.run("CREATE TABLE t (n bigint PRIMARY KEY, v double precision)");
  std::vector<std::unique_ptr<sink>> sinks;
  for (int i = 0; i < 4; ++i) sinks.push_back(std::make_unique<sink>(db.name("t"), by("update")));
  for (auto& s : sinks) s->start();
  std::vector<int> failures(sinks.size());
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < sinks.size(); ++i)
    threads.emplace_back([&, i] {
      for (int k = 0; k < 15; ++k) {
        std::vector<pl::cell> n, v;
        for (int r = 0; r < 200; ++r) {
          n.push_back(pl::int_cell(i % 2 == 0 ? r : 199 - r));  // in different orders
          v.push_back(pl::real_cell(k));
        }
        failures[i] += sinks[i]->instance_.write(sinks[i]->host.make_batch({{"n", n}, {"v", v}}).get()) != PL_OK;
      }
    });
  threads.clear();
  for (const auto f : failures) CHECK(f == 0);
  CHECK(db.one("SELECT count(*) FROM t") == "200");
}
