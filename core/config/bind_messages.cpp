// SPDX-License-Identifier: Apache-2.0
#include "config/bind_messages.hpp"

#include "config/diagnostics.hpp"
#include "config/option_table.hpp"
#include "config/option_text.hpp"

#include <pipeline/text.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace pl::config {

namespace {

// Return the origin of an interpolated text. The origin of a secret is returned only if the text is a single reference
// without a default.
std::string origin_of(const value& v, const bind_target& to) {
  if (v.written.empty() || v.written == v.text) return {};
  const bool secret = v.secret || is_secret(to.option);
  return secret && !is_mere_reference(v.written) ? std::string() : " from " + printable(v.written);
}

std::string got(const value& v, const bind_target& to) {
  if (v.is_list()) return "a list";
  if (v.is_map()) return "a map";
  if (v.is_null()) return "nothing";
  if (v.secret || is_secret(to.option)) return "<secret>" + origin_of(v, to);
  return fmt::format("'{}'", printable(v.text)) + origin_of(v, to);
}

// {size: 2}
std::string example_object(const pl_option& option) {
  const auto fields = fields_of(option);
  if (fields.empty()) return {};
  const auto& first = fields.front();
  const auto inner = view(first.example).empty() ? view(first.def) : view(first.example);
  return fmt::format("{{{}: {}}}", view(first.key), inner.empty() || is_secret(first) ? "..." : inner);
}

std::string example_of(const bind_target& to, std::string_view lead) {
  auto example = std::string(view(to.option.example));
  if (example.empty() && !is_secret(to.option)) example = view(to.option.def);
  if (to.option.kind == PL_OPT_OBJECT && (example.empty() || example == "{}")) example = example_object(to.option);
  if (example.empty() || example.find('\n') != std::string::npos) return {};
  if (to.label != view(to.option.key)) return fmt::format("{} '{}'", lead, example);  // an element has no key
  const auto key = std::string(view(to.option.key)) + ": ";
  return fmt::format("{} '{}{}'", lead, example.starts_with(key) ? "" : key, example);
}

std::string default_example(const bind_target& to) {
  switch (to.option.kind) {
    case PL_OPT_DURATION:
      return "for example 100ms, 10s or 1h30m";
    case PL_OPT_SIZE:
      return "for example 512, 64KiB or 10MB";
    default:
      return {};
  }
}

}  // namespace

bind_message missing_option(const bind_target& to, std::string_view owner) {
  return {fmt::format("{} needs '{}'", owner, to.label), example_of(to, "write for example")};
}

bind_message no_value(const bind_target& to) {
  const bool optional = (to.option.flags & PL_REQUIRED) == 0;
  const auto empty = to.option.kind == PL_OPT_LIST   ? "write [] for an empty list"
                     : to.option.kind == PL_OPT_MAP  ? "write {} for an empty map"
                     : to.option.kind == PL_OPT_TEXT ? "write \"\" for an empty text"
                                                     : "write a value";
  return {fmt::format("'{}' has no value", to.label),
          optional ? fmt::format("{}, or remove the line", empty) : example_of(to, "write for example")};
}

bind_message empty_text(const value& v, const bind_target& to) {
  const auto origin = origin_of(v, to);
  return {fmt::format("'{}' is empty{}{}", to.label, origin.empty() ? "" : ": it comes", origin),
          example_of(to, "write for example")};
}

bind_message wrong_kind(const value& v, const bind_target& to, std::string fix) {
  if (is_secret(to.option) || v.secret) fix.clear();  // the fix repeats the value
  const bool no_unit = to.option.kind == PL_OPT_DURATION && fix.find(" or ") != std::string::npos;
  if (fix.empty()) fix = example_of(to, "for example");
  if (fix.empty()) fix = default_example(to);
  return {fmt::format("'{}' must be {}{}, got {}", to.label, kind_name(to.option), no_unit ? " with a unit" : "",
                      got(v, to)),
          std::move(fix)};
}

bind_message wrong_choice(const value& v, const bind_target& to) {
  return {fmt::format("'{}' must be {}, got {}", to.label, kind_name(to.option), got(v, to)),
          did_you_mean(v.text, split_choices(view(to.option.allowed)))};
}

bind_message out_of_range(const value& v, const bind_target& to) {
  const auto& o = to.option;
  const bool low = std::isfinite(o.min), high = std::isfinite(o.max);
  const auto range = low && high
                         ? fmt::format("between {} and {}", limit_text(o.kind, o.min), limit_text(o.kind, o.max))
                     : low ? fmt::format("at least {}", limit_text(o.kind, o.min))
                           : fmt::format("at most {}", limit_text(o.kind, o.max));
  return {fmt::format("'{}' must be {}, got {}", to.label, range, got(v, to)), {}};
}

std::string list_fix(const value& v, const bind_target& to) {
  const auto element = element_of(to.option);
  const auto fields = fields_of(element);
  if (element.kind == PL_OPT_OBJECT && !fields.empty()) {
    return fmt::format("begin each item with '- {}: ...'", view(fields.front().key));
  }
  if (v.is_map()) return "begin each item with '- '";
  if (is_secret(to.option) || v.secret || element.kind == PL_OPT_OBJECT) return {};
  return fmt::format("write [{}]", printable(v.written.empty() ? v.text : v.written));
}

std::string braces_fix(const value& v, const bind_target& to) {
  const bool flow = v.where.exact() && v.where.source()->text().substr(v.where.offset()).find_first_of("{[") == 0;
  return to.option.kind == PL_OPT_TEXT && flow ? "put the text in quotes" : std::string();
}

std::string list_of(std::span<const std::string_view> names) {
  constexpr std::size_t shown = 16;
  if (names.empty()) return "there are no options";
  const auto first = names.first(std::min(shown, names.size()));
  return fmt::format("options are: {}{}", fmt::join(first, ", "), names.size() > shown ? ", ..." : "");
}

}  // namespace pl::config
