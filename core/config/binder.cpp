// SPDX-License-Identifier: Apache-2.0
#include "config/binder.hpp"

#include "config/bind_messages.hpp"
#include "config/bound_memory.hpp"
#include "config/option_table.hpp"
#include "config/scalars.hpp"
#include "config/yaml.hpp"

#include <pipeline/text.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

namespace pl::config {

// Fills one bound_options. Paths ("rules[2].for") have the format that plugins use when they report errors.
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
    memory.secrets.finish();
    return std::move(out_);
  }

 private:
  // ------------------------------------------------------------------------------------------------------- objects

  void fields(const value& map, std::span<const pl_option> table, const std::string& path, const location& where,
              pl_cell* out) {
    for (const auto& child : map.children) {
      const bool reported = child.broken && child.is_null();  // a word without a colon, not a key
      if (find_option(table, child.key) == nullptr && !reported) unknown(child, table, path);
    }
    for (const auto& option : table) {
      const std::string key(view(option.key));
      const bind_target to{option, path.empty() ? key : path + "." + key, key};
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
    const auto close = nearest_name(child.key, names);
    const auto* meant = close ? find_option(table, *close) : nullptr;
    std::string hint = context_.explain && path.empty() ? context_.explain(child.key) : std::string();
    // Hide the value if the key may be a misspelt secret: it resembles a secret option, or it resembles no option and
    // the table has secret ones.
    const bool may_be_secret = hint.empty() && !close && std::any_of(table.begin(), table.end(), is_secret);
    if (may_be_secret || (meant != nullptr && is_secret(*meant))) child.hide();
    if (hint.empty()) hint = did_you_mean(child.key, names);
    if (hint.empty()) hint = list_of(names);
    problems_->error(child.key_where, fmt::format("unknown option '{}' for {}", printable(child.key), owner(path)),
                     hint);
  }

  pl_cell missing(const bind_target& to, const std::string& path, const location& where) {
    if (to.option.def.n != 0) return default_of(to, where);
    return (to.option.flags & PL_REQUIRED) != 0 ? refuse(where, missing_option(to, owner(path))) : null_cell();
  }

  // Bind the default like a specified value. A default has no position in a file, and an error in it is a bug in the
  // plugin.
  pl_cell default_of(const bind_target& to, const location& where) {
    diagnostics found;
    const auto outer = std::exchange(problems_, &found);
    const bool recorded = std::exchange(recording_, false);
    const auto cell = scalar(default_value(to, found), to);
    problems_ = outer;
    recording_ = recorded;
    if (!found.has_errors()) return cell;
    problems_->error(where,
                     fmt::format("the default of '{}' of {} is invalid: {}", to.path, context_.owner,
                                 found.sorted().front().message),
                     "this is a bug in the plugin; set the option to work around it");
    return null_cell();
  }

  static value default_value(const bind_target& to, diagnostics& found) {
    const auto text = view(to.option.def);
    const bool is_text = to.option.kind == PL_OPT_TEXT || to.option.kind == PL_OPT_CHOICE;
    if (is_text && text.front() != '"' && text.front() != '\'') {
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

  pl_cell present(const value& v, const bind_target& to) {
    if (recording_) out_.memory_->positions.emplace(to.path, v.at());
    if (recording_ && v.broken) out_.memory_->broken.insert(to.path);
    if (is_secret(to.option)) v.hide();
    collect_secrets(v, to);
    if ((to.option.flags & PL_DEPRECATED) != 0) {
      problems_->warning(v.key_where ? v.key_where : v.at(), fmt::format("'{}' is deprecated", to.label),
                         std::string(view(to.option.doc)));
    }
    return scalar(v, to);
  }

  // Maps such as `headers` and `properties` have secret values beside others. Short values whose key does not name a
  // secret ("acks: all") would occur in many messages.
  static bool may_be_public(const value& child) {
    constexpr std::size_t short_text = 8;
    const auto key = to_lower(child.key);
    if (key == "content-type" || key == "accept" || key == "user-agent") return true;
    const auto names_secret = [&](std::string_view word) { return key.find(word) != std::string::npos; };
    return child.text.size() < short_text && !names_secret("password") && !names_secret("secret") &&
           !names_secret("token") && !names_secret("key") && !names_secret("auth");
  }

  void collect_secrets(const value& v, const bind_target& to) {
    auto& secrets = out_.memory_->secrets;
    if (!v.is_scalar()) {
      if (!is_secret(to.option)) return;
      for (const auto& child : v.children)
        if (!v.is_map() || !may_be_public(child)) collect_secrets(child, to);
      return;
    }
    if (to.path == "user" || to.path.ends_with(".user")) secrets.add_user(v.text);
    for (const auto& text : v.file_texts) secrets.add(text);
    if (is_secret(to.option) || v.secret)
      secrets.add(v.text);
    else
      secrets.add_from(v.text);
  }

  pl_cell scalar(const value& v, const bind_target& to) {
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
    if (is_choice_null(v, to.option)) return out_.memory_->text_cell("null");
    if (v.is_null() && to.option.kind != PL_OPT_ANY) return refuse(v.at() ? v.at() : context_.where, no_value(to));
    if (!v.is_scalar() && !v.is_null()) return wrong(v, to, braces_fix(v, to));
    switch (to.option.kind) {
      case PL_OPT_TEXT:
        return text(v, to);
      case PL_OPT_BOOL:
        return boolean(v, to);
      case PL_OPT_CHOICE:
        return choice(v, to);
      case PL_OPT_INT:
        return number(v, to, parse_int(v.text));
      case PL_OPT_FLOAT:
        return number(v, to, parse_float(v.text));
      case PL_OPT_DURATION:
        return number(v, to, parse_duration(v.text), 1e9);
      case PL_OPT_SIZE:
        return number(v, to, parse_size(v.text));
      default:
        return any(v);
    }
  }

  pl_cell text(const value& v, const bind_target& to) {
    if (v.text.empty() && (to.option.flags & PL_REQUIRED) != 0) return refuse(v.at(), empty_text(v, to));
    if ((to.option.flags & PL_FILE) != 0 && !v.text.empty()) out_.memory_->add_file(to.path, v.text);
    return out_.memory_->text_cell(v.text);
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

  pl_cell boolean(const value& v, const bind_target& to) {
    const auto parsed = parse_bool(v.text);
    return parsed ? int_cell(PL_BOOL, *parsed ? 1 : 0) : wrong(v, to, parsed.why().message);
  }

  // One of the words of a choice may be null, which YAML reads as no value.
  static bool is_choice_null(const value& v, const pl_option& option) {
    if (!v.is_null() || !v.where || option.kind != PL_OPT_CHOICE) return false;
    const auto words = split_choices(view(option.allowed));
    return std::find(words.begin(), words.end(), "null") != words.end();
  }

  pl_cell choice(const value& v, const bind_target& to) {
    const auto words = split_choices(view(to.option.allowed));
    if (std::find(words.begin(), words.end(), v.text) != words.end()) return out_.memory_->text_cell(v.text);
    return refuse(v.at(), wrong_choice(v, to));
  }

  // Bind a value with a range. `scale`: the value that corresponds to 1 in the range (durations: 1e9 ns for 1 s).
  template <typename Number>
  pl_cell number(const value& v, const bind_target& to, const result<Number>& parsed, double scale = 1) {
    if (!parsed) return wrong(v, to, parsed.why().message);
    const auto& o = to.option;
    const bool unlimited = std::fpclassify(o.min) == FP_ZERO && std::fpclassify(o.max) == FP_ZERO;  // 0 to 0: no range
    const auto n = static_cast<double>(*parsed) / scale;
    return unlimited || (n >= o.min && n <= o.max) ? cell_of(*parsed) : refuse(v.at(), out_of_range(v, to));
  }

  pl_cell any(const value& v) {
    if (v.is_null()) return null_cell();
    if (!v.quoted) {
      if (v.text.empty() || v.text == "~" || v.text == "null") return null_cell();
      if (const auto b = parse_bool(v.text)) return int_cell(PL_BOOL, *b ? 1 : 0);
      if (const auto n = parse_int(v.text)) return int_cell(PL_I64, *n);
      if (const auto n = parse_float(v.text)) return float_cell(*n);
    }
    return out_.memory_->text_cell(v.text);
  }

  // ---------------------------------------------------------------------------------------------------- containers

  pl_cell items_cell(std::uint32_t kind, std::uint32_t length, const std::vector<pl_cell>& block) {
    pl_cell cell{};
    cell.kind = kind;
    cell.len = length;
    cell.as.items = block.data();
    return cell;
  }

  pl_cell list(const value& v, const bind_target& to) {
    const auto element = element_of(to.option);
    if (v.is_scalar() && element.kind == PL_OPT_TEXT) {
      auto& block = out_.memory_->new_block(1);
      block[0] = out_.memory_->text_cell(v.text);
      return items_cell(PL_LIST, 1, block);
    }
    if (v.is_null()) return refuse(v.at() ? v.at() : context_.where, no_value(to));
    if (!v.is_list()) return wrong(v, to, list_fix(v, to));
    auto& block = out_.memory_->new_block(v.children.size());
    for (std::size_t i = 0; i < v.children.size(); ++i) {
      block[i] =
          present(v.children[i], {element, fmt::format("{}[{}]", to.path, i), fmt::format("{}[{}]", to.label, i)});
    }
    return items_cell(PL_LIST, static_cast<std::uint32_t>(v.children.size()), block);
  }

  pl_cell map(const value& v, const bind_target& to) {
    if (v.is_null()) return refuse(v.at() ? v.at() : context_.where, no_value(to));
    if (!v.is_map()) return wrong(v, to, {});
    const auto element = element_of(to.option);
    auto& block = out_.memory_->new_block(2 * v.children.size());
    for (std::size_t i = 0; i < v.children.size(); ++i) {
      const auto& child = v.children[i];
      block[2 * i] = out_.memory_->text_cell(child.key);
      if (recording_ && child.key_where)
        out_.memory_->positions.emplace(to.path + "." + child.key + "@key", child.key_where);
      block[2 * i + 1] =
          present(child, {element, to.path + "." + child.key, fmt::format("{}.{}", to.label, printable(child.key))});
    }
    return items_cell(PL_MAP, static_cast<std::uint32_t>(v.children.size()), block);
  }

  pl_cell object(const value& v, const bind_target& to) {
    if (v.is_null()) return refuse(v.at() ? v.at() : context_.where, no_value(to));
    if (!v.is_map()) return wrong(v, to, {});
    const auto table = fields_of(to.option);
    auto& block = out_.memory_->new_block(table.size());
    fields(v, table, to.path, v.at() ? v.at() : context_.where, block.data());
    return items_cell(PL_OBJECT, static_cast<std::uint32_t>(table.size()), block);
  }

  // ------------------------------------------------------------------------------------------------------ problems

  pl_cell refuse(const location& where, bind_message why) {
    problems_->error(where, std::move(why.text), std::move(why.hint));
    return null_cell();
  }

  pl_cell wrong(const value& v, const bind_target& to, std::string fix) {
    return refuse(v.at(), wrong_kind(v, to, std::move(fix)));
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
