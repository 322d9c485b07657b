// SPDX-License-Identifier: Apache-2.0
#include "host/cases/test_case.hpp"

#include "config/scalars.hpp"

#include <pipeline/text.hpp>
#include <pipeline/time.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <set>
#include <string_view>
#include <system_error>

namespace pl::host {

namespace fs = std::filesystem;
using config::value;

namespace {

class reader {
 public:
  explicit reader(config::diagnostics& problems) : problems_(problems) {}

  void read(const value& document, test_file& to) {
    if (!is_map(document, "a file of cases", "write cases: [...]")) return;
    only(document, {"cases", "environment", "now", "pipeline"});
    if (const auto* e = document.find("environment")) environment(*e, to);
    const auto now = time_of(document.find("now"));
    const auto pipeline = text_of(document.find("pipeline"));
    const auto* cases = document.find("cases");
    if (cases == nullptr || !cases->is_list() || cases->children.empty()) {
      problems_.error(document.where, "there are no cases", "write cases: [{name: ..., input: [...], expect: {...}}]");
      return;
    }
    for (const auto& c : cases->children) {
      auto made = read_case(c);
      if (!made.now) made.now = now;
      if (!made.pipeline) made.pipeline = pipeline;
      if (!names_.insert(made.name).second && !made.name.empty())
        problems_.error(made.where, fmt::format("another case is named '{}'", config::printable(made.name)),
                        "give each case a name of its own");
      to.cases.push_back(std::move(made));
    }
  }

 private:
  bool is_map(const value& v, std::string_view what, std::string hint) {
    if (v.is_map()) return true;
    if (!v.broken) problems_.error(v.at(), fmt::format("{} must be a map", what), std::move(hint));
    return false;
  }

  void only(const value& map, std::initializer_list<std::string_view> known) {
    const std::vector<std::string_view> names(known);
    for (const auto& member : map.children)
      if (std::ranges::find(names, member.key) == names.end())
        problems_.error(member.key_where, fmt::format("unknown key '{}'", config::printable(member.key)),
                        did_you_mean(member.key, names));
  }

  std::optional<placed_text> text_of(const value* v) {
    if (v == nullptr || v->broken) return std::nullopt;
    if (v->is_scalar()) return placed_text{v->text, v->where};
    problems_.error(v->at(), fmt::format("'{}' must be a text", v->key));
    return std::nullopt;
  }

  template <class Parse>
  auto parsed(const value* v, Parse&& parse, std::string_view what)
      -> std::optional<std::decay_t<decltype(*parse(std::string_view()))>> {
    const auto text = text_of(v);
    if (!text) return std::nullopt;
    if (auto result = parse(std::string_view(text->text))) return *result;
    problems_.error(text->where, fmt::format("'{}' is not {}", config::printable(text->text), what));
    return std::nullopt;
  }
  std::optional<std::int64_t> time_of(const value* v) {
    return parsed(v, parse_rfc3339, "a time; write 2026-11-24T18:10:23Z");
  }

  void environment(const value& v, test_file& to) {
    if (!is_map(v, "environment", "write {DATABASE_URL: ...}")) return;
    for (const auto& member : v.children)
      if (const auto text = text_of(&member)) to.environment[member.key] = text->text;
  }

  test_case read_case(const value& v) {
    test_case c;
    c.where = v.at();
    if (!is_map(v, "a case", "write {name: ..., input: [...], expect: {...}}")) return c;
    only(v, {"name", "pipeline", "now", "input", "expect"});
    if (const auto name = text_of(v.find("name"))) c.name = name->text, c.where = name->where;
    if (c.name.empty()) problems_.error(c.where, "a case needs a name", "add name: ...");
    c.pipeline = text_of(v.find("pipeline"));
    c.now = time_of(v.find("now"));
    const auto* input = v.find("input");
    if (input == nullptr || !input->is_list())
      problems_.error(c.where, "a case needs a list of inputs", "add input: [{value: ...}]");
    else
      for (const auto& item : input->children) c.input.push_back(read_step(item));
    const auto* expect = v.find("expect");
    if (expect == nullptr)
      problems_.error(c.where, "a case needs expectations", "add expect: {sinks: {...}}");
    else
      read_expectations(*expect, c);
    return c;
  }

  test_step read_step(const value& v) {
    test_step s;
    s.where = v.at();
    if (!is_map(v, "an input", "write {value: ...}, {file: ...} or {advance: 10m}")) return s;
    if (const auto* advance = v.find("advance")) {
      only(v, {"advance"});
      s.advance = parsed(advance, config::parse_duration, "a duration; write 10m").value_or(0);
      if (*s.advance < 0) problems_.error(advance->where, "time does not go back", "write a positive duration");
      return s;
    }
    for (const auto& member : v.children) {
      if (member.key == "source")
        s.source = text_of(&member);
      else if (member.key == "file")
        s.file = text_of(&member).value_or(placed_text{}).text;
      else if (member.key == "split")
        read_split(member, s);
      else
        s.columns.push_back(member);
    }
    if (!s.file && s.columns.empty()) problems_.error(s.where, "an input needs a column", "write {value: ...}");
    return s;
  }

  void read_split(const value& v, test_step& s) {
    const auto text = text_of(&v);
    s.whole_file = text && text->text == "none";
    if (text && text->text != "none" && text->text != "lines")
      problems_.error(v.where, "'split' must be lines or none", "lines: each line of the file is a record");
  }

  void read_expectations(const value& v, test_case& c) {
    if (!is_map(v, "expect", "write {sinks: {...}}")) return;
    only(v, {"sinks", "outputs", "alerts", "dead_letters"});
    const auto named = [&](std::string_view key, std::vector<named_output>& to) {
      const auto* map = v.find(key);
      if (map == nullptr || !is_map(*map, fmt::format("'{}'", key), "write {NAME: [rows]}")) return;
      for (const auto& member : map->children) to.push_back({member.key, member.key_where, read_output(member)});
    };
    named("sinks", c.sinks);
    named("outputs", c.outputs);
    if (const auto* alerts = v.find("alerts")) c.alerts = read_output(*alerts);
    if (const auto* letters = v.find("dead_letters")) c.dead_letters = read_output(*letters);
  }

  expected_output read_output(const value& v) {
    expected_output out;
    out.where = v.key_where;
    if (v.is_list()) {
      out.rows = read_rows(v);
      return out;
    }
    if (!is_map(v, fmt::format("'{}'", config::printable(v.key)), "write a list of rows, or {rows: [...], count: 2}"))
      return out;
    only(v, {"rows", "contains", "count", "columns", "every", "order"});
    if (const auto* rows = v.find("rows")) out.rows = read_rows(*rows);
    if (const auto* rows = v.find("contains")) out.contains = read_rows(*rows);
    if (const auto count = parsed(v.find("count"), config::parse_int, "a number of rows"))
      out.count = static_cast<std::uint64_t>(std::max<std::int64_t>(0, *count));
    out.every = text_of(v.find("every"));
    if (const auto order = text_of(v.find("order"))) {
      out.any_order = order->text == "any";
      if (!out.any_order && order->text != "exact")
        problems_.error(order->where, "'order' must be exact or any", "any: the rows may come in any order");
    }
    if (const auto* columns = v.find("columns")) read_columns(*columns, out);
    return out;
  }

  void read_columns(const value& v, expected_output& to) {
    if (!v.is_list()) return (void)problems_.error(v.at(), "'columns' must be a list of names");
    to.columns.emplace();
    for (const auto& name : v.children)
      if (const auto text = text_of(&name)) to.columns->push_back(text->text);
  }

  std::vector<expected_row> read_rows(const value& v) {
    std::vector<expected_row> rows;
    if (!v.is_list()) {
      if (!v.broken) problems_.error(v.at(), fmt::format("'{}' must be a list of rows", v.key), "write [] for no row");
      return rows;
    }
    for (const auto& item : v.children) rows.push_back(read_row(item));
    return rows;
  }

  expected_row read_row(const value& v) {
    expected_row row;
    row.where = v.at();
    if (v.is_scalar()) {
      row.when = condition{v.text, v.where};
    } else if (is_map(v, "an expected row", "write {column: value}, or a condition")) {
      for (const auto& member : v.children)
        if (member.key == "where")
          row.when = text_of(&member);
        else
          row.cells.push_back(member);
    }
    return row;
  }

  config::diagnostics& problems_;
  std::set<std::string> names_;
};

}  // namespace

test_file read_test_file(const fs::path& path, config::diagnostics& problems) {
  test_file file;
  file.path = path;
  const auto documents = config::load_documents({path.string(), std::nullopt}, problems);
  reader r(problems);
  for (const auto& document : documents) r.read(document, file);
  if (documents.empty() && !problems.has_errors()) problems.error({}, path.string() + " contains no cases");
  return file;
}

std::vector<fs::path> test_files_of(const fs::path& configuration) {
  const auto stem = configuration.stem().string();
  const auto folder = configuration.has_parent_path() ? configuration.parent_path() : fs::path(".");
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    const auto name = entry->path().filename().string();
    if (name.starts_with(stem + ".") && (name.ends_with(".test.yaml") || name.ends_with(".test.yml")))
      found.push_back(configuration.has_parent_path() ? entry->path() : entry->path().filename());
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace pl::host
