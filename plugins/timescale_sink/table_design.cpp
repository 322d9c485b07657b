// SPDX-License-Identifier: Apache-2.0
#include "table_design.hpp"

#include "column_kinds.hpp"

#include <algorithm>

namespace timescale {
namespace {

class designer {
 public:
  designer(const options& o, const pl::column_set& in, table_design& to)
      : options_(o), create_(*o.create), in_(in), design_(to) {}

  findings run() {
    for (const auto& [column, field] : options_.columns) add(column, field);
    for (std::uint32_t i = 0; options_.columns.empty() && in_.schema && i < in_.schema->ncols; ++i) {
      const std::string name(pl::view(in_.schema->names[i]));
      add(name, name);
    }
    for (const auto& [column, type] : create_.columns)
      if (!has(column)) design_.columns.emplace_back(column, type);
    check_names();
    check_key();
    return std::move(found_);
  }

 private:
  [[nodiscard]] bool has(std::string_view name) const {
    return std::ranges::any_of(design_.columns, [&](const auto& c) { return c.first == name; });
  }

  void add(const std::string& column, std::string_view field) {
    const auto own = create_.columns.find(column);
    if (own != create_.columns.end()) return void(design_.columns.emplace_back(column, own->second));
    const auto kind = in_.kind_of(field);
    if (column == create_.hypertable.time_column && fit_of(kind, wire::timestamp) != fit::never)
      return void(design_.columns.emplace_back(column, "timestamptz NOT NULL"));
    if (column == create_.hypertable.time_column && create_.hypertable.enabled)
      found_.push_back({"create.hypertable.time_column",
                        "the field '" + std::string(field) + "' has the kind " + std::string(pl::kind_name(kind)) +
                            ", but the table to be created is partitioned by times; name a column with times, or "
                            "create the table yourself"});
    if (kind == PL_NULL) design_.untyped.push_back(column);
    design_.columns.emplace_back(column, sql_type_of(kind));
  }

  void need(const std::string& column, std::string option) {
    if (has(column)) return;
    std::vector<std::string> names;
    for (const auto& c : design_.columns) names.push_back(c.first);
    found_.push_back({std::move(option), "the table to be created has no column '" + column + "'" +
                                             did_you_mean(column, names, ".") + " Its columns: " + listed(names)});
  }

  void check_names() {
    if (create_.hypertable.enabled) need(create_.hypertable.time_column, "create.hypertable.time_column");
    for (std::size_t i = 0; i < options_.key.size(); ++i) need(options_.key[i], "key[" + std::to_string(i) + "]");
  }

  void check_key() {
    const auto& time_column = create_.hypertable.time_column;
    if (create_.hypertable.enabled && !options_.key.empty() &&
        std::ranges::find(options_.key, time_column) == options_.key.end())
      found_.push_back({"key",
                        "the table to be created is a hypertable, whose unique indexes must include the time column; "
                        "add '" +
                            time_column + "' to the key, or set 'create.hypertable.enabled: false'"});
    for (std::size_t i = 0; create_.compression && i < create_.compression->segment_by.size(); ++i)
      need(create_.compression->segment_by[i], "create.compression.segment_by[" + std::to_string(i) + "]");
  }

  const options& options_;
  const create_options& create_;
  const pl::column_set& in_;
  table_design& design_;
  findings found_;
};

}  // namespace

bool can_design(const options& o, const pl::column_set& in) {
  if (o.columns.empty() && in.schema == nullptr) return false;
  const auto typed = [&](const std::string& column) {
    return !in.kinds.empty() || o.create->columns.contains(column) || column == o.create->hypertable.time_column;
  };
  if (!o.columns.empty()) return std::ranges::all_of(o.columns, [&](const auto& c) { return typed(c.first); });
  for (pl::column_index c = 0; c < in.schema->ncols; ++c)
    if (!typed(std::string(pl::view(in.schema->names[c])))) return false;
  return true;
}

findings design_table(const options& o, const pl::column_set& in, table_design& design) {
  design = {};
  return designer(o, in, design).run();
}

}  // namespace timescale
