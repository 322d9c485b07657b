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

constexpr std::string_view staging_table = "pipeline_host_rows";

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
    if (options_.conflict != conflict_policy::error) check_key();
    write_sql();
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
      if (written(c.name)) continue;
      say(options_.columns.empty() ? "table" : "columns",
          "column '" + c.name +
              "' is NOT NULL, has no default, and no field goes there. Map a field to it, or give it a "
              "default in the database");
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
        say(option, "it has no column '" + column + "'" + did_you_mean(column, column_names(table_)));
      else if (before == 0 && (in_ || !options_.columns.empty()) && !written(column))
        say(option, "nothing is written to its column '" + column + "', which is part of the key");
    }
    if (found_.size() == before) check_unique();
    if (found_.size() == before) check_rights();
    // Such a row could never be found again: it would be stored once more with every repetition.
    for (auto& c : plan_.columns) c.not_null = c.not_null || in_key(c.column);
  }

  void check_unique() {
    for (const auto& d : table_.dimensions)
      if (!in_key(d))
        return say("key", "it is a hypertable cut by '" + d +
                              "', so its unique indexes must have that column in them: add '" + d + "' to the key");
    auto wanted = options_.key;
    std::sort(wanted.begin(), wanted.end());
    for (auto columns : table_.unique_keys) {
      std::sort(columns.begin(), columns.end());
      if (columns == wanted) return;
    }
    say("key", "it has no unique index or primary key over exactly " + listed(options_.key) +
                   ", without which nobody notices a second row: " + unique_index_sql(table_.name, options_.key));
  }

  void check_rights() {
    const auto grant = [&](const std::string& what) {
      say("conflict", "no privilege to look for rows that are there: GRANT " + what + " ON " + table_.name.sql() +
                          " to the user of 'url'");
    };
    const bool update = options_.conflict == conflict_policy::update;
    const auto lacks = [&](const table_column& c) {
      return in_key(c.name) ? !c.may_select : update && written(c.name) && (!c.may_select || !c.may_update);
    };
    if (std::any_of(table_.columns.begin(), table_.columns.end(), lacks)) grant(update ? "SELECT, UPDATE" : "SELECT");
    if (!table_.may_stage)
      say("conflict",
          "no privilege to make the temporary table that this needs: GRANT TEMPORARY ON DATABASE to the user of 'url'");
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
    // The types are the table's own, collations too, so that equal means the same in both.
    plan_.staging = "CREATE TEMPORARY TABLE " + std::string(staging_table) + " ON COMMIT DROP AS SELECT " + list +
                    " FROM " + table_.name.sql() + " WITH NO DATA;";
    plan_.landing = "INSERT INTO " + table_.name.sql() + " (" + list + ") SELECT " + chosen_rows(list) +
                    " ON CONFLICT (" + quoted_list(options_.key) + ") DO " + resolution();
  }

  // One statement can't write a row twice, so the last of a key is picked beforehand. A table that rows were only ever
  // added to has them in ctid's order. Sorting by the key also means that two writers never wait for each other.
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

findings key_findings(const options& o) {
  if (o.conflict == conflict_policy::error) {
    if (o.key.empty()) return {};
    return {{"key", "is for 'conflict: ignore' and 'conflict: update' only: without them every row is added"}};
  }
  if (o.key.empty())
    return {{"key", "'conflict' needs to know by which columns rows are told apart: key: [device_id, time]"}};
  findings found;
  for (std::size_t i = 0; i < o.key.size(); ++i) {
    const auto option = "key[" + std::to_string(i) + "]";
    if (std::find(o.key.begin(), o.key.begin() + static_cast<std::ptrdiff_t>(i), o.key[i]) !=
        o.key.begin() + static_cast<std::ptrdiff_t>(i))
      found.push_back({option, "names '" + o.key[i] + "' a second time"});
    else if (!o.columns.empty() && !o.columns.contains(o.key[i]))
      found.push_back({option, "nothing is written to column '" + o.key[i] + "': 'columns' doesn't name it"});
  }
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
  for (std::size_t i = 0; i < o.key.size(); ++i) need(o.key[i], "key[" + std::to_string(i) + "]");
  if (create.hypertable.enabled && !o.key.empty() && std::find(o.key.begin(), o.key.end(), time_column) == o.key.end())
    found.push_back({"key",
                     "the table to be created is a hypertable, whose unique indexes must have the time column in "
                     "them: add '" +
                         time_column + "' to the key, or set 'create.hypertable.enabled: false'"});
  for (std::size_t i = 0; create.compression && i < create.compression->segment_by.size(); ++i)
    need(create.compression->segment_by[i], "create.compression.segment_by[" + std::to_string(i) + "]");
  return found;
}

}  // namespace timescale
