// SPDX-License-Identifier: Apache-2.0
// string.format(list): %s %d %f %e %x %X %o %b and %%.
#include "cel_common/containers.hpp"
#include "cel_common/library.hpp"
#include "cel_common/moments.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

namespace pl::cel {

namespace {

using enum value_kind;

// Append valid UTF-8, with one U+FFFD for each run of bytes that are not.
void append_repaired(std::string& out, std::string_view bytes) {
  bool before = true;
  each_character(bytes, [&](std::string_view character, bool valid) {
    if (valid) out += character;
    if (!valid && before) out += replacement_character;
    before = valid;
  });
}

bool append_not_finite(std::string& out, double d) {
  if (std::isfinite(d)) return false;
  out += std::isnan(d) ? "NaN" : d < 0 ? "-Infinity" : "Infinity";
  return true;
}

// Appends values as %s shows them.
class printer {
 public:
  printer(evaluation& e, std::string& out) noexcept : e_(e), out_(out) {}

  bool operator()(const value& v, std::uint32_t depth) {
    if (depth > limits::value_depth) e_.exceed("a value is nested more than 100 levels deep");
    if (out_.size() > limits::memory_bytes) e_.exceed("the evaluation needs more than 8 MiB of memory");
    if (!e_.spend(1)) return false;
    switch (v.kind) {
      case list:
        return items(v, depth);
      case map:
        return members(v, depth);
      case string:
        out_ += v.view();
        return e_.spend_bytes(v.size);
      case bytes:
        append_repaired(out_, v.view());
        return e_.spend_bytes(v.size);
      default:
        scalar(v);
        return true;
    }
  }

 private:
  void scalar(const value& v) {
    switch (v.kind) {
      case boolean:
        out_ += v.is_true() ? "true" : "false";
        break;
      case integer:
        out_ += std::to_string(v.integer);
        break;
      case real:
        append_fixed(out_, v.real);
        break;
      case timestamp:
        append_timestamp(out_, v);
        break;
      case duration:
        append_duration(out_, v);
        break;
      default:
        out_ += "null";
    }
  }
  bool items(const value& v, std::uint32_t depth) {
    out_.push_back('[');
    bool first = true;
    for (const auto& item : elements(e_, v)) {
      if (!std::exchange(first, false)) out_ += ", ";
      if (!(*this)(item, depth + 1)) return false;
    }
    out_.push_back(']');
    return !e_.exceeded();
  }
  // The entries are sorted by their printed keys.
  bool members(const value& v, std::uint32_t depth) {
    std::vector<std::pair<std::string, std::string>> printed;
    for (const auto& [key, mapped] : entries(e_, v)) {
      auto& [name, text] = printed.emplace_back();
      if (!printer(e_, name)(key, depth + 1) || !printer(e_, text)(mapped, depth + 1)) return false;
    }
    std::sort(printed.begin(), printed.end());
    out_.push_back('{');
    for (const auto& [name, text] : printed) {
      if (&name != &printed.front().first) out_ += ", ";
      out_.append(name).append(": ").append(text);
    }
    out_.push_back('}');
    return !e_.exceeded();
  }

  evaluation& e_;
  std::string& out_;
};

void append_digits(std::string& out, std::uint64_t magnitude, int base, hex_case letters) {
  std::array<char, 64> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), magnitude, base).ptr;
  if (letters == hex_case::upper)
    std::transform(digits.data(), end, digits.data(),
                   [](char c) { return c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c; });
  out.append(digits.data(), end);
}

void append_in_base(std::string& out, std::int64_t i, int base, hex_case letters = hex_case::lower) {
  if (i < 0) out.push_back('-');
  append_digits(out, i < 0 ? 0 - static_cast<std::uint64_t>(i) : static_cast<std::uint64_t>(i), base, letters);
}

// Formats one text. `problem_` holds the first mistake.
class formatter {
 public:
  formatter(evaluation& e, std::string& out) noexcept : e_(e), out_(out) {}

  value run(std::string_view text, std::span<const value> args) {
    while (!text.empty()) {
      const auto plain = std::min(text.find('%'), text.size());
      out_ += text.substr(0, plain);
      text.remove_prefix(plain);
      if (text.empty()) break;
      text.remove_prefix(1);
      if (text.starts_with('%')) {
        out_.push_back('%');
        text.remove_prefix(1);
      } else if (!clause(text, args)) {
        return e_.exceeded() ? e_.limit_error() : e_.fail({"format: ", problem_});
      }
    }
    return e_.copy_string(out_);
  }

 private:
  bool wrong(std::string what) {
    problem_ = std::move(what);
    return false;
  }
  // Format one argument, and move past the clause.
  bool clause(std::string_view& text, std::span<const value> args) {
    std::int64_t precision = 6;
    bool has_precision = false;
    if (text.starts_with('.')) {
      text.remove_prefix(1);
      const auto digits = text.substr(0, std::min(text.find_first_not_of("0123456789"), text.size()));
      const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), precision);
      if (digits.empty() || read.ec != std::errc() || precision > limits::format_precision)
        return wrong("the precision must be a number from 0 to " + std::to_string(limits::format_precision));
      text.remove_prefix(digits.size());
      has_precision = true;
    }
    if (text.empty()) return wrong("the text ends within a clause; write %% for a percent sign");
    const char letter = text[0];
    if (std::string_view("sdfexXob").find(letter) == std::string_view::npos)
      return wrong("unrecognized formatting clause '%" +
                   valid_utf8(text.substr(0, std::max<std::size_t>(1, utf8_sequence(text, 0)))) + "'");
    if (has_precision && letter != 'f' && letter != 'e') return wrong(std::string("%") + letter + " has no precision");
    text.remove_prefix(1);
    if (used_ >= args.size())
      return wrong("index " + std::to_string(used_) + " out of range: there are too few arguments");
    return argument(letter, static_cast<int>(precision), args[used_++]);
  }
  bool argument(char letter, int precision, const value& v) {
    switch (letter) {
      case 's':
        return printer(e_, out_)(v, 0);
      case 'd':
        if (v.is(integer)) return out_ += std::to_string(v.integer), true;
        if (v.is(real)) return append_fixed(out_, v.real), true;
        break;
      case 'f':
      case 'e':
        if (v.is_number())
          return number(v, letter == 'f' ? std::chars_format::fixed : std::chars_format::scientific, precision);
        break;
      case 'b':
        if (v.is(boolean)) return out_.push_back(v.is_true() ? '1' : '0'), true;
        if (v.is(integer)) return append_in_base(out_, v.integer, 2), true;
        break;
      case 'o':
        if (v.is(integer)) return append_in_base(out_, v.integer, 8), true;
        break;
      default:
        return hexadecimal(v, letter);
    }
    return wrong(std::string("%") + letter + " does not take a value of type " + std::string(kind_name(v.kind)));
  }
  bool hexadecimal(const value& v, char letter) {
    const auto letters = letter == 'x' ? hex_case::lower : hex_case::upper;
    if (v.is(integer)) return append_in_base(out_, v.integer, 16, letters), true;
    if (!v.is(string) && !v.is(bytes))
      return wrong(std::string("%") + letter + " does not take a value of type " + std::string(kind_name(v.kind)));
    for (const char c : v.view()) append_hex(out_, c, letters);
    return e_.spend_bytes(v.size);
  }
  bool number(const value& v, std::chars_format form, int precision) {
    const double d = v.is(integer) ? static_cast<double>(v.integer) : v.real;
    if (append_not_finite(out_, d)) return true;
    std::array<char, 512> text;  // 309 digits, the point and at most 100 decimals
    const auto end = std::to_chars(text.data(), text.data() + text.size(), d, form, precision).ptr;
    out_.append(text.data(), end);
    return true;
  }

  evaluation& e_;
  std::string& out_;
  std::size_t used_ = 0;
  std::string problem_;
};

}  // namespace

void append_fixed(std::string& out, double d) {
  if (append_not_finite(out, d)) return;
  std::array<char, 400> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), d, std::chars_format::fixed).ptr;
  out.append(text.data(), end);
}

bool append_shown(evaluation& e, std::string& out, const value& v) { return printer(e, out)(v, 0); }

value format(evaluation& e, const value* args) {
  const auto arguments = elements(e, args[1]);
  if (e.exceeded() || !e.spend_bytes(args[0].size)) return e.limit_error();
  return formatter(e, e.scratch()).run(args[0].view(), arguments);
}

}  // namespace pl::cel
