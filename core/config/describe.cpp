// SPDX-License-Identifier: Apache-2.0
#include "config/describe.hpp"

#include "config/host_options.hpp"
#include "config/option_table.hpp"
#include "config/option_text.hpp"
#include "config/text.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pl::config {

namespace {

struct row {
  std::string name, type, def, doc;
};

// Return the doc, followed by the properties that have no separate column.
std::string full_doc(const pl_option& option) {
  std::string doc(trim(view(option.doc)));
  std::replace(doc.begin(), doc.end(), '\n', ' ');
  const auto add = [&](std::string_view text) { doc += fmt::format("{}({})", doc.empty() ? "" : " ", text); };
  if (const auto range = range_text(option); !range.empty()) add(range);
  if ((option.flags & PL_SECRET) != 0) add("secret");
  if ((option.flags & PL_DEPRECATED) != 0) add("deprecated");
  const auto example = view(option.example);
  const bool shown = option.def.n == 0 && !example.empty() && example.find('\n') == std::string_view::npos;
  if (shown) add(fmt::format("for example {}", example));
  return doc;
}

using name_maker = std::string (*)(const std::string& parent, const pl_option& parent_option, std::string_view key);

// Return the name for the terminal: indented below its parent.
std::string indented_name(const std::string& parent, const pl_option&, std::string_view key) {
  const auto depth = parent.find_first_not_of(' ') + 2;
  return std::string(depth, ' ') + std::string(key);
}

// Return the name for Markdown: the whole path.
std::string path_name(const std::string& parent, const pl_option& parent_option, std::string_view key) {
  const auto* joint = parent_option.kind == PL_OPT_LIST ? "[]." : parent_option.kind == PL_OPT_MAP ? ".*." : ".";
  return parent + joint + std::string(key);
}

void collect(const pl_option& option, const std::string& name, name_maker make_name, std::vector<row>& rows) {
  rows.push_back({name, type_text(option), default_text(option), full_doc(option)});
  for (const auto& field : fields_of(option)) {
    collect(field, make_name(name, option, view(field.key)), make_name, rows);
  }
}

std::vector<row> rows_of(std::span<const pl_option> table, name_maker make_name) {
  std::vector<row> rows;
  for (const auto& option : table) collect(option, std::string(view(option.key)), make_name, rows);
  return rows;
}

std::string wrap(std::string_view text, std::size_t indent, std::size_t width) {
  std::string result;
  std::size_t column = 0;
  for (auto rest = trim(text); !rest.empty();) {
    const auto end = std::min(rest.find(' '), rest.size());
    const auto word = rest.substr(0, end);
    const auto length = count_characters(word);
    if (column > 0 && column + 1 + length > width) {
      result += "\n" + std::string(indent, ' ');
      column = 0;
    }
    if (column > 0) result += ' ', ++column;
    result += word;
    column += length;
    rest = trim(rest.substr(end));
  }
  return result;
}

std::string pad(const std::string& text, std::size_t width) {
  const auto length = count_characters(text);
  return text + std::string(width > length ? width - length : 0, ' ');
}

std::string text_table(std::span<const pl_option> table) {
  constexpr std::size_t gap = 2, widest = 36, line = 120;
  const auto rows = rows_of(table, indented_name);
  std::array<std::size_t, 3> widths{};
  for (const auto& r : rows) {
    const std::array<const std::string*, 3> cells{&r.name, &r.type, &r.def};
    for (std::size_t i = 0; i < cells.size(); ++i) {
      widths[i] = std::max(widths[i], std::min(count_characters(*cells[i]), widest));
    }
  }
  const auto indent = gap + widths[0] + gap + widths[1] + gap + widths[2] + gap;
  const std::string space(gap, ' ');
  std::string out;
  for (const auto& r : rows) {
    auto head = std::string(gap, ' ') + pad(r.name, widths[0]) + space + pad(r.type, widths[1]) + space +
                pad(r.def, widths[2]) + space;
    if (count_characters(head) > indent && !r.doc.empty()) head = fmt::format("{}\n{}", head, std::string(indent, ' '));
    auto text = head + wrap(r.doc, indent, line - std::min(indent, line - 40));
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  }
  return out;
}

std::string escape_cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string markdown_table(std::span<const pl_option> table) {
  std::string out = "| Option | Type | Default | |\n|---|---|---|---|\n";
  for (const auto& r : rows_of(table, path_name)) {
    const bool value = !r.def.empty() && r.def != "required" && r.def != "(secret)";
    const auto def = value ? fmt::format("`{}`", escape_cell(r.def)) : r.def == "required" ? "**required**" : r.def;
    out += fmt::format("| `{}` | {} | {} | {} |\n", r.name, escape_cell(r.type), def, escape_cell(r.doc));
  }
  return out;
}

std::string role_name(const pl_component& component) {
  const bool known = component.role >= PL_SOURCE && component.role <= PL_SINK;
  return known ? std::string(to_string(static_cast<role>(component.role))) : "unknown role";
}

std::string capabilities(const pl_component& component) {
  constexpr std::array<std::pair<std::uint32_t, std::string_view>, 4> names = {{{PL_REPLAYABLE, "replayable"},
                                                                                {PL_TRANSACTIONAL, "transactional"},
                                                                                {PL_IDEMPOTENT, "idempotent"},
                                                                                {PL_DETERMINISTIC, "deterministic"}}};
  std::vector<std::string_view> found;
  for (const auto& [bit, name] : names) {
    if ((component.caps & bit) != 0) found.push_back(name);
  }
  return fmt::format("{}", fmt::join(found, ", "));
}

std::string outputs(const pl_component& component) {
  if (component.role == PL_SINK) return {};
  if ((component.caps & PL_OPTION_PORTS) != 0) return "depend on the options";
  std::vector<std::string_view> names;
  for (std::uint32_t i = 0; component.ports != nullptr && i < component.nports; ++i)
    names.push_back(view(component.ports[i]));
  return names.empty() ? "out" : fmt::format("{}", fmt::join(names, ", "));
}

std::pair<std::string_view, std::string_view> summary_and_rest(const pl_component& component) {
  const auto doc = trim(view(component.doc));
  const auto end = std::min(doc.find('\n'), doc.size());
  return {doc.substr(0, end), trim(doc.substr(end))};
}

std::string indent_lines(std::string_view text, std::string_view by) {
  std::string out;
  for (text = trim(text); !text.empty();) {
    const auto end = std::min(text.find('\n'), text.size());
    out += fmt::format("{}{}\n", end == 0 ? "" : by, text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string example_node(const pl_component& component) {
  const auto example = view(component.example);
  if (trim(example).empty()) return {};
  const auto section = component.role == PL_SOURCE ? "sources" : component.role == PL_SINK ? "sinks" : "transforms";
  return fmt::format("{}:\n  {}:\n{}", section, component.role == PL_SINK ? "store" : "my_" + role_name(component),
                     indent_lines(example, "    "));
}

struct host_section {
  std::string_view title;
  std::span<const pl_option> table;
};

std::vector<host_section> host_sections() {
  // leave out the fields of the structure options: the other sections describe them
  static const auto top = [] {
    std::vector<pl_option> all(pipeline_options().begin(), pipeline_options().end());
    for (auto option : structure_options()) {
      option.fields = nullptr;
      option.nfields = 0;
      all.push_back(option);
    }
    return all;
  }();
  return {{"Top level", top},
          {"Every source", node_options(role::source)},
          {"Every transform", node_options(role::transform)},
          {"Every sink", node_options(role::sink)},
          {"Dead letters", dead_letter_options()}};
}

}  // namespace

std::string describe_text(const pl_component& component) {
  const auto [summary, rest] = summary_and_rest(component);
  auto out = fmt::format("{} ({})\n", view(component.name), role_name(component));
  if (!summary.empty()) out += fmt::format("{}\n", summary);
  if (!rest.empty()) out += fmt::format("\n{}\n", rest);
  const auto caps = capabilities(component), ports = outputs(component);
  if (!caps.empty() || !ports.empty()) out += '\n';
  if (!caps.empty()) out += fmt::format("Capabilities: {}\n", caps);
  if (!ports.empty()) out += fmt::format("Outputs: {}\n", ports);
  const auto table = options_of(component);
  out += table.empty() ? "\nNo options.\n" : "\nOptions\n" + text_table(table);
  const auto example = example_node(component);
  if (!example.empty()) out += "\nExample\n" + indent_lines(example, "  ");
  return out;
}

std::string describe_markdown(const pl_component& component) {
  const auto [summary, rest] = summary_and_rest(component);
  auto out = fmt::format("## {}\n\n", view(component.name));
  out += fmt::format("*{}*{}{}\n", role_name(component), summary.empty() ? "" : " – ", summary);
  if (!rest.empty()) out += fmt::format("\n{}\n", rest);
  const auto caps = capabilities(component), ports = outputs(component);
  if (!caps.empty()) out += fmt::format("\nCapabilities: {}\n", caps);
  if (!ports.empty()) out += fmt::format("\nOutputs: {}\n", ports);
  const auto table = options_of(component);
  out += table.empty() ? "\nNo options.\n" : "\n" + markdown_table(table);
  const auto example = example_node(component);
  if (!example.empty()) out += fmt::format("\n```yaml\n{}```\n", example);
  return out;
}

std::string host_options_text() {
  std::string out;
  for (const auto& section : host_sections()) {
    out += fmt::format("{}{}\n{}", out.empty() ? "" : "\n", section.title, text_table(section.table));
  }
  return out;
}

std::string host_options_markdown() {
  std::string out;
  for (const auto& section : host_sections()) {
    out += fmt::format("{}## {}\n\n{}", out.empty() ? "" : "\n", section.title, markdown_table(section.table));
  }
  return out;
}

}  // namespace pl::config
