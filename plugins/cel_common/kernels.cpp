// SPDX-License-Identifier: Apache-2.0
// Instructions on registers.
#include "cel_common/kernels.hpp"

#include "cel_common/compare.hpp"
#include "cel_common/ordering_tests.hpp"
#include "cel_common/vector_machine.hpp"

#include <array>
#include <cmath>
#include <functional>
#include <utility>

namespace pl::cel::kernels {

namespace {

template <class T>
std::array<T, lane_count>& data(lanes& r) noexcept {
  if constexpr (std::is_same_v<T, double>)
    return r.real;
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return r.integer;
  else
    return r.boolean;
}

// The registers of an instruction are different, so the loops may assume that they do not overlap.
template <class T>
T* restricted(lanes& r) noexcept {
  return data<T>(r).data();
}

// A lane of an operation on two numbers fails if one of them is null or has failed.
void merge_states(lanes& to, const lanes& a, const lanes& b) noexcept {
  to.clean = a.clean && b.clean;
  if (to.clean) return;
  const auto *left = a.states(), *right = b.states();
  for (std::uint32_t i = 0; i < lane_count; ++i)
    to.state[i] = static_cast<std::uint8_t>((left[i] | right[i]) != lane_ok ? lane_failed : lane_ok);
}

template <class From, class To, class F>
void binary(vector_machine& m, const instruction& i, F&& f) {
  auto& to = m[i.to];
  auto& a = m[i.a];
  auto& b = m[i.b];
  To* __restrict result = restricted<To>(to);
  const From* __restrict left = restricted<From>(a);
  const From* __restrict right = restricted<From>(b);
  for (std::uint32_t begin = 0; begin < m.chunk().count; begin += block)
    for (std::uint32_t n = begin; n < begin + block; ++n) result[n] = static_cast<To>(f(left[n], right[n]));
  merge_states(to, a, b);
}

template <class From, class To, class F>
void unary(vector_machine& m, const instruction& i, F&& f) {
  auto& to = m[i.to];
  auto& a = m[i.a];
  To* __restrict result = restricted<To>(to);
  const From* __restrict operand = restricted<From>(a);
  for (std::uint32_t begin = 0; begin < m.chunk().count; begin += block)
    for (std::uint32_t n = begin; n < begin + block; ++n) result[n] = static_cast<To>(f(operand[n]));
  merge_states(to, a, a);
}

template <class F>
void real_arithmetic(vector_machine& m, const instruction& i) {
  binary<double, double>(m, i, F());
}

template <class F>
void real_comparison(vector_machine& m, const instruction& i) {
  binary<double, std::uint8_t>(m, i, F());
}

template <class F>
void integer_comparison(vector_machine& m, const instruction& i) {
  binary<std::int64_t, std::uint8_t>(m, i, F());
}

// Equality is defined for null, too: null equals only null.
template <class Compare, bool Equal>
void with_nulls(vector_machine& m, const instruction& i) {
  Compare()(m, i);
  auto& to = m[i.to];
  if (to.clean) return;
  for (std::uint32_t n = 0; n < lane_count; ++n) {
    const auto a = m[i.a].state_of(n), b = m[i.b].state_of(n);
    if (a == lane_failed || b == lane_failed || (a == lane_ok && b == lane_ok)) continue;
    to.state[n] = lane_ok;
    to.boolean[n] = (a == b) == Equal ? 1 : 0;
  }
}

template <class F>
struct compare_reals {
  void operator()(vector_machine& m, const instruction& i) const { real_comparison<F>(m, i); }
};
template <class F>
struct compare_integers {
  void operator()(vector_machine& m, const instruction& i) const { integer_comparison<F>(m, i); }
};

// An integer operation that may fail: f returns true then.
template <class F>
void checked(vector_machine& m, const instruction& i) {
  auto& to = m[i.to];
  auto& a = m[i.a];
  auto& b = m[i.b];
  merge_states(to, a, b);
  for (std::uint32_t n = 0; n < m.chunk().count; ++n)
    if (F()(a.integer[n], b.integer[n], to.integer[n])) to.set_state(n, lane_failed);
}

struct add_checked {
  bool operator()(std::int64_t a, std::int64_t b, std::int64_t& to) const noexcept {
    return __builtin_add_overflow(a, b, &to);
  }
};
struct subtract_checked {
  bool operator()(std::int64_t a, std::int64_t b, std::int64_t& to) const noexcept {
    return __builtin_sub_overflow(a, b, &to);
  }
};
struct multiply_checked {
  bool operator()(std::int64_t a, std::int64_t b, std::int64_t& to) const noexcept {
    return __builtin_mul_overflow(a, b, &to);
  }
};
template <bool Remainder>
struct divide_checked {
  bool operator()(std::int64_t a, std::int64_t b, std::int64_t& to) const noexcept {
    to = 0;
    if (b == 0 || (a == INT64_MIN && b == -1)) return true;
    to = Remainder ? a % b : a / b;
    return false;
  }
};

// Compare an integer with a double by their exact values.
template <class F>
void mixed_comparison(vector_machine& m, const instruction& i) {
  auto& to = m[i.to];
  for (std::uint32_t n = 0; n < m.chunk().count; ++n)
    to.boolean[n] = F()(compare_exactly(m[i.a].integer[n], m[i.b].real[n])) ? 1 : 0;
  merge_states(to, m[i.a], m[i.b]);
}
template <class F>
struct compare_mixed {
  void operator()(vector_machine& m, const instruction& i) const { mixed_comparison<F>(m, i); }
};

template <class T>
void choose(vector_machine& m, const instruction& i) {
  auto& to = m[i.to];
  const auto& condition = m[i.a];
  auto& yes = m[i.b];
  auto& no = m[i.c];
  T* __restrict result = restricted<T>(to);
  const std::uint8_t* chosen = condition.boolean.data();
  const T* __restrict if_true = restricted<T>(yes);
  const T* __restrict if_false = restricted<T>(no);
  for (std::uint32_t begin = 0; begin < m.chunk().count; begin += block)
    for (std::uint32_t n = begin; n < begin + block; ++n) result[n] = chosen[n] != 0 ? if_true[n] : if_false[n];
  to.clean = condition.clean && yes.clean && no.clean;
  if (to.clean) return;
  for (std::uint32_t n = 0; n < lane_count; ++n) {
    const auto state = chosen[n] != 0 ? yes.state_of(n) : no.state_of(n);
    to.state[n] = condition.state_of(n) == lane_ok ? state : std::uint8_t{lane_failed};
  }
}

// && and ||: one operand that decides absorbs the failure of the other.
template <bool Decisive>
void logical(vector_machine& m, const instruction& i) {
  auto& to = m[i.to];
  auto& a = m[i.a];
  auto& b = m[i.b];
  std::uint8_t* __restrict result = restricted<std::uint8_t>(to);
  const std::uint8_t* __restrict left = restricted<std::uint8_t>(a);
  const std::uint8_t* __restrict right = restricted<std::uint8_t>(b);
  to.clean = a.clean && b.clean;
  if (to.clean) {
    for (std::uint32_t n = 0; n < lane_count; ++n)
      result[n] = static_cast<std::uint8_t>(Decisive ? left[n] | right[n] : left[n] & right[n]);
    return;
  }
  const auto *left_state = a.states(), *right_state = b.states();
  for (std::uint32_t n = 0; n < lane_count; ++n) {
    const bool left_ok = left_state[n] == lane_ok, right_ok = right_state[n] == lane_ok;
    const bool decided = (left_ok & ((left[n] != 0) == Decisive)) | (right_ok & ((right[n] != 0) == Decisive));
    result[n] = decided == Decisive ? 1 : 0;
    to.state[n] = static_cast<std::uint8_t>(decided | (left_ok & right_ok) ? lane_ok : lane_failed);
  }
}

template <double (*F)(double)>
void real_to_real(vector_machine& m, const instruction& i) {
  unary<double, double>(m, i, F);
}

double sign(double d) noexcept { return std::isnan(d) ? d : (d > 0 ? 1.0 : 0.0) - (d < 0 ? 1.0 : 0.0); }

}  // namespace

kernel arithmetic(binary_op o, lane_type type) noexcept {
  const bool real = type == lane_type::real;
  switch (o) {
    case binary_op::add:
      return real ? real_arithmetic<std::plus<>> : checked<add_checked>;
    case binary_op::subtract:
      return real ? real_arithmetic<std::minus<>> : checked<subtract_checked>;
    case binary_op::multiply:
      return real ? real_arithmetic<std::multiplies<>> : checked<multiply_checked>;
    case binary_op::divide:
      return real ? real_arithmetic<std::divides<>> : checked<divide_checked<false>>;
    case binary_op::modulo:
      return real ? nullptr : checked<divide_checked<true>>;
    default:
      return nullptr;
  }
}

kernel comparison(binary_op o, lane_type a, lane_type b) noexcept {
  const bool real = a == lane_type::real, mixed = a == lane_type::integer && b == lane_type::real;
  switch (o) {
    case binary_op::equals:
      return mixed  ? with_nulls<compare_mixed<ordered_equal>, true>
             : real ? with_nulls<compare_reals<std::equal_to<>>, true>
                    : with_nulls<compare_integers<std::equal_to<>>, true>;
    case binary_op::not_equals:
      return mixed  ? with_nulls<compare_mixed<ordered_different>, false>
             : real ? with_nulls<compare_reals<std::not_equal_to<>>, false>
                    : with_nulls<compare_integers<std::not_equal_to<>>, false>;
    case binary_op::less:
      return mixed  ? mixed_comparison<ordered_less>
             : real ? real_comparison<std::less<>>
                    : integer_comparison<std::less<>>;
    case binary_op::less_equal:
      return mixed  ? mixed_comparison<ordered_less_equal>
             : real ? real_comparison<std::less_equal<>>
                    : integer_comparison<std::less_equal<>>;
    case binary_op::greater:
      return mixed  ? mixed_comparison<ordered_greater>
             : real ? real_comparison<std::greater<>>
                    : integer_comparison<std::greater<>>;
    case binary_op::greater_equal:
      return mixed  ? mixed_comparison<ordered_greater_equal>
             : real ? real_comparison<std::greater_equal<>>
                    : integer_comparison<std::greater_equal<>>;
    default:
      return nullptr;
  }
}

kernel is_null(bool wanted) noexcept {
  static constexpr auto run = [](vector_machine& m, const instruction& i, bool null) {
    auto& to = m[i.to];
    const auto& a = m[i.a];
    to.clean = true;
    for (std::uint32_t n = 0; n < lane_count; ++n) {
      to.boolean[n] = (a.state_of(n) == lane_null) == null ? 1 : 0;
      if (a.state_of(n) == lane_failed) to.set_state(n, lane_failed);
    }
  };
  return wanted ? kernel([](vector_machine& m, const instruction& i) { run(m, i, true); })
                : kernel([](vector_machine& m, const instruction& i) { run(m, i, false); });
}

kernel negate(lane_type type) noexcept {
  if (type == lane_type::real)
    return [](vector_machine& m, const instruction& i) { unary<double, double>(m, i, std::negate<>()); };
  return [](vector_machine& m, const instruction& i) {
    auto& to = m[i.to];
    merge_states(to, m[i.a], m[i.a]);
    for (std::uint32_t n = 0; n < m.chunk().count; ++n)
      if (__builtin_sub_overflow(std::int64_t{0}, m[i.a].integer[n], &to.integer[n])) to.set_state(n, lane_failed);
  };
}

// Null stays null: the conversion is not an operator.
void convert_to_real(vector_machine& m, const instruction& i) {
  auto& to = m[i.to];
  const auto& a = m[i.a];
  for (std::uint32_t n = 0; n < m.chunk().count; ++n) to.real[n] = static_cast<double>(a.integer[n]);
  to.clean = a.clean;
  if (!a.clean) to.state = a.state;
}

void convert_to_integer(vector_machine& m, const instruction& i) {
  constexpr double limit = 9223372036854775808.0;
  auto& to = m[i.to];
  merge_states(to, m[i.a], m[i.a]);
  for (std::uint32_t n = 0; n < m.chunk().count; ++n) {
    const double d = m[i.a].real[n];
    const bool fits = d > -limit && d < limit;
    to.integer[n] = fits ? static_cast<std::int64_t>(d) : 0;
    if (!fits) to.set_state(n, lane_failed);
  }
}

kernel real_function(std::string_view name) noexcept {
  static constexpr std::array<std::pair<std::string_view, kernel>, 10> functions{
      {{"math.abs", real_to_real<std::fabs>},
       {"math.ceil", real_to_real<std::ceil>},
       {"math.floor", real_to_real<std::floor>},
       {"math.round", real_to_real<std::round>},
       {"math.sign", real_to_real<sign>},
       {"math.sqrt", real_to_real<std::sqrt>},
       {"math.trunc", real_to_real<std::trunc>},
       {"math.isNaN",
        [](vector_machine& m, const instruction& i) {
          unary<double, std::uint8_t>(m, i, [](double d) { return std::isnan(d); });
        }},
       {"math.isInf",
        [](vector_machine& m, const instruction& i) {
          unary<double, std::uint8_t>(m, i, [](double d) { return std::isinf(d); });
        }},
       {"math.isFinite", [](vector_machine& m, const instruction& i) {
          unary<double, std::uint8_t>(m, i, [](double d) { return std::isfinite(d); });
        }}}};
  for (const auto& [known, run] : functions)
    if (known == name) return run;
  return nullptr;
}

void greatest(vector_machine& m, const instruction& i) {
  binary<double, double>(m, i, [](double a, double b) { return b > a ? b : a; });
}
void least(vector_machine& m, const instruction& i) {
  binary<double, double>(m, i, [](double a, double b) { return b < a ? b : a; });
}

void logical_and(vector_machine& m, const instruction& i) { logical<false>(m, i); }
void logical_or(vector_machine& m, const instruction& i) { logical<true>(m, i); }
void logical_not(vector_machine& m, const instruction& i) {
  unary<std::uint8_t, std::uint8_t>(m, i, [](std::uint8_t b) { return b ^ 1U; });
}

kernel conditional(lane_type type) noexcept {
  if (type == lane_type::real) return choose<double>;
  return type == lane_type::integer ? kernel(choose<std::int64_t>) : kernel(choose<std::uint8_t>);
}

}  // namespace pl::cel::kernels
