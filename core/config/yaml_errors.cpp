// SPDX-License-Identifier: Apache-2.0
#include "config/yaml_errors.hpp"

#include "config/load.hpp"
#include "config/text.hpp"

#include <fmt/format.h>
#include <yaml-cpp/exceptions.h>

#include <algorithm>
#include <optional>

namespace pl::config {

namespace {

constexpr auto npos = std::string_view::npos;

class translator {
 public:
  translator(const std::shared_ptr<source_text>& source, std::size_t offset, std::string_view error,
             const std::vector<yaml_event>& events, diagnostics& problems)
      : source_(source), text_(source->text()), offset_(offset), error_(error), events_(events), problems_(problems) {}

  // Try the explanations from the most specific to the most general.
  void report() {
    if (explain_tab() || explain_reference_in_flow() || explain_unclosed_flow() || explain_map_value() ||
        explain_first_character() || explain_alias() || explain_block() || explain_escape() || explain_list_item() ||
        explain_misplaced()) {
      return;
    }
    problems_.error(here(), fmt::format("this is not valid YAML: {}", printable(plain_words())));
  }

 private:
  [[nodiscard]] location here(std::size_t length = 1) const { return {source_, offset_, length}; }
  [[nodiscard]] std::size_t line() const { return source_->line_at(offset_); }
  [[nodiscard]] std::size_t column() const { return offset_ - source_->line_begin(line()); }
  [[nodiscard]] char at(std::size_t i) const { return i < text_.size() ? text_[i] : '\0'; }
  [[nodiscard]] bool is(std::string_view message) const { return error_ == message; }
  [[nodiscard]] std::string_view indent(std::size_t number) const {
    const auto text = source_->line(number);
    return text.substr(0, std::min(text.find_first_not_of(" \t"), text.size()));
  }
  [[nodiscard]] bool starts_line() const { return column() == indent(line()).size(); }

  [[nodiscard]] std::string plain_words() const {
    if (is(YAML::ErrorMsg::BAD_FILE)) return fmt::format("nested too deeply (more than {} levels)", max_depth);
    return std::string(error_);
  }

  // yaml-cpp often reports a consequence of a tab instead of the tab: check this line and the line above.
  bool explain_tab() {
    for (auto number = line(); number > 0 && number + 2 > line(); --number) {
      const auto tab = indent(number).find('\t');
      if (tab == npos) continue;
      problems_.error(location(source_, source_->line_begin(number) + tab, 1), "a tab is not allowed as indentation",
                      "use spaces");
      return true;
    }
    return false;
  }

  bool explain_reference_in_flow() {
    const auto line_begin = source_->line_begin(line());
    const auto dollar = text_.rfind("${", offset_);
    if (dollar == npos || dollar < line_begin || !in_flow(dollar) || in_quotes(dollar)) return false;
    const auto close = std::min(text_.find('}', dollar), text_.size() - 1);
    const auto reference = text_.substr(dollar, close + 1 - dollar);
    problems_.error(location(source_, dollar, reference.size()), "inside { } and [ ] a reference needs quotes",
                    fmt::format("write \"{}\"", printable(reference)));
    return true;
  }

  // Return the innermost { or [ that is opened before `before` and not closed.
  [[nodiscard]] std::optional<std::size_t> open_flow(std::size_t before) const {
    std::vector<std::size_t> open;
    for (const auto& event : events_) {
      if (event.offset >= before) break;
      if (event.type == yaml_event::kind::end) {
        if (!open.empty()) open.pop_back();
      } else if (event.type == yaml_event::kind::list || event.type == yaml_event::kind::map) {
        open.push_back(event.offset);
      }
    }
    while (!open.empty() && at(open.back()) != '{' && at(open.back()) != '[') open.pop_back();
    return open.empty() ? std::nullopt : std::optional(open.back());
  }

  [[nodiscard]] bool in_flow(std::size_t offset) const { return open_flow(offset).has_value(); }

  [[nodiscard]] bool in_quotes(std::size_t offset) const {
    bool quoted = false;
    for (const auto& event : events_) {
      if (event.offset > offset) break;
      quoted = event.type == yaml_event::kind::scalar && event.quoted;
    }
    return quoted;
  }

  bool explain_unclosed_flow() {
    if (!is(YAML::ErrorMsg::END_OF_MAP_FLOW) && !is(YAML::ErrorMsg::END_OF_SEQ_FLOW)) return false;
    const auto open = open_flow(text_.size() + 1);
    if (!open) return false;
    const char bracket = at(*open), closing = bracket == '{' ? '}' : ']';
    problems_.error(location(source_, *open, 1), fmt::format("this '{}' is not closed", bracket),
                    fmt::format("add the '{}', or a comma between two items", closing));
    return true;
  }

  // Explain "topic:x" or a single "topic": YAML reads it as text that continues on the next line, and fails there.
  bool explain_line_above() {
    auto number = line() - 1;
    while (number > 0 && trim(source_->line(number)).empty()) --number;
    if (number == 0) return false;
    const auto above = trim(source_->line(number));
    const bool key = above.find(": ") != npos || above.ends_with(':') || above.starts_with('-') || above.front() == '#';
    if (key) return false;
    const location where(source_, source_->line_begin(number) + indent(number).size(), above.size());
    report_key_without_value(where, above, problems_);
    return true;
  }

  bool explain_map_value() {
    if (!is(YAML::ErrorMsg::MAP_VALUE)) return false;
    const auto begin = source_->line_begin(line());
    const auto before = text_.substr(begin, offset_ - begin);
    if (before.find(": ") == npos && explain_line_above()) return true;
    if (before.find(": ") != npos) {
      problems_.error(here(), "a second ': ' in one line", "put the value in quotes");
    } else {
      const auto first = begin + indent(line()).size();
      problems_.error(location(source_, first, offset_ - first),
                      "this line is indented deeper than the one above, which already has its value",
                      "align it, or remove the value above");
    }
    return true;
  }

  bool explain_first_character() {
    if (!is(YAML::ErrorMsg::UNKNOWN_TOKEN)) return false;
    problems_.error(here(), fmt::format("a value can't begin with '{}'", next_glyph(text_.substr(offset_)).shown),
                    "put it in quotes");
    return true;
  }

  bool explain_alias() {
    if (is(YAML::ErrorMsg::ALIAS_NOT_FOUND) || is(YAML::ErrorMsg::CHAR_IN_ALIAS) ||
        is(YAML::ErrorMsg::ANCHOR_NOT_FOUND) || is(YAML::ErrorMsg::CHAR_IN_ANCHOR)) {
      problems_.error(here(), "a value that begins with '*' or '&' is an alias or an anchor", "put it in quotes");
      return true;
    }
    if (!error_.starts_with(YAML::ErrorMsg::UNKNOWN_ANCHOR)) return false;  // yaml-cpp 0.8 appends the name
    const auto end = std::min(text_.find_first_of(" \t\r\n,]}", offset_), text_.size());
    const auto name = text_.substr(std::min(offset_ + 1, end), end - std::min(offset_ + 1, end));
    problems_.error(here(end - offset_), fmt::format("no anchor '&{}' before this alias", printable(name)),
                    "define it, or put the value in quotes if no alias is meant");
    return true;
  }

  bool explain_block() {
    if (!is(YAML::ErrorMsg::CHAR_IN_BLOCK)) return false;
    problems_.error(here(), "a value that begins with '>' or '|' is a block of text on the lines below",
                    "put the value in quotes");
    return true;
  }

  bool explain_escape() {
    if (!error_.starts_with(YAML::ErrorMsg::INVALID_ESCAPE) && !error_.starts_with(YAML::ErrorMsg::INVALID_UNICODE) &&
        !error_.starts_with(YAML::ErrorMsg::INVALID_HEX)) {
      return false;
    }
    problems_.error(here(), "an unknown '\\' escape in double quotes", "write '\\\\', or use single quotes");
    return true;
  }

  bool explain_list_item() {
    if (!is(YAML::ErrorMsg::BLOCK_ENTRY)) return false;
    problems_.error(here(), "a list item can't begin here", "put it on a separate line, or write [a, b]");
    return true;
  }

  bool explain_misplaced() {
    if (is(YAML::ErrorMsg::FLOW_END)) {
      problems_.error(here(), fmt::format("this '{}' closes nothing", at(offset_)),
                      "remove it, or put the value in quotes");
      return true;
    }
    if (!is(YAML::ErrorMsg::END_OF_MAP) && !is(YAML::ErrorMsg::END_OF_SEQ)) return false;
    if (starts_line() && at(offset_) == '-') {
      problems_.error(here(), "a list item between the keys of a map", "indent it below its key, or remove the '-'");
    } else if (starts_line()) {
      problems_.error(here(), "this line is not aligned with any line above", "correct its indentation");
    } else {
      problems_.error(here(), "unexpected text after the value", "put the whole value in quotes");
    }
    return true;
  }

  const std::shared_ptr<source_text>& source_;
  std::string_view text_;
  std::size_t offset_;
  std::string_view error_;
  const std::vector<yaml_event>& events_;
  diagnostics& problems_;
};

}  // namespace

void report_key_without_value(const location& where, std::string_view text, diagnostics& problems) {
  const auto colon = text.find(':');
  const auto fix = colon == npos || colon + 1 == text.size()
                       ? std::string("write 'key: value'")
                       : fmt::format("put a space after the colon: '{}: {}'", printable(text.substr(0, colon)),
                                     printable(text.substr(colon + 1)));
  problems.error(where, fmt::format("'{}' is a key without a value", printable(text)), fix);
}

void report_syntax_error(const std::shared_ptr<source_text>& source, std::size_t offset, std::string_view error,
                         const std::vector<yaml_event>& events, diagnostics& problems) {
  translator(source, offset, error, events, problems).report();
}

}  // namespace pl::config
