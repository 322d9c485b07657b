// SPDX-License-Identifier: Apache-2.0
// The implementations of the functions. The dispatcher guarantees the number and the kinds of the arguments.
#pragma once

#include "cel_common/evaluation.hpp"
#include "cel_common/value.hpp"

#include <cstdint>
#include <string>

namespace pl::cel {

// string_functions.cpp. Indexes count code points.
value string_size(evaluation& e, const value* args);
value contains(evaluation& e, const value* args);
value starts_with(evaluation& e, const value* args);
value ends_with(evaluation& e, const value* args);
value char_at(evaluation& e, const value* args);
value index_of(evaluation& e, const value* args);
value index_of_from(evaluation& e, const value* args);
value last_index_of(evaluation& e, const value* args);
value last_index_of_from(evaluation& e, const value* args);
value substring_from(evaluation& e, const value* args);
value substring(evaluation& e, const value* args);
value lower_ascii(evaluation& e, const value* args);
value upper_ascii(evaluation& e, const value* args);
value trim_spaces(evaluation& e, const value* args);
value reverse_string(evaluation& e, const value* args);
value quote(evaluation& e, const value* args);

// string_lists.cpp
value join(evaluation& e, const value* args);
value join_with(evaluation& e, const value* args);
value split(evaluation& e, const value* args);
value split_limited(evaluation& e, const value* args);
value replace_all(evaluation& e, const value* args);
value replace_limited(evaluation& e, const value* args);

// format.cpp
value format(evaluation& e, const value* args);
// Append a value as %s does; false if it is nested too deeply.
bool append_shown(evaluation& e, std::string& out, const value& v);
// Append a double without an exponent and without trailing zeros; NaN and Infinity by name.
void append_fixed(std::string& out, double d);

// patterns.cpp
value matches(evaluation& e, const value* args);

// math_functions.cpp
value greatest(evaluation& e, const value* args);  // of a list
value least(evaluation& e, const value* args);
value abs_int(evaluation& e, const value* args);
value abs_double(evaluation& e, const value* args);
value sign_int(evaluation& e, const value* args);
value sign_double(evaluation& e, const value* args);
value ceil(evaluation& e, const value* args);
value floor(evaluation& e, const value* args);
value round(evaluation& e, const value* args);
value trunc(evaluation& e, const value* args);
value sqrt_int(evaluation& e, const value* args);
value sqrt_double(evaluation& e, const value* args);
value is_nan(evaluation& e, const value* args);
value is_inf(evaluation& e, const value* args);
value is_finite(evaluation& e, const value* args);
value bit_and(evaluation& e, const value* args);
value bit_or(evaluation& e, const value* args);
value bit_xor(evaluation& e, const value* args);
value bit_not(evaluation& e, const value* args);
value bit_shift_left(evaluation& e, const value* args);
value bit_shift_right(evaluation& e, const value* args);

// time_functions.cpp. args[1], if there is one: the name or the offset of a time zone.
enum class time_part : std::uint8_t {
  full_year,
  month,
  day_of_month,
  date,
  day_of_week,
  day_of_year,
  hours,
  minutes,
  seconds,
  milliseconds
};
template <time_part Part>
value part_in_utc(evaluation& e, const value* args);
template <time_part Part>
value part_in_zone(evaluation& e, const value* args);
value duration_hours(evaluation& e, const value* args);
value duration_minutes(evaluation& e, const value* args);
value duration_seconds(evaluation& e, const value* args);
value duration_milliseconds(evaluation& e, const value* args);

// conversions.cpp
value identity(evaluation& e, const value* args);
value container_size(evaluation& e, const value* args);
value byte_size(evaluation& e, const value* args);
value bool_from_string(evaluation& e, const value* args);
value int_from_double(evaluation& e, const value* args);
value int_from_string(evaluation& e, const value* args);
value int_from_timestamp(evaluation& e, const value* args);
value double_from_int(evaluation& e, const value* args);
value double_from_string(evaluation& e, const value* args);
value bytes_from_string(evaluation& e, const value* args);
value string_from_bytes(evaluation& e, const value* args);
value string_from_scalar(evaluation& e, const value* args);  // bool, int, double, timestamp, duration
value timestamp_from_string(evaluation& e, const value* args);
value timestamp_from_int(evaluation& e, const value* args);
value duration_from_string(evaluation& e, const value* args);

}  // namespace pl::cel
