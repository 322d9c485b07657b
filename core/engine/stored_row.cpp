// SPDX-License-Identifier: Apache-2.0
#include "engine/stored_row.hpp"

#include <pipeline/json.hpp>
#include <pipeline/json_members.hpp>
#include <pipeline/text.hpp>
#include <pipeline/time.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <utility>

namespace pl::engine {

namespace {

constexpr std::string_view kinds_member = "$kinds", copy_member = "$copy";
// Names of PL_NULL to PL_JSON, then those of values in base64. They are persisted: never change them.
constexpr std::array<std::string_view, 8> kind_names{"null", "bool", "int", "real", "time", "text", "bytes", "json"};
constexpr std::string_view coded_text = "text64", coded_bytes = "bytes64", coded_json = "json64";

// Return whether a JSON document with this value has a NUL, which PostgreSQL's jsonb does not accept.
bool needs_code(const cell& c) {
  return c.kind == PL_JSON ? bytes_of(c).find("\\u0000") != std::string_view::npos
                           : has_bytes(c) && bytes_of(c).find('\0') != std::string_view::npos;
}

std::string_view name_of(const cell& c) {
  if (needs_code(c)) return c.kind == PL_TEXT ? coded_text : c.kind == PL_BYTES ? coded_bytes : coded_json;
  return c.kind < kind_names.size() ? kind_names[c.kind] : kind_names[PL_NULL];
}

struct stored_kind {
  std::uint32_t kind = PL_NULL;
  bool coded = false;
};

std::optional<stored_kind> kind_of(std::string_view json) {
  const auto name = json_text(json).value_or(std::string());
  if (name == coded_text) return stored_kind{PL_TEXT, true};
  if (name == coded_bytes) return stored_kind{PL_BYTES, true};
  if (name == coded_json) return stored_kind{PL_JSON, true};
  const auto at = std::find(kind_names.begin(), kind_names.end(), name);
  if (at == kind_names.end()) return std::nullopt;
  return stored_kind{static_cast<std::uint32_t>(at - kind_names.begin()), false};
}

template <class Number>
bool read_number(std::string_view json, Number& to) {
  const auto [end, error] = std::from_chars(json.data(), json.data() + json.size(), to);
  return error == std::errc{} && end == json.data() + json.size();
}

bool read_coded(std::string_view json, stored_column& to) {
  const auto text = json_text(json);
  auto bytes = text ? from_base64(*text) : std::nullopt;
  to.present = bytes.has_value();
  if (bytes) to.bytes = *std::move(bytes);
  return to.present && (to.kind == PL_BYTES || is_utf8(to.bytes)) && (to.kind != PL_JSON || is_json(to.bytes));
}

// Set the column's value. Return false if the JSON is not a value of the column's kind.
bool read_value(std::string_view json, stored_column& to) {
  to.present = true;
  switch (to.kind) {
    case PL_BOOL:
      to.number = json == "true" ? 1 : 0;
      return json == "true" || json == "false";
    case PL_I64:
      return read_number(json, to.number);
    case PL_F64:
      return read_number(json_text(json).value_or(std::string(json)), to.real);
    case PL_TIME_NS: {
      const auto time = parse_rfc3339(json_text(json).value_or(""));
      to.number = time.value_or(0);
      return time.has_value();
    }
    case PL_TEXT: {
      auto text = json_text(json);
      const bool valid = text.has_value();
      to.bytes = std::move(text).value_or("");
      return valid;
    }
    case PL_BYTES:
      to.bytes = bytes_from_json(json);
      return true;
    case PL_JSON:
      to.bytes = json;
      return true;
    default:
      return false;  // a value of a column that is null
  }
}

}  // namespace

std::string bytes_from_json(std::string_view json) {
  if (auto text = json_text(json)) return *std::move(text);
  std::string_view coded;
  std::size_t count = 0;
  const bool object = each_json_member(json, [&](std::string_view key, std::string_view inner) {
    if (++count == 1 && key == "\"base64\"") coded = inner;
  });
  const auto base64 = object && count == 1 ? json_text(coded) : std::nullopt;
  auto decoded = base64 ? from_base64(*base64) : std::nullopt;
  return decoded ? *std::move(decoded) : std::string(json);
}

void append_stored_row(std::string& out, batch_view b, row_index row, const std::function<bool(column_index)>& left_out,
                       std::uint64_t copy) {
  std::string kinds;
  out.push_back('{');
  for (column_index c = 0; c < b.columns(); ++c) {
    const auto& cell = b.at(c, row);
    kinds += kinds.empty() ? "" : ",";
    append_json_string(kinds, b.name(c));
    kinds += ":\"";
    kinds += name_of(cell);
    kinds += '"';
    if (name_of(cell) == kind_names[PL_NULL] || left_out(c)) continue;
    append_json_string(out, b.name(c));
    out.push_back(':');
    if (needs_code(cell))
      out += '"' + base64(bytes_of(cell)) + '"';
    else if (cell.kind == PL_F64 && !std::isfinite(cell.as.f))
      out += std::isnan(cell.as.f) ? "\"nan\"" : cell.as.f < 0 ? "\"-inf\"" : "\"inf\"";  // not numbers in JSON
    else
      append_json(out, cell);
    out.push_back(',');
  }
  if (copy != 0 && !b.find(copy_member)) {
    append_json_string(out, copy_member);
    out += ":" + std::to_string(copy) + ",";
  }
  append_json_string(out, kinds_member);
  out += ":{" + kinds + "}}";
}

std::uint64_t copy_number(std::string_view object) {
  std::uint64_t copy = 0;
  std::string_view kinds;
  (void)each_json_member(object, [&](std::string_view key, std::string_view value) {
    if (key == "\"$copy\"" && !read_number(value, copy)) copy = 0;
    if (key == "\"$kinds\"") kinds = value;
  });
  (void)each_json_member(kinds, [&](std::string_view key, std::string_view) {
    if (key == "\"$copy\"") copy = 0;
  });
  return copy;
}

std::optional<stored_row> parse_stored_row(std::string_view object) {
  std::vector<std::pair<std::string, std::string_view>> members;
  const bool read = each_json_member(object, [&](std::string_view key, std::string_view value) {
    members.emplace_back(json_text(key).value_or(std::string()), value);
  });
  if (!read || members.empty() || members.back().first != kinds_member) return std::nullopt;
  const auto kinds = members.back().second;
  members.pop_back();
  const std::map<std::string, std::string_view> values(members.begin(), members.end());
  stored_row row;
  bool valid = true;
  const bool known = each_json_member(kinds, [&](std::string_view key, std::string_view kind) {
    auto& column = row.emplace_back();
    column.name = json_text(key).value_or(std::string());
    const auto named = kind_of(kind);
    column.kind = named.value_or(stored_kind{}).kind;
    const auto value = values.find(column.name);
    if (!named)
      valid = false;
    else if (value != values.end())
      valid = valid && (named->coded ? read_coded(value->second, column) : read_value(value->second, column));
  });
  return known && valid && !row.empty() ? std::optional(std::move(row)) : std::nullopt;
}

}  // namespace pl::engine
