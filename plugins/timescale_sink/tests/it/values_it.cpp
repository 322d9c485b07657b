// SPDX-License-Identifier: Apache-2.0
// Tests that values are stored exactly, in every type.
#include "database.hpp"

#include <cmath>
#include <limits>
#include <random>

using namespace timescale_test;

TEST_CASE("every kind of cell is stored exactly in the types that accept it") {
  database db;
  db.run("CREATE TYPE mood AS ENUM ('ok', 'not ok')");
  db.run("CREATE DOMAIN percent AS numeric(5, 2) CHECK (VALUE BETWEEN 0 AND 100)");
  db.run(
      "CREATE TABLE t (b boolean, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision, num numeric, tz "
      "timestamptz, ts timestamp, d date, txt text, vc varchar(5), ch char(5), js json, jb jsonb, raw bytea, id uuid, "
      "m mood, p "
      "percent)");
  sink s(db.name("t"));
  s.start();
  constexpr std::int64_t t = 1'795'543'823'123'456'789;
  s.write_all(s.host.make_batch({{"b", {pl::bool_cell(true)}},
                                 {"i2", {pl::int_cell(-32768)}},
                                 {"i4", {pl::int_cell(2147483647)}},
                                 {"i8", {pl::int_cell((1LL << 53) + 1)}},
                                 {"f4", {pl::real_cell(21.5)}},
                                 {"f8", {pl::real_cell(0.1)}},
                                 {"num", {pl::text_cell("-123456789012345678901234567890.123450")}},
                                 {"tz", {pl::time_cell(t)}},
                                 {"ts", {pl::time_cell(t)}},
                                 {"d", {pl::time_cell(t)}},
                                 {"txt", {pl::text_cell("it's \"a\"\ttab, a \\. and \xF0\x9F\x98\x80")}},
                                 {"vc", {pl::text_cell("\xC3\xA4\xC3\xB6\xC3\xBC\xC3\x9F!")}},
                                 {"ch", {pl::text_cell("ab")}},
                                 {"js", {pl::json_cell("{\"b\": 1,  \"a\": [null]}")}},
                                 {"jb", {pl::json_cell("{\"b\": 1,  \"a\": [null]}")}},
                                 {"raw", {pl::bytes_cell(std::string_view("\0\xFF\\x", 4))}},
                                 {"id", {pl::text_cell("6f1a9c1e-0000-4abc-8def-0123456789ab")}},
                                 {"m", {pl::text_cell("not ok")}},
                                 {"p", {pl::real_cell(99.994)}}}));
  db.run("SET timezone = 'UTC'");
  CHECK(db.rows("SELECT b, i2, i4, i8, f4, f8, num FROM t") ==
        strings{"t|-32768|2147483647|9007199254740993|21.5|0.1|-123456789012345678901234567890.123450"});
  CHECK(db.rows("SELECT tz, ts, d FROM t") ==
        strings{"2026-11-24 18:10:23.123457+00|2026-11-24 18:10:23.123457|2026-11-24"});
  CHECK(db.one("SELECT txt FROM t") == "it's \"a\"\ttab, a \\. and \xF0\x9F\x98\x80");
  CHECK(db.rows("SELECT vc, ch, js, jb, raw, id, m, p FROM t") ==
        strings{
            "\xC3\xA4\xC3\xB6\xC3\xBC\xC3\x9F!|ab   |{\"b\": 1,  \"a\": [null]}|{\"a\": [null], \"b\": 1}|\\x00ff5c78|"
            "6f1a9c1e-0000-4abc-8def-0123456789ab|not ok|99.99"});
}

TEST_CASE("numbers of any size keep every digit in numeric") {
  database db;
  db.run("CREATE TABLE t (n bigint, v numeric, as_text text)");
  sink s(db.name("t"));
  s.start();
  std::mt19937_64 random(7);
  std::vector<std::string> texts{"0",   "-0.000", "1e400", "1e-300", "0.10", "99999999999999999999", "1000000000000",
                                 "5e-5"};
  for (int i = 0; i < 500; ++i) {
    std::string text = random() % 2 ? "-" : "";
    for (auto digits = random() % 60; digits > 0; --digits) text += static_cast<char>('0' + random() % 10);
    text += static_cast<char>('0' + random() % 10);
    if (random() % 2) {
      text += '.';
      for (auto digits = 1 + random() % 40; digits > 0; --digits) text += static_cast<char>('0' + random() % 10);
    }
    if (random() % 3 == 0) text += "e" + std::to_string(static_cast<int>(random() % 200) - 100);
    texts.push_back(text);
  }
  std::vector<pl::cell> n, v;
  for (const auto& t : texts) {
    n.push_back(pl::int_cell(static_cast<std::int64_t>(n.size())));
    v.push_back(pl::text_cell(t));
  }
  s.write_all(s.host.make_batch({{"n", n}, {"v", v}, {"as_text", v}}));
  CHECK(s.host.rejects().empty());
  // Compare with the text as parsed by PostgreSQL.
  CHECK(db.rows("SELECT as_text, v FROM t WHERE v::text <> as_text::numeric::text") == strings{});
  CHECK(db.one("SELECT count(*) FROM t") == std::to_string(texts.size()));
}

TEST_CASE("reals and times at their limits are stored exactly") {
  database db;
  db.run("CREATE TABLE t (n bigint, v double precision, t timestamptz)");
  sink s(db.name("t"));
  s.start();
  std::vector<pl::cell> n, v, t;
  std::vector<double> reals{0.0, -0.0, 1e308, 5e-324, -1.7976931348623157e308, 0.1, 1.0 / 3};
  std::vector<std::int64_t> times{0, -1, 1, INT64_MIN, INT64_MAX, 999'999'500, -999'999'500};
  for (std::size_t i = 0; i < reals.size(); ++i) {
    n.push_back(pl::int_cell(static_cast<std::int64_t>(i)));
    v.push_back(pl::real_cell(reals[i]));
    t.push_back(pl::time_cell(times[i]));
  }
  s.write_all(s.host.make_batch({{"n", n}, {"v", v}, {"t", t}}));
  db.run("SET timezone = 'UTC'");
  CHECK(db.rows("SELECT v FROM t ORDER BY n") ==
        strings{"0", "-0", "1e+308", "5e-324", "-1.7976931348623157e+308", "0.1", "0.3333333333333333"});
  CHECK(db.rows("SELECT t FROM t ORDER BY n") == strings{"1970-01-01 00:00:00+00", "1970-01-01 00:00:00+00",
                                                         "1970-01-01 00:00:00+00", "1677-09-21 00:12:43.145224+00",
                                                         "2262-04-11 23:47:16.854776+00", "1970-01-01 00:00:01+00",
                                                         "1969-12-31 23:59:59+00"});
}

TEST_CASE("one write may contain rows of several schemas, and selections") {
  database db;
  db.run("CREATE TABLE t (n bigint, v double precision DEFAULT 42, w text)");
  sink s(db.name("t"));
  s.start();
  const auto a = s.host.make_batch({{"n", {pl::int_cell(1), pl::int_cell(2), pl::int_cell(3)}},
                                    {"w", {pl::text_cell("a"), pl::text_cell("b"), pl::text_cell("c")}}});
  const auto b = s.host.make_batch({{"w", {pl::text_cell("d")}}, {"n", {pl::int_cell(4)}}, {"v", {pl::real_cell(1)}}});
  const auto nothing = s.host.make_batch({{"n", {}}, {"w", {}}});
  pl::batch_builder part(&s.host.raw(), a.get(), &a.get().schema(), 3);
  part.share_column(0, a.get().column(0));
  part.share_column(1, a.get().column(1));
  auto selection = part.allocate<std::uint32_t>(2);
  selection[0] = 0;
  selection[1] = 2;
  part.select(selection);
  const auto selected = std::move(part).finish();
  REQUIRE_MESSAGE(s.write({selected.get(), nothing.get(), b.get(), selected.get()}) == PL_OK, s.host.error_text());
  CHECK(db.rows("SELECT n, v, w FROM t ORDER BY n, v") == strings{"1|42|a", "1|42|a", "3|42|c", "3|42|c", "4|1|d"});
  CHECK(s.write(std::vector<pl::batch_view>{}) == PL_OK);
  CHECK(s.host.sum("timescale_rows_total") == 5);
  CHECK(s.host.sum("timescale_transactions_total") == 1);
}

TEST_CASE("a row of tens of megabytes is stored") {
  database db;
  db.run("CREATE TABLE t (n bigint, v text)");
  sink s(db.name("t"));
  s.start();
  const std::string big(40 << 20, 'x');
  s.write_all(numbered(s.host, {pl::text_cell("small"), pl::text_cell(big), pl::text_cell("small")}));
  CHECK(db.rows("SELECT n, length(v) FROM t ORDER BY n") == strings{"0|5", "1|41943040", "2|5"});
}

TEST_CASE("passes the conformance tests with unusual input") {
  database db;
  db.run("CREATE TABLE t (value text, k bigint)");
  const config_fields options{{"url", url()}, {"table", db.name("t")}, {"unmapped", "ignore"}};
  for (const auto& problem : pl::testing::check_life(component(), options, {"value", "k"})) FAIL_CHECK(problem);
}
