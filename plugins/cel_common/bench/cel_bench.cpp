// SPDX-License-Identifier: Apache-2.0
// Compares expressions with hand-written loops over the same cells: a filter on one number, and a map with five arithmetic
// columns. Prints nanoseconds for each row and the ratio; exits with 1 if a ratio is above 3.
//
//   cel_bench [rows in a batch]
#include "cel_common/program.hpp"

#include <pipeline/testing/fake_host.hpp>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace {

using pl::cell;
using pl::row_index;

constexpr int repeats = 300;
constexpr double bound = 3;

// One batch of numbers. Every hundredth temperature is an integer, and every hundredth is missing if `gaps` is set.
struct input {
  input(std::uint32_t rows, bool gaps) {
    std::mt19937 random(7);
    std::vector<cell> temperature, humidity, pressure, wind;
    for (std::uint32_t i = 0; i < rows; ++i) {
      const auto real = [&](double low, double high) {
        return pl::real_cell(std::uniform_real_distribution<double>(low, high)(random));
      };
      temperature.push_back(gaps && i % 100 == 17  ? pl::null_cell()
                            : gaps && i % 100 == 5 ? pl::int_cell(21)
                                                   : real(-20, 80));
      humidity.push_back(real(20, 100));
      pressure.push_back(real(90'000, 110'000));
      wind.push_back(real(0, 40));
    }
    batch =
        host.make_batch({{"temperature", temperature}, {"humidity", humidity}, {"pressure", pressure}, {"wind", wind}});
    columns = {&batch.get().schema(), std::vector<std::uint32_t>(4, PL_F64)};
  }
  pl::testing::fake_host host;
  pl::batch batch;
  pl::column_set columns;
};

struct measured {
  double loop = 1e9, expression = 1e9;  // nanoseconds for each row
};

template <class F>
double nanoseconds_per_row(std::uint32_t rows, F&& run) {
  const auto rounds = std::max<std::uint32_t>(1, 50'000 / rows);
  const auto start = std::chrono::steady_clock::now();
  for (std::uint32_t i = 0; i < rounds; ++i) run();
  const std::chrono::nanoseconds spent = std::chrono::steady_clock::now() - start;
  return static_cast<double>(spent.count()) / rounds / rows;
}

// Run both in turn, in many short measurements: the best of each ran without interruption.
template <class Loop, class Expression>
measured compare(std::uint32_t rows, Loop&& loop, Expression&& expression) {
  measured best;
  for (int r = 0; r < repeats; ++r) {
    best.loop = std::min(best.loop, nanoseconds_per_row(rows, loop));
    best.expression = std::min(best.expression, nanoseconds_per_row(rows, expression));
  }
  return best;
}

bool report(const char* what, const measured& m) {
  const double ratio = m.expression / m.loop;
  std::printf("%-44s %6.2f ns/row in a loop  %6.2f ns/row as an expression  ratio %.2f\n", what, m.loop, m.expression,
              ratio);
  return ratio <= bound;
}

// temperature > 30.0
void filter_loop(std::span<const cell> cells, std::vector<row_index>& matched) {
  for (row_index row = 0; row < cells.size(); ++row) {
    const auto number = pl::number_of(cells[row]);
    if (number && *number > 30.0) matched.push_back(row);
  }
}

bool measure_filter(std::uint32_t rows, bool gaps) {
  const input in(rows, gaps);
  const auto view = in.batch.get();
  pl::cel::evaluator where(
      pl::cel::compile("temperature > 30", in.columns, {.want = pl::cel::purpose::condition}).value());
  std::vector<row_index> by_loop, by_expression;
  const auto best = compare(
      rows,
      [&] {
        by_loop.clear();
        filter_loop(view.column(0), by_loop);
      },
      [&] {
        by_expression.clear();
        where.select(view, by_expression);
      });
  if (by_loop != by_expression) std::printf("the results differ\n");
  const auto* what = gaps ? "filter, 1 % null and 1 % integers" : "filter on one comparison";
  return report(what, best) && by_loop == by_expression;
}

constexpr std::array<const char*, 5> expressions{"temperature * 9 / 5 + 32", "temperature + 273.15",
                                                 "temperature - (100 - humidity) / 5", "pressure / 100", "wind * 3.6"};

using outputs = std::array<std::span<cell>, 5>;

cell finite(double d) { return std::isfinite(d) ? pl::real_cell(d) : pl::null_cell(); }

// The five expressions, as one would write them for this schema.
void map_loop(pl::batch_view in, const outputs& to) {
  const auto temperatures = in.column(0), humidities = in.column(1), pressures = in.column(2), winds = in.column(3);
  for (row_index row = 0; row < in.rows(); ++row) {
    const auto temperature = pl::number_of(temperatures[row]), humidity = pl::number_of(humidities[row]);
    const auto pressure = pl::number_of(pressures[row]), wind = pl::number_of(winds[row]);
    to[0][row] = temperature ? finite(*temperature * 9 / 5 + 32) : pl::null_cell();
    to[1][row] = temperature ? finite(*temperature + 273.15) : pl::null_cell();
    to[2][row] = temperature && humidity ? finite(*temperature - (100 - *humidity) / 5) : pl::null_cell();
    to[3][row] = pressure ? finite(*pressure / 100) : pl::null_cell();
    to[4][row] = wind ? finite(*wind * 3.6) : pl::null_cell();
  }
}

bool same_cells(const outputs& a, const outputs& b) {
  for (std::size_t c = 0; c < a.size(); ++c)
    for (std::size_t r = 0; r < a[c].size(); ++r)
      if (a[c][r].kind != b[c][r].kind || (a[c][r].kind == PL_F64 && a[c][r].as.f != b[c][r].as.f)) return false;
  return true;
}

bool measure_map(std::uint32_t rows, bool gaps) {
  input in(rows, gaps);
  const auto view = in.batch.get();
  std::vector<pl::cel::evaluator> set;
  for (const auto* text : expressions) set.emplace_back(pl::cel::compile(text, in.columns).value());
  pl::batch_builder owner(&in.host.raw(), view, &view.schema(), rows);
  outputs by_loop, by_expression;
  for (auto& column : by_loop) column = owner.allocate<cell>(rows);
  for (auto& column : by_expression) column = owner.allocate<cell>(rows);
  const auto best = compare(
      rows, [&] { map_loop(view, by_loop); },
      [&] {
        for (std::size_t i = 0; i < set.size(); ++i) set[i].fill(view, owner, by_expression[i]);
      });
  const bool same = same_cells(by_loop, by_expression);
  if (!same) std::printf("the results differ\n");
  const auto* what = gaps ? "map of five columns, 1 % null and integers" : "map of five arithmetic columns";
  return report(what, best) && same;
}

void measure_others(std::uint32_t rows) {
  const input in(rows, false);
  const auto view = in.batch.get();
  for (const auto* text :
       {"temperature > 30 && humidity < 40 || pressure > 100000.0", "has(row.temperature) ? wind : 0",
        "string(wind).startsWith('1')", "[temperature, humidity].exists(x, x > 90.0)"}) {
    pl::cel::evaluator e(pl::cel::compile(text, in.columns).value());
    std::vector<row_index> matched;
    const auto spent = nanoseconds_per_row(rows, [&] {
      matched.clear();
      e.select(view, matched);
    });
    std::printf("%-60s %6.2f ns/row\n", text, spent);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto rows = argc > 1 ? static_cast<std::uint32_t>(std::stoul(argv[1])) : 1000U;
  bool good = true;
  for (const bool gaps : {false, true}) {
    good = measure_filter(rows, gaps) && good;
    good = measure_map(rows, gaps) && good;
  }
  measure_others(rows);
  return good ? 0 : 1;
}
