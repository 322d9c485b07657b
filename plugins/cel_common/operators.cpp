// SPDX-License-Identifier: Apache-2.0
#include "cel_common/operators.hpp"

#include "cel_common/compare.hpp"
#include "cel_common/containers.hpp"
#include "cel_common/moments.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace pl::cel {

namespace {

using enum value_kind;

value no_overload(evaluation& e, std::string_view name, const value& a, const value& b) {
  return e.no_overload(name, std::array{a, b});
}

value overflow(evaluation& e) { return e.fail({"integer overflow"}); }

bool are(value_kind kind, const value& a, const value& b) noexcept { return a.is(kind) && b.is(kind); }
bool are_numbers(const value& a, const value& b) noexcept { return a.is_number() && b.is_number(); }
double number(const value& v) noexcept { return v.is(integer) ? static_cast<double>(v.integer) : v.real; }

value timestamp_or_error(evaluation& e, const std::optional<value>& v) {
  return v ? *v : e.fail({"the timestamp is not in the years 1 to 9999"});
}
value duration_or_error(evaluation& e, const std::optional<value>& v) {
  return v ? *v : e.fail({"duration overflow: the result exceeds 64 bits of nanoseconds"});
}

value concatenate(evaluation& e, const value& a, const value& b) {
  const auto size = std::size_t{a.size} + b.size;
  auto* to = e.spend_bytes(size) ? e.allocate<char>(size) : nullptr;
  if (to == nullptr) return e.limit_error();
  std::copy_n(a.view().data(), a.size, to);
  std::copy_n(b.view().data(), b.size, to + a.size);
  return span_value(a.kind, {to, size});
}

value concatenate_lists(evaluation& e, const value& a, const value& b) {
  const auto left = elements(e, a), right = elements(e, b);
  const auto size = left.size() + right.size();
  if (size > limits::list_size) e.exceed("a list has more than 100000 elements");
  auto* to = e.spend(static_cast<std::int64_t>(size)) ? e.allocate<value>(size) : nullptr;
  if (to == nullptr) return e.limit_error();
  std::copy(right.begin(), right.end(), std::copy(left.begin(), left.end(), to));
  return list_value({to, size});
}

// Compare two values with one of the four order operators.
template <class Holds>
value compare(evaluation& e, std::string_view name, const value& a, const value& b, Holds&& holds) {
  const auto found = order(a, b);
  return found ? bool_value(holds(*found)) : no_overload(e, name, a, b);
}

value list_index(evaluation& e, const value& list, const value& at) {
  std::int64_t i = at.integer;
  if (at.is(real)) {
    if (at.real != std::trunc(at.real) || std::abs(at.real) > 1e9)
      return e.fail({"the index of a list is not an integer"});
    i = static_cast<std::int64_t>(at.real);
  }
  const auto all = elements(e, list);
  if (e.exceeded()) return e.limit_error();
  if (i < 0 || static_cast<std::size_t>(i) >= all.size())
    return e.fail({"index out of range: ", std::to_string(i), " in a list of ", std::to_string(all.size())});
  return all[static_cast<std::size_t>(i)];
}

// Return a key as it is shown in a message.
std::string shown(const value& key) {
  if (key.is(string)) return "'" + std::string(key.view()) + "'";
  if (key.is(boolean)) return key.is_true() ? "true" : "false";
  return key.is(integer) ? std::to_string(key.integer) : std::string(kind_name(key.kind));
}

}  // namespace

value add(evaluation& e, const value& a, const value& b) {
  if (are(integer, a, b)) {
    std::int64_t sum = 0;
    return __builtin_add_overflow(a.integer, b.integer, &sum) ? overflow(e) : int_value(sum);
  }
  if (are_numbers(a, b)) return double_value(number(a) + number(b));
  if (are(string, a, b) || are(bytes, a, b)) return concatenate(e, a, b);
  if (are(list, a, b)) return concatenate_lists(e, a, b);
  if (a.is(timestamp) && b.is(duration)) return timestamp_or_error(e, shifted(a, b, 1));
  if (a.is(duration) && b.is(timestamp)) return timestamp_or_error(e, shifted(b, a, 1));
  if (are(duration, a, b)) {
    std::int64_t sum = 0;
    const bool fits = !__builtin_add_overflow(a.integer, b.integer, &sum);
    return duration_or_error(e, fits ? std::optional(duration_value(sum)) : std::nullopt);
  }
  return no_overload(e, "+", a, b);
}

value subtract(evaluation& e, const value& a, const value& b) {
  std::int64_t difference_of_both = 0;
  if (are(integer, a, b))
    return __builtin_sub_overflow(a.integer, b.integer, &difference_of_both) ? overflow(e)
                                                                             : int_value(difference_of_both);
  if (are_numbers(a, b)) return double_value(number(a) - number(b));
  if (are(timestamp, a, b)) return duration_or_error(e, difference(a, b));
  if (a.is(timestamp) && b.is(duration)) return timestamp_or_error(e, shifted(a, b, -1));
  if (are(duration, a, b)) {
    const bool fits = !__builtin_sub_overflow(a.integer, b.integer, &difference_of_both);
    return duration_or_error(e, fits ? std::optional(duration_value(difference_of_both)) : std::nullopt);
  }
  return no_overload(e, "-", a, b);
}

value multiply(evaluation& e, const value& a, const value& b) {
  if (are(integer, a, b)) {
    std::int64_t product = 0;
    return __builtin_mul_overflow(a.integer, b.integer, &product) ? overflow(e) : int_value(product);
  }
  return are_numbers(a, b) ? double_value(number(a) * number(b)) : no_overload(e, "*", a, b);
}

value divide(evaluation& e, const value& a, const value& b) {
  if (are(integer, a, b)) {
    if (b.integer == 0) return e.fail({"division by zero"});
    return a.integer == INT64_MIN && b.integer == -1 ? overflow(e) : int_value(a.integer / b.integer);
  }
  return are_numbers(a, b) ? double_value(number(a) / number(b)) : no_overload(e, "/", a, b);
}

value modulo(evaluation& e, const value& a, const value& b) {
  if (!are(integer, a, b)) return no_overload(e, "%", a, b);
  if (b.integer == 0) return e.fail({"modulus by zero"});
  if (b.integer == -1) return a.integer == INT64_MIN ? overflow(e) : int_value(0);
  return int_value(a.integer % b.integer);
}

value negate(evaluation& e, const value& a) {
  if (a.is(integer)) return a.integer == INT64_MIN ? overflow(e) : int_value(-a.integer);
  return a.is(real) ? double_value(-a.real) : e.no_overload("-", {&a, 1});
}

value equals(evaluation& e, const value& a, const value& b) {
  if (a.is_error() || b.is_error()) return a.is_error() ? a : b;
  const bool same = equal(e, a, b);
  return e.exceeded() ? e.limit_error() : bool_value(same);
}

value not_equals(evaluation& e, const value& a, const value& b) {
  const auto same = equals(e, a, b);
  return same.is_error() ? same : bool_value(same.is_false());
}

value less(evaluation& e, const value& a, const value& b) {
  return compare(e, "<", a, b, [](std::partial_ordering o) { return o < 0; });
}
value less_equal(evaluation& e, const value& a, const value& b) {
  return compare(e, "<=", a, b, [](std::partial_ordering o) { return o <= 0; });
}
value greater(evaluation& e, const value& a, const value& b) {
  return compare(e, ">", a, b, [](std::partial_ordering o) { return o > 0; });
}
value greater_equal(evaluation& e, const value& a, const value& b) {
  return compare(e, ">=", a, b, [](std::partial_ordering o) { return o >= 0; });
}

value contained_in(evaluation& e, const value& a, const value& b) {
  if (a.is_error() || b.is_error()) return a.is_error() ? a : b;
  bool found = false;
  if (b.is(list)) {
    const auto all = elements(e, b);
    found = std::any_of(all.begin(), all.end(), [&](const value& x) { return equal(e, a, x); });
  } else if (b.is(map)) {
    found = find(e, b, a).has_value();
  } else {
    return no_overload(e, "in", a, b);
  }
  return e.exceeded() ? e.limit_error() : bool_value(found);
}

value index(evaluation& e, const value& a, const value& b) {
  if (a.is_error() || b.is_error()) return a.is_error() ? a : b;
  if (a.is(list) && b.is_number()) return list_index(e, a, b);
  if (!a.is(map)) return e.fail({"no such overload: ", kind_name(a.kind), "[", kind_name(b.kind), "]"});
  if (const auto found = find(e, a, b)) return *found;
  return e.exceeded() ? e.limit_error() : e.fail({"no such key: ", shown(b)});
}

value member(evaluation& e, const value& a, std::string_view name) {
  if (a.is_error()) return a;
  if (!a.is(map)) return e.fail({"a value of type ", kind_name(a.kind), " has no member '", name, "'"});
  return index(e, a, string_value(name));
}

value presence(evaluation& e, const value& a, std::string_view name) {
  if (a.is_error()) return a;
  if (!a.is(map)) return e.fail({"a value of type ", kind_name(a.kind), " has no members"});
  const bool found = find(e, a, name).has_value();
  return e.exceeded() ? e.limit_error() : bool_value(found);
}

}  // namespace pl::cel
