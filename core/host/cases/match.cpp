// SPDX-License-Identifier: Apache-2.0
#include "host/cases/match.hpp"

#include <pipeline/text.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <set>
#include <utility>

namespace pl::host {

namespace {

constexpr std::size_t max_shown = 20;  // findings of one output
// Costs of an alignment of two lists: rows that fit, rows that have something in common, other rows, a row without partner.
constexpr int fits_cost = 0, similar_cost = 10, other_cost = 19, gap_cost = 10;
constexpr std::size_t max_cells = 1'000'000;  // of the table of an alignment; longer lists are compared row by row

// Expected and actual row; one of them may have no partner.
struct pair_of_rows {
  std::optional<std::size_t> expected, actual;
};
using pairs = std::vector<pair_of_rows>;

class comparison {
 public:
  comparison(std::string what, const expected_output& expected, const std::vector<captured_row>& rows)
      : what_(std::move(what)), expected_(expected), rows_(rows) {}

  std::vector<finding> run() {
    if (expected_.rows) report(expected_.any_order ? assign(*expected_.rows) : align(*expected_.rows), *expected_.rows);
    if (!expected_.contains.empty()) {
      auto assigned = assign(expected_.contains);
      std::erase_if(assigned, [](const auto& p) { return !p.expected; });  // further rows are all right
      report(assigned, expected_.contains);
    }
    if (expected_.count && *expected_.count != rows_.size())
      add(fmt::format("{} rows instead of {}", rows_.size(), *expected_.count), expected_.where, shown_rows());
    check_nulls();
    if (expected_.columns) check_columns();
    if (expected_.every) check_every();
    if (hidden_ != 0) found_.push_back({fmt::format("{}: {} more differences", what_, hidden_), expected_.where, {}});
    return std::move(found_);
  }

 private:
  void add(const std::string& headline, const config::location& where, std::vector<std::string> lines) {
    if (found_.size() >= max_shown) return void(++hidden_);
    found_.push_back({fmt::format("{}: {}", what_, headline), where, std::move(lines)});
  }

  [[nodiscard]] std::vector<std::string> shown_rows() const {
    std::vector<std::string> lines;
    for (const auto& row : rows_) {
      if (lines.size() == max_shown) return lines.push_back("  ..."), lines;
      lines.push_back("+ " + row.json());
    }
    return lines;
  }

  [[nodiscard]] int cost(const expected_row& wanted, const captured_row& row) const {
    const auto different = compare(wanted, row).size();
    if (different == 0) return fits_cost;
    return different < wanted.cells.size() + (wanted.when ? 1 : 0) ? similar_cost : other_cost;
  }

  // Align two lists in order, so that a missing row does not make all later rows differ.
  [[nodiscard]] pairs align(const std::vector<expected_row>& wanted) const {
    const auto n = wanted.size(), m = rows_.size();
    if ((n + 1) * (m + 1) > max_cells) return by_index(n, m);
    std::vector<std::vector<int>> best(n + 1, std::vector<int>(m + 1)), pair(n, std::vector<int>(m));
    for (std::size_t i = n + 1; i-- > 0;)
      for (std::size_t j = m + 1; j-- > 0;) {
        if (i == n || j == m) {
          best[i][j] = static_cast<int>(n - i + m - j) * gap_cost;
          continue;
        }
        pair[i][j] = cost(wanted[i], rows_[j]);
        best[i][j] = std::min({best[i + 1][j + 1] + pair[i][j], best[i + 1][j] + gap_cost, best[i][j + 1] + gap_cost});
      }
    pairs all;
    for (std::size_t i = 0, j = 0; i < n || j < m;) {
      if (i < n && j < m && best[i][j] == best[i + 1][j + 1] + pair[i][j])
        all.push_back({i++, j++});
      else if (i < n && (j == m || best[i][j] == best[i + 1][j] + gap_cost))
        all.push_back({i++, std::nullopt});
      else
        all.push_back({std::nullopt, j++});
    }
    return all;
  }

  static pairs by_index(std::size_t n, std::size_t m) {
    pairs all;
    for (std::size_t i = 0; i < std::max(n, m); ++i)
      all.push_back({i < n ? std::optional(i) : std::nullopt, i < m ? std::optional(i) : std::nullopt});
    return all;
  }

  // Find a partner for as many expected rows as possible, in any order: augmenting paths.
  [[nodiscard]] pairs assign(const std::vector<expected_row>& wanted) const {
    std::vector<std::vector<std::size_t>> fitting(wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i)
      for (std::size_t j = 0; j < rows_.size(); ++j)
        if (compare(wanted[i], rows_[j]).empty()) fitting[i].push_back(j);
    std::vector<std::optional<std::size_t>> partner(rows_.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      std::vector<bool> tried(rows_.size());
      (void)find_partner(i, fitting, partner, tried);
    }
    pairs all;
    std::set<std::size_t> done;
    for (std::size_t j = 0; j < rows_.size(); ++j) {
      if (partner[j]) done.insert(*partner[j]);
      all.push_back({partner[j], j});
    }
    for (std::size_t i = 0; i < wanted.size(); ++i)
      if (!done.contains(i)) all.push_back({i, std::nullopt});
    return all;
  }

  static bool find_partner(std::size_t i, const std::vector<std::vector<std::size_t>>& fitting,
                           std::vector<std::optional<std::size_t>>& partner, std::vector<bool>& tried) {
    for (const auto j : fitting[i]) {
      if (tried[j]) continue;
      tried[j] = true;
      if (partner[j] && !find_partner(*partner[j], fitting, partner, tried)) continue;
      partner[j] = i;
      return true;
    }
    return false;
  }

  void report(const pairs& all, const std::vector<expected_row>& wanted) {
    for (const auto& p : all) {
      if (!p.expected)
        add(fmt::format("unexpected row {}", *p.actual + 1), expected_.where, {"+ " + rows_[*p.actual].json()});
      else if (!p.actual)
        add(fmt::format("missing row {}", *p.expected + 1), wanted[*p.expected].where,
            {"- " + shown(wanted[*p.expected])});
      else
        report_pair(*p.expected, wanted[*p.expected], rows_[*p.actual]);
    }
  }

  void report_pair(std::size_t number, const expected_row& wanted, const captured_row& row) {
    const auto different = compare(wanted, row);
    if (different.empty()) return;
    std::vector<std::string> lines;
    for (const auto& d : different) {
      const auto name = d.column.empty() ? std::string("where") : d.column;
      lines.push_back(fmt::format("- {}: {}", name, d.expected));
      lines.push_back(fmt::format("+ {}: {}{}", name, d.actual,
                                  row.find(name) == nullptr && !d.column.empty() ? " (there is no such column)" : ""));
    }
    lines.push_back("  row: " + row.json());
    add(fmt::format("row {} differs", number + 1), wanted.where, std::move(lines));
  }

  // A misspelt name is null in each row, and so would fit `null`.
  void check_nulls() {
    if (rows_.empty()) return;
    std::set<std::string_view> known;
    for (const auto& row : rows_)
      for (const auto& c : row.columns()) known.insert(c.name);
    const auto check = [&](const std::vector<expected_row>& rows) {
      for (const auto& row : rows)
        for (const auto& e : row.cells)
          if (e.is_null() && known.insert(e.key).second) add_unknown(e);
    };
    if (expected_.rows) check(*expected_.rows);
    check(expected_.contains);
  }

  void add_unknown(const config::value& e) {
    std::set<std::string_view> names;
    for (const auto& row : rows_)
      for (const auto& c : row.columns()) names.insert(c.name);
    const std::vector<std::string_view> all(names.begin(), names.end());
    auto hint = did_you_mean(e.key, all, "; ");
    if (hint.empty()) hint = fmt::format("; the columns are: {}", fmt::join(all, ", "));
    add(fmt::format("no row has the column '{}', which is expected to be null{}", config::printable(e.key), hint),
        e.key_where, {});
  }

  void check_columns() {
    std::vector<std::string> wanted = *expected_.columns;
    std::ranges::sort(wanted);
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      std::vector<std::string> found;
      for (const auto& c : rows_[i].columns()) found.push_back(c.name);
      std::ranges::sort(found);
      if (found == wanted) continue;
      return add(fmt::format("row {} has other columns", i + 1), expected_.where,
                 {fmt::format("- {}", fmt::join(wanted, ", ")), fmt::format("+ {}", fmt::join(found, ", "))});
    }
  }

  void check_every() {
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const auto done = evaluate(*expected_.every, rows_[i]);
      if (!done.holds)
        add(fmt::format("row {} does not meet `every`", i + 1), expected_.every->where,
            {"- " + expected_.every->text, "+ " + (done.why.empty() ? rows_[i].json() : done.why)});
    }
  }

  const std::string what_;
  const expected_output& expected_;
  const std::vector<captured_row>& rows_;
  std::vector<finding> found_;
  std::size_t hidden_ = 0;
};

}  // namespace

std::vector<finding> check_output(const std::string& what, const expected_output& expected,
                                  const std::vector<captured_row>& rows) {
  return comparison(what, expected, rows).run();
}

}  // namespace pl::host
