// SPDX-License-Identifier: Apache-2.0
// Fuzz target: any bytes as an expression, and after a NUL as JSON data, lead to a result or to a reason. Rows computed
// together have the results of rows computed alone, and the type checker does not change a result.
#include "cel_common/program.hpp"

#include <pipeline/json.hpp>
#include <pipeline/json_members.hpp>
#include <pipeline/testing/fake_host.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

using namespace pl;
using namespace pl::cel;

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated property: %s\n", what);
  std::abort();
}

// Rows with every kind of cell, with missing ones and with wrong ones.
batch make_rows(pl::testing::fake_host& host, std::string_view json) {
  const auto data = is_json(json) ? json_cell(json) : json_cell(R"({"a": [1, 2.5, {"b": "x"}], "n": 7})");
  return host.make_batch({{"f", {real_cell(21.5), null_cell(), int_cell(-3), real_cell(1e308)}},
                          {"i", {int_cell(7), int_cell(INT64_MIN), null_cell(), real_cell(0.5)}},
                          {"b", {bool_cell(true), bool_cell(false), null_cell(), text_cell("true")}},
                          {"s", {text_cell("d\xC3\xA9j\xC3\xA0"), text_cell(""), null_cell(), text_cell("th-17")}},
                          {"t", {time_cell(0), time_cell(INT64_MAX), null_cell(), time_cell(INT64_MIN)}},
                          {"y", {bytes_cell("\xff"), bytes_cell(""), null_cell(), bytes_cell("a")}},
                          {"j", {data, null_cell(), json_cell("[]"), json_cell("\"x\"")}},
                          {"m", {int_cell(1), text_cell("1"), null_cell(), real_cell(1)}}});
}

bool exceeds(const std::string& reason) { return reason.find("the evaluation ") != std::string::npos; }

// A result that no cell holds.
bool is_unstorable(const std::string& json) {
  return json == "\"NaN\"" || json == "\"Infinity\"" || json == "\"-Infinity\"";
}

void check_rows(const program& p, const program& unchecked, batch_view rows, pl::testing::fake_host& host) {
  evaluator together(p), alone(p), untyped(unchecked);
  batch_builder owner(&host.raw(), rows, &rows.schema(), rows.rows());
  std::vector<cell> cells(rows.rows(), null_cell());
  std::vector<row_index> failed, matched, undecided;
  (void)together.fill(rows, owner, cells, &failed);
  (void)together.select(rows, matched, &undecided);
  must(std::is_sorted(failed.begin(), failed.end()) && std::is_sorted(matched.begin(), matched.end()), "rows ascend");
  for (row_index row = 0; row < rows.rows(); ++row) {
    const auto printed = alone.print(rows, row, evaluator::notation::json);
    const auto other = untyped.print(rows, row, evaluator::notation::json);
    must(printed.ok() || !printed.why().message.empty(), "a failure has a reason");
    must(printed.ok() || is_utf8(printed.why().message), "a reason is valid UTF-8");
    if (!printed.ok() && exceeds(printed.why().message)) continue;
    must(printed.ok() == other.ok() && (!printed.ok() || *printed == *other), "types do not change a result");
    const bool fails = std::binary_search(failed.begin(), failed.end(), row);
    must(printed.ok() || fails, "a row that fails alone fails with others");
    must(std::binary_search(matched.begin(), matched.end(), row) == (printed.ok() && *printed == "true"), "select");
    if (!printed.ok()) continue;
    must(is_json(*printed), "the output is JSON");
    if (fails || cells[row].kind == PL_TEXT || cells[row].kind == PL_BYTES || cells[row].kind == PL_JSON) continue;
    must(!is_unstorable(*printed), "a cell is finite");
    std::string stored;
    append_json(stored, cells[row]);
    must(stored == *printed || stored + ".0" == *printed, "a row has the same result alone and with others");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto text = input.substr(0, input.find('\0'));
  const auto json = text.size() < input.size() ? input.substr(text.size() + 1) : std::string_view();
  pl::testing::fake_host host;
  const auto rows = make_rows(host, json);
  const column_set columns{&rows.get().schema(),
                           {PL_F64, PL_I64, PL_BOOL, PL_TEXT, PL_TIME_NS, PL_BYTES, PL_JSON, PL_NULL}};
  const auto unchecked = compile(text, columns, {.unchecked = true});
  for (const auto& known : {columns, column_set{}}) {
    const auto compiled = compile(text, known);
    if (compiled.ok()) {
      if (known.schema == nullptr)
        continue;  // a comparison with a column of unknown kind may be a mistake for these columns
      must(unchecked.ok(), "an expression that compiles also compiles unchecked");
      check_rows(compiled.value(), unchecked.value(), rows.get(), host);
    } else {
      must(!compiled.why().message.empty() && is_utf8(compiled.why().message), "a mistake has a message");
      must(offset_of(compiled.why()) <= text.size(), "a mistake has a place in the text");
    }
  }
  if (!unchecked.ok()) return 0;
  evaluator any(unchecked.value());
  for (row_index row = 0; row < rows.get().rows(); ++row) (void)any.print(rows.get(), row, evaluator::notation::text);
  return 0;
}
