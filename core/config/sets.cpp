// SPDX-License-Identifier: Apache-2.0
#include "config/sets.hpp"

#include "config/load.hpp"
#include "config/text.hpp"
#include "config/yaml.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

namespace pl::config {

namespace {

constexpr auto npos = std::string_view::npos;

// One step of a path: a key, or an index into a list.
struct step {
  std::string key;
  std::optional<std::size_t> index;
};

// rules[0].above, columns["a.b"].x
class path_reader {
 public:
  explicit path_reader(std::string_view text) : text_(text) {}

  // Read up to the '='. Return nothing if the text is not a path.
  std::optional<std::vector<step>> read() {
    std::vector<step> steps;
    while (at_ < text_.size() && text_[at_] != '=') {
      const bool ok = text_[at_] == '[' ? read_bracket(steps) : read_key(steps);
      if (!ok || steps.size() > max_depth) return std::nullopt;
    }
    if (at_ >= text_.size() || steps.empty() || steps.front().index) return std::nullopt;
    return steps;
  }

  [[nodiscard]] std::size_t value_begin() const { return at_ + 1; }

 private:
  bool read_key(std::vector<step>& steps) {
    if (!steps.empty() && text_[at_++] != '.') return false;
    const auto end = std::min(text_.find_first_of(".[=", at_), text_.size());
    if (end == at_) return false;
    steps.push_back({std::string(text_.substr(at_, end - at_)), std::nullopt});
    at_ = end;
    return true;
  }

  bool read_bracket(std::vector<step>& steps) {
    const auto close = text_.find(text_.substr(at_).starts_with("[\"") ? "\"]" : "]", at_ + 2);
    if (close == npos) return false;
    if (text_[at_ + 1] == '"') {
      steps.push_back({std::string(text_.substr(at_ + 2, close - at_ - 2)), std::nullopt});
      at_ = close + 2;
      return true;
    }
    std::size_t index = 0;
    const auto* first = text_.data() + at_ + 1;
    const auto [last, error] = std::from_chars(first, text_.data() + close, index);
    if (error != std::errc() || last != text_.data() + close) return false;
    steps.push_back({{}, index});
    at_ = close + 1;
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

class setter {
 public:
  setter(const std::string& argument, diagnostics& problems)
      : source_(std::make_shared<source_text>(source_text::origin::command_line, "--set", argument)),
        where_(source_, 0, argument.size()),
        problems_(problems) {}

  void apply(std::vector<value>& documents) {
    if (find_invalid_utf8(source_->text()) != npos || source_->text().size() > max_file_bytes) {
      problems_.error(where_, "is not valid UTF-8 text, or too long");
      return;
    }
    path_reader reader(source_->text());
    auto steps = reader.read();
    if (!steps) {
      problems_.error(where_, "must have the form path=value",
                      "for example sinks.store.batch.rows=500 or transforms.alerts.rules[0].above=80");
      return;
    }
    steps_ = std::move(*steps);
    const auto begin = reader.value_begin();
    auto parsed = source_->text().substr(begin).starts_with('@') ? file_value(begin) : parse(begin);
    if (!parsed) return;
    for (auto* document : targets(documents)) put(*document, *parsed);
  }

 private:
  std::optional<value> parse(std::size_t begin) {
    diagnostics found;
    auto values = parse_yaml(source_, begin, found);
    if (found.has_errors() || values.size() > 1) {
      const auto first = found.sorted();
      problems_.error(where_, first.empty() ? "must have exactly one value" : first.front().message,
                      first.empty() ? std::string() : first.front().hint);
      return std::nullopt;
    }
    if (!values.empty()) {
      point_here(values.front());
      values.front().where = location(source_, begin, source_->text().size() - begin);
      return std::move(values.front());
    }
    value nothing;
    const bool null = !trim(source_->text().substr(begin)).empty();
    nothing.type = null ? value::kind::null : value::kind::scalar;
    nothing.quoted = !null;
    nothing.where = location(source_, begin, source_->text().size() - begin);
    return nothing;
  }

  // "@/run/secrets/kafka": the content of a file, as ${file:/run/secrets/kafka} in a configuration. So a secret is not in
  // the list of processes. In YAML, '@' cannot begin a value.
  std::optional<value> file_value(std::size_t begin) {
    const auto path = source_->text().substr(begin + 1);
    if (path.empty() || path.find_first_of("{}") != npos) {
      problems_.error(where_, "must name a file after '@', without braces",
                      "for example sinks.store.url=@/run/secrets/url");
      return std::nullopt;
    }
    value reference;
    reference.type = value::kind::scalar;
    reference.quoted = true;
    reference.text = fmt::format("${{file:{}}}", path);
    reference.where = location(source_, begin, source_->text().size() - begin);
    return reference;
  }

  // Set the position of every value without one to the --set option.
  void point_here(value& v) {
    if (!v.where) v.where = where_;
    for (auto& child : v.children) point_here(child);
  }

  // Return the documents that have the node named by the path, or all documents if the path names no node.
  std::vector<value*> targets(std::vector<value>& documents) {
    std::vector<value*> all, having;
    for (auto& document : documents) {
      all.push_back(&document);
      const auto* kind = document.find(steps_[0].key);
      if (kind != nullptr && steps_.size() > 1 && kind->find(steps_[1].key) != nullptr) having.push_back(&document);
    }
    const bool names_node =
        steps_.size() > 2 && (steps_[0].key == "sources" || steps_[0].key == "transforms" || steps_[0].key == "sinks");
    if (!names_node) return all;
    if (having.empty() && !all.empty()) all.resize(1);  // report the missing node only once
    return having.empty() ? all : having;
  }

  void put(value& document, const value& what) {
    auto* at = &document;
    std::string path;
    for (const auto& s : steps_) {
      at = s.index ? item(*at, *s.index, path) : member(*at, s.key, path);
      if (at == nullptr) return;
    }
    at->type = what.type;
    at->text = what.text;
    at->quoted = what.quoted;
    at->children = what.children;
    at->where = what.where;
    at->broken = at->secret = false;
    if (at->key_where) at->key_where = where_;
  }

  value* member(value& parent, const std::string& key, std::string& path) {
    if (parent.is_null() && !parent.broken) parent.type = value::kind::map;
    if (!parent.is_map()) {
      problems_.error(where_, fmt::format("'{}' has no '{}': it is not a map", printable(path), printable(key)));
      return nullptr;
    }
    path += (path.empty() ? "" : ".") + key;
    if (auto* found = parent.find(key)) return found;
    value made;
    made.key = key;
    made.key_where = made.where = where_;
    parent.children.push_back(std::move(made));
    return &parent.children.back();
  }

  value* item(value& parent, std::size_t index, std::string& path) {
    if (parent.is_null() && !parent.broken) parent.type = value::kind::list;
    if (!parent.is_list() || index > parent.children.size()) {
      const auto why = parent.is_list() ? fmt::format("it has {} item{}", parent.children.size(),
                                                      parent.children.size() == 1 ? "" : "s")
                                        : "it is not a list";
      problems_.error(where_, fmt::format("'{}' has no [{}]: {}", printable(path), index, why));
      return nullptr;
    }
    path += fmt::format("[{}]", index);
    if (index == parent.children.size()) parent.children.emplace_back().where = where_;
    return &parent.children[index];
  }

  std::shared_ptr<source_text> source_;
  location where_;
  diagnostics& problems_;
  std::vector<step> steps_;
};

}  // namespace

void apply_sets(std::vector<value>& documents, std::span<const std::string> sets, diagnostics& problems) {
  for (const auto& argument : sets) setter(argument, problems).apply(documents);
}

}  // namespace pl::config
