// SPDX-License-Identifier: Apache-2.0
#include "config/interpolate.hpp"

#include "config/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

namespace pl::config {

namespace {

constexpr auto npos = std::string_view::npos;
constexpr int max_nesting = 8;

bool is_name(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return !text.empty() && letter(text.front()) &&
         std::all_of(text.begin(), text.end(), [&](char c) { return letter(c) || digit(c); });
}

class scalar_expander {
 public:
  scalar_expander(value& scalar, const environment& env, diagnostics& problems)
      : scalar_(scalar), env_(env), problems_(problems), search_from_(scalar.where.offset()) {}

  void run() {
    auto result = expand(scalar_.text, 0);
    if (result.size() > max_file_bytes) fail("${", "the text is too long after its references are replaced", {});
    scalar_.written = std::exchange(scalar_.text, std::move(result));
    if (scalar_.secret) scalar_.hide();
  }

 private:
  std::string expand(std::string_view text, int level) {
    std::string result;
    for (std::size_t at = 0; at < text.size();) {
      const auto rest = text.substr(at);
      if (rest.starts_with("$$")) {
        result += '$';
        at += 2;
      } else if (rest.starts_with("${")) {
        at += expand_reference(rest, level, result);
      } else {
        result += text[at++];
      }
    }
    return result;
  }

  // Return the length of the reference at the front, up to its '}' (skipping nested references); npos if not closed.
  static std::size_t reference_length(std::string_view text) {
    std::size_t open = 0;
    for (std::size_t at = 0; at < text.size(); ++at) {
      if (text.substr(at).starts_with("${")) ++open;
      if (text[at] == '}' && --open == 0) return at + 1;
    }
    return npos;
  }

  std::size_t expand_reference(std::string_view text, int level, std::string& result) {
    const auto length = reference_length(text);
    if (length == npos) {
      fail("${", "'${' without a closing '}'", "close it, or write '$${' for a plain '${'");
      return text.size();
    }
    if (level >= max_nesting) {
      fail("${", "references are nested too deeply", {});
      return length;
    }
    const auto inside = text.substr(2, length - 3);
    if (inside.starts_with("file:")) {
      result += read_file(text.substr(0, length), std::string(inside.substr(5)));
    } else {
      result += read_variable(text.substr(0, length), inside, level);
    }
    return length;
  }

  std::string read_variable(std::string_view reference, std::string_view inside, int level) {
    const auto colon = inside.find(':');
    const auto name = inside.substr(0, colon);
    const auto rest = colon == npos ? std::string_view() : inside.substr(colon);
    if (!is_name(name) || !(rest.empty() || rest.starts_with(":-") || rest.starts_with(":?"))) {
      fail(reference, fmt::format("'{}' is not a valid reference", printable(reference)),
           "write ${NAME}, ${NAME:-default}, ${NAME:?message} or ${file:/path}; '$${' for a plain '${'");
      return {};
    }
    auto found = env_.variable ? env_.variable(name) : std::nullopt;
    if (found && find_invalid_utf8(*found) != npos) {
      fail(reference, fmt::format("the variable {} is not valid UTF-8", name), {});
      return {};
    }
    if (found && (rest.empty() || !found->empty())) return std::move(*found);
    if (rest.starts_with(":-")) return expand(rest.substr(2), level + 1);
    report_unset(reference, name, rest.empty() ? rest : rest.substr(2), found.has_value());
    return {};
  }

  void report_unset(std::string_view reference, std::string_view name, std::string_view message, bool empty) {
    auto text = fmt::format("the variable {} is {}", name, empty ? "empty" : "not set");
    if (!message.empty()) {
      fail(reference, text + ": " + printable(message), {});
    } else {
      fail(reference, text, fmt::format("set it, or write ${{{}:-default}}", name));
    }
  }

  std::string read_file(std::string_view reference, const std::string& path) {
    std::string why = "reading files is not supported here";
    auto found = env_.read_file ? env_.read_file(path, why) : std::nullopt;
    if (!found) {
      fail(reference, fmt::format("can't read the file '{}': {}", printable(path), why), {});
      return {};
    }
    scalar_.secret = true;
    if (found->ends_with('\n')) found->pop_back();
    if (found->ends_with('\r')) found->pop_back();
    if (found->find('\0') != npos || find_invalid_utf8(*found) != npos) {
      fail(reference, fmt::format("the file '{}' is not text (UTF-8)", printable(path)), {});
      return {};
    }
    scalar_.file_texts.push_back(*found);
    return std::move(*found);
  }

  void fail(std::string_view reference, std::string message, std::string hint) {
    scalar_.broken = true;
    problems_.error(place_of(reference), std::move(message), std::move(hint));
  }

  // Return the place of the reference if the source contains it literally (escapes and folded lines may hide it).
  location place_of(std::string_view reference) {
    const auto& where = scalar_.where;
    if (!where.exact()) return where;
    const auto end = where.offset() + where.length();
    const auto found = where.source()->text().substr(0, end).find(reference, search_from_);
    if (found == npos) return where;
    search_from_ = found + 1;
    return {where.source(), found, reference.size()};
  }

  value& scalar_;
  const environment& env_;
  diagnostics& problems_;
  std::size_t search_from_;
};

}  // namespace

void interpolate(value& root, const environment& env, diagnostics& problems) {
  if (root.is_scalar() && !root.broken && root.text.find('$') != std::string::npos) {
    scalar_expander(root, env, problems).run();
  }
  for (auto& child : root.children) interpolate(child, env, problems);
}

bool read_files_again(value& root, const environment& env) {
  bool changed = false;
  if (root.is_scalar() && root.written.find("${file:") != std::string::npos) {
    value fresh = root;
    fresh.text = root.written;
    fresh.file_texts.clear();
    diagnostics unread;
    scalar_expander(fresh, env, unread).run();
    changed = !unread.has_errors() && fresh.text != root.text;
    if (changed) root = std::move(fresh);
  }
  for (auto& child : root.children) changed = read_files_again(child, env) || changed;
  return changed;
}

}  // namespace pl::config
