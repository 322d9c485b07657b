// SPDX-License-Identifier: Apache-2.0
// Tests of settings that differ from PostgreSQL's defaults: the same tables, the same values.
#include "position_store.hpp"

using namespace timescale_test;

namespace {

// A user of its own, whose settings a test changes. Connects directly, because a pooler may have one user only.
class user {
 public:
  explicit user(database& db) : db_(db), name_(db.schema() + "_user") {
    db_.run("CREATE ROLE " + name_ + " LOGIN; GRANT ALL ON SCHEMA " + db_.schema() + " TO " + name_);
  }
  ~user() {
    try {
      db_.run("DROP OWNED BY " + name_ + " CASCADE; DROP ROLE " + name_);
    } catch (const std::exception& e) {
      MESSAGE("dropping ", name_, ": ", e.what());
    }
  }
  user(const user&) = delete;
  user& operator=(const user&) = delete;
  void set(const std::string& setting) { db_.run("ALTER ROLE " + name_ + " SET " + setting); }
  void reset() { db_.run("ALTER ROLE " + name_ + " RESET ALL"); }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string url() const {
    auto text = direct_url();
    return text.replace(text.find("postgres@"), 8, name_);
  }

 private:
  database& db_;
  std::string name_;
};

}  // namespace

TEST_CASE("values, positions and state are the same with any setting of the user") {
  database db;
  user u(db);
  const std::string awkward = std::string("a'b\\c\"d\n\t\\x41 \xC3\xA9") + std::string("\0\x01\xFF", 3);
  const std::string text = "it's \\x41 \\n \xC3\xA9 \"q\"";
  db.run(
      "CREATE TABLE t (n bigint, v double precision, w text, b bytea, at timestamptz, plain timestamp, day date, j "
      "jsonb); GRANT ALL ON t TO " +
      u.name());
  const auto now = pl::time_cell(1'764'408'600'123'456'000);
  std::uint64_t round = 0;
  for (const char* setting :
       {"standard_conforming_strings = off", "datestyle = 'SQL, DMY'", "intervalstyle = 'iso_8601'",
        "timezone = 'Asia/Kolkata'", "bytea_output = 'escape'", "extra_float_digits = -15", "row_security = off",
        "default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on",
        "quote_all_identifiers = on", "backslash_quote = off", "transform_null_equals = on",
        "client_encoding = 'LATIN1'", "search_path = 'nowhere'", "array_nulls = off", "lc_messages = 'C'"}) {
    CAPTURE(setting);
    u.reset();
    u.set(setting);
    sink s(db.name("t"), {}, u.url());
    s.start();
    store positions(db.name("t"), {}, u.url());
    const std::string stream = "s/" + std::to_string(round) + "'\\";
    REQUIRE(positions.claim({}, {0, 1}, stream) == PL_OK);
    const auto b = read(s.host.make_batch({{"n", {pl::int_cell(static_cast<std::int64_t>(round))}},
                                           {"v", {pl::real_cell(0.1 + 0.2)}},
                                           {"w", {pl::text_cell(text)}},
                                           {"b", {pl::bytes_cell(awkward)}},
                                           {"at", {now}},
                                           {"plain", {now}},
                                           {"day", {now}},
                                           {"j", {pl::json_cell(R"({"a": "\\x41'"})")}}},
                                          "x", 0),
                        1, stream);
    const std::vector changes{change(awkward, awkward, text), change("b", "x'\\x6162"), change("gone", "\\")};
    attach(b, changes);
    s.write_all(b);
    auto next = read_nothing(s.host, 1, 2, 1, stream);
    const std::vector more{erased("gone")};
    attach(next, more);
    s.write_all(next);
    CHECK(positions.at(stream) == "2@1");
    CHECK(positions.load(stream) == entries{{{text, awkward}, awkward}, {{"alerts", "b"}, "x'\\x6162"}});
    ++round;
  }
  CHECK(db.one("SELECT count(*), count(DISTINCT n), count(DISTINCT (v, w, b, at, plain, day, j)) FROM t") ==
        std::to_string(round) + "|" + std::to_string(round) + "|1");
  CHECK(db.one("SET timezone = 'UTC'; SELECT DISTINCT v, w, encode(b, 'hex'), at, plain, day, j->>'a' FROM t") ==
        "0.30000000000000004|" + text +
            "|6127625c6322640a095c78343120c3a90001ff|2025-11-29 09:30:00.123456+00|2025-11-29 "
            "09:30:00.123456|2025-11-29|\\x41'");
}

TEST_CASE("tables without a schema are found once, and nothing is created in another schema") {
  database db;
  user u(db);
  const auto mine = db.schema(), other = db.schema() + "_other";
  db.run("CREATE SCHEMA " + other + "; GRANT ALL ON SCHEMA " + other + " TO " + u.name());
  struct dropped {
    database& db;
    const std::string& schema;
    ~dropped() { db.run("DROP SCHEMA " + schema + " CASCADE"); }
  } const cleanup{db, other};
  u.set("search_path = " + mine);
  sink s("t", {{"create", object({{"hypertable", object({{"enabled", false}})}})}}, u.url());
  const auto first = numbered(s.host, {pl::real_cell(1.5)});
  REQUIRE(s.create() == PL_OK);
  REQUIRE(s.set_input(first) == PL_OK);
  REQUIRE_MESSAGE(s.instance_.start() == PL_OK, s.host.error_text());
  store positions("t", {}, u.url());
  REQUIRE(positions.claim({}, {0, 1}) == PL_OK);
  s.write_all(read(numbered(s.host, {pl::real_cell(1.5)}), 1));
  u.set("search_path = " + other);  // of each new connection
  db.end_writers();
  db.run("ALTER TABLE t ADD COLUMN more text");  // the catalog is read again
  const auto second = read(numbered(s.host, {pl::real_cell(2.5)}, 1), 1);
  s.write_with_retries({second.get()});
  CHECK(db.rows("SELECT n, v FROM t ORDER BY n") == strings{"0|1.5", "1|2.5"});
  CHECK(db.rows("SELECT next FROM pipeline_positions") == strings{"2"});
  CHECK(db.one("SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = '" + other +
               "'") == "0");
}

TEST_CASE("a user without the right to write is reported, and the sink recovers without a restart") {
  database db;
  user u(db);
  db.run("CREATE TABLE t (n bigint, v double precision); GRANT ALL ON t TO " + u.name());
  sink s(db.name("t"), {}, u.url());
  s.start();
  s.write_all(numbered(s.host, {pl::real_cell(1.5)}));
  u.set("default_transaction_read_only = on");
  db.end_writers();
  const auto row = numbered(s.host, {pl::real_cell(2.5)}, 1);
  pl_status status = PL_OK;
  for (int i = 0; i < 3; ++i) status = s.write(row);
  CHECK(status == PL_RETRY);
  CHECK(has(s.host.error_text(), "(SQLSTATE 25006)"));
  CHECK(db.one("SELECT count(*) FROM t") == "1");  // the setting of the user is respected
  u.reset();
  s.write_with_retries({row.get()});
  CHECK(db.rows("SELECT n FROM t ORDER BY n") == strings{"0", "1"});
}

TEST_CASE("positions that row-level security hides are an error, not a stream without a position") {
  database db;
  user u(db);
  db.run("CREATE TABLE t (n bigint, v double precision); GRANT ALL ON t TO " + u.name());
  store positions(db.name("t"), {}, u.url());
  REQUIRE(positions.claim({}, {0, 1}) == PL_OK);
  db.run("ALTER TABLE pipeline_positions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY");
  CHECK(has(positions.refusal(), "row-level security"));
  db.run("ALTER TABLE pipeline_positions DISABLE ROW LEVEL SECURITY");
  CHECK(positions.at() == "0@1");
}

TEST_CASE("commits that a crash of the server may lose cause a warning") {
  database db;
  user u(db);
  db.run("CREATE TABLE t (n bigint, v double precision); GRANT ALL ON t TO " + u.name());
  u.set("synchronous_commit = off");
  sink s(db.name("t"), {}, u.url());
  s.start();
  bool warned = false;
  for (const auto& l : s.host.logs()) warned = warned || has(l.message, "synchronous_commit is off");
  CHECK(warned);
}
