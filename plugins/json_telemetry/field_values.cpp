// SPDX-License-Identifier: Apache-2.0
#include "field_values.hpp"

#include <algorithm>

namespace json_telemetry {

namespace {

constexpr std::string_view try_lenient = "; to accept it, set 'coerce: lenient'";

std::string rejection(const json_value& value, const column_plan& column, std::string_view problem,
                      std::string_view hint = {}) {
  return "'" + column.name + "' is " + described(value) + ": " + std::string(problem) + std::string(hint);
}

// The number in a JSON number or in a JSON string, with its original text.
struct number_source {
  decimal number;
  std::string_view text;
};
bool find_number(const json_value& value, const column_plan& column, std::string_view problem, number_source& to,
                 std::string& why) {
  if (value.kind == json_kind::number) {
    to = {value.number, value.raw};
    return true;
  }
  if (value.kind == json_kind::string && !value.escaped) {
    const auto inside = value.raw.substr(1, value.raw.size() - 2);
    if (const auto number = parse_decimal(inside)) {
      to = {*number, inside};
      if (column.lenient) return true;
      why = rejection(value, column, problem, try_lenient);
      return false;
    }
  }
  why = rejection(value, column, problem);
  return false;
}

bool read_float(const json_value& value, const column_plan& column, pl::cell& to, std::string& why) {
  number_source source;
  if (!find_number(value, column, "not a number", source, why)) return false;
  double v = 0;
  switch (to_double(source.number, source.text, v)) {
    case number_fit::exact:
      break;
    case number_fit::too_large:
      why = rejection(value, column, "larger than any 64-bit float");
      return false;
    case number_fit::rounded:
      if (column.lenient) break;
      why = rejection(value, column,
                      "a 64-bit float would round this integer; to keep it exact, set 'type: int' or 'type: text'",
                      try_lenient);
      return false;
    case number_fit::too_small:
      if (column.lenient) break;
      why = rejection(value, column, "so small that a 64-bit float would round it to 0", try_lenient);
      return false;
  }
  to = pl::real_cell(v);
  return true;
}

bool read_int(const json_value& value, const column_plan& column, pl::cell& to, std::string& why) {
  number_source source;
  if (!find_number(value, column, "not a whole number", source, why)) return false;
  std::int64_t v = 0;
  switch (to_int64(source.number, v)) {
    case integer_fit::exact:
      break;
    case integer_fit::fraction:
      why = rejection(value, column, "not a whole number");
      return false;
    case integer_fit::out_of_range:
      why = rejection(value, column, "outside the range of a 64-bit integer");
      return false;
  }
  to = pl::int_cell(v);
  return true;
}

std::string_view strip_nul(std::string_view text, text_arena& arena) {
  const auto kept = text.size() - static_cast<std::size_t>(std::count(text.begin(), text.end(), '\0'));
  char* const first = arena.allocate(kept);
  std::copy_if(text.begin(), text.end(), first, [](char c) { return c != '\0'; });
  return {first, kept};
}

bool check_nul(const json_value& value, const column_plan& column, const value_rules& rules, std::string& why) {
  if (!value.has_nul || rules.nul != on_nul::reject) return true;
  why = "'" + column.name + "' contains \\u0000, which PostgreSQL cannot store; to remove it, set 'nul: strip'";
  return false;
}

bool read_text(const json_value& value, const column_plan& column, const value_rules& rules, text_arena& arena,
               pl::cell& to, std::string& why) {
  if (value.kind == json_kind::number) {
    // Only whole numbers are accepted as ids: the texts 7 and 7.0 would be the ids of two devices.
    if (column.lenient && (value.number.integer || !column.is_id)) {
      to = pl::text_cell(value.raw);
      return true;
    }
    why = rejection(value, column, "not a string", column.lenient ? std::string_view{} : try_lenient);
    return false;
  }
  if (value.kind != json_kind::string) {
    why = rejection(value, column, "not a string");
    return false;
  }
  if (!check_nul(value, column, rules, why)) return false;
  auto text = text_of(value, arena);
  if (value.has_nul && rules.nul == on_nul::strip) text = strip_nul(text, arena);
  to = pl::text_cell(text);
  return true;
}

bool read_bool(const json_value& value, const column_plan& column, pl::cell& to, std::string& why) {
  if (value.kind == json_kind::boolean) {
    to = pl::bool_cell(value.raw == "true");
    return true;
  }
  auto word = value.raw;
  if (value.kind == json_kind::string) word = word.substr(1, word.size() - 2);
  const bool is_true = word == "1" || word == "true", is_false = word == "0" || word == "false";
  if (!is_true && !is_false) {
    why = rejection(value, column, "neither true nor false");
    return false;
  }
  if (!column.lenient) {
    why = rejection(value, column, "neither true nor false", try_lenient);
    return false;
  }
  to = pl::bool_cell(is_true);
  return true;
}

bool read_json(const json_value& value, const column_plan& column, const value_rules& rules, text_arena& arena,
               pl::cell& to, std::string& why) {
  if (!check_nul(value, column, rules, why)) return false;
  if (!value.has_nul || rules.nul == on_nul::keep) {
    to = pl::json_cell(value.raw);
    return true;
  }
  char* const first = arena.allocate(value.raw.size());
  const auto size = static_cast<std::size_t>(write_without_nul(first, value.raw) - first);
  arena.give_back(value.raw.size() - size);
  to = pl::json_cell({first, size});
  return true;
}

}  // namespace

char* write_without_nul(char* to, std::string_view json) noexcept {
  for (std::size_t i = 0; i < json.size();) {
    if (json[i] != '\\') {
      *to++ = json[i++];
    } else if (json.substr(i).starts_with("\\u0000")) {
      i += 6;
    } else {
      // Both characters, so that the second backslash of a pair does not begin an escape.
      *to++ = json[i++];
      *to++ = json[i++];
    }
  }
  return to;
}

bool read_time(const json_value& value, const column_plan& column, const value_rules& rules, text_arena& arena,
               pl::cell& to, time_unit& unit, std::string& why) {
  time_result time;
  if (value.kind == json_kind::number) {
    time = time_of_number(value.number, rules.unit);
  } else if (value.kind == json_kind::string) {
    time = time_of_text(text_of(value, arena), rules.unit, rules.zone);
  } else {
    time.problem = "not a time: expected a string or a number";
  }
  if (!time.problem.empty()) {
    why = rejection(value, column, time.problem);
    return false;
  }
  unit = time.unit;
  to = pl::time_cell(time.ns);
  return true;
}

bool read_field(const json_value& value, const column_plan& column, const value_rules& rules, text_arena& arena,
                pl::cell& to, std::string& why) {
  time_unit unit;
  switch (column.type) {
    case column_type::floating:
      return read_float(value, column, to, why);
    case column_type::integer:
      return read_int(value, column, to, why);
    case column_type::text:
      return read_text(value, column, rules, arena, to, why);
    case column_type::boolean:
      return read_bool(value, column, to, why);
    case column_type::json:
      return read_json(value, column, rules, arena, to, why);
    case column_type::time:
      return read_time(value, column, rules, arena, to, unit, why);
  }
  return false;
}

}  // namespace json_telemetry
