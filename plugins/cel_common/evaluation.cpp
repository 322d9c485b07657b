// SPDX-License-Identifier: Apache-2.0
#include "cel_common/evaluation.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <cstring>

namespace pl::cel {

std::string_view kind_name(value_kind kind) noexcept {
  switch (kind) {
    case value_kind::null:
      return "null";
    case value_kind::boolean:
      return "bool";
    case value_kind::integer:
      return "int";
    case value_kind::real:
      return "double";
    case value_kind::string:
      return "string";
    case value_kind::bytes:
      return "bytes";
    case value_kind::timestamp:
      return "timestamp";
    case value_kind::duration:
      return "duration";
    case value_kind::list:
      return "list";
    case value_kind::map:
      return "map";
    case value_kind::error:
      return "error";
  }
  return "";
}

value evaluation::copy(value_kind kind, std::string_view text) {
  if (text.size() > UINT32_MAX || !spend_bytes(text.size())) {
    exceed("the evaluation needs more than 8 MiB of memory");
    return limit_error();
  }
  auto* to = allocate<char>(text.size());
  if (to == nullptr) return limit_error();
  if (!text.empty()) std::memcpy(to, text.data(), text.size());
  return span_value(kind, {to, text.size()});
}

value evaluation::fail(std::initializer_list<std::string_view> parts) {
  constexpr std::size_t longest_part = 120;
  std::size_t size = 0;
  for (const auto part : parts) size += cut_bytes(part, longest_part).size();
  // Errors are small, and must be possible when the budget is exhausted.
  auto* text = static_cast<char*>(memory_.allocate(size, 1));
  auto* end = text;
  for (const auto part : parts) {
    const auto cut = cut_bytes(part, longest_part);
    end = std::copy(cut.begin(), cut.end(), end);
  }
  auto* data = static_cast<error_data*>(memory_.allocate(sizeof(error_data), alignof(error_data)));
  *data = {offset, {text, size}};
  value v;
  v.kind = value_kind::error;
  v.error = data;
  return v;
}

value evaluation::no_overload(std::string_view name, std::span<const value> operands) {
  for (const auto& o : operands)
    if (o.is_error()) return o;
  const auto kind = [&](std::size_t i) { return kind_name(operands[i].kind); };
  const bool word = !name.empty() && to_lower(name[0]) >= 'a' && to_lower(name[0]) <= 'z' && name != "in";
  if (!word && operands.size() == 1) return fail({"no such overload: ", name, kind(0)});
  if (!word && operands.size() == 2) return fail({"no such overload: ", kind(0), " ", name, " ", kind(1)});
  switch (operands.size()) {
    case 0:
      return fail({"no such overload: ", name, "()"});
    case 1:
      return fail({"no such overload: ", name, "(", kind(0), ")"});
    case 2:
      return fail({"no such overload: ", name, "(", kind(0), ", ", kind(1), ")"});
    default:
      return fail({"no such overload: ", name, "(", kind(0), ", ", kind(1), ", ", kind(2),
                   operands.size() > 3 ? ", ...)" : ")"});
  }
}

}  // namespace pl::cel
