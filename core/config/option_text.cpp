// SPDX-License-Identifier: Apache-2.0
#include "config/option_text.hpp"

#include "config/option_table.hpp"
#include "config/scalars.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace pl::config {

std::string kind_name(const pl_option& option) {
  switch (option.kind) {
    case PL_OPT_TEXT:
      return "text";
    case PL_OPT_BOOL:
      return "true or false";
    case PL_OPT_INT:
      return "a whole number";
    case PL_OPT_FLOAT:
      return "a number";
    case PL_OPT_DURATION:
      return "a duration";
    case PL_OPT_SIZE:
      return "a size";
    case PL_OPT_CHOICE:
      return fmt::format("one of {}", fmt::join(split_choices(view(option.allowed)), ", "));
    case PL_OPT_LIST:
      return "a list";
    case PL_OPT_MAP:
    case PL_OPT_OBJECT:
      return "a map";
    default:
      return "a single value";
  }
}

std::string type_text(const pl_option& option) {
  switch (option.kind) {
    case PL_OPT_TEXT:
      return "text";
    case PL_OPT_BOOL:
      return "true or false";
    case PL_OPT_INT:
      return "whole number";
    case PL_OPT_FLOAT:
      return "number";
    case PL_OPT_DURATION:
      return "duration";
    case PL_OPT_SIZE:
      return "size";
    case PL_OPT_CHOICE:
      return fmt::format("{}", fmt::join(split_choices(view(option.allowed)), " | "));
    case PL_OPT_LIST:
      return "list of " + (option.element == PL_OPT_OBJECT ? "maps" : type_text(element_of(option)));
    case PL_OPT_MAP:
      return "map of names to " + (option.element == PL_OPT_OBJECT ? "maps" : type_text(element_of(option)));
    case PL_OPT_OBJECT:
      return "map";
    default:
      return "any value";
  }
}

std::string limit_text(std::uint32_t kind, double limit) {
  const auto whole = [](double n) { return static_cast<std::int64_t>(std::clamp(n, 0.0, 9.2e18)); };
  if (kind == PL_OPT_DURATION) return format_duration(whole(limit * 1e9));
  if (kind == PL_OPT_SIZE) return format_size(whole(limit));
  return fmt::format("{}", limit);
}

std::string range_text(const pl_option& option) {
  const bool left_out = std::fpclassify(option.min) == FP_ZERO && std::fpclassify(option.max) == FP_ZERO;
  const auto kind = option.kind == PL_OPT_LIST || option.kind == PL_OPT_MAP ? option.element : option.kind;
  if (left_out || kind < PL_OPT_INT || kind > PL_OPT_SIZE) return {};
  const bool low = std::isfinite(option.min), high = std::isfinite(option.max);
  if (low && high) return fmt::format("{} to {}", limit_text(kind, option.min), limit_text(kind, option.max));
  if (low) return "at least " + limit_text(kind, option.min);
  return high ? "at most " + limit_text(kind, option.max) : std::string();
}

std::string default_text(const pl_option& option) {
  if ((option.flags & PL_REQUIRED) != 0) return "required";
  if (option.def.n == 0) return {};
  if ((option.flags & PL_SECRET) != 0) return "(secret)";
  const auto def = view(option.def);
  return option.kind == PL_OPT_OBJECT && def == "{}" ? std::string() : std::string(def);
}

}  // namespace pl::config
