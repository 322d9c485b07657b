// SPDX-License-Identifier: Apache-2.0
#include "plan.hpp"

#include "field_values.hpp"

#include <pipeline/json.hpp>

#include <algorithm>
#include <cctype>
#include <utility>

namespace json_telemetry {

namespace {

std::string at_index(std::string_view option, std::size_t i) {
  return std::string(option) + "[" + std::to_string(i) + "]";
}

// Convert snake_case to camelCase, such as user_id to userId.
std::string camel_case(std::string_view snake) {
  std::string out;
  bool upper = false;
  for (const char c : snake) {
    if (c == '_' && !out.empty()) {
      upper = true;
      continue;
    }
    out.push_back(upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c);
    upper = false;
  }
  return out;
}

void add_once(std::vector<std::string>& to, std::string path) {
  if (std::find(to.begin(), to.end(), path) == to.end()) to.push_back(std::move(path));
}

// Return the paths to look for. For user_id: user_id, userId, userID, user.id, user.
std::vector<std::string> spellings(std::string_view name, bool is_id) {
  std::vector<std::string> all{escaped_key(name)};
  add_once(all, escaped_key(camel_case(name)));
  if (!is_id || !name.ends_with("_id") || name.size() <= 3) return all;
  const auto owner = name.substr(0, name.size() - 3);
  add_once(all, escaped_key(camel_case(owner)) + "ID");
  add_once(all, escaped_key(owner) + ".id");
  add_once(all, escaped_key(owner));
  return all;
}

class planner {
 public:
  planner(const options& o, const option_reporter& report) : o_(o), report_(report) {}

  plan make() {
    add_time();
    for (std::size_t i = 0; i < o_.ids.size(); ++i) add_named(at_index("ids", i), o_.ids[i], true);
    for (std::size_t i = 0; i < o_.metrics.size(); ++i) add_named(at_index("metrics", i), o_.metrics[i], false);
    for (std::size_t i = 0; i < o_.columns.size(); ++i) add_column(at_index("columns", i), o_.columns[i]);
    add_units();
    add_readings();
    plan_.tree.build();
    add_patterns();
    add_output();
    set_limits();
    return std::move(plan_);
  }

 private:
  void problem(std::string_view option, std::string_view what) { report_(option, what); }

  // Return the paths, followed by each path inside each object of nested_in.
  std::vector<std::string> with_nests(std::vector<std::string> paths) const {
    const auto n = paths.size();
    for (const auto& nest : o_.nested_in)
      for (std::size_t i = 0; i < n; ++i) add_once(paths, nest + "." + paths[i]);
    return paths;
  }

  void add_paths(std::string_view option, const std::vector<std::string>& from, std::uint16_t field, bool whole) {
    for (std::size_t rank = 0; rank < from.size(); ++rank) {
      const auto path = parse_path(from[rank]);
      if (!path.ok()) {
        problem(option, path.why().message);
        continue;
      }
      plan_.tree.add(*path, {field, static_cast<std::uint16_t>(rank)});
      if (whole) plan_.tree.take_whole(*path);
    }
  }

  void add_time() {
    plan_.unit = o_.time.unit;
    plan_.missing_time = o_.time.missing;
    plan_.window = o_.time_window;
    if (const auto zone = parse_zone_policy(o_.time.zone))
      plan_.zone = *zone;
    else
      problem("time.zone", "'" + o_.time.zone + "' is neither utc nor reject nor an offset such as +05:30");
    if (o_.time.column.empty()) problem("time.column", "the column needs a name");
    if (o_.time.from.empty() && o_.time.missing == on_missing_time::reject)
      problem("time.from",
              "without a path every record would be rejected; add a path, or set time.missing to message_time");
    column_plan time;
    time.name = o_.time.column;
    time.type = column_type::time;
    time.from = with_nests(o_.time.from);
    add_paths("time.from", time.from, plan::time_field, false);
    plan_.columns.push_back(std::move(time));
  }

  bool name_is_free(const std::string& option, const std::string& name) {
    const auto same = [&](const column_plan& c) { return c.name == name; };
    if (name.empty())
      problem(option, "the column needs a name");
    else if (std::any_of(plan_.columns.begin(), plan_.columns.end(), same))
      problem(option, "there is a column '" + name + "' already");
    else
      return true;
    return false;
  }

  // Add an id or a metric; an entry of `columns` with the same name replaces it.
  void add_named(const std::string& option, const std::string& name, bool is_id) {
    for (std::size_t i = 0; i < o_.columns.size(); ++i)
      if (o_.columns[i].name == name) return add_column(at_index("columns", i), o_.columns[i], is_id);
    if (!name_is_free(option, name)) return;
    column_plan c;
    c.name = name;
    c.is_id = c.required = is_id;
    c.type = is_id ? column_type::text : column_type::floating;
    c.lenient = is_id || o_.coerce == coercion::lenient;
    c.may_go_to_extra = !is_id && o_.invalid == on_invalid::extra;
    c.from = with_nests(spellings(name, is_id));
    add_paths(option, c.from, static_cast<std::uint16_t>(plan_.columns.size()), false);
    plan_.columns.push_back(std::move(c));
  }

  bool is_placed(const std::string& name) const {
    const auto& o = o_;
    return std::find(o.ids.begin(), o.ids.end(), name) != o.ids.end() ||
           std::find(o.metrics.begin(), o.metrics.end(), name) != o.metrics.end();
  }
  void add_column(const std::string& option, const column_options& column) {
    if (!is_placed(column.name)) add_column(option, column, false);
  }
  void add_column(const std::string& option, const column_options& column, bool is_id) {
    if (!name_is_free(option + ".name", column.name)) return;
    column_plan c;
    c.name = column.name;
    c.type = column.type;
    c.is_id = is_id;
    c.required = column.required;
    c.lenient = column.coerce.value_or(o_.coerce) == coercion::lenient;
    c.may_go_to_extra = !c.required && o_.invalid == on_invalid::extra;
    c.from = column.from.empty() ? with_nests(spellings(column.name, is_id)) : column.from;
    c.otherwise = default_cell(option, column, c);
    if (column.unit) c.units = column.unit->accept;
    add_paths(option + ".from", c.from, static_cast<std::uint16_t>(plan_.columns.size()), c.type == column_type::json);
    if (column.unit) units_.emplace_back(plan_.columns.size(), std::pair{option + ".unit", *column.unit});
    plan_.columns.push_back(std::move(c));
  }

  // Convert the default as any other value: format it as JSON, then read it for the column.
  pl::cell default_cell(const std::string& option, const column_options& column, column_plan& c) {
    if (std::holds_alternative<std::monostate>(column.otherwise)) return pl::null_cell();
    if (c.required) problem(option + ".default", "a required column never uses its default; remove one of the two");
    std::string written;
    pl::append_json(written, scalar_cell(column.otherwise));
    text_arena arena;
    const auto keep = [this](std::size_t n) { return plan_.default_texts.emplace_back(n, '\0').data(); };
    arena.begin(keep);
    json_scanner scanner({}, arena);
    const auto& document = plan_.default_texts.emplace_back(std::move(written));
    scanner.begin(document);
    json_value value;
    pl::cell cell = pl::null_cell();
    std::string why;
    if (!scanner.value(value) || !read_field(value, c, {plan_.unit, plan_.zone, plan_.nul}, arena, cell, why))
      problem(option + ".default", why.empty() ? "not a valid value for a column" : why);
    return cell;
  }
  static pl::cell scalar_cell(const pl::scalar& s) {
    if (const auto* b = std::get_if<bool>(&s)) return pl::bool_cell(*b);
    if (const auto* i = std::get_if<std::int64_t>(&s)) return pl::int_cell(*i);
    if (const auto* d = std::get_if<double>(&s)) return pl::real_cell(*d);
    return pl::text_cell(std::get<std::string>(s));
  }

  void add_units() {
    plan_.fields = static_cast<std::uint16_t>(plan_.columns.size());
    for (const auto& [column, unit] : units_) {
      if (unit.second.from.empty()) problem(unit.first + ".from", "name the path of the unit");
      if (unit.second.accept.empty()) problem(unit.first + ".accept", "name at least one accepted unit");
      plan_.columns[column].unit_field = plan_.fields;
      add_paths(unit.first + ".from", unit.second.from, plan_.fields++, false);
    }
  }

  void add_readings() {
    for (std::size_t i = 0; i < o_.readings.size(); ++i) {
      const auto path = parse_path(o_.readings[i]);
      if (!path.ok()) {
        problem(at_index("readings", i), path.why().message);
        continue;
      }
      plan_.tree.mark_readings(*path);
      plan_.has_readings = true;
    }
  }

  void add_patterns() {
    plan_.id_conflict = o_.ids_from.conflict;
    add_pattern("ids_from.topic", o_.ids_from.topic, plan_.topic);
    add_pattern("ids_from.key", o_.ids_from.key, plan_.key);
  }
  void add_pattern(std::string_view option, const std::string& source, std::optional<path_pattern>& to) {
    if (source.empty()) return;
    auto pattern = path_pattern::parse(source, [this](std::string_view name) -> std::optional<std::uint16_t> {
      for (std::size_t i = 0; i < plan_.columns.size(); ++i)
        if (plan_.columns[i].name == name && plan_.columns[i].type == column_type::text)
          return static_cast<std::uint16_t>(i);
      return std::nullopt;
    });
    if (pattern.ok())
      to = std::move(*pattern);
    else
      problem(option, pattern.why().message);
  }

  void add_output() {
    for (const auto& c : plan_.columns) plan_.output.push_back(c.name);
    for (std::size_t i = 0; i < o_.keep.size(); ++i) add_output_name(at_index("keep", i), o_.keep[i]);
    plan_.keep = o_.keep;
    plan_.has_extra = !o_.extra.empty() && o_.extra != "off";
    if (plan_.has_extra)
      add_output_name("extra", o_.extra);
    else if (o_.invalid == on_invalid::extra)
      problem("invalid", "'extra' needs the column that the option 'extra: off' turns off");
  }
  void add_output_name(const std::string& option, const std::string& name) {
    if (name.empty()) problem(option, "the column needs a name");
    if (std::find(plan_.output.begin(), plan_.output.end(), name) != plan_.output.end())
      problem(option, "there is a column '" + name + "' already");
    plan_.output.push_back(name);
  }

  void set_limits() {
    plan_.payload = o_.payload;
    plan_.limits = {o_.max_depth, o_.max_keys, o_.duplicate_keys == on_duplicate_key::reject};
    plan_.max_size = o_.max_size.bytes;
    plan_.max_id = o_.max_id.bytes;
    plan_.nul = o_.nul;
    plan_.tombstones = o_.tombstones;
    constexpr std::size_t most = 10'000;  // columns and their units; a target stores the field in 16 bits
    if (plan_.fields > most) problem("columns", "more than 10,000 columns");
  }

  const options& o_;
  const option_reporter& report_;
  plan plan_;
  std::vector<std::pair<std::size_t, std::pair<std::string, unit_options>>> units_;
};

}  // namespace

plan make_plan(const options& o, const option_reporter& report) { return planner(o, report).make(); }

}  // namespace json_telemetry
