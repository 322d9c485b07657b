// SPDX-License-Identifier: Apache-2.0
// Batches and evaluations for tests.
#pragma once

#include "cel_common/program.hpp"

#include <pipeline/testing/fake_host.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace pl::cel::testing {

struct test_column {
  std::string name;
  std::uint32_t kind;  // PL_NULL: unknown
  std::vector<cell> cells;
};

// A batch with the kinds of its columns.
class table {
 public:
  explicit table(const std::vector<test_column>& columns) {
    std::vector<std::pair<std::string, std::vector<cell>>> cells;
    std::vector<std::uint32_t> kinds;
    for (const auto& c : columns) {
      cells.emplace_back(c.name, c.cells);
      kinds.push_back(c.kind);
    }
    batch_ = host_.make_batch(cells);
    columns_ = {&batch_.get().schema(), kinds};
  }
  [[nodiscard]] batch_view view() const { return batch_.get(); }
  [[nodiscard]] const column_set& columns() const { return columns_; }
  [[nodiscard]] pl_host* host() { return &host_.raw(); }

 private:
  pl::testing::fake_host host_;
  batch batch_;
  column_set columns_;
};

// One row of everyday telemetry.
inline table device() {
  return table(
      {{"temperature", PL_F64, {real_cell(21.5)}},
       {"humidity", PL_F64, {null_cell()}},
       {"co2", PL_F64, {int_cell(400)}},
       {"count", PL_I64, {int_cell(7)}},
       {"ok", PL_BOOL, {bool_cell(true)}},
       {"device_id", PL_TEXT, {text_cell("th-17")}},
       {"time", PL_TIME_NS, {time_cell(1'764'000'000'000'000'000)}},
       {"key", PL_BYTES, {bytes_cell("\xff\x01")}},
       {"data", PL_JSON, {json_cell(R"({"t": {"v": 21, "u": "C"}, "list": [1, 2.5, "x", null], "big": 9007199254740993,
                                                "name": "d\u00e9j\u00e0", "dup": 1, "dup": 2, "none": null})")}},
       {"mixed", PL_NULL, {int_cell(5)}},
       {"gone", PL_NULL, {null_cell()}},
       {"a.b", PL_F64, {real_cell(3)}},
       {"content-type", PL_TEXT, {text_cell("json")}}});
}

// Return the printed result, or "error: ..." if the evaluation fails, or "mistake at 5: ..." if the text does not compile.
inline std::string evaluate(std::string_view text, const table& in,
                            evaluator::notation how = evaluator::notation::text) {
  auto compiled = compile(text, in.columns());
  if (!compiled.ok()) return "mistake at " + std::to_string(offset_of(compiled.why())) + ": " + compiled.why().message;
  auto printed = evaluator(std::move(compiled).value()).print(in.view(), 0, how);
  return printed.ok() ? printed.value() : "error: " + printed.why().message;
}
inline std::string evaluate(std::string_view text) { return evaluate(text, device()); }
inline std::string json(std::string_view text) { return evaluate(text, device(), evaluator::notation::json); }

}  // namespace pl::cel::testing
