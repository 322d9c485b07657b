// SPDX-License-Identifier: Apache-2.0
#include "table_check.hpp"

#include <pipeline/text.hpp>

#include <algorithm>

namespace sqlite {
namespace {

// Return whether a type rejects every value of a kind. SQLite converts numbers to text, and text that is a number.
bool never_fits(const std::string& type, std::uint32_t kind, time_storage time_as) {
  if (type == "BLOB") return kind != PL_NULL && kind != PL_BYTES;
  if (type == "TEXT") return kind == PL_BYTES;
  if (type != "INTEGER" && type != "INT" && type != "REAL") return false;
  return kind == PL_BYTES || (kind == PL_TIME_NS && time_as == time_storage::text);
}

std::string_view remedy(const std::string& type, std::uint32_t kind) {
  if (kind == PL_TIME_NS && type != "BLOB")
    return "set 'time_as: nanoseconds', or change the type of the column to TEXT";
  return kind == PL_BYTES ? "change the type of the column to BLOB or ANY" : "change the type of the column to ANY";
}

}  // namespace

std::vector<mapped_column> map_columns(const std::map<std::string, std::string>& named, const pl_schema& in) {
  std::vector<mapped_column> mapped;
  if (named.empty())
    for (pl::column_index c = 0; c < in.ncols; ++c) mapped.push_back({std::string(pl::view(in.names[c])), c});
  for (const auto& [name, from] : named) mapped.push_back({name, *pl::find_column(in, from)});
  return mapped;
}

const column_info* find_column(const std::vector<column_info>& there, const std::string& name) {
  const auto at =
      std::ranges::find_if(there, [&](const auto& c) { return pl::to_lower(c.name) == pl::to_lower(name); });
  return at == there.end() ? nullptr : &*at;
}

pl::failure no_table_column(const std::string& name, const std::vector<column_info>& there, const std::string& where) {
  std::string all;
  for (const auto& c : there) all.append(all.empty() ? "" : ", ").append(c.name);
  return pl::bad_option("columns", where + " has no column '" + name + "'; its columns: " + all +
                                       "; map the columns with `columns`, or add the column (ALTER TABLE)");
}

pl::result<void> check_columns(const std::vector<mapped_column>& mapped, const std::vector<column_info>& there,
                               const std::string& where) {
  for (const auto& m : mapped)
    if (find_column(there, m.name) == nullptr) return no_table_column(m.name, there, where);
  for (const auto& c : there) {
    const bool filled =
        std::ranges::any_of(mapped, [&](const auto& m) { return pl::to_lower(m.name) == pl::to_lower(c.name); });
    if (c.needs_value && !filled)
      return pl::bad_option("columns", "column '" + c.name + "' of " + where +
                                           " is NOT NULL and has no default, and no column is mapped to it; map one");
  }
  return {};
}

std::vector<pl::failure> check_kinds(const std::vector<mapped_column>& mapped, const std::vector<column_info>& there,
                                     const pl::column_set& in, time_storage time_as, const std::string& where) {
  std::vector<pl::failure> found;
  for (const auto& m : mapped) {
    const auto* c = find_column(there, m.name);
    const auto kind = in.kind(m.from);
    if (c == nullptr || !never_fits(c->enforced_type, kind, time_as)) continue;
    const bool as_text = kind == PL_TIME_NS && time_as == time_storage::text;
    found.push_back(pl::bad_option(
        "columns", "column '" + c->name + "' (" + c->enforced_type + ") of " + where + " rejects every value of '" +
                       std::string(pl::view(in.schema->names[m.from])) + "', which has the kind " +
                       std::string(pl::kind_name(kind)) + (as_text ? " and is stored as text" : "") + "; " +
                       std::string(remedy(c->enforced_type, kind))));
  }
  return found;
}

}  // namespace sqlite
