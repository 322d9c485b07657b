// SPDX-License-Identifier: Apache-2.0
// Tests of conditions and columns over batches, and of their agreement with the evaluation of single rows.
#include "cel_common/plan.hpp"
#include "cel_common/vector_plan.hpp"
#include "harness.hpp"

#include <pipeline/json.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>

using namespace pl;
using namespace pl::cel;
using namespace pl::cel::testing;

namespace {

using indexes = std::vector<row_index>;

// Columns of every kind with numbers that are easy to get wrong, null, integers in a double column, and cells of a kind
// that was not declared.
table awkward(std::uint32_t rows) {
  std::mt19937 random(3);
  const std::vector<double> reals{0.0,    -0.0,   1.5, -2.5, 30.0, 1e308, -1e308, 5e-324, 9007199254740993.0,
                                  9.3e18, -9.3e18};
  const std::vector<std::int64_t> integers{0, 1, -1, 7, INT64_MAX, INT64_MIN, 9007199254740993, 30};
  const auto pick = [&](const auto& from) { return from[random() % from.size()]; };
  std::vector<cell> real, integer, boolean, text, mixed;
  for (std::uint32_t i = 0; i < rows; ++i) {
    const auto odd = random() % 20;
    real.push_back(odd == 0   ? null_cell()
                   : odd == 1 ? int_cell(pick(integers))
                   : odd == 2 ? text_cell("x")
                              : real_cell(pick(reals)));
    integer.push_back(odd == 3 ? null_cell() : odd == 4 ? real_cell(1.5) : int_cell(pick(integers)));
    boolean.push_back(odd == 5 ? null_cell() : odd == 6 ? int_cell(1) : bool_cell(random() % 2 == 0));
    text.push_back(odd == 7 ? null_cell() : text_cell(random() % 2 == 0 ? "a" : "b"));
    mixed.push_back(odd < 4    ? null_cell()
                    : odd < 8  ? text_cell("30")
                    : odd < 12 ? int_cell(pick(integers))
                    : odd < 14 ? json_cell("30")
                               : real_cell(pick(reals)));
  }
  return table({{"f", PL_F64, real},
                {"g", PL_F64, {real.rbegin(), real.rend()}},
                {"i", PL_I64, integer},
                {"j", PL_I64, {integer.rbegin(), integer.rend()}},
                {"b", PL_BOOL, boolean},
                {"c", PL_BOOL, {boolean.rbegin(), boolean.rend()}},
                {"s", PL_TEXT, text},
                {"m", PL_NULL, mixed}});
}

program compiled(std::string_view text, const table& in) {
  auto made = compile(text, in.columns());
  REQUIRE_MESSAGE(made.ok(), text, ": ", made.why().message);
  return std::move(made).value();
}

std::vector<cell> filled(evaluator& e, const table& in, batch_builder& owner, indexes& failed) {
  std::vector<cell> to(in.view().rows(), null_cell());
  const auto count = e.fill(in.view(), owner, to, &failed);
  CHECK(count == failed.size());
  return to;
}

std::string shown(const cell& c) {
  std::string text;
  append_json(text, c);
  return std::to_string(c.kind) + " " + text;
}

// Compute the expression for all rows at once, and each row alone.
void check_agreement(const std::string& text, table& in) {
  const auto p = compiled(text, in);
  evaluator all(p), one(p);
  batch_builder owner(in.host(), in.view(), &in.view().schema(), in.view().rows());
  indexes failed, matched, not_matched;
  const auto cells = filled(all, in, owner, failed);
  if (p.kind() == PL_BOOL) {
    const auto count = all.select(in.view(), matched, &not_matched);
    CHECK(count == not_matched.size());
  }
  CHECK(std::is_sorted(failed.begin(), failed.end()));
  for (row_index row = 0; row < in.view().rows(); ++row) {
    const bool fails = std::binary_search(failed.begin(), failed.end(), row);
    const auto why = one.explain(in.view(), row);
    const auto printed = one.print(in.view(), row, evaluator::notation::json);
    std::string got;
    append_json(got, cells[row]);
    const bool infinite =
        printed.ok() && (printed.value() == "\"NaN\"" || printed.value().find("Infinity\"") != std::string::npos);
    CHECK_MESSAGE(fails == (!printed.ok() || infinite), text, " row ", row, ": ", why);
    if (fails || !printed.ok()) continue;
    auto wanted = printed.value();
    if (wanted.ends_with(".0")) wanted.resize(wanted.size() - 2);
    CHECK_MESSAGE(got == wanted, text, " row ", row, ": ", shown(cells[row]));
    if (p.kind() == PL_BOOL) CHECK(std::binary_search(matched.begin(), matched.end(), row) == (wanted == "true"));
  }
}

}  // namespace

TEST_CASE("a condition selects the rows for which it is true, and reports those that fail") {
  const table in(
      {{"t", PL_F64, {real_cell(20), real_cell(40), null_cell(), int_cell(35), text_cell("x"), real_cell(30)}}});
  evaluator where(compiled("t > 30", in));
  indexes matched, failed;
  CHECK(where.select(in.view(), matched, &failed) == 2);
  CHECK(matched == indexes{1, 3});
  CHECK(failed == indexes{2, 4});
  CHECK(where.explain(in.view(), 2) == "no such overload: null > int; the column 't' is null, at column 1");
  CHECK(where.explain(in.view(), 4) ==
        "the column 't' contains a value of type string; it was declared as double, at column 1");
  CHECK(where.explain(in.view(), 1).empty());

  matched = {99};  // appended
  const indexes some{0, 3, 5};
  CHECK(where.select(in.view(), some, matched) == 0);
  CHECK(matched == indexes{99, 3});

  bool wrong = false;
  CHECK(where.matches(in.view(), 1, &wrong));
  CHECK_FALSE(wrong);
  CHECK_FALSE(where.matches(in.view(), 2, &wrong));
  CHECK(wrong);
}

TEST_CASE("only selected rows are evaluated") {
  table in({{"t", PL_F64, {real_cell(1), real_cell(2), real_cell(3), real_cell(4)}}});
  batch_builder derived(in.host(), in.view(), &in.view().schema(), 4);
  derived.share_column(0, in.view().column(0));
  const indexes chosen{1, 3};
  derived.select(chosen);
  indexes matched;
  evaluator(compiled("t > 0", in)).select(derived.peek(), matched);
  CHECK(matched == chosen);
  evaluator twice(compiled("t * 2", in));
  std::vector<cell> to(4, int_cell(-1));
  CHECK(twice.fill(derived.peek(), derived, to) == 0);
  CHECK(to[0].as.i == -1);
  CHECK(to[1].as.f == 4);
  CHECK(to[2].as.i == -1);
  CHECK(to[3].as.f == 8);
}

TEST_CASE("a column is computed in the kinds of cells; what does not fit is null and reported") {
  table in({{"t", PL_F64, {real_cell(2), real_cell(0), null_cell()}}});
  batch_builder owner(in.host(), in.view(), &in.view().schema(), 3);
  const auto fill = [&](std::string_view text) {
    evaluator e(compiled(text, in));
    indexes failed;
    auto cells = filled(e, in, owner, failed);
    std::string all;
    for (const auto& c : cells) all += shown(c) + "; ";
    for (const auto row : failed) all += "failed " + std::to_string(row) + "; ";
    return all;
  };
  CHECK(fill("1 / t") == "3 0.5; 0 null; 0 null; failed 1; failed 2; ");
  CHECK(fill("t") == "3 2; 3 0; 0 null; ");
  CHECK(fill("t > 1") == "1 true; 1 false; 0 null; failed 2; ");
  CHECK(fill("has(row.t) ? 'yes' : null") == "5 \"yes\"; 5 \"yes\"; 0 null; ");
  CHECK(fill("[t, 1]") == "7 [2.0,1]; 7 [0.0,1]; 7 [null,1]; ");
  CHECK(fill("b'\\xff'").find("6 {\"base64\":\"/w==\"}; ") == 0);
  CHECK(fill("timestamp(int(t))") == "4 \"1970-01-01T00:00:02Z\"; 4 \"1970-01-01T00:00:00Z\"; 0 null; failed 2; ");
  CHECK(fill("timestamp('9000-01-01T00:00:00Z')").find("failed 0; failed 1; failed 2; ") != std::string::npos);
  CHECK(fill("duration('1s')").find("failed 0; failed 1; failed 2; ") != std::string::npos);
  CHECK(fill("{'a': t}") == "7 {\"a\":2.0}; 7 {\"a\":0.0}; 7 {\"a\":null}; ");
}

TEST_CASE("an evaluator follows the schema from batch to batch") {
  const table with({{"x", PL_F64, {real_cell(1)}}, {"t", PL_F64, {real_cell(50)}}});
  const table without({{"x", PL_F64, {real_cell(1)}}});
  const table first({{"t", PL_F64, {real_cell(60)}}, {"x", PL_F64, {real_cell(1)}}});
  evaluator hot(compiled("t > 40", with));
  CHECK(hot.matches(with.view(), 0));
  CHECK(hot.matches(first.view(), 0));
  bool failed = false;
  CHECK_FALSE(hot.matches(without.view(), 0, &failed));
  CHECK(failed);
  CHECK(evaluator(compiled("!has(row.t)", with)).matches(without.view(), 0));
  CHECK(evaluator(compiled("t == null", with)).matches(without.view(), 0));
}

TEST_CASE("numeric and boolean expressions have instructions") {
  const auto in = awkward(10);
  const auto code = [&](std::string_view text) {
    const auto p = compiled(text, in);
    return make_vector_plan(p.compiled()).has_value();
  };
  for (const auto* text : {"f > 30", "f * 9 / 5 + 32 > 80.0 && b", "i % 7 == 0 || f < 1.0", "has(row.f) ? f : 0",
                           "s == 'a'", "m > 30", "math.abs(f) > 1.0", "f == null", "s.startsWith('a') && f > 30"})
    CHECK_MESSAGE(code(text), text);
  for (const auto* text : {"s.startsWith('a')", "s + 'x'", "[f].exists(x, x > 1.0)", "m", "30"})
    CHECK_MESSAGE(!code(text), text);
}

TEST_CASE("many rows at once have the results of single rows") {
  auto in = awkward(700);  // more than two chunks, the last one not full
  for (const auto* text : {"f",
                           "i",
                           "b",
                           "f > 30",
                           "30 < f",
                           "f >= 30.5",
                           "f == 30",
                           "f != 30",
                           "f == g",
                           "f <= g",
                           "i == j",
                           "i < j",
                           "i > f",
                           "f < i",
                           "i == f",
                           "f != i",
                           "i >= 9007199254740993.0",
                           "f + g",
                           "f - 1",
                           "f * g / 3",
                           "-f",
                           "i + j",
                           "i - j",
                           "i * j",
                           "i / j",
                           "i % j",
                           "-i",
                           "i + f",
                           "i + j + f - 1",
                           "i * j / f * 2",
                           "1 + 2 + i * 3 * f",
                           "f + m + g",
                           "i - j - i + j",
                           "i / j % 3 * i",
                           "f / i",
                           "i / 0",
                           "m > 30",
                           "30 >= m",
                           "m == 30",
                           "m != 30",
                           "m < 1.5",
                           "s == 'a'",
                           "s != 'a'",
                           "s < 'b'",
                           "'a' == s",
                           "b && c",
                           "b || c",
                           "!b",
                           "b && f > 1.0",
                           "f > 1.0 || i / j > 0",
                           "b ? f : g",
                           "b ? i : f",
                           "b ? i : null",
                           "has(row.f) ? f : 0",
                           "has(row.f) && f > 1.0",
                           "f == null",
                           "null != i",
                           "b == null",
                           "b == c",
                           "math.abs(f)",
                           "math.ceil(f) + math.floor(g)",
                           "math.round(f)",
                           "math.trunc(f)",
                           "math.sign(f)",
                           "math.sqrt(f)",
                           "math.isNaN(f / g)",
                           "math.isInf(f * g)",
                           "math.isFinite(f)",
                           "math.greatest(f, g, 3)",
                           "math.least(f, g)",
                           "math.greatest(i, j)",
                           "math.least(i, f)",
                           "math.abs(i)",
                           "int(f)",
                           "double(i)",
                           "double(f)",
                           "s.startsWith('a') && f > 30",
                           "f > 30 && s.startsWith('a')",
                           "f > 30 || s.size() > i",
                           "b ? s.size() : i",
                           "b ? (c ? 1 : i) : (c ? f : 2.5)",
                           "b && (c || s == 'a') && !(f > g)",
                           "f > 0 ? f : -f",
                           "(b ? null : f) == null",
                           "i > 0 && (j > 0 ? s.contains('a') : f > 0.0)",
                           "[f, g].exists(x, x > 1.0) || b",
                           "f in [30.0, 1.5]",
                           "double(s.size()) * f",
                           "f + m",
                           "m + 1.5",
                           "size(row) > 3 && b"})
    check_agreement(text, in);
}
