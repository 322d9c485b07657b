// SPDX-License-Identifier: Apache-2.0
#include "mapping.hpp"

#include <algorithm>

namespace timescale {
namespace {

constexpr std::string_view supported_types =
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
  return "the input has no field '" + field + "'" + did_you_mean(field, fields, ".") +
         " Input fields: " + listed(fields);
}

constexpr std::string_view staging_table = "pipeline_host_rows";

class planner {
 public:
  planner(const options& o, const table_info& table, const pl_schema* in, copy_plan& plan)
      : options_(o), table_(table), in_(in), plan_(plan) {}

  findings run() {
    if (options_.columns.empty())
      map_by_name();
    else
      map_by_options();
    if (in_ && found_.empty() && plan_.columns.empty())
      report("table", "none of its columns has the name of an input field");
    if (in_ || !options_.columns.empty()) check_needed();
    if (options_.conflict != conflict_policy::error) check_key();
    write_sql();
    return std::move(found_);
  }

 private:
  void report(std::string option, std::string message) {
    found_.push_back({std::move(option), "table '" + table_.name.shown() + "': " + std::move(message)});
  }

  void map_by_options() {
    for (const auto& [column, field] : options_.columns) {
      const auto* c = find(table_, column);
      const auto option = "columns." + column;
      if (!c) report(option, "it has no column '" + column + "'" + did_you_mean(column, column_names(table_)));
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
        report("table", "it has no column for the input field '" + field + "'" +
                            did_you_mean(field, column_names(table_), ".") +
                            " Add the column, map the fields with 'columns', or set 'unmapped: ignore'");
    }
  }

  void add(const table_column& c, std::optional<pl::column_index> from, const std::string& field,
           const std::string& option) {
    if (c.generated)
      return report(option, "column '" + c.name + "' is computed by the database (GENERATED) and cannot be written");
    if (!c.wire_type)
      return report(option, "column '" + c.name + "' has the type " + c.type +
                                ", which this sink cannot write; supported types: " + std::string(supported_types));
    if (!c.may_insert)
      return report(option, "no privilege to write column '" + c.name + "': GRANT INSERT ON " + table_.name.sql() +
                                " to the user of 'url'");
    plan_.columns.push_back({from.value_or(0), *c.wire_type, c.not_null, c.max_characters, field, c.name, c.type});
  }

  // Report NOT NULL columns that get no value, but only if the mapping has no errors, to avoid duplicate reports.
  void check_needed() {
    if (!found_.empty()) return;
    for (const auto& c : table_.columns) {
      if (!c.not_null || c.has_default || c.generated) continue;
      if (written(c.name)) continue;
      report(options_.columns.empty() ? "table" : "columns",
             "column '" + c.name +
                 "' is NOT NULL and has no default, and no field is mapped to it; map a field to it, or set a default "
                 "in the database");
    }
  }

  [[nodiscard]] bool written(std::string_view column) const {
    return std::any_of(plan_.columns.begin(), plan_.columns.end(), [&](const auto& p) { return p.column == column; });
  }

  [[nodiscard]] bool in_key(std::string_view column) const {
    return std::find(options_.key.begin(), options_.key.end(), column) != options_.key.end();
  }

  void check_key() {
    const auto before = found_.size();
    for (std::size_t i = 0; i < options_.key.size(); ++i) {
      const auto& column = options_.key[i];
      const auto option = "key[" + std::to_string(i) + "]";
      if (!find(table_, column))
        report(option, "it has no column '" + column + "'" + did_you_mean(column, column_names(table_)));
      else if (before == 0 && (in_ || !options_.columns.empty()) && !written(column))
        report(option, "no field is mapped to its column '" + column + "', which is part of the key");
    }
    if (found_.size() == before) check_unique();
    if (found_.size() == before) check_rights();
    if (found_.size() == before && options_.conflict == conflict_policy::update) check_updatable();
    // Reject rows with a null in the key. Their key never conflicts, so each repetition would add another row.
    for (auto& c : plan_.columns) c.not_null = c.not_null || in_key(c.column);
  }

  void check_updatable() {
    for (const auto& c : table_.columns)
      if (c.always_identity && written(c.name) && !in_key(c.name))
        report("conflict",
               "its column '" + c.name +
                   "' is GENERATED ALWAYS AS IDENTITY, so 'conflict: update' cannot set it; map no field to "
                   "it, add it to the key, or run ALTER TABLE " +
                   table_.name.sql() + " ALTER " + quoted_identifier(c.name) + " SET GENERATED BY DEFAULT");
  }

  void check_unique() {
    for (const auto& d : table_.dimensions)
      if (!in_key(d))
        return report("key", "it is a hypertable partitioned by '" + d +
                                 "', so its unique indexes must include this column; add '" + d + "' to the key");
    auto wanted = options_.key;
    std::sort(wanted.begin(), wanted.end());
    for (auto columns : table_.unique_keys) {
      std::sort(columns.begin(), columns.end());
      if (columns == wanted) return;
    }
    report("key", "it has no unique index or primary key over exactly " + listed(options_.key) +
                      ", which 'conflict' needs; create one: " + unique_index_sql(table_.name, options_.key));
  }

  void check_rights() {
    const auto grant = [&](const std::string& what) {
      report("conflict", "no privilege to read existing rows: GRANT " + what + " ON " + table_.name.sql() +
                             " to the user of 'url'");
    };
    const bool update = options_.conflict == conflict_policy::update;
    const auto lacks = [&](const table_column& c) {
      return in_key(c.name) ? !c.may_select : update && written(c.name) && (!c.may_select || !c.may_update);
    };
    if (std::any_of(table_.columns.begin(), table_.columns.end(), lacks)) grant(update ? "SELECT, UPDATE" : "SELECT");
    if (!table_.may_stage)
      report("conflict",
             "no privilege to create the temporary table that 'conflict' needs: GRANT TEMPORARY ON DATABASE to the "
             "user of 'url'");
  }

  void write_sql() {
    std::vector<std::string> columns;
    for (const auto& c : plan_.columns) columns.push_back(c.column);
    const auto list = quoted_list(columns);
    const bool direct = options_.conflict == conflict_policy::error;
    plan_.table = direct ? table_.name.table : staging_table;
    plan_.sql = "COPY " + (direct ? table_.name.sql() : "pg_temp." + std::string(staging_table)) + " (" + list +
                ") FROM STDIN (FORMAT binary)";
    if (direct) return;
    // The staging table has the types and collations of the table, so that equality is the same in both.
    plan_.staging = "CREATE TEMPORARY TABLE " + std::string(staging_table) + " ON COMMIT DROP AS SELECT " + list +
                    " FROM " + table_.name.sql() + " WITH NO DATA;";
    // As COPY does, write the given value into an identity column that is GENERATED ALWAYS.
    plan_.landing = "INSERT INTO " + table_.name.sql() + " (" + list + ") OVERRIDING SYSTEM VALUE SELECT " +
                    chosen_rows(list) + " ON CONFLICT (" + quoted_list(options_.key) + ") DO " + resolution();
  }

  // Select the last row of each key, because one statement cannot write a row twice. The staging table only had
  // inserts, so its ctid order is the order of insertion. Sorting by the key also prevents deadlocks between writers.
  [[nodiscard]] std::string chosen_rows(const std::string& list) const {
    const auto from = " FROM pg_temp." + std::string(staging_table);
    if (options_.conflict != conflict_policy::update) return list + from;
    const auto key = quoted_list(options_.key);
    return "DISTINCT ON (" + key + ") " + list + from + " ORDER BY " + key + ", ctid DESC";
  }

  [[nodiscard]] std::string resolution() const {
    std::string set;
    for (const auto& c : plan_.columns)
      if (options_.conflict == conflict_policy::update && !in_key(c.column))
        set += (set.empty() ? "" : ", ") + quoted_identifier(c.column) + " = EXCLUDED." + quoted_identifier(c.column);
    return set.empty() ? "NOTHING" : "UPDATE SET " + set;
  }

  const options& options_;
  const table_info& table_;
  const pl_schema* in_;
  copy_plan& plan_;
  findings found_;
};

}  // namespace

findings table_findings(const table_info& table) {
  const auto name = "'" + table.name.shown() + "'";
  if (table.kind == 'v' || table.kind == 'm')
    return {{"table", name + " is a view; use the table in which the rows are to be stored"}};
  if (table.kind != 'r' && table.kind != 'p' && table.kind != 'f')
    return {{"table", name + " is not a table; change 'table'"}};
  if (table.row_security)
    return {{"table",
             name + " has row-level security for this user, which COPY does not support; use a user with BYPASSRLS"}};
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

findings key_findings(const options& o) {
  if (o.conflict == conflict_policy::error) {
    if (o.key.empty()) return {};
    return {{"key", "applies only to 'conflict: ignore' and 'conflict: update'; set one of them, or remove 'key'"}};
  }
  if (o.key.empty())
    return {{"key", "'conflict' needs the columns that identify a row; add for example key: [device_id, time]"}};
  findings found;
  for (std::size_t i = 0; i < o.key.size(); ++i) {
    const auto option = "key[" + std::to_string(i) + "]";
    if (std::find(o.key.begin(), o.key.begin() + static_cast<std::ptrdiff_t>(i), o.key[i]) !=
        o.key.begin() + static_cast<std::ptrdiff_t>(i))
      found.push_back({option, "'" + o.key[i] + "' is listed twice; remove one of them"});
    else if (!o.columns.empty() && !o.columns.contains(o.key[i]))
      found.push_back({option, "no field is mapped to column '" + o.key[i] + "'; add it to 'columns'"});
  }
  return found;
}

findings make_plan(const options& o, const table_info& table, const pl_schema* in, copy_plan& plan) {
  plan = {};
  if (auto found = table_findings(table); !found.empty()) return found;
  return planner(o, table, in, plan).run();
}

}  // namespace timescale
