// SPDX-License-Identifier: Apache-2.0
#include "cel_common/compare.hpp"

#include "cel_common/containers.hpp"

#include <algorithm>

namespace pl::cel {

namespace {

// Compares lists and maps to a limited depth.
class equality {
 public:
  explicit equality(evaluation& e) noexcept : e_(e) {}

  bool operator()(const value& a, const value& b, std::uint32_t depth) {
    if (!e_.spend(1)) return false;
    if (depth > limits::value_depth) {
      e_.exceed("a value is nested more than 100 levels deep");
      return false;
    }
    if (a.kind == b.kind && a.is(value_kind::list)) return lists(a, b, depth);
    if (a.kind == b.kind && a.is(value_kind::map)) return maps(a, b, depth);
    if (a.kind == b.kind && a.is(value_kind::null)) return true;
    (void)e_.spend_bytes(a.is(value_kind::string) || a.is(value_kind::bytes) ? std::min(a.size, b.size) : 0);
    const auto found = order(a, b);
    return found && *found == std::partial_ordering::equivalent;
  }

 private:
  bool lists(const value& a, const value& b, std::uint32_t depth) {
    const auto left = elements(e_, a), right = elements(e_, b);
    return left.size() == right.size() &&
           std::equal(left.begin(), left.end(), right.begin(),
                      [&](const value& x, const value& y) { return (*this)(x, y, depth + 1); });
  }
  bool maps(const value& a, const value& b, std::uint32_t depth) {
    const auto left = read_map(e_, a), right = read_map(e_, b);  // JSON is read once, and not for each key
    if (left.is_error() || right.is_error() || left.size != right.size) return false;
    const std::span all(left.map->entries, left.size);
    return std::all_of(all.begin(), all.end(), [&](const entry& x) {
      const auto other = find(e_, right, x.key);
      return other && (*this)(x.mapped, *other, depth + 1);
    });
  }

  evaluation& e_;
};

}  // namespace

bool equal(evaluation& e, const value& a, const value& b) { return equality(e)(a, b, 0); }

std::optional<std::partial_ordering> order(const value& a, const value& b) noexcept {
  using enum value_kind;
  if (a.is(real) && b.is(real)) return a.real <=> b.real;
  if (a.is(integer) && b.is(real)) return compare_exactly(a.integer, b.real);
  if (a.is(real) && b.is(integer)) return 0 <=> compare_exactly(b.integer, a.real);
  if (a.kind != b.kind) return std::nullopt;
  switch (a.kind) {
    case boolean:
    case integer:
    case duration:
      return a.integer <=> b.integer;
    case string:
    case bytes:
      return a.view() <=> b.view();
    case timestamp:
      return a.integer != b.integer ? a.integer <=> b.integer : a.size <=> b.size;
    default:
      return std::nullopt;
  }
}

}  // namespace pl::cel
