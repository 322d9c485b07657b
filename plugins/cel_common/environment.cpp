// SPDX-License-Identifier: Apache-2.0
#include "cel_common/environment.hpp"

#include <pipeline/text.hpp>

namespace pl::cel {

column_names::column_names(const column_set& columns) : known_(columns.schema != nullptr) {
  if (!known_) return;
  for (column_index c = 0; c < columns.schema->ncols; ++c) {
    names_.push_back(view(columns.schema->names[c]));
    kinds_.push_back(columns.kind(c));
  }
}

std::optional<std::uint32_t> column_names::kind(std::string_view name) const {
  if (!known_) return std::uint32_t{PL_NULL};
  for (std::size_t i = 0; i < names_.size(); ++i)
    if (names_[i] == name) return kinds_[i];
  return std::nullopt;
}

std::string column_names::suggestion(std::string_view name) const {
  if (auto near = did_you_mean(name, names_, "; "); !near.empty()) return near;
  constexpr std::size_t shown = 20;
  std::string list;
  for (std::size_t i = 0; i < names_.size() && i < shown; ++i) list.append(i == 0 ? "" : ", ").append(names_[i]);
  if (names_.size() > shown) list += ", ...";
  return names_.empty() ? "; there are no columns" : "; the columns are: " + list;
}

}  // namespace pl::cel
