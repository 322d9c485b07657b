// SPDX-License-Identifier: Apache-2.0
#include "mapping.hpp"

#include <algorithm>
#include <array>

namespace timescale {
namespace {

constexpr std::string_view types_that_fit =
    "boolean, smallint, integer, bigint, real, double precision, numeric, timestamptz, timestamp, date, text, varchar, "
    "char, enums, json, jsonb, bytea, uuid";

std::vector<std::string> field_names(const pl_schema& in) {
  std::vector<std::string> names;
  for (std::uint32_t i = 0; i < in.ncols; ++i) names.emplace_back(pl::view(in.names[i]));
  return names;
}

std::vector<std::string> column_names(const table_info& table) {
  std::vector<std::string> names;
  for (const auto& c : table.columns) names.push_back(c.name);
  return names;
}

const table_column* find(const table_info& table, std::string_view name) {
  const auto it =
      std::find_if(table.columns.begin(), table.columns.end(), [&](const auto& c) { return c.name == name; });
  return it == table.columns.end() ? nullptr : &*it;
}

std::string incoming(const std::string& field, const std::vector<std::string>& fields) {
  return "no field '" + field + "' comes in" + did_you_mean(field, fields, ".") + " What comes in: " + listed(fields);
}

class planner {
 public:
  planner(const options& o, const table_info& table, const pl_schema* in, copy_plan& plan)
      : options_(o), table_(table), in_(in), plan_(plan) {}

  findings run() {
    if (options_.columns.empty())
      map_by_name();
    else
      map_as_told();
    if (in_ && found_.empty() && plan_.columns.empty())
      say("table", "none of its columns has the name of a field that comes in");
    if (in_ || !options_.columns.empty()) check_needed();
    plan_.table = table_.name.table;
    plan_.sql = "COPY " + table_.name.sql() + " (";
    for (const auto& c : plan_.columns)
      plan_.sql += (&c == plan_.columns.data() ? "" : ", ") + quoted_identifier(c.column);
    plan_.sql += ") FROM STDIN (FORMAT binary)";
    return std::move(found_);
  }

 private:
  void say(std::string option, std::string message) {
    found_.push_back({std::move(option), "table '" + table_.name.shown() + "': " + std::move(message)});
  }

  void map_as_told() {
    for (const auto& [column, field] : options_.columns) {
      const auto* c = find(table_, column);
      const auto option = "columns." + column;
      if (!c) say(option, "it has no column '" + column + "'" + did_you_mean(column, column_names(table_)));
      const auto from = in_ ? pl::find_column(*in_, field) : std::nullopt;
      if (in_ && !from) found_.push_back({option, incoming(field, field_names(*in_))});
      if (c) add(*c, from, field, option);
    }
  }

  void map_by_name() {
    for (std::uint32_t i = 0; in_ && i < in_->ncols; ++i) {
      const std::string field(pl::view(in_->names[i]));
      if (const auto* c = find(table_, field))
        add(*c, i, field, "table");
      else if (options_.unmapped == unmapped_fields::error)
        say("table", "it has no column for the incoming field '" + field + "'" +
                         did_you_mean(field, column_names(table_), ".") +
                         " Add the column, say with 'columns' what goes where, or set 'unmapped: ignore'");
    }
  }

  void add(const table_column& c, std::optional<pl::column_index> from, const std::string& field,
           const std::string& option) {
    if (c.generated)
      return say(option, "column '" + c.name + "' is computed by the database (GENERATED) and can't be written");
    if (!c.wire_type)
      return say(option, "column '" + c.name + "' has the type " + c.type +
                             ", which this sink can't write. It can: " + std::string(types_that_fit));
    if (!c.may_insert)
      return say(option, "no privilege to write column '" + c.name + "': GRANT INSERT ON " + table_.name.sql() +
                             " to the user of 'url'");
    plan_.columns.push_back({from.value_or(0), *c.wire_type, c.not_null, c.max_characters, field, c.name, c.type});
  }

  // Columns that must get a value and don't. Said only once the mapping itself is right, or it would be said twice.
  void check_needed() {
    if (!found_.empty()) return;
    for (const auto& c : table_.columns) {
      if (!c.not_null || c.has_default || c.generated) continue;
      if (std::any_of(plan_.columns.begin(), plan_.columns.end(), [&](const auto& p) { return p.column == c.name; }))
        continue;
      say(options_.columns.empty() ? "table" : "columns",
          "column '" + c.name +
              "' is NOT NULL, has no default, and no field goes there. Map a field to it, or give it a "
              "default in the database");
    }
  }

  const options& options_;
  const table_info& table_;
  const pl_schema* in_;
  copy_plan& plan_;
  findings found_;
};

// What the conventional fields of this framework are in SQL; all others are metrics. `parsed`: `value` is a metric or
// that of an alert, and not a source's original record.
std::string sql_type(std::string_view field, bool parsed) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 20> conventional{
      {{"time", "timestamptz"},  {"since", "timestamptz"}, {"user_id", "text"},    {"device_id", "text"},
       {"extra", "jsonb"},       {"labels", "jsonb"},      {"headers", "jsonb"},   {"topic", "text"},
       {"stream", "text"},       {"id", "text"},           {"rule", "text"},       {"state", "text"},
       {"severity", "text"},     {"metric", "text"},       {"message", "text"},    {"key", "bytea"},
       {"partition", "integer"}, {"offset", "bigint"},     {"position", "bigint"}, {"value", "bytea"}}};
  if (field != "value" || !parsed)
    for (const auto& [name, type] : conventional)
      if (name == field) return std::string(type);
  return "double precision";
}

bool has_column(const table_design& design, std::string_view name) {
  return std::any_of(design.begin(), design.end(), [&](const auto& c) { return c.first == name; });
}

}  // namespace

findings table_findings(const table_info& table) {
  const auto name = "'" + table.name.shown() + "'";
  if (table.kind == 'v' || table.kind == 'm')
    return {{"table", name + " is a view: name the table that the rows are to be stored in"}};
  if (table.kind != 'r' && table.kind != 'p' && table.kind != 'f') return {{"table", name + " is no table"}};
  if (table.row_security)
    return {{"table",
             name + " has row-level security for this user, which COPY can't write to: use a user with BYPASSRLS"}};
  const auto any = std::any_of(table.columns.begin(), table.columns.end(), [](const auto& c) { return c.may_insert; });
  if (!table.may_insert_all && !any)
    return {{"table",
             "no privilege to write to " + name + ": GRANT INSERT ON " + table.name.sql() + " to the user of 'url'"}};
  return {};
}

findings field_findings(const options& o, const pl_schema& in) {
  findings found;
  for (const auto& [column, field] : o.columns)
    if (!pl::find_column(in, field)) found.push_back({"columns." + column, incoming(field, field_names(in))});
  return found;
}

findings make_plan(const options& o, const table_info& table, const pl_schema* in, copy_plan& plan) {
  plan = {};
  if (auto found = table_findings(table); !found.empty()) return found;
  return planner(o, table, in, plan).run();
}

bool can_design(const options& o, const pl_schema* in) { return in != nullptr || !o.columns.empty(); }

findings design_table(const options& o, const pl_schema* in, table_design& design) {
  const auto& create = *o.create;
  const auto& time_column = create.hypertable.time_column;
  const auto comes_in = [&](std::string_view field) {
    return in ? pl::find_column(*in, field).has_value()
              : std::any_of(o.columns.begin(), o.columns.end(), [&](const auto& c) { return c.second == field; });
  };
  const bool parsed = comes_in("device_id") || comes_in("rule");
  const auto add = [&](const std::string& column, std::string_view field) {
    const auto own = create.columns.find(column);
    if (own != create.columns.end())
      design.emplace_back(column, own->second);
    else if (column == time_column)
      design.emplace_back(column, "timestamptz NOT NULL");
    else
      design.emplace_back(column, sql_type(field, parsed));
  };
  for (const auto& [column, field] : o.columns) add(column, field);
  for (std::uint32_t i = 0; o.columns.empty() && in && i < in->ncols; ++i) {
    const std::string name(pl::view(in->names[i]));
    add(name, name);
  }
  for (const auto& [column, type] : create.columns)
    if (!has_column(design, column)) design.emplace_back(column, type);

  findings found;
  std::vector<std::string> names;
  for (const auto& c : design) names.push_back(c.first);
  const auto need = [&](const std::string& column, std::string option) {
    if (has_column(design, column)) return;
    found.push_back({std::move(option), "the table to be created has no column '" + column + "'" +
                                            did_you_mean(column, names, ".") + " It has: " + listed(names)});
  };
  if (create.hypertable.enabled) need(time_column, "create.hypertable.time_column");
  for (std::size_t i = 0; create.compression && i < create.compression->segment_by.size(); ++i)
    need(create.compression->segment_by[i], "create.compression.segment_by[" + std::to_string(i) + "]");
  return found;
}

}  // namespace timescale
