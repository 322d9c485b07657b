// SPDX-License-Identifier: Apache-2.0
#include "config/value.hpp"

#include <utility>

namespace pl::config {

const value* value::find(std::string_view name) const {
  if (!is_map()) return nullptr;
  for (const auto& child : children) {
    if (child.key == name) return &child;
  }
  return nullptr;
}

value* value::find(std::string_view name) { return const_cast<value*>(std::as_const(*this).find(name)); }

const location& value::at() const {
  if (!key_where) return where;
  if (!where.exact()) return key_where;
  const bool starts_below = (is_list() || is_map()) && key_where.line() != where.line();
  return is_null() || starts_below ? key_where : where;
}

void value::hide() const {
  if (is_scalar() && where.exact()) {
    // the name of a missing variable is not secret, and the message needs it
    const bool keep = broken && is_mere_reference(written.empty() ? text : written);
    if (!keep) where.source()->hide(where.offset(), where.offset() + where.length());
  }
  for (const auto& child : children) child.hide();
}

bool is_mere_reference(std::string_view text) {
  return text.starts_with("${") && text.find('}') == text.size() - 1 && text.find(":-") == std::string_view::npos;
}

}  // namespace pl::config
