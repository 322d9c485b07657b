// SPDX-License-Identifier: Apache-2.0
#include "host/cases/input.hpp"

#include "cel_common/literals.hpp"
#include "host/cases/yaml_json.hpp"
#include "json_common/path_pattern.hpp"

#include <pipeline/json.hpp>
#include <pipeline/text.hpp>
#include <pipeline/time.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

namespace pl::host {

using config::value;

namespace {

constexpr std::string_view payload_column = "value", time_column = "time";

// A cell as it is written in a stored row (engine/stored_row.hpp).
struct stored_cell {
  std::string json, kind;
};
stored_cell coded(std::string_view bytes, std::string kind) { return {'"' + base64(bytes) + '"', std::move(kind)}; }

class input_maker {
 public:
  input_maker(const test_case& c, const std::vector<engine::node_outputs>& sources, const segment_patterns& segments,
              const std::filesystem::path& folder, config::diagnostics& problems)
      : case_(c), sources_(sources), segments_(segments), folder_(folder), problems_(problems) {}

  case_input make() {
    now_ = start();
    case_input made;
    made.now = now_;
    for (const auto& step : case_.input) {
      if (step.advance)
        advance(*step.advance);
      else if (const auto* source = source_of(step))
        add_records(step, *source);
    }
    for (const auto& name : with_records_) made.lines[name] = lines_[name];
    return made;
  }

 private:
  // The case begins at `now`; if it has none, at the time of its first input, or else now.
  [[nodiscard]] std::int64_t start() const {
    if (case_.now) return *case_.now;
    if (!case_.input.empty())
      for (const auto& c : case_.input.front().columns)
        if (const auto at = c.key == time_column && c.is_scalar() ? parse_rfc3339(c.text) : std::nullopt) return *at;
    const std::chrono::nanoseconds now = std::chrono::system_clock::now().time_since_epoch();
    return now.count();
  }

  void advance(std::int64_t by) {
    now_ += by;
    for (const auto& s : sources_) lines_[s.node] += fmt::format("{}\n", now_);
  }

  const engine::node_outputs* source_of(const test_step& step) {
    std::vector<std::string> names;
    for (const auto& s : sources_) names.push_back(s.node);
    if (!step.source) {
      if (sources_.size() == 1) return &sources_.front();
      problems_.error(step.where, "the pipeline has several sources, and the input names none",
                      fmt::format("add source: with one of {}", fmt::join(names, ", ")));
      return nullptr;
    }
    const auto at = std::ranges::find(sources_, step.source->text, &engine::node_outputs::node);
    if (at != sources_.end()) return &*at;
    const std::vector<std::string_view> known(names.begin(), names.end());
    problems_.error(step.source->where,
                    fmt::format("the pipeline has no source '{}'", config::printable(step.source->text)),
                    did_you_mean(step.source->text, known));
    return nullptr;
  }

  void add_records(const test_step& given, const engine::node_outputs& source) {
    const auto columns = columns_of(source);
    check_names(given, source, columns);
    const auto step = with_segments(given, source);
    const auto time = time_of(step);
    now_ = std::max(now_, time);
    if (!step.file) return add_record(step, source, columns, time, {});
    for (const auto& line : lines_of(step)) add_record(step, source, columns, time, line);
  }

  // Add the columns that the source makes from the topic. A column that the case gives stays.
  test_step with_segments(test_step step, const engine::node_outputs& source) {
    const auto configured = segments_.find(source.node);
    const auto* topic = find(step, "topic");
    if (configured == segments_.end() || topic == nullptr || !topic->is_scalar()) return step;
    std::vector<std::string> names;
    const auto pattern = json::path_pattern::parse(configured->second, [&](std::string_view name) {
      names.emplace_back(name);
      return std::optional(static_cast<std::uint16_t>(names.size() - 1));
    });
    std::vector<std::string_view> found(names.size());
    if (!pattern.ok() || !pattern->match(topic->text, found)) return step;
    std::vector<value> added;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (find(step, names[i]) != nullptr) continue;
      value v = *topic;
      v.key = names[i];
      v.text = found[i];
      v.quoted = true;
      added.push_back(std::move(v));
    }
    std::ranges::move(added, std::back_inserter(step.columns));
    return step;
  }

  // Return the time of arrival: as given, else now.
  std::int64_t time_of(const test_step& step) {
    const auto* given = find(step, time_column);
    if (given == nullptr) return now_;
    if (given->is_scalar())
      if (const auto time = parse_rfc3339(given->text)) return *time;
    problems_.error(given->at(), "this is not a time", "write 2026-11-24T18:10:23Z");
    return now_;
  }

  static const value* find(const test_step& step, std::string_view column) {
    const auto at = std::ranges::find(step.columns, column, &value::key);
    return at == step.columns.end() ? nullptr : &*at;
  }

  void check_names(const test_step& step, const engine::node_outputs& source,
                   const std::vector<source_column>& columns) {
    std::vector<std::string_view> names{time_column, "source", "file", "advance"};
    for (const auto& c : columns) names.push_back(c.name);
    const bool has_payload = std::ranges::find(names, payload_column) != names.end();
    for (const auto& c : step.columns) {
      if (std::ranges::find(names, c.key) == names.end()) {
        auto hint = did_you_mean(c.key, names);
        if (hint.empty() && has_payload) hint = fmt::format("put the payload under {}: {{...}}", payload_column);
        problems_.error(c.key_where,
                        fmt::format("the source '{}' has no column '{}'", source.node, config::printable(c.key)),
                        std::move(hint));
      }
      if (step.file && c.key == payload_column) problems_.error(c.key_where, "an input has either a file or a value");
    }
    if (step.file && std::ranges::find(columns, payload_column, &source_column::name) == columns.end())
      problems_.error(step.where, fmt::format("the source '{}' has no column 'value' for the lines", source.node));
  }

  std::vector<std::string> lines_of(const test_step& step) {
    const auto path =
        std::filesystem::path(*step.file).is_absolute() ? std::filesystem::path(*step.file) : folder_ / *step.file;
    const auto refuse = [&](std::string_view why, std::string hint) {
      problems_.error(step.where, fmt::format("cannot read the file {}{}", path.string(), why), std::move(hint));
      return std::vector<std::string>{};
    };
    std::error_code unknown;
    const auto status = std::filesystem::status(path, unknown);
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
      return refuse(": it is not a regular file", "name a file, not a directory or a pipe");
    std::ifstream in(path, std::ios::binary);
    if (!in) return refuse({}, "paths are relative to the file of cases");
    auto lines = step.whole_file ? whole(in) : lines_in(in);
    if (in.bad()) return refuse(": reading it failed", "check the disk");
    return lines;
  }
  static std::vector<std::string> whole(std::istream& in) {
    std::string all;
    std::array<char, 16384> part;
    while (in.read(part.data(), part.size()) || in.gcount() > 0)
      all.append(part.data(), static_cast<std::size_t>(in.gcount()));
    return {std::move(all)};
  }
  static std::vector<std::string> lines_in(std::istream& in) {
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
      if (line.ends_with('\r')) line.pop_back();
      if (!line.empty()) lines.push_back(line);
    }
    return lines;
  }

  void add_record(const test_step& step, const engine::node_outputs& source, const std::vector<source_column>& columns,
                  std::int64_t time, const std::optional<std::string>& payload) {
    std::string members, kinds;
    for (const auto& c : columns) {
      const auto* given = find(step, c.name);
      auto cell = stored_cell{{}, "null"};
      if (payload && c.name == payload_column)
        cell = coded(*payload, c.kind == PL_TEXT ? "text64" : "bytes64");
      else if (c.name == time_column && c.kind == PL_TIME_NS)
        cell = {'"' + rfc3339(time) + '"', "time"};
      else if (given != nullptr)
        cell = encode(*given, c.kind);
      kinds += kinds.empty() ? "" : ",";
      append_json_string(kinds, c.name);
      kinds += ":\"" + cell.kind + '"';
      if (cell.json.empty()) continue;
      append_json_string(members, c.name);
      members += ":" + cell.json + ",";
    }
    lines_[source.node] += fmt::format("{} {{{}\"$kinds\":{{{}}}}}\n", now_, members, kinds);
    with_records_.insert(source.node);
  }

  stored_cell encode(const value& v, std::uint32_t kind) {
    if (v.is_null()) return {{}, "null"};
    const auto json = to_json(v);
    const bool number = is_json_scalar(v) && v.text != "true" && v.text != "false";
    switch (kind) {
      case PL_BYTES:
        return coded(v.is_scalar() ? v.text : json, "bytes64");
      case PL_TEXT:
        return v.is_scalar() ? coded(v.text, "text64") : wrong(v, "a text");
      case PL_JSON:
        return {json, "json"};
      case PL_BOOL:
        return json == "true" || json == "false" ? stored_cell{json, "bool"} : wrong(v, "true or false");
      case PL_I64:
        return v.is_scalar() && cel::read_int(v.text) ? stored_cell{v.text, "int"} : wrong(v, "an integer");
      case PL_F64:
        return number ? stored_cell{json, "real"} : wrong(v, "a number");
      case PL_TIME_NS:
        return v.is_scalar() && parse_rfc3339(v.text) ? stored_cell{'"' + v.text + '"', "time"} : wrong(v, "a time");
      default:  // not known: as it is written
        if (!v.is_scalar()) return {json, "json"};
        if (!is_json_scalar(v)) return coded(v.text, "text64");
        return {json, number ? "real" : "bool"};
    }
  }
  stored_cell wrong(const value& v, std::string_view what) {
    problems_.error(v.at(), fmt::format("the column '{}' needs {}", v.key, what));
    return {{}, "null"};
  }

  const test_case& case_;
  const std::vector<engine::node_outputs>& sources_;
  const segment_patterns& segments_;
  const std::filesystem::path& folder_;
  config::diagnostics& problems_;
  std::int64_t now_ = 0;
  std::map<std::string, std::string> lines_;
  std::set<std::string> with_records_;
};

}  // namespace

std::vector<source_column> columns_of(const engine::node_outputs& source) {
  if (source.columns.schema == nullptr)
    return {{"value", PL_BYTES}, {"key", PL_BYTES}, {"topic", PL_TEXT}, {"time", PL_TIME_NS}, {"headers", PL_JSON}};
  std::vector<source_column> columns;
  for (column_index c = 0; c < source.columns.schema->ncols; ++c)
    columns.push_back({std::string(view(source.columns.schema->names[c])), source.columns.kind(c)});
  return columns;
}

case_input make_input(const test_case& c, const std::vector<engine::node_outputs>& sources,
                      const segment_patterns& segments, const std::filesystem::path& folder,
                      config::diagnostics& problems) {
  return input_maker(c, sources, segments, folder, problems).make();
}

}  // namespace pl::host
