// SPDX-License-Identifier: Apache-2.0
// Rows for fuzz targets of transforms, with every kind of cell, missing ones and wrong ones, and checks of what becomes of
// them.
#pragma once

#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace pl::testing {

class fuzz_rows {
 public:
  fuzz_rows() {
    batch_ = host.make_batch({{"f", {real_cell(21.5), null_cell(), int_cell(-3), real_cell(1e308)}},
                              {"i", {int_cell(7), int_cell(INT64_MIN), null_cell(), real_cell(0.5)}},
                              {"b", {bool_cell(true), bool_cell(false), null_cell(), text_cell("true")}},
                              {"s", {text_cell("th-17"), text_cell(""), null_cell(), text_cell("x")}},
                              {"t", {time_cell(0), time_cell(INT64_MAX), null_cell(), time_cell(INT64_MIN)}},
                              {"j", {json_cell(R"({"a": [1, 2.5]})"), null_cell(), json_cell("[]"), json_cell("1")}}});
    columns_ = {&batch_.get().schema(), {PL_F64, PL_I64, PL_BOOL, PL_TEXT, PL_TIME_NS, PL_JSON}};
  }

  [[nodiscard]] std::size_t size() const { return batch_.get().rows(); }

  // Pass the columns and their kinds. Return whether the component accepts them.
  bool bind(instance& unit) { return ask_columns(unit.component(), unit.self(), columns_, 0, stated_) == PL_OK; }

  void apply(instance& unit) {
    unit.output().clear();
    rejected_ = host.rejects().size();
    must(unit.apply(batch_.get()) == PL_OK, "apply succeeds");
    problems found;
    for (const auto& e : unit.output()) detail::check_batch("an emitted batch", e.data.get(), found);
    must(found.empty(), found.empty() ? "" : found.front().c_str());
  }

  // Return how often each position left on a port or was rejected, since `apply`.
  [[nodiscard]] std::map<std::uint64_t, int> count_rows(instance& unit) {
    std::map<std::uint64_t, int> times;
    for (const auto& e : unit.output())
      for (const auto row : e.data.get().selection()) ++times[e.data.get().position(row)];
    const auto rejects = host.rejects();
    for (auto i = rejected_; i < rejects.size(); ++i) ++times[rejects[i].position];
    return times;
  }
  [[nodiscard]] bool each_row_once(instance& unit) {
    const auto times = count_rows(unit);
    for (const auto& [position, n] : times)
      if (n != 1) return false;
    return times.size() == size();
  }

  // Check that the output has the stated columns, and the stated kinds where the input has its declared kinds.
  void check_stated(instance& unit) const {
    for (const auto& e : unit.output()) {
      const auto b = e.data.get();
      must(stated_.schema == &b.schema(), "the output has the stated columns");
      for (column_index c = 0; c < b.columns(); ++c)
        if (b.selected() != 0 && b.selection()[0] == 0 && b.at(c, 0).kind != PL_NULL && stated_.kind(c) != PL_NULL)
          must(b.at(c, 0).kind == stated_.kind(c), "a computed cell has the stated kind");
    }
  }

  static void must(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "violated property: %s\n", what);
    std::abort();
  }

  fake_host host;

 private:
  batch batch_;
  column_set columns_, stated_;
  std::size_t rejected_ = 0;
};

}  // namespace pl::testing
