// SPDX-License-Identifier: Apache-2.0
#include "cel_common/containers.hpp"
#include "cel_common/library.hpp"
#include "cel_common/literals.hpp"
#include "cel_common/moments.hpp"

#include <pipeline/text.hpp>

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace pl::cel {

namespace {

value not_convertible(evaluation& e, const value& text, std::string_view wanted) {
  return e.fail({"'", text.view(), "' is not ", wanted});
}

// Append a double so that it can be read: without an exponent while it has at most 21 digits before the point.
void append_double(std::string& out, double d) {
  const double magnitude = std::abs(d);
  if (!std::isfinite(d) || d == 0 || (magnitude >= 1e-6 && magnitude < 1e21)) return append_fixed(out, d);
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), d, std::chars_format::scientific).ptr;
  out.append(text.data(), end);
}

}  // namespace

value identity(evaluation&, const value* args) { return args[0]; }

value container_size(evaluation& e, const value* args) {
  const auto n = count(e, args[0]);
  return e.exceeded() ? e.limit_error() : int_value(n);
}

value byte_size(evaluation&, const value* args) { return int_value(args[0].size); }

value bool_from_string(evaluation& e, const value* args) {
  const auto text = args[0].view();
  for (const std::string_view yes : {"1", "t", "T", "true", "TRUE", "True"})
    if (text == yes) return bool_value(true);
  for (const std::string_view no : {"0", "f", "F", "false", "FALSE", "False"})
    if (text == no) return bool_value(false);
  return not_convertible(e, args[0], "a bool");
}

value int_from_double(evaluation& e, const value* args) {
  constexpr double limit = 9223372036854775808.0;  // 2^63; the bounds themselves are excluded
  if (std::isnan(args[0].real) || args[0].real >= limit || args[0].real <= -limit)
    return e.fail({"the number does not fit into an int"});
  return int_value(static_cast<std::int64_t>(args[0].real));
}

value int_from_string(evaluation& e, const value* args) {
  const auto read = read_int(args[0].view());
  return read ? int_value(*read) : not_convertible(e, args[0], "an int");
}

value int_from_timestamp(evaluation&, const value* args) { return int_value(args[0].integer); }

value double_from_int(evaluation&, const value* args) { return double_value(static_cast<double>(args[0].integer)); }

value double_from_string(evaluation& e, const value* args) {
  auto text = args[0].view();
  if (const auto read = read_double(text)) return double_value(*read);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const auto word = to_lower(text.substr(0, 9));
  if (word == "nan") return double_value(std::numeric_limits<double>::quiet_NaN());
  if (word == "inf" || word == "infinity") return double_value(negative ? -HUGE_VAL : HUGE_VAL);
  return not_convertible(e, args[0], "a double");
}

value bytes_from_string(evaluation&, const value* args) { return bytes_value(args[0].view()); }

value string_from_bytes(evaluation& e, const value* args) {
  if (!e.spend_bytes(args[0].size)) return e.limit_error();
  if (!is_utf8(args[0].view())) return e.fail({"the bytes are not valid UTF-8"});
  return string_value(args[0].view());
}

value string_from_scalar(evaluation& e, const value* args) {
  const auto& v = args[0];
  auto& out = e.scratch();
  switch (v.kind) {
    case value_kind::boolean:
      return string_value(v.is_true() ? "true" : "false");
    case value_kind::integer:
      out = std::to_string(v.integer);
      break;
    case value_kind::real:
      append_double(out, v.real);
      break;
    case value_kind::timestamp:
      append_timestamp(out, v);
      break;
    default:
      append_duration(out, v);
  }
  return e.copy_string(out);
}

value timestamp_from_string(evaluation& e, const value* args) {
  const auto read = read_timestamp(args[0].view());
  return read ? *read
              : not_convertible(e, args[0], "a time by RFC 3339, such as 2026-11-24T18:10:23Z, of the years 1 to 9999");
}

value timestamp_from_int(evaluation& e, const value* args) {
  const auto made = make_timestamp(args[0].integer, 0);
  return made ? *made : e.fail({"the timestamp is not in the years 1 to 9999"});
}

value duration_from_string(evaluation& e, const value* args) {
  const auto read = read_duration(args[0].view());
  return read ? *read : not_convertible(e, args[0], "a duration, such as 1h30m, 90s or 250ms, of at most 292 years");
}

}  // namespace pl::cel
