// SPDX-License-Identifier: Apache-2.0
#include "cel_common/compare.hpp"
#include "cel_common/containers.hpp"
#include "cel_common/library.hpp"

#include <cmath>

namespace pl::cel {

namespace {

// Return the element that compares as `wanted` to all others; the first of equal ones. Integers beside doubles are compared
// exactly and are not converted.
value extreme(evaluation& e, std::string_view name, const value& list, std::partial_ordering wanted) {
  const auto all = elements(e, list);
  if (!e.spend(static_cast<std::int64_t>(all.size()))) return e.limit_error();
  if (all.empty()) return e.fail({name, " needs at least one number"});
  const value* best = &all.front();
  for (const auto& v : all) {
    if (!v.is_number()) return v.is_error() ? v : e.no_overload(name, {&v, 1});
    if (*order(v, *best) == wanted) best = &v;
  }
  return *best;
}

value shift(evaluation& e, const value* args, bool left) {
  const auto by = args[1].integer;
  if (by < 0) return e.fail({"negative offset of a bit shift: ", std::to_string(by)});
  const auto bits = static_cast<std::uint64_t>(args[0].integer);
  return int_value(by > 63 ? 0 : static_cast<std::int64_t>(left ? bits << by : bits >> by));
}

}  // namespace

value greatest(evaluation& e, const value* args) {
  return extreme(e, "math.greatest", args[0], std::partial_ordering::greater);
}
value least(evaluation& e, const value* args) { return extreme(e, "math.least", args[0], std::partial_ordering::less); }

value abs_int(evaluation& e, const value* args) {
  if (args[0].integer == INT64_MIN) return e.fail({"integer overflow"});
  return int_value(args[0].integer < 0 ? -args[0].integer : args[0].integer);
}
value abs_double(evaluation&, const value* args) { return double_value(std::abs(args[0].real)); }

value sign_int(evaluation&, const value* args) {
  return int_value((args[0].integer > 0 ? 1 : 0) - (args[0].integer < 0 ? 1 : 0));
}
value sign_double(evaluation&, const value* args) {
  const double d = args[0].real;
  return double_value(std::isnan(d) ? d : (d > 0 ? 1.0 : 0.0) - (d < 0 ? 1.0 : 0.0));
}

value ceil(evaluation&, const value* args) { return double_value(std::ceil(args[0].real)); }
value floor(evaluation&, const value* args) { return double_value(std::floor(args[0].real)); }
value round(evaluation&, const value* args) { return double_value(std::round(args[0].real)); }
value trunc(evaluation&, const value* args) { return double_value(std::trunc(args[0].real)); }
value sqrt_int(evaluation&, const value* args) { return double_value(std::sqrt(static_cast<double>(args[0].integer))); }
value sqrt_double(evaluation&, const value* args) { return double_value(std::sqrt(args[0].real)); }

value is_nan(evaluation&, const value* args) { return bool_value(std::isnan(args[0].real)); }
value is_inf(evaluation&, const value* args) { return bool_value(std::isinf(args[0].real)); }
value is_finite(evaluation&, const value* args) { return bool_value(std::isfinite(args[0].real)); }

value bit_and(evaluation&, const value* args) { return int_value(args[0].integer & args[1].integer); }
value bit_or(evaluation&, const value* args) { return int_value(args[0].integer | args[1].integer); }
value bit_xor(evaluation&, const value* args) { return int_value(args[0].integer ^ args[1].integer); }
value bit_not(evaluation&, const value* args) { return int_value(~args[0].integer); }
value bit_shift_left(evaluation& e, const value* args) { return shift(e, args, true); }
value bit_shift_right(evaluation& e, const value* args) { return shift(e, args, false); }

}  // namespace pl::cel
