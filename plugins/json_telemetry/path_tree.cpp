// SPDX-License-Identifier: Apache-2.0
#include "path_tree.hpp"

#include <algorithm>
#include <charconv>

namespace json_telemetry {

namespace {

pl::failure bad_path(std::string_view path, std::string_view problem) {
  return pl::fatal("'" + std::string(path) + "' is not a valid path: " + std::string(problem));
}

// Parse the indexes of a step, such as [0][1] in "coordinates[0][1]". Return the problem, if any.
std::optional<std::string_view> add_indexes(std::string_view brackets, field_path& to) {
  while (!brackets.empty()) {
    const auto close = brackets.find(']');
    if (brackets.front() != '[' || close == std::string_view::npos) return "write an index as [0], after a key";
    std::uint32_t index = 0;
    const auto digits = brackets.substr(1, close - 1);
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (parsed.ec != std::errc{} || parsed.ptr != digits.data() + digits.size())
      return "an index must be a whole number, 0 or greater";
    to.push_back({{}, index});
    brackets.remove_prefix(close + 1);
  }
  return std::nullopt;
}

}  // namespace

pl::result<field_path> parse_path(std::string_view text) {
  field_path path;
  std::string key;
  std::size_t i = 0;
  for (;;) {
    key.clear();
    while (i < text.size() && text[i] != '.' && text[i] != '[') {
      if (text[i] == '\\' && ++i == text.size()) return bad_path(text, "it ends with a backslash");
      key.push_back(text[i++]);
    }
    if (key.empty())
      return bad_path(text, "a key is empty; write keys with dots between them, as in metrics.temperature");
    path.push_back({key, std::nullopt});
    const auto dot = std::min(text.find('.', i), text.size());
    if (const auto problem = add_indexes(text.substr(i, dot - i), path)) return bad_path(text, *problem);
    if (dot == text.size()) return path;
    i = dot + 1;
  }
}

std::string escaped_key(std::string_view key) {
  std::string out;
  for (const char c : key) {
    if (c == '.' || c == '[' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

path_tree::node path_tree::child(node parent, const path_step& step) {
  if (step.index) {
    if (const auto known = element(parent, *step.index); known != none) return known;
  } else {
    for (const auto& m : nodes_[parent].members)
      if (m.key == step.key) return m.to;
  }
  const auto fresh = static_cast<node>(nodes_.size());
  nodes_.emplace_back();
  if (step.index)
    nodes_[parent].elements.push_back({*step.index, fresh});
  else
    nodes_[parent].members.push_back({step.key, fresh});
  return fresh;
}

path_tree::node path_tree::insert(const field_path& path) {
  node at = root;
  for (const auto& step : path) at = child(at, step);
  return at;
}

void path_tree::add(const field_path& path, path_target target) {
  auto& targets = nodes_[insert(path)].targets;
  const auto same = [&](const path_target& t) { return t.field == target.field; };
  if (std::none_of(targets.begin(), targets.end(), same)) targets.push_back(target);
}

void path_tree::build() {
  table_.clear();
  for (auto& n : nodes_) {
    n.leaf = n.members.empty() && n.elements.empty() && !n.readings;
    n.only = n.leaf && n.targets.size() == 1 ? n.targets.data() : nullptr;
    if (!n.members.empty()) build_table(n);
  }
}

void path_tree::build_table(node_data& n) {
  n.bits = 1;
  while ((std::size_t{1} << n.bits) < 2 * n.members.size()) ++n.bits;  // at most half full, for short probes
  n.table = static_cast<std::uint32_t>(table_.size());
  table_.resize(table_.size() + (std::size_t{1} << n.bits));
  for (const auto& m : n.members) {
    const json::key_ends of_key(m.key);
    auto at = of_key.place(n.bits);
    while (table_[n.table + at].to != none) at = next_place(at, n.bits);
    table_[n.table + at] = {of_key, m.key.data(), m.key.size(), m.to};
  }
}

}  // namespace json_telemetry
