// SPDX-License-Identifier: Apache-2.0
// Declaration of options. A plain struct holds them, with their defaults as member initialisers; `table()` names each
// member:
//
//   struct options {
//     std::string path;
//     std::chrono::nanoseconds flush = 1s;
//     std::vector<rule> rules;                       // rule has its own table()
//     static pl::option_table<options> table() {
//       return {pl::option(&options::path, "path", "File to write").required().example("out.ndjson"),
//               pl::option(&options::flush, "flush", "Time between flushes").range(0, 60),
//               pl::option(&options::rules, "rules", "Alert rules")};
//     }
//   };
//
// Kinds follow from the members' types: std::string, bool, integers, double, std::chrono::nanoseconds (durations),
// byte_size, enums (with a `choices(E)` function in their namespace), std::optional<T>, std::vector<T>,
// std::map<std::string, T>, ordered_map<T>, structs with a table(), and scalar (any scalar). From the table the host derives parsing,
// checks that report positions, defaults, `plugins describe`, the JSON Schema and the reference.
#pragma once

#include <pipeline/abi.h>
#include <pipeline/result.hpp>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace pl {

// A map of names to values in the order of the configuration, for options whose order has a meaning. std::map sorts.
template <class T>
using ordered_map = std::vector<std::pair<std::string, T>>;

// A size in bytes, written as 64KiB or 10MB.
struct byte_size {
  std::uint64_t bytes = 0;
  constexpr auto operator<=>(const byte_size&) const = default;
};

// Any scalar.
using scalar = std::variant<std::monostate, bool, std::int64_t, double, std::string>;

template <class O>
class option_table;

namespace detail {

template <class T>
concept described = requires {
                      { T::table() } -> std::same_as<option_table<T>>;
                    };

// The names of an enum: constexpr std::array<std::pair<std::string_view, E>, N> choices(E), in the namespace of E.
template <class E>
concept named_enum = std::is_enum_v<E> && requires(E e) { choices(e); };

template <class T>
struct wrapped {
  using type = void;
  static constexpr std::uint32_t kind = 0;
};
template <class T>
struct wrapped<std::vector<T>> {
  using type = T;
  static constexpr std::uint32_t kind = PL_OPT_LIST;
};
template <class T>
struct wrapped<std::map<std::string, T>> {
  using type = T;
  static constexpr std::uint32_t kind = PL_OPT_MAP;
};
template <class T>
struct wrapped<std::vector<std::pair<std::string, T>>> {
  using type = T;
  static constexpr std::uint32_t kind = PL_OPT_MAP;
};
template <class T>
struct unwrap_optional {
  using type = T;
};
template <class T>
struct unwrap_optional<std::optional<T>> {
  using type = T;
};

template <class T>
constexpr std::uint32_t kind_of() {
  using U = typename unwrap_optional<T>::type;
  if constexpr (std::is_same_v<U, std::string>)
    return PL_OPT_TEXT;
  else if constexpr (std::is_same_v<U, bool>)
    return PL_OPT_BOOL;
  else if constexpr (named_enum<U>)
    return PL_OPT_CHOICE;
  else if constexpr (std::is_integral_v<U>)
    return PL_OPT_INT;
  else if constexpr (std::is_floating_point_v<U>)
    return PL_OPT_FLOAT;
  else if constexpr (std::is_same_v<U, std::chrono::nanoseconds>)
    return PL_OPT_DURATION;
  else if constexpr (std::is_same_v<U, byte_size>)
    return PL_OPT_SIZE;
  else if constexpr (std::is_same_v<U, scalar>)
    return PL_OPT_ANY;
  else if constexpr (wrapped<U>::kind != 0)
    return wrapped<U>::kind;
  else {
    static_assert(described<U>, "the type of this member has no kind of option");
    return PL_OPT_OBJECT;
  }
}

template <class T>
const option_table<T>& table_of() {
  static const option_table<T> table = T::table();
  return table;
}

template <class T>
void decode(const pl_cell& c, T& to);

template <class T>
void decode_scalar(const pl_cell& c, T& to) {
  if (c.kind == PL_BOOL)
    to = c.as.i != 0;
  else if (c.kind == PL_I64)
    to = c.as.i;
  else if (c.kind == PL_F64)
    to = c.as.f;
  else
    to = std::string(c.len ? std::string_view{c.as.p, c.len} : std::string_view{});
}

template <class E>
void decode_choice(std::string_view word, E& to) {
  for (const auto& [name, value] : choices(E{}))
    if (name == word) to = value;
}

template <class T>
void decode_present(const pl_cell& c, T& to) {
  const auto text = [&] { return c.len ? std::string_view{c.as.p, c.len} : std::string_view{}; };
  constexpr auto kind = kind_of<T>();
  if constexpr (kind == PL_OPT_TEXT)
    to = text();
  else if constexpr (kind == PL_OPT_BOOL)
    to = c.as.i != 0;
  else if constexpr (kind == PL_OPT_CHOICE)
    decode_choice(text(), to);
  else if constexpr (kind == PL_OPT_INT)
    to = static_cast<T>(c.as.i);
  else if constexpr (kind == PL_OPT_FLOAT)
    to = static_cast<T>(c.as.f);
  else if constexpr (kind == PL_OPT_DURATION)
    to = std::chrono::nanoseconds(c.as.i);
  else if constexpr (kind == PL_OPT_SIZE)
    to.bytes = static_cast<std::uint64_t>(c.as.i);
  else if constexpr (kind == PL_OPT_ANY)
    decode_scalar(c, to);
  else if constexpr (kind == PL_OPT_LIST) {
    to.resize(c.len);
    for (std::uint32_t i = 0; i < c.len; ++i) decode(c.as.items[i], to[i]);
  } else if constexpr (kind == PL_OPT_MAP) {
    to.clear();
    for (std::uint32_t i = 0; i < c.len; ++i) {
      std::string key;
      decode(c.as.items[std::size_t{2} * i], key);
      typename wrapped<typename unwrap_optional<T>::type>::type item{};
      decode(c.as.items[std::size_t{2} * i + 1], item);
      if constexpr (requires { to.emplace_back(key, item); })
        to.emplace_back(std::move(key), std::move(item));
      else
        to.insert_or_assign(std::move(key), std::move(item));
    }
  } else {
    table_of<T>().decode(c.as.items, to);
  }
}

template <class T>
void decode(const pl_cell& c, T& to) {
  if (c.kind == PL_NULL) return;  // not set: keep the member's default
  if constexpr (!std::is_same_v<T, typename unwrap_optional<T>::type>)
    decode_present(c, to.emplace());
  else
    decode_present(c, to);
}

// Return the shortest exact form: 90s becomes "1m30s".
inline std::string duration_text(std::chrono::nanoseconds d) {
  if (d.count() == 0) return "0";
  static constexpr std::pair<std::int64_t, const char*> units[] = {{86'400'000'000'000, "d"},
                                                                   {3'600'000'000'000, "h"},
                                                                   {60'000'000'000, "m"},
                                                                   {1'000'000'000, "s"},
                                                                   {1'000'000, "ms"},
                                                                   {1'000, "us"},
                                                                   {1, "ns"}};
  std::string text;
  auto left = d.count();
  for (const auto& [size, unit] : units)
    if (left / size != 0) {
      text += std::to_string(left / size) + unit;
      left %= size;
    }
  return text;
}

inline std::string size_text(byte_size s) {
  static constexpr std::pair<std::uint64_t, const char*> units[] = {
      {1ULL << 30, "GiB"}, {1ULL << 20, "MiB"}, {1ULL << 10, "KiB"}};
  for (const auto& [size, unit] : units)
    if (s.bytes >= size && s.bytes % size == 0) return std::to_string(s.bytes / size) + unit;
  return std::to_string(s.bytes);
}

// Return a text as an element of a YAML list, quoted if YAML would read it differently without quotes.
inline std::string element_text(std::string text) {
  const bool plain = !text.empty() &&
                     std::string_view("@`%&*!|>'\"{}[],#?:- ").find(text.front()) == std::string_view::npos &&
                     text.find_first_of("{}[],#:") == std::string::npos;
  if (plain) return text;
  for (auto at = text.find('\''); at != std::string::npos; at = text.find('\'', at + 2)) text.insert(at, 1, '\'');
  return "'" + text + "'";
}

// Return a member's default as written in YAML; empty if there is none.
template <class T>
std::string default_text(const T& v) {
  constexpr auto kind = kind_of<T>();
  if constexpr (!std::is_same_v<T, typename unwrap_optional<T>::type>)
    return v ? default_text(*v) : std::string{};
  else if constexpr (kind == PL_OPT_TEXT)
    return v;
  else if constexpr (kind == PL_OPT_BOOL)
    return v ? "true" : "false";
  else if constexpr (kind == PL_OPT_INT)
    return std::to_string(v);
  else if constexpr (kind == PL_OPT_DURATION)
    return duration_text(v);
  else if constexpr (kind == PL_OPT_SIZE)
    return size_text(v);
  else if constexpr (kind == PL_OPT_FLOAT) {
    char text[32];
    std::snprintf(text, sizeof text, "%.12g", static_cast<double>(v));
    return text;
  } else if constexpr (kind == PL_OPT_CHOICE) {
    for (const auto& [name, value] : choices(T{}))
      if (value == v) return std::string(name);
    return {};
  } else if constexpr (kind == PL_OPT_LIST) {
    if constexpr (described<typename T::value_type> || std::is_same_v<typename T::value_type, scalar>)
      return {};
    else {
      if (v.empty()) return {};
      std::string text = "[";
      for (const auto& e : v) {
        text.append(text.size() > 1 ? ", " : "");
        text.append(kind_of<typename T::value_type>() == PL_OPT_TEXT ? element_text(default_text(e)) : default_text(e));
      }
      return text + "]";
    }
  } else
    return {};
}

template <class T>
std::string allowed_text() {
  using U = typename unwrap_optional<T>::type;
  std::string text;
  if constexpr (named_enum<U>)
    for (const auto& [name, value] : choices(U{})) text.append(text.empty() ? "" : "|").append(name);
  return text;
}

}  // namespace detail

// One option of the struct O, created by pl::option.
template <class O>
class option_spec {
 public:
  option_spec&& required() && { return set_flag(PL_REQUIRED); }
  option_spec&& secret() && { return set_flag(PL_SECRET); }
  option_spec&& deprecated() && { return set_flag(PL_DEPRECATED); }
  // The path of a file that is read in `start` only: see PL_FILE.
  option_spec&& file() && { return set_flag(PL_FILE); }
  option_spec&& example(std::string_view yaml) && {
    raw_.example = borrow(yaml);
    return std::move(*this);
  }
  // Both limits are inclusive; durations in seconds, sizes in bytes.
  option_spec&& range(double min, double max = HUGE_VAL) && {
    raw_.min = min;
    raw_.max = max;
    return std::move(*this);
  }

 private:
  template <class P, class M>
  friend option_spec<P> option(M P::*, std::string_view, std::string_view);
  friend class option_table<O>;

  option_spec&& set_flag(std::uint32_t f) {
    raw_.flags |= f;
    return std::move(*this);
  }

  pl_option raw_{};
  std::function<void(const pl_cell&, O&)> decode_;
  std::function<std::string(const O&)> default_;
  std::string allowed_;
  std::function<std::pair<const pl_option*, std::uint32_t>()> fields_;
};

// Declare the option `key`, which sets `member`. Strings must be literals (or live as long as the plugin).
template <class O, class M>
[[nodiscard]] option_spec<O> option(M O::*member, std::string_view key, std::string_view doc) {
  using U = typename detail::unwrap_optional<M>::type;
  using element = typename detail::wrapped<U>::type;
  option_spec<O> spec;
  spec.raw_.kind = detail::kind_of<M>();
  spec.raw_.key = borrow(key);
  spec.raw_.doc = borrow(doc);
  spec.raw_.min = -HUGE_VAL;
  spec.raw_.max = HUGE_VAL;
  if constexpr (!std::is_void_v<element>) spec.raw_.element = detail::kind_of<element>();
  using object = std::conditional_t<std::is_void_v<element>, U, element>;
  if constexpr (detail::described<object>)
    spec.fields_ = [] { return std::pair{detail::table_of<object>().raw(), detail::table_of<object>().size()}; };
  if constexpr (detail::named_enum<object>) spec.allowed_ = detail::allowed_text<object>();
  spec.decode_ = [member](const pl_cell& c, O& to) { detail::decode(c, to.*member); };
  spec.default_ = [member](const O& o) { return detail::default_text(o.*member); };
  return spec;
}

// All options of the struct O, in the order of their declaration.
template <class O>
class option_table {
 public:
  template <class... Specs>
  option_table(Specs&&... specs) {  // NOLINT(google-explicit-constructor)
    (specs_.push_back(std::move(specs)), ...);
    finish();
  }
  option_table(option_table&&) = delete;

  [[nodiscard]] const pl_option* raw() const noexcept { return raw_.data(); }
  [[nodiscard]] std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(raw_.size()); }
  void decode(const pl_cell* config, O& to) const {
    for (std::size_t i = 0; i < specs_.size(); ++i) specs_[i].decode_(config[i], to);
  }

 private:
  void finish() {
    const O defaults{};
    texts_.reserve(specs_.size());  // pl_option borrows the texts, so they must not move
    for (auto& spec : specs_) {
      if (spec.fields_) std::tie(spec.raw_.fields, spec.raw_.nfields) = spec.fields_();
      spec.raw_.allowed = borrow(spec.allowed_);
      texts_.push_back(spec.raw_.flags & PL_REQUIRED ? std::string{} : spec.default_(defaults));
      spec.raw_.def = borrow(texts_.back());
      raw_.push_back(spec.raw_);
    }
  }
  std::vector<option_spec<O>> specs_;
  std::vector<std::string> texts_;
  std::vector<pl_option> raw_;
};

}  // namespace pl
