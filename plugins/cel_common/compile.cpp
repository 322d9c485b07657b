// SPDX-License-Identifier: Apache-2.0
#include "cel_common/checker.hpp"
#include "cel_common/parser.hpp"
#include "cel_common/program.hpp"

#include <charconv>

namespace pl::cel {

namespace {

failure as_failure(const problem& p) { return bad_option("@" + std::to_string(p.begin), p.message); }

// Return why an expression of this type does not serve its purpose.
std::optional<std::string> unfit(const type& t, purpose want) {
  if (want == purpose::condition && !may_be(t, param::boolean))
    return "the expression is of type " + type_name(t) + "; a condition must be a bool";
  if (want == purpose::cells && t.is(type_kind::duration))
    return "no column holds a duration; convert it, such as (a - b).getSeconds()";
  return std::nullopt;
}

}  // namespace

std::string_view program::text() const noexcept { return plan_->text; }

std::uint32_t program::kind() const noexcept {
  switch (plan_->root->static_type.kind) {
    case type_kind::boolean:
      return PL_BOOL;
    case type_kind::integer:
      return PL_I64;
    case type_kind::real:
      return PL_F64;
    case type_kind::timestamp:
      return PL_TIME_NS;
    case type_kind::string:
      return PL_TEXT;
    case type_kind::bytes:
      return PL_BYTES;
    case type_kind::list:
    case type_kind::map:
      return PL_JSON;
    default:
      return PL_NULL;
  }
}

std::vector<std::string_view> program::columns() const {
  std::vector<std::string_view> names;
  for (const auto& c : plan_->columns) names.push_back(c.name);
  return names;
}

std::vector<note> program::notes() const {
  std::vector<note> all;
  for (const auto& h : plan_->hints) all.push_back({h.message, h.begin, h.end});
  return all;
}

result<program> compile(std::string_view text, const column_set& columns, const settings& how) {
  const auto parsed = parse(text);
  if (const auto* wrong = std::get_if<problem>(&parsed)) return as_failure(*wrong);
  const auto& tree = *std::get<expr_ptr>(parsed);
  auto made = std::make_shared<plan>();
  made->text = text;
  if (const auto wrong = check(tree, column_names(columns), how.unchecked, *made)) return as_failure(*wrong);
  if (const auto why = unfit(made->root->static_type, how.want)) return as_failure({*why, tree.begin, tree.end});
  return program(std::move(made));
}

std::size_t offset_of(const failure& why) noexcept {
  const std::string_view place = why.option;
  std::size_t offset = 0;
  if (const auto at = place.rfind('@'); at != std::string_view::npos)
    (void)std::from_chars(place.data() + at + 1, place.data() + place.size(), offset);
  return offset;
}

}  // namespace pl::cel
