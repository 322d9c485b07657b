// SPDX-License-Identifier: Apache-2.0
#include "config/yaml.hpp"

#include "config/load.hpp"
#include "config/text.hpp"
#include "config/yaml_errors.hpp"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <unordered_map>
#include <utility>

namespace pl::config {

namespace {

constexpr auto npos = std::string_view::npos;

// Thrown by the event handler, through yaml-cpp, when a bound is exceeded.
struct too_much {
  std::size_t offset;
  std::string message;
};

// Thrown by tree_builder: the rest of the file is inside the quotes, so it cannot be checked.
struct unclosed_quote {
  std::size_t offset;
};

std::string too_many_values() {
  return fmt::format("too many values: more than {}, counting an alias as what it stands for", max_nodes);
}
std::string too_deep() { return fmt::format("nested too deeply: more than {} levels", max_depth); }

// Step one: collect yaml-cpp's events in a flat list, so that the next event limits the extent of a scalar.
class event_list final : public YAML::EventHandler {
 public:
  event_list(std::size_t begin, std::size_t budget) : begin_(begin), budget_(budget) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(yaml_event::kind::null, mark, anchor); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(yaml_event::kind::alias, mark, anchor); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    auto& event = add(yaml_event::kind::scalar, mark, anchor);
    event.text = text;
    event.quoted = tag == "!";
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(yaml_event::kind::list, mark, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(yaml_event::kind::map, mark, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

  [[nodiscard]] const std::vector<yaml_event>& events() const { return events_; }

 private:
  yaml_event& add(yaml_event::kind type, const YAML::Mark& mark, YAML::anchor_t anchor) {
    const auto offset = begin_ + static_cast<std::size_t>(std::max(mark.pos, 0));
    if (events_.size() >= budget_) throw too_much{offset, too_many_values()};
    events_.push_back({type, offset, anchor, {}, false});
    return events_.back();
  }
  void open(yaml_event::kind type, const YAML::Mark& mark, YAML::anchor_t anchor) {
    const auto offset = add(type, mark, anchor).offset;
    if (++depth_ > max_depth) throw too_much{offset, too_deep()};
  }
  void close() {
    --depth_;
    // yaml-cpp passes no mark for ends; use the offset of the previous event, which no message refers to
    events_.push_back({yaml_event::kind::end, events_.back().offset, 0, {}, false});
  }

  std::size_t begin_, budget_, depth_ = 0;
  std::vector<yaml_event> events_;
};

// Finds the extent of a scalar in the source, without its anchor and tag.
class scalar_lexer {
 public:
  explicit scalar_lexer(std::string_view text) : text_(text) {}

  struct extent {
    std::size_t begin, end;
    bool closed = true;  // false: an unclosed quote, which yaml-cpp accepts
  };

  [[nodiscard]] extent measure(const yaml_event& event, std::size_t next) const {
    const auto begin = skip_properties(event.offset);
    if (begin >= text_.size()) return {text_.size(), text_.size()};
    const char first = text_[begin];
    if (event.quoted && (first == '"' || first == '\'')) return quoted(begin, first);
    if (!event.quoted && text_.substr(begin).starts_with(event.text)) return {begin, begin + event.text.size()};
    return {begin, begin + trim_back(text_.substr(begin, std::max(next, begin) - begin))};
  }

  [[nodiscard]] std::size_t skip_properties(std::size_t at) const {
    while (at < text_.size() && (text_[at] == '&' || text_[at] == '!')) {
      at = std::min(text_.find_first_of(" \t\r\n", at), text_.size());
      at = std::min(text_.find_first_not_of(" \t\r\n", at), text_.size());
    }
    return at;
  }

 private:
  [[nodiscard]] extent quoted(std::size_t begin, char quote) const {
    for (auto at = begin + 1; at < text_.size(); ++at) {
      const bool pair = quote == '\'' && text_[at] == quote && at + 1 < text_.size() && text_[at + 1] == quote;
      if (pair || (quote == '"' && text_[at] == '\\')) {
        ++at;
      } else if (text_[at] == quote) {
        return {begin, at + 1};
      }
    }
    return {begin, text_.size(), false};
  }
  static std::size_t trim_back(std::string_view text) {
    const auto last = text.find_last_not_of(" \t\r\n");
    return last == npos ? 0 : last + 1;
  }

  std::string_view text_;
};

// Step two: build the tree. Aliases are copied, within a budget.
class tree_builder {
 public:
  tree_builder(const std::shared_ptr<source_text>& source, const std::vector<yaml_event>& events, std::size_t& used,
               diagnostics& problems)
      : source_(source), events_(events), lexer_(source->text()), used_(used), problems_(problems) {}

  // Throws too_much, unclosed_quote.
  value build() {
    auto root = build_value(1).what;
    for (const auto& [id, offset] : unused_) report_unused_anchor(offset);
    return root;
  }

 private:
  using seen_keys = std::unordered_map<std::string, location>;

  struct built {
    value what;
    std::size_t size = 1, depth = 1;  // number of values, number of levels
  };

  [[nodiscard]] location at(std::size_t begin, std::size_t end) const { return {source_, begin, end - begin}; }

  void spend(std::size_t amount, std::size_t offset) {
    used_ += amount;
    if (used_ > max_nodes) throw too_much{offset, too_many_values()};
  }

  built build_value(std::size_t level) {
    const auto& event = events_[next_++];
    if (event.type == yaml_event::kind::alias) return copy_of(event, level);
    spend(1, event.offset);
    if (event.anchor != 0) anchors_[event.anchor] = std::nullopt;  // open: an alias to this anchor would be a loop
    auto result = build_content(event, level);
    if (!has_known_tags(event)) result.what.broken = true;
    if (event.anchor != 0) anchors_[event.anchor] = result;
    // The template of a map or list may wait for its use, and so may a value below a key that the host ignores.
    const bool template_of_many = !result.what.children.empty();
    if (event.anchor != 0 && !template_of_many && !ignored_ && !result.what.broken)
      unused_[event.anchor] = event.offset;
    return result;
  }

  // An unquoted expression that begins with '!' is a tag for YAML, and a "&&" behind it an anchor.
  bool has_known_tags(const yaml_event& event) {
    if (event.type == yaml_event::kind::null) return true;  // its mark may be the next token
    const auto text = source_->text();
    for (auto from = event.offset; from < text.size() && (text[from] == '&' || text[from] == '!');) {
      const auto end = word_end(from);
      const auto word = text.substr(from, end - from);
      if (text[from] == '!' && !is_standard_tag(word)) {
        problems_.error(at(from, end),
                        fmt::format("a value can't begin with '!': YAML reads '{}' as a tag", printable(word)),
                        "put the value in quotes");
        return false;
      }
      from = std::min(text.find_first_not_of(" \t\r\n", end), text.size());
    }
    return true;
  }

  static bool is_standard_tag(std::string_view tag) {
    constexpr std::array<std::string_view, 7> known{"!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq"};
    return std::find(known.begin(), known.end(), tag) != known.end();
  }

  void report_unused_anchor(std::size_t begin) {
    const auto text = source_->text();
    const auto found = text.find('&', begin);  // behind a tag, if there is one
    if (found != npos) begin = found;
    const auto end = word_end(begin);
    problems_.error(at(begin, end),
                    fmt::format("a value can't begin with '&': YAML reads '{}' as an anchor, and no alias uses it",
                                printable(text.substr(begin, end - begin))),
                    "put the value in quotes, or remove the anchor");
  }

  built build_content(const yaml_event& event, std::size_t level) {
    switch (event.type) {
      case yaml_event::kind::scalar:
        return {build_scalar(event)};
      case yaml_event::kind::list:
        return build_list(event, level);
      case yaml_event::kind::map:
        return build_map(event, level);
      default:
        break;
    }
    return {build_null(event)};
  }

  built copy_of(const yaml_event& event, std::size_t level) {
    const auto found = anchors_.find(event.anchor);
    if (found == anchors_.end() || !found->second) {
      problems_.error(at(event.offset, word_end(event.offset)), "an alias must not be inside its own value");
      value broken;
      broken.where = at(event.offset, word_end(event.offset));
      broken.broken = true;
      return {broken};
    }
    unused_.erase(event.anchor);
    spend(found->second->size, event.offset);
    if (level + found->second->depth > max_depth + 1) throw too_much{event.offset, too_deep()};
    return *found->second;
  }

  [[nodiscard]] std::size_t word_end(std::size_t offset) const {
    return std::min(source_->text().find_first_of(" \t\r\n,]}", offset), source_->text().size());
  }

  [[nodiscard]] std::size_t next_offset(std::size_t after) const {
    for (auto i = next_; i < events_.size(); ++i) {
      if (events_[i].type != yaml_event::kind::end && events_[i].offset > after) return events_[i].offset;
    }
    return source_->text().size();
  }

  value build_scalar(const yaml_event& event) {
    const auto extent = lexer_.measure(event, next_offset(event.offset));
    if (!extent.closed) throw unclosed_quote{extent.begin};
    value result;
    result.type = value::kind::scalar;
    result.text = event.text;
    result.quoted = event.quoted;
    result.where = at(extent.begin, extent.end);
    return result;
  }

  // yaml-cpp places the mark of an implicit null at the next token. Only an explicit null gets a position.
  value build_null(const yaml_event& event) {
    value result;
    const auto begin = lexer_.skip_properties(event.offset);
    const auto word = source_->text().substr(begin, std::min(word_end(begin), source_->text().size()) - begin);
    if (word == "~" || to_lower(word) == "null") result.where = at(begin, begin + word.size());
    return result;
  }

  built build_list(const yaml_event& event, std::size_t level) {
    built result;
    result.what.type = value::kind::list;
    const auto begin = lexer_.skip_properties(event.offset);
    result.what.where = at(begin, begin + 1);
    while (events_[next_].type != yaml_event::kind::end) {
      auto item = build_value(level + 1);
      if (!item.what.where) item.what.where = result.what.where;
      adopt(result, std::move(item));
    }
    ++next_;
    return result;
  }

  built build_map(const yaml_event& event, std::size_t level) {
    built result;
    result.what.type = value::kind::map;
    const auto begin = lexer_.skip_properties(event.offset);
    result.what.where = at(begin, begin + 1);
    std::vector<value> merged;
    seen_keys seen;
    while (events_[next_].type != yaml_event::kind::end) {
      const bool merge =
          events_[next_].type == yaml_event::kind::scalar && !events_[next_].quoted && events_[next_].text == "<<";
      const auto key = build_value(level + 1).what;
      if (level == 1) ignored_ = key.text.starts_with("x-");
      auto member = build_value(level + 1);
      if (key.broken) continue;
      if (merge) {
        merged.push_back(std::move(member.what));
        merged.back().key_where = key.where;
      } else if (name_member(key, member.what) && is_first(seen, member.what)) {
        adopt(result, std::move(member));
      }
    }
    ++next_;
    for (const auto& from : merged) merge_into(result, seen, from);
    if (!merged.empty()) measure_again(result);
    return result;
  }

  static void adopt(built& parent, built child) {
    parent.size += child.size;
    parent.depth = std::max(parent.depth, child.depth + 1);
    parent.what.children.push_back(std::move(child.what));
  }

  bool name_member(const value& key, value& member) {
    if (!key.is_scalar()) {
      problems_.error(key.where ? key.where : member.where, "a key must be a plain word");
      return false;
    }
    member.key = key.text;
    member.key_where = key.where;
    if (member.is_null() && !member.where) {
      report_missing_colon(key, member);
    }
    return true;
  }

  void report_missing_colon(const value& key, value& member) {
    const auto text = source_->text();
    const auto behind = text.find_first_not_of(" \t", key.where.offset() + key.where.length());
    if (behind != npos && text[behind] == ':') return;
    report_key_without_value(key.where, key.text, problems_);
    member.broken = true;
  }

  bool is_first(seen_keys& seen, const value& member) {
    const auto [first, added] = seen.emplace(member.key, member.key_where);
    if (added) return true;
    problems_.error(member.key_where, fmt::format("'{}' is written twice", printable(member.key)), "remove one of them")
        .note(first->second, "first written here");
    return false;
  }

  void merge_into(built& map, seen_keys& seen, const value& from) {
    if (from.broken) return;
    if (from.is_list()) {
      for (auto item : from.children) {
        item.key_where = from.key_where;
        if (item.is_list()) item.type = value::kind::null;  // a list inside the list is not a map
        merge_into(map, seen, item);
      }
      return;
    }
    if (!from.is_map()) {
      problems_.error(from.key_where, "'<<' can only merge a map", "write '<<: *name' with the anchor of a map");
      return;
    }
    for (const auto& member : from.children) {
      if (seen.emplace(member.key, member.key_where).second) adopt(map, {member, 1, 1});
    }
  }

  // Merging is rare: count again instead of tracking sizes.
  static void measure_again(built& b) {
    b.size = size_of(b.what);
    b.depth = depth_of(b.what);
  }
  static std::size_t size_of(const value& v) {
    std::size_t size = 1;
    for (const auto& child : v.children) size += size_of(child);
    return size;
  }
  static std::size_t depth_of(const value& v) {
    std::size_t depth = 0;
    for (const auto& child : v.children) depth = std::max(depth, depth_of(child));
    return depth + 1;
  }

  const std::shared_ptr<source_text>& source_;
  const std::vector<yaml_event>& events_;
  scalar_lexer lexer_;
  std::size_t& used_;
  diagnostics& problems_;
  std::size_t next_ = 0;
  std::map<std::size_t, std::optional<built>> anchors_;
  std::map<std::size_t, std::size_t> unused_;  // the offset of each anchor of a plain value, until an alias uses it
  bool ignored_ = false;                       // below a top-level key that begins with "x-"
};

void report(const too_much& limit, const std::shared_ptr<source_text>& source, diagnostics& problems) {
  problems.error(location(source, limit.offset, 1), limit.message);
}

// Return false if no later document can be parsed.
bool parse_document(YAML::Parser& parser, event_list& list, const std::shared_ptr<source_text>& source,
                    std::size_t begin, diagnostics& problems, bool& more) {
  try {
    more = parser.HandleNextDocument(list);
    return true;
  } catch (const YAML::Exception& e) {
    const auto offset = e.mark.is_null() ? begin : begin + static_cast<std::size_t>(std::max(e.mark.pos, 0));
    report_syntax_error(source, std::min(offset, source->text().size()), e.msg, list.events(), problems);
  } catch (const too_much& e) {
    report(e, source, problems);
  }
  return false;
}

}  // namespace

std::vector<value> parse_yaml(const std::shared_ptr<source_text>& source, std::size_t begin, diagnostics& problems) {
  std::vector<value> documents;
  std::istringstream in{std::string(source->text().substr(begin))};
  YAML::Parser parser(in);
  std::size_t used = 0, last = npos;
  for (bool more = true; more;) {
    // at most a key, a value and an end for each value of the tree
    event_list list(begin, 3 * max_nodes);
    if (!parse_document(parser, list, source, begin, problems, more)) break;
    if (!more || list.events().empty()) break;
    // yaml-cpp returns endless empty documents for a ',' or ']' at the top level
    const auto offset = list.events().front().offset;
    if (offset == last) {
      problems.error(location(source, offset, 1), "unexpected text", "remove it, or put the value in quotes");
      break;
    }
    last = offset;
    try {
      auto document = tree_builder(source, list.events(), used, problems).build();
      if (!document.where) document.where = location(source);
      if (!document.is_null() || document.broken) documents.push_back(std::move(document));
    } catch (const too_much& e) {
      report(e, source, problems);
      break;
    } catch (const unclosed_quote& e) {
      problems.error(location(source, e.offset, 1), "this quote is never closed",
                     fmt::format("add the closing {}", source->text()[e.offset]));
      break;
    }
  }
  return documents;
}

}  // namespace pl::config
