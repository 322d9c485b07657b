// SPDX-License-Identifier: Apache-2.0
// Tests of rows that cannot be stored: they are found and rejected once, with a reason, and the others are stored once.
#include "database.hpp"

#include <pipeline/json.hpp>

#include <algorithm>
#include <random>
#include <set>

using namespace timescale_test;

namespace {

std::string only_reason(const fake_host& host) {
  const auto all = host.rejects();
  REQUIRE(all.size() == 1);
  return all[0].reason;
}

}  // namespace

TEST_CASE("a row that the database rejects is reported with the database's message") {
  database db;
  db.run("CREATE TABLE t (n bigint PRIMARY KEY, v double precision CONSTRAINT sane CHECK (v < 100))");
  sink s(db.name("t"));
  s.start();
  s.write_all(numbered(s.host, {pl::real_cell(1), pl::real_cell(200), pl::real_cell(3)}));
  CHECK(has(
      only_reason(s.host),
      "the database rejected the row: new row for relation \"t\" violates check constraint \"sane\" (SQLSTATE 23514)"));
  CHECK(s.host.rejects()[0].position == 1);
  s.write_all(numbered(s.host, {pl::real_cell(4), pl::real_cell(5)}, 2));
  CHECK(has(only_reason(s.host),
            "duplicate key value violates unique constraint \"t_pkey\" (SQLSTATE 23505): Key (n)=(2) already exists."));
  CHECK(db.rows("SELECT n, v FROM t ORDER BY n") == strings{"0|1", "2|3", "3|5"});
  CHECK(s.host.sum("timescale_searches_total") == 2);
  CHECK(s.host.sum("timescale_rows_refused_total") == 2);
}

TEST_CASE("bad rows at random places: every good row is stored once, every bad row is rejected once") {
  const auto* wanted = std::getenv("PIPELINE_TEST_SEED");
  const auto seed = wanted ? static_cast<unsigned>(std::stoul(wanted)) : std::random_device{}();
  MESSAGE("PIPELINE_TEST_SEED=", seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 12; ++round) {
    database db;
    db.run("CREATE TABLE t (n bigint UNIQUE, v numeric(6, 1) CHECK (v >= 0), w text DEFAULT 'none')");
    sink s(db.name("t"));
    s.start();
    std::set<std::uint64_t> bad;
    std::vector<pl::batch> batches;
    std::vector<pl::batch_view> views;
    std::uint64_t n = 0;
    const auto one_in = round % 4 == 0 ? 2U : round % 4 == 1 ? 20U : round % 4 == 2 ? 500U : 100'000U;
    for (int k = 0; k < 6; ++k) {
      std::vector<pl::cell> numbers, values, texts;
      const auto first = n;
      for (auto rows = random() % 700; rows > 0; --rows, ++n) {
        const bool poison = random() % one_in == 0;
        if (poison) bad.insert(n);
        numbers.push_back(pl::int_cell(static_cast<std::int64_t>(n)));
        static const std::vector<pl::cell> poisons{pl::real_cell(-1), pl::int_cell(1'000'000),
                                                   pl::text_cell("no number"), pl::bool_cell(true)};
        values.push_back(poison ? poisons[random() % poisons.size()]
                                : pl::int_cell(static_cast<std::int64_t>(random() % 1000)));
        texts.push_back(pl::text_cell("some text"));
      }
      if (random() % 2)
        batches.push_back(s.host.make_batch({{"n", numbers}, {"v", values}}, "test/0", first));
      else
        batches.push_back(s.host.make_batch({{"v", values}, {"w", texts}, {"n", numbers}}, "test/0", first));
    }
    for (const auto& b : batches) views.push_back(b.get());
    REQUIRE_MESSAGE(s.write(views) == PL_OK, s.host.error_text());

    std::multiset<std::uint64_t> reported;
    for (const auto& r : s.host.rejects()) reported.insert(r.position);
    CHECK(reported == std::multiset<std::uint64_t>(bad.begin(), bad.end()));
    std::set<std::string> stored;
    for (const auto& row : db.rows("SELECT n FROM t")) stored.insert(row);
    CHECK(stored.size() == n - bad.size());
    CHECK(db.one("SELECT count(*) FROM t") == std::to_string(n - bad.size()));
    for (const auto b : bad) CHECK_FALSE(stored.contains(std::to_string(b)));
    CHECK(s.host.sum("timescale_rows_total") == static_cast<double>(n - bad.size()));
  }
}

TEST_CASE("rows that the encoder rejects after the end of a failed COPY are reported, too") {
  database db;
  db.run("CREATE TABLE t (n bigint, v smallint CHECK (v > 0), w text)");
  sink s(db.name("t"));
  s.start();
  const auto first = numbered(s.host, {pl::int_cell(1), pl::int_cell(-1)});
  const auto second = s.host.make_batch(
      {{"n", {pl::int_cell(7), pl::int_cell(8)}}, {"w", {pl::bytes_cell("\xFF"), pl::text_cell("ok")}}}, "test/0", 7);
  REQUIRE(s.write({first.get(), second.get()}) == PL_OK);
  REQUIRE(s.host.rejects().size() == 2);
  CHECK(s.host.rejects()[0].position == 1);
  CHECK(has(s.host.rejects()[1].reason, "accepts only valid UTF-8"));
  CHECK(s.host.rejects()[1].position == 7);
  CHECK(db.rows("SELECT n FROM t ORDER BY n") == strings{"0", "8"});
}

TEST_CASE("errors of deferred constraints and triggers are attributed to the right row") {
  database db;
  db.run("CREATE TABLE parents (n bigint PRIMARY KEY)");
  db.run("INSERT INTO parents SELECT generate_series(0, 299)");
  db.run("CREATE TABLE t (n bigint, v bigint REFERENCES parents DEFERRABLE INITIALLY DEFERRED)");
  db.run(
      "CREATE FUNCTION no_thirteens() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.v = 13 THEN RAISE EXCEPTION "
      "'unlucky'; "
      "END IF; RETURN NEW; END $$");
  db.run("CREATE TRIGGER lucky BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION no_thirteens()");
  sink s(db.name("t"));
  s.start();
  std::vector<pl::cell> values;
  for (int i = 0; i < 301; ++i) values.push_back(pl::int_cell(i));  // 13: the trigger; 300: no such parent
  s.write_all(numbered(s.host, values));
  REQUIRE(s.host.rejects().size() == 2);
  CHECK(s.host.rejects()[0].position == 13);
  CHECK(has(s.host.rejects()[0].reason, "unlucky (SQLSTATE P0001)"));
  CHECK(s.host.rejects()[1].position == 300);
  CHECK(has(s.host.rejects()[1].reason, "(SQLSTATE 23503)"));
  CHECK(db.one("SELECT count(*), count(DISTINCT n) FROM t") == "299|299");
}

TEST_CASE("values that the database cannot store are rejected: NUL, invalid UTF-8, sizes, JSON that jsonb rejects") {
  database db;
  db.run("CREATE TABLE t (n bigint, txt text, small smallint, doc jsonb, code varchar(3))");
  sink s(db.name("t"));
  s.start();
  const std::string deep = std::string(20'000, '[') + std::string(20'000, ']');
  const auto null = pl::null_cell();
  s.write_all(s.host.make_batch(
      {{"n", std::vector<pl::cell>(8, pl::int_cell(1))},
       {"txt",
        {pl::text_cell(std::string_view("a\0b", 3)), pl::bytes_cell("\xC3("), null, null, null, null, null, null}},
       {"small", {null, null, pl::int_cell(40'000), null, null, null, null, null}},
       {"doc",
        {null, null, null, pl::json_cell(R"({"a":"\u0000"})"), pl::json_cell(R"({"a":"\ud800"})"), pl::json_cell(deep),
         null, null}},
       {"code", {null, null, null, null, null, null, pl::text_cell("abcd"), pl::text_cell("abc")}}}));
  strings reasons;
  for (const auto& r : s.host.rejects()) reasons.push_back(r.reason);
  REQUIRE(reasons.size() == 7);
  CHECK(has(reasons[0], "'txt' is the text \"a\\u0000b\": column 'txt' (text) cannot store the NUL byte in the text"));
  CHECK(has(reasons[1], "accepts only valid UTF-8"));
  CHECK(has(reasons[2], "'small' is the number 40000: column 'small' (smallint) cannot store a number of this size"));
  CHECK(has(reasons[3], "cannot store the NUL (\\u0000)"));
  CHECK(has(reasons[4], "(SQLSTATE 22P02)"));
  CHECK(has(reasons[5], "(SQLSTATE 54001)"));
  CHECK(has(reasons[6], "column 'code' (character varying(3)) accepts at most 3 characters"));
  CHECK(db.rows("SELECT code FROM t") == strings{"abc"});
}

TEST_CASE("a long detail is truncated between characters") {
  database db;
  db.run("CREATE TABLE t (n bigint, v text UNIQUE)");
  sink s(db.name("t"));
  s.start();
  std::string umlauts;
  for (int i = 0; i < 400; ++i) umlauts += "\xC3\xA4";
  for (const auto* start : {"", "x"}) {
    const auto text = start + umlauts;
    s.write_all(numbered(s.host, {pl::text_cell(text)}));
    s.write_all(numbered(s.host, {pl::text_cell(text)}));
    const auto reason = only_reason(s.host);
    CHECK(pl::is_utf8(reason));
    CHECK(reason.size() < 450);
  }
}

TEST_CASE("if all rows are bad, all are rejected and the write succeeds") {
  database db;
  db.run("CREATE TABLE t (n bigint, v integer CHECK (v > 0))");
  sink s(db.name("t"));
  s.start();
  s.write_all(numbered(s.host, std::vector<pl::cell>(500, pl::int_cell(-1))));
  CHECK(s.host.rejects().size() == 500);
  s.write_all(numbered(s.host, std::vector<pl::cell>(500, pl::text_cell("x"))));
  CHECK(s.host.rejects().size() == 500);
  CHECK(db.one("SELECT count(*) FROM t") == "0");
}
