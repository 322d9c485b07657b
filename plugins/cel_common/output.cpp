// SPDX-License-Identifier: Apache-2.0
#include "cel_common/output.hpp"

#include "cel_common/containers.hpp"
#include "cel_common/library.hpp"
#include "cel_common/moments.hpp"

#include <pipeline/json.hpp>

#include <array>
#include <charconv>
#include <cmath>
#include <utility>

namespace pl::cel {

namespace {

using enum value_kind;

// Append a double so that it cannot be read as an int: 21.0, 1e+300.
void append_real(std::string& out, double d) {
  if (!std::isfinite(d)) return append_fixed(out, d);
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), d).ptr;
  const std::string_view written(text.data(), static_cast<std::size_t>(end - text.data()));
  out += written;
  if (written.find_first_of(".e") == std::string_view::npos) out += ".0";
}

std::string latin1(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) append_code_point(text, static_cast<unsigned char>(c));
  return text;
}

// The text of a value that is neither a list nor a map.
std::string scalar_text(evaluation& e, const value& v) {
  std::string text;
  (void)append_shown(e, text, v);
  return text;
}

// Appends values as JSON.
class json_writer {
 public:
  json_writer(evaluation& e, std::string& out, byte_style style) noexcept : e_(e), out_(out), style_(style) {}

  bool operator()(const value& v, std::uint32_t depth) {
    if (depth > limits::value_depth) e_.exceed("a value is nested more than 100 levels deep");
    if (out_.size() > limits::memory_bytes) e_.exceed("the evaluation needs more than 8 MiB of memory");
    if (!e_.spend(1)) return false;
    switch (v.kind) {
      case null:
      case error:
        out_ += "null";
        break;
      case boolean:
      case integer:
        out_ += scalar_text(e_, v);
        break;
      case real:
        if (std::isfinite(v.real))
          append_real(out_, v.real);
        else
          append_json_string(out_, scalar_text(e_, v));
        break;
      case bytes:
        write_bytes(v);
        break;
      case list:
      case map:
        if (v.json)
          append_json_line(out_, v.view());
        else
          return v.is(list) ? items(v, depth) : members(v, depth);
        break;
      default:
        append_json_string(out_, scalar_text(e_, v));
    }
    return !e_.exceeded();
  }

 private:
  void write_bytes(const value& v) {
    if (style_ == byte_style::latin1)
      append_json_string(out_, latin1(v.view()));
    else
      append_json(out_, bytes_cell(v.view()));
  }
  bool items(const value& v, std::uint32_t depth) {
    out_.push_back('[');
    bool first = true;
    for (const auto& item : elements(e_, v)) {
      if (!std::exchange(first, false)) out_.push_back(',');
      if (!(*this)(item, depth + 1)) return false;
    }
    out_.push_back(']');
    return true;
  }
  bool members(const value& v, std::uint32_t depth) {
    out_.push_back('{');
    bool first = true;
    for (const auto& [key, mapped] : entries(e_, v)) {
      if (!std::exchange(first, false)) out_.push_back(',');
      append_json_string(out_, scalar_text(e_, key));
      out_.push_back(':');
      if (!(*this)(mapped, depth + 1)) return false;
    }
    out_.push_back('}');
    return true;
  }

  evaluation& e_;
  std::string& out_;
  byte_style style_;
};

// Append a value that is part of a list or map as it is written in an expression.
bool append_literal(evaluation& e, std::string& out, const value& v, std::uint32_t depth) {
  if (depth > limits::value_depth) e.exceed("a value is nested more than 100 levels deep");
  if (!e.spend(1)) return false;
  if (v.is(string) || v.is(bytes)) {
    if (v.is(bytes)) out.push_back('b');
    append_json_string(out, v.is(bytes) ? latin1(v.view()) : v.view());
    return e.spend_bytes(v.size);
  }
  if (v.is(real)) {
    append_real(out, v.real);
    return true;
  }
  if (v.is(timestamp) || v.is(duration)) {
    out.append(kind_name(v.kind)).append("(\"").append(scalar_text(e, v)).append("\")");
    return true;
  }
  if (!v.is(list) && !v.is(map)) return append_shown(e, out, v);
  bool first = true;
  out.push_back(v.is(list) ? '[' : '{');
  if (v.is(list)) {
    for (const auto& item : elements(e, v)) {
      if (!std::exchange(first, false)) out += ", ";
      if (!append_literal(e, out, item, depth + 1)) return false;
    }
  } else {
    for (const auto& [key, mapped] : entries(e, v)) {
      if (!std::exchange(first, false)) out += ", ";
      if (!append_literal(e, out, key, depth + 1)) return false;
      out += ": ";
      if (!append_literal(e, out, mapped, depth + 1)) return false;
    }
  }
  out.push_back(v.is(list) ? ']' : '}');
  return !e.exceeded();
}

// Nanoseconds since 1970, if 64 bits hold them.
std::optional<std::int64_t> nanoseconds(const value& timestamp) noexcept {
  std::int64_t ns = 0;
  if (__builtin_mul_overflow(timestamp.integer, std::int64_t{1'000'000'000}, &ns)) return std::nullopt;
  if (__builtin_add_overflow(ns, timestamp.size, &ns)) return std::nullopt;
  return ns;
}

}  // namespace

bool append_json_value(evaluation& e, std::string& out, const value& v, byte_style bytes) {
  return json_writer(e, out, bytes)(v, 0);
}

bool append_text_value(evaluation& e, std::string& out, const value& v) {
  if (v.is(list) || v.is(map) || v.is(bytes)) return append_literal(e, out, v, 0);
  if (v.is(real)) {
    append_real(out, v.real);
    return true;
  }
  return append_shown(e, out, v);
}

cell to_cell(evaluation& e, const value& v, batch_builder& owner, value& why) {
  const auto fail = [&](std::string_view what) {
    why = e.fail({what});
    return null_cell();
  };
  switch (v.kind) {
    case null:
      return null_cell();
    case boolean:
      return bool_cell(v.is_true());
    case integer:
      return int_cell(v.integer);
    case real:
      return std::isfinite(v.real) ? real_cell(v.real) : fail("the result is not a finite number");
    case string:
      return text_cell(owner.copy(v.view()));
    case bytes:
      return bytes_cell(owner.copy(v.view()));
    case timestamp:
      if (const auto ns = nanoseconds(v)) return time_cell(*ns);
      return fail("the result is not a time in the years 1677 to 2262");
    case duration:
      return fail("the result is a duration, which no column holds");
    case list:
    case map: {
      auto& json = e.scratch();
      if (!append_json_value(e, json, v, byte_style::sdk)) return why = e.limit_error(), null_cell();
      return json_cell(owner.copy(json));
    }
    case error:
      why = v;
      return null_cell();
  }
  return null_cell();
}

}  // namespace pl::cel
