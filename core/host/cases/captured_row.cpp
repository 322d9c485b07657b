// SPDX-License-Identifier: Apache-2.0
#include "host/cases/captured_row.hpp"

#include "cel_common/literals.hpp"
#include "cel_common/program.hpp"
#include "host/cases/yaml_json.hpp"

#include <pipeline/json.hpp>
#include <pipeline/json_members.hpp>
#include <pipeline/time.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <utility>

namespace pl::host {

namespace {

constexpr double tolerance = 1e-9;  // of real numbers, relative: 70.7 is what 21.5 * 9 / 5 + 32 gives

cell cell_of(const engine::stored_column& c) {
  if (!c.present) return null_cell();
  switch (c.kind) {
    case PL_BOOL:
      return bool_cell(c.number != 0);
    case PL_I64:
      return int_cell(c.number);
    case PL_F64:
      return real_cell(c.real);
    case PL_TIME_NS:
      return time_cell(c.number);
    default:
      return span_cell(c.kind, c.bytes);
  }
}

bool same_number(std::string_view expected, std::string_view actual) {
  const auto a = cel::read_int(expected), b = cel::read_int(actual);
  if (a && b) return *a == *b;
  const auto x = cel::read_double(expected), y = cel::read_double(actual);
  return x && y && std::abs(*x - *y) <= tolerance * std::max(std::abs(*x), std::abs(*y));
}

bool fits_json(std::string_view expected, std::string_view actual);

// Each member of the expected object must be in the actual one. null also stands for a member that is absent.
bool fits_object(std::string_view expected, std::string_view actual) {
  std::map<std::string, std::string_view> members;
  if (!each_json_member(actual, [&](std::string_view key, std::string_view value) {
        members[json_text(key).value_or(std::string(key))] = value;
      }))
    return false;
  bool fits = true;
  const bool read = each_json_member(expected, [&](std::string_view key, std::string_view value) {
    const auto at = members.find(json_text(key).value_or(std::string(key)));
    fits = fits && fits_json(value, at == members.end() ? std::string_view("null") : at->second);
  });
  return read && fits;
}

bool fits_list(std::string_view expected, std::string_view actual) {
  std::vector<std::string_view> wanted, found;
  const bool read = each_json_element(expected, [&](std::string_view e) { wanted.push_back(e); }) &&
                    each_json_element(actual, [&](std::string_view e) { found.push_back(e); });
  return read && std::ranges::equal(wanted, found, fits_json);
}

bool fits_json(std::string_view expected, std::string_view actual) {
  switch (expected.front()) {
    case '{':
      return fits_object(expected, actual);
    case '[':
      return fits_list(expected, actual);
    case '"':
      return actual.front() == '"' && json_text(expected) == json_text(actual);
    case 't':
    case 'f':
    case 'n':
      return expected == actual;
    default:
      return same_number(expected, actual);
  }
}

std::string json_of(const cell& c) {
  std::string out;
  append_json(out, c);
  return out;
}

// The text of a scalar may also be a time, if the column has times, or stand for bytes.
bool fits(const config::value& expected, const cell& actual) {
  if (expected.is_scalar() && actual.kind == PL_TIME_NS) return parse_rfc3339(expected.text) == actual.as.i;
  if (expected.is_scalar() && actual.kind == PL_BYTES) return bytes_of(actual) == expected.text;
  // Bytes and text that contain JSON may be compared with a map or a list.
  const bool structured = expected.is_map() || expected.is_list();
  if (structured && (actual.kind == PL_BYTES || actual.kind == PL_TEXT))
    return is_json(bytes_of(actual)) && fits_json(to_json(expected), trim(bytes_of(actual)));
  return fits_json(to_json(expected), actual.kind == PL_JSON ? trim(bytes_of(actual)) : json_of(actual));
}

}  // namespace

captured_row::captured_row(engine::stored_row columns) : columns_(std::move(columns)) {}

const engine::stored_column* captured_row::find(std::string_view column) const {
  const auto at = std::ranges::find(columns_, column, &engine::stored_column::name);
  return at == columns_.end() ? nullptr : &*at;
}

cell captured_row::value(std::string_view column) const {
  const auto* c = find(column);
  return c == nullptr ? null_cell() : cell_of(*c);
}

std::string captured_row::json(std::string_view column) const { return json_of(value(column)); }

std::string captured_row::json() const {
  std::string out = "{";
  for (const auto& c : columns_) {
    if (!c.present) continue;
    if (out.size() > 1) out += ", ";
    append_json_string(out, c.name);
    out += ": " + json_of(cell_of(c));
  }
  return out + "}";
}

std::vector<captured_row> read_captured(const std::filesystem::path& file) {
  std::vector<captured_row> rows;
  std::ifstream in(file, std::ios::binary);
  for (std::string line; std::getline(in, line);)
    if (auto row = engine::parse_stored_row(line)) rows.emplace_back(*std::move(row));
  return rows;
}

condition_result evaluate(const condition& c, const captured_row& row) {
  std::vector<pl_str> names;
  std::vector<std::uint32_t> kinds;
  std::vector<cell> cells;
  std::vector<const pl_cell*> columns;
  cells.reserve(row.columns().size());
  for (const auto& column : row.columns()) {
    names.push_back(borrow(column.name));
    kinds.push_back(column.present ? column.kind : std::uint32_t{PL_NULL});
    cells.push_back(cell_of(column));
    columns.push_back(&cells.back());
  }
  const pl_schema schema{static_cast<std::uint32_t>(names.size()), names.data()};
  pl_batch batch{};
  batch.size = sizeof batch;
  batch.rows = batch.nsel = 1;
  batch.schema = &schema;
  batch.cols = columns.data();
  auto program = cel::compile(c.text, {&schema, kinds}, {.want = cel::purpose::condition});
  if (!program.ok())
    return {false, fmt::format("{}, at column {}", program.why().message, cel::offset_of(program.why()) + 1)};
  cel::evaluator evaluator(*std::move(program));
  bool failed = false;
  condition_result done{evaluator.matches(batch_view(&batch), 0, &failed), {}};
  if (failed) done.why = evaluator.explain(batch_view(&batch), 0);
  return done;
}

std::vector<difference> compare(const expected_row& expected, const captured_row& row) {
  std::vector<difference> all;
  for (const auto& e : expected.cells)
    if (const auto actual = row.value(e.key); !fits(e, actual)) all.push_back({e.key, to_json(e), json_of(actual)});
  if (!expected.when) return all;
  const auto done = evaluate(*expected.when, row);
  if (!done.holds) all.push_back({{}, expected.when->text, done.why.empty() ? "it does not hold" : done.why});
  return all;
}

std::string shown(const expected_row& expected) {
  std::string out;
  for (const auto& e : expected.cells) {
    out += out.empty() ? "{" : ", ";
    append_json_string(out, e.key);
    out += ": " + to_json(e);
  }
  if (!out.empty()) out += "}";
  if (!expected.when) return out.empty() ? "{}" : out;
  return (out.empty() ? std::string() : out + " and ") + expected.when->text;
}

}  // namespace pl::host
