// SPDX-License-Identifier: Apache-2.0
#include "config/binder.hpp"

#include "config/option_text.hpp"
#include "config/scalars.hpp"
#include "config/text.hpp"
#include "config/yaml.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace pl::config {

// Deques: what cells point to must not move.
struct bound_options::memory {
  std::deque<std::string> texts;
  std::deque<std::vector<pl_cell>> blocks;
  std::vector<pl_cell> cells = std::vector<pl_cell>(1);  // never empty, so that cells() is never null
  std::size_t size = 0;
  std::map<std::string, location, std::less<>> positions;
  location root;
};

bound_options::bound_options() : memory_(std::make_unique<memory>()) {}
bound_options::bound_options(bound_options&&) noexcept = default;
bound_options& bound_options::operator=(bound_options&&) noexcept = default;
bound_options::~bound_options() = default;

const pl_cell* bound_options::cells() const { return memory_->cells.data(); }
std::size_t bound_options::size() const { return memory_->size; }

location bound_options::position_of(std::string_view option_path) const {
  while (!option_path.empty()) {
    const auto found = memory_->positions.find(option_path);
    if (found != memory_->positions.end()) return found->second;
    const auto parent = option_path.find_last_of(".[");
    option_path = option_path.substr(0, parent == std::string_view::npos ? 0 : parent);
  }
  return memory_->root;
}

namespace {

constexpr pl_cell null_cell() {
  pl_cell cell{};
  cell.kind = PL_NULL;
  return cell;
}

bool equal_items(const pl_cell* a, const pl_cell* b, std::size_t n);

bool equal_cells(const pl_cell& a, const pl_cell& b) {
  if (a.kind != b.kind || a.len != b.len) return false;
  switch (a.kind) {
    case PL_BOOL:
    case PL_I64:
    case PL_TIME_NS:
      return a.as.i == b.as.i;
    case PL_F64:
      return !(a.as.f < b.as.f) && !(b.as.f < a.as.f);
    case PL_TEXT:
    case PL_BYTES:
    case PL_JSON:
      return a.len == 0 || std::memcmp(a.as.p, b.as.p, a.len) == 0;
    case PL_LIST:
    case PL_OBJECT:
      return equal_items(a.as.items, b.as.items, a.len);
    case PL_MAP:
      return equal_items(a.as.items, b.as.items, 2 * std::size_t{a.len});
    default:
      return true;
  }
}

bool equal_items(const pl_cell* a, const pl_cell* b, std::size_t n) {
  return n == 0 || std::equal(a, a + n, b, equal_cells);
}

bool is_secret(const pl_option& option) { return (option.flags & PL_SECRET) != 0; }

const pl_option* find_option(std::span<const pl_option> table, std::string_view key) {
  const auto found = std::find_if(table.begin(), table.end(), [&](const pl_option& o) { return view(o.key) == key; });
  return found == table.end() ? nullptr : &*found;
}

}  // namespace

bool equal(const bound_options& a, const bound_options& b) {
  return a.size() == b.size() && equal_items(a.cells(), b.cells(), a.size());
}

std::vector<std::string_view> split_choices(std::string_view allowed) {
  std::vector<std::string_view> words;
  while (!allowed.empty()) {
    const auto bar = std::min(allowed.find('|'), allowed.size());
    words.push_back(trim(allowed.substr(0, bar)));
    allowed.remove_prefix(std::min(bar + 1, allowed.size()));
  }
  return words;
}

pl_option element_of(const pl_option& option) {
  auto element = option;
  element.kind = option.element;
  element.element = 0;
  element.def = element.example = pl_str{nullptr, 0};
  element.flags = option.flags & PL_SECRET;
  return element;
}

std::string kind_name(const pl_option& option) {
  switch (option.kind) {
    case PL_OPT_TEXT:
      return "text";
    case PL_OPT_BOOL:
      return "true or false";
    case PL_OPT_INT:
      return "a whole number";
    case PL_OPT_FLOAT:
      return "a number";
    case PL_OPT_DURATION:
      return "a duration";
    case PL_OPT_SIZE:
      return "a size";
    case PL_OPT_CHOICE:
      return fmt::format("one of {}", fmt::join(split_choices(view(option.allowed)), ", "));
    case PL_OPT_LIST:
      return "a list";
    case PL_OPT_MAP:
    case PL_OPT_OBJECT:
      return "a map";
    default:
      return "a single value";
  }
}

// Fills one bound_options. Paths ("rules[2].for") are those that plugins report errors with.
class binder {
 public:
  binder(std::span<const pl_option> table, const bind_context& context, diagnostics& problems)
      : context_(context), problems_(&problems), table_(table) {}

  bound_options bind(const value& map) {
    auto& memory = *out_.memory_;
    memory.root = context_.where;
    memory.size = table_.size();
    memory.cells.resize(std::max<std::size_t>(table_.size(), 1));
    fields(map, table_, {}, context_.where, memory.cells.data());
    return std::move(out_);
  }

 private:
  // What a value is bound to: its option, and its name in paths and in messages.
  struct target {
    const pl_option& option;
    std::string path;
    std::string label;
  };

  // ------------------------------------------------------------------------------------------------------- objects

  void fields(const value& map, std::span<const pl_option> table, const std::string& path, const location& where,
              pl_cell* out) {
    for (const auto& child : map.children) {
      const bool reported = child.broken && child.is_null();  // no value, no colon: surely no key either
      if (find_option(table, child.key) == nullptr && !reported) unknown(child, table, path);
    }
    for (const auto& option : table) {
      const std::string key(view(option.key));
      const target to{option, path.empty() ? key : path + "." + key, key};
      const auto* child = map.find(key);
      *out++ = child != nullptr ? present(*child, to) : missing(to, path, where);
    }
  }

  [[nodiscard]] std::string owner(const std::string& path) const {
    return path.empty() ? context_.owner : fmt::format("'{}' of {}", path, context_.owner);
  }

  void unknown(const value& child, std::span<const pl_option> table, const std::string& path) {
    std::vector<std::string_view> names;
    for (const auto& option : table) names.push_back(view(option.key));
    if (path.empty()) names.insert(names.end(), context_.other_keys.begin(), context_.other_keys.end());
    const auto close = nearest(child.key, names);
    const auto* meant = close ? find_option(table, *close) : nullptr;
    std::string hint = context_.explain && path.empty() ? context_.explain(child.key) : std::string();
    // a misspelt secret is still a secret, and so may be what nobody knows
    const bool unheard_of = hint.empty() && !close && std::any_of(table.begin(), table.end(), is_secret);
    if (unheard_of || (meant != nullptr && is_secret(*meant))) child.hide();
    if (hint.empty()) hint = did_you_mean(child.key, names);
    if (hint.empty()) hint = list_of(names);
    problems_->error(child.key_where, fmt::format("unknown option '{}' for {}", printable(child.key), owner(path)),
                     hint);
  }

  static std::string list_of(std::span<const std::string_view> names) {
    constexpr std::size_t shown = 16;
    if (names.empty()) return "it has no options";
    const auto first = names.first(std::min(shown, names.size()));
    return fmt::format("it has {}{}", fmt::join(first, ", "), names.size() > shown ? ", ..." : "");
  }

  pl_cell missing(const target& to, const std::string& path, const location& where) {
    if (to.option.def.n != 0) return default_of(to, where);
    if ((to.option.flags & PL_REQUIRED) != 0) {
      problems_->error(where, fmt::format("{} needs '{}'", owner(path), to.label), example_of(to, "write for example"));
    }
    return null_cell();
  }

  // The default goes the same way as what is written, but nothing in it has a position, and errors are the plugin's.
  pl_cell default_of(const target& to, const location& where) {
    diagnostics found;
    const auto outer = std::exchange(problems_, &found);
    const bool recorded = std::exchange(recording_, false);
    const auto cell = scalar(default_value(to, found), to);
    problems_ = outer;
    recording_ = recorded;
    if (!found.has_errors()) return cell;
    problems_->error(
        where,
        fmt::format("the default of '{}' of {} is wrong: {}", to.path, context_.owner, found.sorted().front().message),
        "this is a fault of the plugin; set the option to get by");
    return null_cell();
  }

  static value default_value(const target& to, diagnostics& found) {
    const auto text = view(to.option.def);
    const bool words = to.option.kind == PL_OPT_TEXT || to.option.kind == PL_OPT_CHOICE;
    if (words && text.front() != '"' && text.front() != '\'') {
      value plain;
      plain.type = value::kind::scalar;
      plain.text = text;
      return plain;
    }
    auto source = std::make_shared<source_text>(source_text::origin::command_line, "default", std::string(text));
    auto documents = parse_yaml(source, 0, found);
    return documents.empty() ? value() : std::move(documents.front());
  }

  // -------------------------------------------------------------------------------------------------------- values

  pl_cell present(const value& v, const target& to) {
    if (recording_) out_.memory_->positions.emplace(to.path, v.at());
    if (is_secret(to.option)) v.hide();
    if ((to.option.flags & PL_DEPRECATED) != 0) {
      problems_->warning(v.key_where ? v.key_where : v.at(), fmt::format("'{}' is deprecated", to.label),
                         std::string(view(to.option.doc)));
    }
    return scalar(v, to);
  }

  pl_cell scalar(const value& v, const target& to) {
    if (v.broken) return null_cell();
    switch (to.option.kind) {
      case PL_OPT_LIST:
        return list(v, to);
      case PL_OPT_MAP:
        return map(v, to);
      case PL_OPT_OBJECT:
        return object(v, to);
      default:
        break;
    }
    if (v.is_null() && to.option.kind != PL_OPT_ANY) return no_value(v, to);
    if (!v.is_scalar() && !v.is_null()) return wrong(v, to, braces_fix(v, to));
    switch (to.option.kind) {
      case PL_OPT_TEXT:
        return text(v, to);
      case PL_OPT_BOOL:
        return boolean(v, to);
      case PL_OPT_CHOICE:
        return choice(v, to);
      case PL_OPT_INT:
        return number(v, to, parse_int(v.text), 1, [](double n) { return fmt::format("{}", n); });
      case PL_OPT_FLOAT:
        return number(v, to, parse_float(v.text), 1, [](double n) { return fmt::format("{}", n); });
      case PL_OPT_DURATION:
        return number(v, to, parse_duration(v.text), 1e9, [](double seconds) {
          return format_duration(static_cast<std::int64_t>(std::clamp(seconds * 1e9, 0.0, 9.2e18)));
        });
      case PL_OPT_SIZE:
        return number(v, to, parse_size(v.text), 1, [](double bytes) {
          return format_size(static_cast<std::int64_t>(std::clamp(bytes, 0.0, 9.2e18)));
        });
      default:
        return any(v);
    }
  }

  pl_cell text(const value& v, const target& to) {
    if (v.text.empty() && (to.option.flags & PL_REQUIRED) != 0) {
      const auto origin = origin_of(v, to);
      problems_->error(v.at(), fmt::format("'{}' is empty{}{}", to.label, origin.empty() ? "" : ": it comes", origin),
                       example_of(to, "write for example"));
      return null_cell();
    }
    return text_cell(v.text);
  }

  pl_cell text_cell(std::string_view text) {
    pl_cell cell{};
    cell.kind = PL_TEXT;
    cell.len = static_cast<std::uint32_t>(text.size());
    cell.as.p = out_.memory_->texts.emplace_back(text).data();
    return cell;
  }

  static pl_cell int_cell(std::uint32_t kind, std::int64_t n) {
    pl_cell cell{};
    cell.kind = kind;
    cell.as.i = n;
    return cell;
  }

  static pl_cell float_cell(double n) {
    pl_cell cell{};
    cell.kind = PL_F64;
    cell.as.f = n;
    return cell;
  }

  static pl_cell cell_of(std::int64_t n) { return int_cell(PL_I64, n); }
  static pl_cell cell_of(double n) { return float_cell(n); }

  pl_cell boolean(const value& v, const target& to) {
    const auto result = parse_bool(v.text);
    return result ? int_cell(PL_BOOL, *result ? 1 : 0) : wrong(v, to, result.fix);
  }

  pl_cell choice(const value& v, const target& to) {
    const auto words = split_choices(view(to.option.allowed));
    if (std::find(words.begin(), words.end(), v.text) != words.end()) return text_cell(v.text);
    const auto hint = did_you_mean(v.text, words);
    problems_->error(v.at(), fmt::format("'{}' wants {}, got {}", to.label, kind_name(to.option), got(v, to)), hint);
    return null_cell();
  }

  // Everything with a range. min and max are in units of 1 / scale (durations: seconds).
  template <typename Number, typename Show>
  pl_cell number(const value& v, const target& to, const parsed<Number>& result, double scale, Show show) {
    if (!result) return wrong(v, to, result.fix);
    const auto& o = to.option;
    const bool unlimited = std::fpclassify(o.min) == FP_ZERO && std::fpclassify(o.max) == FP_ZERO;  // left out
    const auto n = static_cast<double>(*result) / scale;
    if (unlimited || (n >= o.min && n <= o.max)) return cell_of(*result);
    const bool low = std::isfinite(o.min), high = std::isfinite(o.max);
    const auto range = low && high ? fmt::format("between {} and {}", show(o.min), show(o.max))
                       : low       ? fmt::format("at least {}", show(o.min))
                                   : fmt::format("at most {}", show(o.max));
    problems_->error(v.at(), fmt::format("'{}' must be {}, got {}", to.label, range, got(v, to)));
    return null_cell();
  }

  pl_cell any(const value& v) {
    if (v.is_null()) return null_cell();
    if (!v.quoted) {
      if (v.text.empty() || v.text == "~" || v.text == "null") return null_cell();
      if (const auto b = parse_bool(v.text)) return int_cell(PL_BOOL, *b ? 1 : 0);
      if (const auto n = parse_int(v.text)) return int_cell(PL_I64, *n);
      if (const auto n = parse_float(v.text)) return float_cell(*n);
    }
    return text_cell(v.text);
  }

  // ---------------------------------------------------------------------------------------------------- containers

  pl_cell items_cell(std::uint32_t kind, std::uint32_t length, const std::vector<pl_cell>& block) {
    pl_cell cell{};
    cell.kind = kind;
    cell.len = length;
    cell.as.items = block.data();
    return cell;
  }

  std::vector<pl_cell>& new_block(std::size_t size) { return out_.memory_->blocks.emplace_back(size, null_cell()); }

  pl_cell list(const value& v, const target& to) {
    const auto element = element_of(to.option);
    if (v.is_scalar() && element.kind == PL_OPT_TEXT) {
      auto& block = new_block(1);
      block[0] = text_cell(v.text);
      return items_cell(PL_LIST, 1, block);
    }
    if (v.is_null()) return no_value(v, to);
    if (!v.is_list()) return wrong(v, to, list_fix(v, to, element));
    auto& block = new_block(v.children.size());
    for (std::size_t i = 0; i < v.children.size(); ++i) {
      block[i] =
          present(v.children[i], {element, fmt::format("{}[{}]", to.path, i), fmt::format("{}[{}]", to.label, i)});
    }
    return items_cell(PL_LIST, static_cast<std::uint32_t>(v.children.size()), block);
  }

  static std::string list_fix(const value& v, const target& to, const pl_option& element) {
    const auto fields = fields_of(element);
    if (element.kind == PL_OPT_OBJECT && !fields.empty()) {
      return fmt::format("begin each item with '- {}: ...'", view(fields.front().key));
    }
    if (v.is_map()) return "begin each item with '- '";
    if (is_secret(to.option) || v.secret || element.kind == PL_OPT_OBJECT) return {};
    return fmt::format("write [{}]", printable(v.written.empty() ? v.text : v.written));
  }

  pl_cell map(const value& v, const target& to) {
    if (v.is_null()) return no_value(v, to);
    if (!v.is_map()) return wrong(v, to, {});
    const auto element = element_of(to.option);
    auto& block = new_block(2 * v.children.size());
    for (std::size_t i = 0; i < v.children.size(); ++i) {
      const auto& child = v.children[i];
      block[2 * i] = text_cell(child.key);
      block[2 * i + 1] =
          present(child, {element, to.path + "." + child.key, fmt::format("{}.{}", to.label, printable(child.key))});
    }
    return items_cell(PL_MAP, static_cast<std::uint32_t>(v.children.size()), block);
  }

  pl_cell object(const value& v, const target& to) {
    if (v.is_null()) return no_value(v, to);
    if (!v.is_map()) return wrong(v, to, {});
    const auto table = fields_of(to.option);
    auto& block = new_block(table.size());
    fields(v, table, to.path, v.at() ? v.at() : context_.where, block.data());
    return items_cell(PL_OBJECT, static_cast<std::uint32_t>(table.size()), block);
  }

  // ------------------------------------------------------------------------------------------------------ messages

  // Where an interpolated text is from. Of a secret only if that is a mere reference, without a default.
  [[nodiscard]] static std::string origin_of(const value& v, const target& to) {
    if (v.written.empty() || v.written == v.text) return {};
    const bool secret = v.secret || is_secret(to.option);
    return secret && !is_mere_reference(v.written) ? std::string() : " from " + printable(v.written);
  }

  [[nodiscard]] static std::string got(const value& v, const target& to) {
    if (v.is_list()) return "a list";
    if (v.is_map()) return "a map";
    if (v.is_null()) return "nothing";
    if (v.secret || is_secret(to.option)) return "<secret>" + origin_of(v, to);
    return fmt::format("'{}'", printable(v.text)) + origin_of(v, to);
  }

  [[nodiscard]] static std::string example_of(const target& to, std::string_view lead) {
    auto example = std::string(view(to.option.example));
    if (example.empty() && !is_secret(to.option)) example = view(to.option.def);
    if (to.option.kind == PL_OPT_OBJECT && (example.empty() || example == "{}")) example = example_object(to.option);
    if (example.empty() || example.find('\n') != std::string::npos) return {};
    if (to.label != view(to.option.key)) return fmt::format("{} '{}'", lead, example);  // an element has no key
    const auto key = std::string(view(to.option.key)) + ": ";
    return fmt::format("{} '{}{}'", lead, example.starts_with(key) ? "" : key, example);
  }

  // {size: 2}
  [[nodiscard]] static std::string example_object(const pl_option& option) {
    const auto fields = fields_of(option);
    if (fields.empty()) return {};
    const auto& first = fields.front();
    const auto inner = view(first.example).empty() ? view(first.def) : view(first.example);
    return fmt::format("{{{}: {}}}", view(first.key), inner.empty() || is_secret(first) ? "..." : inner);
  }

  [[nodiscard]] static std::string default_example(const target& to) {
    switch (to.option.kind) {
      case PL_OPT_DURATION:
        return "for example 100ms, 10s or 1h30m";
      case PL_OPT_SIZE:
        return "for example 512, 64KiB or 10MB";
      default:
        return {};
    }
  }

  pl_cell wrong(const value& v, const target& to, std::string fix) {
    if (is_secret(to.option) || v.secret) fix.clear();  // it repeats what was written
    const bool no_unit = to.option.kind == PL_OPT_DURATION && fix.find(" or ") != std::string::npos;
    if (fix.empty()) fix = example_of(to, "for example");
    if (fix.empty()) fix = default_example(to);
    problems_->error(v.at(),
                     fmt::format("'{}' wants {}{}, got {}", to.label, kind_name(to.option),
                                 no_unit ? " with a unit" : "", got(v, to)),
                     std::move(fix));
    return null_cell();
  }

  pl_cell no_value(const value& v, const target& to) {
    const bool optional = (to.option.flags & PL_REQUIRED) == 0;
    const auto empty = to.option.kind == PL_OPT_LIST   ? "write [] for an empty list"
                       : to.option.kind == PL_OPT_MAP  ? "write {} for an empty map"
                       : to.option.kind == PL_OPT_TEXT ? "write \"\" for an empty text"
                                                       : "write one";
    problems_->error(v.at() ? v.at() : context_.where, fmt::format("'{}' has no value", to.label),
                     optional ? fmt::format("{}, or remove the line", empty) : example_of(to, "write for example"));
    return null_cell();
  }

  static std::string braces_fix(const value& v, const target& to) {
    const bool flow = v.where.exact() && v.where.source()->text().substr(v.where.offset()).find_first_of("{[") == 0;
    return to.option.kind == PL_OPT_TEXT && flow ? "put the text in quotes" : std::string();
  }

  const bind_context& context_;
  diagnostics* problems_;
  std::span<const pl_option> table_;
  bool recording_ = true;
  bound_options out_;
};

bound_options bind_table(const value& map, std::span<const pl_option> table, const bind_context& context,
                         diagnostics& problems) {
  return binder(table, context, problems).bind(map);
}

}  // namespace pl::config
