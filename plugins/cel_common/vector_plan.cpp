// SPDX-License-Identifier: Apache-2.0
#include "cel_common/vector_plan.hpp"

#include "cel_common/kernels.hpp"
#include "cel_common/operator_types.hpp"

#include <algorithm>
#include <cmath>

namespace pl::cel {

namespace {

constexpr std::uint16_t most_registers = 512;

// Return the type of the registers for values of a static type.
std::optional<lane_type> lanes_of(const type& t) noexcept {
  switch (t.kind) {
    case type_kind::real:
      return lane_type::real;
    case type_kind::integer:
      return lane_type::integer;
    case type_kind::boolean:
      return lane_type::boolean;
    default:
      return std::nullopt;
  }
}

bool is_comparison(binary_op o) noexcept { return o >= binary_op::equals && o <= binary_op::greater_equal; }
bool is_equality(binary_op o) noexcept { return o == binary_op::equals || o == binary_op::not_equals; }

// The operator with its operands exchanged.
binary_op mirrored(binary_op o) noexcept {
  switch (o) {
    case binary_op::less:
      return binary_op::greater;
    case binary_op::less_equal:
      return binary_op::greater_equal;
    case binary_op::greater:
      return binary_op::less;
    case binary_op::greater_equal:
      return binary_op::less_equal;
    default:
      return o;
  }
}

// Return whether the interpreter probably computes a node or a part of it.
bool is_slow(const node& n) noexcept {
  switch (n.what) {
    case op::constant:
    case op::column_present:
      return false;
    case op::column:
      return !lanes_of(n.static_type);
    case op::call:
    case op::chain:
    case op::negate:
    case op::to_double:
    case op::conditional:
    case op::logical_and:
    case op::logical_or:
    case op::logical_not:
      return std::any_of(n.args.begin(), n.args.end(), [](const node_ptr& a) { return is_slow(*a); });
    case op::binary:
      if (is_comparison(n.which) && n.args[0]->what == op::column && n.args[1]->what == op::constant) return false;
      return std::any_of(n.args.begin(), n.args.end(), [](const node_ptr& a) { return is_slow(*a); });
    default:
      return true;
  }
}

// Emits the instructions of one plan.
class builder {
 public:
  std::optional<vector_plan> build(const node& root) {
    const auto type = lanes_of(root.static_type);
    if (!type || root.what == op::constant) return std::nullopt;
    const auto result = emit(root, *type);
    if (!helps_ || made_.registers > most_registers) return std::nullopt;
    made_.result = result;
    made_.type = *type;
    return std::move(made_);
  }

 private:
  std::uint16_t make_register() { return made_.registers++; }
  std::uint16_t add(instruction i) {
    i.to = make_register();
    made_.code.push_back(std::move(i));
    return made_.code.back().to;
  }
  // An instruction without the interpreter.
  std::uint16_t fast(instruction i) {
    helps_ = true;
    return add(std::move(i));
  }

  // Return the register with the value of a node, in lanes of a type that its values have or convert to.
  std::uint16_t emit(const node& n, lane_type as) {
    if (made_.registers > most_registers) return 0;
    if (n.what == op::constant) return constant(n, as);
    const auto own = lanes_of(n.static_type);
    if (own == lane_type::integer && as == lane_type::real)
      return fast({.run = kernels::convert_to_real, .a = emit(n, lane_type::integer)});
    if (own == as)
      if (const auto made = instruction_for(n, as)) return *made;
    return add({.run = kernels::interpreted(as), .scalar = &n, .guards = guards_});
  }
  std::uint16_t constant(const node& n, lane_type as) {
    const auto to = make_register();
    made_.constants.push_back({to, as, n.constant});
    return to;
  }

  std::optional<std::uint16_t> instruction_for(const node& n, lane_type as) {
    switch (n.what) {
      case op::column:
        return fast({.run = as == lane_type::real      ? kernels::load_real
                            : as == lane_type::integer ? kernels::load_integer
                                                       : kernels::load_boolean,
                     .slot = n.slot});
      case op::column_present:
        return fast({.run = kernels::load_presence, .slot = n.slot});
      case op::binary:
        return is_comparison(n.which) ? comparison(n) : arithmetic(n, as);
      case op::chain:
        return chain(n);
      case op::negate:
        return fast({.run = kernels::negate(as), .a = emit(*n.args[0], as)});
      case op::to_double:
        return emit(*n.args[0], lane_type::real);
      case op::logical_not:
        return fast({.run = kernels::logical_not, .a = emit(*n.args[0], lane_type::boolean)});
      case op::logical_and:
        return logical(n, kernels::logical_and, guard::when::not_false);
      case op::logical_or:
        return logical(n, kernels::logical_or, guard::when::not_true);
      case op::conditional:
        return conditional(n, as);
      case op::call:
        return call(n, as);
      default:
        return std::nullopt;
    }
  }

  std::optional<std::uint16_t> arithmetic(const node& n, lane_type as) {
    const auto a = lanes_of(n.args[0]->static_type), b = lanes_of(n.args[1]->static_type);
    const auto run = kernels::arithmetic(n.which, as);
    if (!a || !b || run == nullptr) return std::nullopt;
    const auto left = emit(*n.args[0], as);
    return fast({.run = run, .a = left, .b = emit(*n.args[1], as)});
  }

  // Each operation has lanes of its own type: the first ones may be of integers, and the others of doubles.
  std::optional<std::uint16_t> chain(const node& n) {
    std::vector<std::pair<binary_op, lane_type>> operations;
    auto so_far = n.args[0]->static_type;
    for (std::size_t i = 0; i < n.text.size(); ++i) {
      const auto o = *operator_of(std::string_view(n.text).substr(i, 1));
      const auto& right = n.args[i + 1]->static_type;
      const auto result = result_type(o, so_far, right);
      const auto as = result ? lanes_of(*result) : std::nullopt;
      if (!as || !lanes_of(so_far) || !lanes_of(right) || kernels::arithmetic(o, *as) == nullptr) return std::nullopt;
      operations.emplace_back(o, *as);
      so_far = *result;
    }
    auto type = operations.front().second;
    auto left = emit(*n.args[0], type);
    for (std::size_t i = 0; i < operations.size() && made_.registers <= most_registers; ++i) {
      const auto [o, as] = operations[i];
      if (type != as) left = fast({.run = kernels::convert_to_real, .a = left});
      type = as;
      left = fast({.run = kernels::arithmetic(o, as), .a = left, .b = emit(*n.args[i + 1], as)});
    }
    return left;
  }

  std::optional<std::uint16_t> comparison(const node& n) {
    const auto &a = *n.args[0], &b = *n.args[1];
    if (const auto made = comparison_with_null(n)) return made;
    const bool cells = a.what == op::column && b.what == op::constant;
    if (cells && a.static_type.is(type_kind::dyn) && b.constant.is_number())
      return column_comparison(n, value_kind::integer);
    if (cells && a.static_type.is(type_kind::string) && b.constant.is(value_kind::string))
      return column_comparison(n, value_kind::string);
    if (!a.static_type.is_number() || !b.static_type.is_number()) return std::nullopt;
    const auto left = *lanes_of(a.static_type), right = *lanes_of(b.static_type);
    if (left == right) return compare(n.which, a, left, b, right);
    // An integer constant beside doubles is compared as a double; other integers are compared exactly.
    if (left == lane_type::real)
      return is_exact_double(b) ? compare(n.which, a, left, b, left) : compare(mirrored(n.which), b, right, a, left);
    return is_exact_double(a) ? compare(n.which, a, right, b, right) : compare(n.which, a, left, b, right);
  }
  std::uint16_t compare(binary_op o, const node& a, lane_type a_type, const node& b, lane_type b_type) {
    const auto left = emit(a, a_type);
    return fast({.run = kernels::comparison(o, a_type, b_type), .a = left, .b = emit(b, b_type)});
  }
  std::uint16_t column_comparison(const node& n, value_kind with) {
    return fast({.run = kernels::compare_cells(n.which, with), .slot = n.args[0]->slot, .scalar = &n});
  }
  // x == null, x != null
  std::optional<std::uint16_t> comparison_with_null(const node& n) {
    const bool left = n.args[0]->static_type.is(type_kind::null), right = n.args[1]->static_type.is(type_kind::null);
    if (!is_equality(n.which) || left == right) return std::nullopt;
    const auto& other = *n.args[left ? 1 : 0];
    const auto type = lanes_of(other.static_type);
    if (!type) return std::nullopt;
    return fast({.run = kernels::is_null(n.which == binary_op::equals), .a = emit(other, *type)});
  }

  // The interpreter computes an operand only for rows that the operands before do not decide; so the operands that need
  // the interpreter come last.
  std::uint16_t logical(const node& n, kernels::kernel run, guard::when undecided) {
    std::vector<const node*> ordered;
    for (const bool slow : {false, true})
      for (const auto& a : n.args)
        if (is_slow(*a) == slow) ordered.push_back(a.get());
    auto so_far = emit(*ordered.front(), lane_type::boolean);
    const auto outer = guards_.size();
    for (std::size_t i = 1; i < ordered.size(); ++i) {
      guards_.push_back({so_far, undecided});
      const auto next = emit(*ordered[i], lane_type::boolean);
      guards_.resize(outer);
      so_far = fast({.run = run, .a = so_far, .b = next});
    }
    return so_far;
  }
  std::uint16_t conditional(const node& n, lane_type as) {
    const auto condition = emit(*n.args[0], lane_type::boolean);
    guards_.push_back({condition, guard::when::is_true});
    const auto yes = emit(*n.args[1], as);
    guards_.back().needed = guard::when::is_false;
    const auto no = emit(*n.args[2], as);
    guards_.pop_back();
    return fast({.run = kernels::conditional(as), .a = condition, .b = yes, .c = no});
  }

  std::optional<std::uint16_t> call(const node& n, lane_type as) {
    const auto& argument = *n.args[0];
    const auto type = lanes_of(argument.static_type);
    if (n.text == "math.greatest" || n.text == "math.least") return extreme(n, as);
    if (n.args.size() != 1 || !type) return std::nullopt;
    const bool real = type == lane_type::real;
    if (n.text == "double" && type == lane_type::integer && !argument.static_type.nullable)
      return emit(argument, lane_type::real);
    if (n.text == "int" && real) return fast({.run = kernels::convert_to_integer, .a = emit(argument, *type)});
    const auto run = real ? kernels::real_function(n.text) : nullptr;
    if (run == nullptr) return std::nullopt;
    return fast({.run = run, .a = emit(argument, lane_type::real)});
  }
  // Of doubles only: integers beside doubles are compared exactly, which the interpreter does. The checker has converted
  // small constants.
  std::optional<std::uint16_t> extreme(const node& n, lane_type as) {
    const auto& list = *n.args[0];
    if (list.what != op::list || as != lane_type::real) return std::nullopt;
    for (const auto& a : list.args)
      if (!a->static_type.is(type_kind::real)) return std::nullopt;
    const auto run = n.text == "math.greatest" ? kernels::greatest : kernels::least;
    auto best = emit(*list.args[0], lane_type::real);
    for (std::size_t i = 1; i < list.args.size(); ++i) {
      const auto next = emit(*list.args[i], lane_type::real);
      best = fast({.run = run, .a = best, .b = next});
    }
    return best;
  }

  vector_plan made_;
  std::vector<guard> guards_;
  bool helps_ = false;
};

}  // namespace

std::optional<vector_plan> make_vector_plan(const plan& p) { return builder().build(*p.root); }

}  // namespace pl::cel
