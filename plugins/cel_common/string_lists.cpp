// SPDX-License-Identifier: Apache-2.0
// Functions between strings and their parts: join, split, replace.
#include "cel_common/containers.hpp"
#include "cel_common/library.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <cstring>

namespace pl::cel {

namespace {

constexpr std::int64_t unlimited = INT64_MAX;

std::int64_t limit_of(const value& v) noexcept { return v.integer < 0 ? unlimited : v.integer; }

// Return the length of the text before the separator and of the separator. An empty separator is after each character.
struct piece {
  std::size_t length, separator;
  bool last;
};
piece next_piece(std::string_view rest, std::string_view separator) noexcept {
  if (separator.empty()) {
    const auto n = rest.empty() ? 0 : std::max<std::size_t>(1, utf8_sequence(rest, 0));
    return {n, 0, n == rest.size()};
  }
  const auto* found = rest.empty() ? nullptr : memmem(rest.data(), rest.size(), separator.data(), separator.size());
  if (found == nullptr) return {rest.size(), 0, true};
  return {static_cast<std::size_t>(static_cast<const char*>(found) - rest.data()), separator.size(), false};
}

// Call take(piece) for at most `limit` pieces; the last one is the rest.
template <class Take>
void each_piece(std::string_view text, std::string_view separator, std::int64_t limit, Take&& take) {
  if (limit == 0 || (text.empty() && separator.empty())) return;
  for (std::int64_t n = 1;; ++n) {
    const auto found = next_piece(text, separator);
    if (found.last || n == limit) return take(text);
    take(text.substr(0, found.length));
    text.remove_prefix(found.length + found.separator);
  }
}

value split_into(evaluation& e, std::string_view text, std::string_view separator, std::int64_t limit) {
  std::size_t n = 0;
  each_piece(text, separator, limit, [&](std::string_view) { ++n; });
  if (n > limits::list_size) e.exceed("a list has more than 100000 elements");
  auto* to = e.spend_bytes(text.size()) && e.spend(static_cast<std::int64_t>(n)) ? e.allocate<value>(n) : nullptr;
  if (to == nullptr) return e.limit_error();
  auto* end = to;
  each_piece(text, separator, limit, [&](std::string_view part) { *end++ = string_value(part); });
  return list_value({to, end});
}

value join_by(evaluation& e, const value& list, std::string_view separator) {
  const auto all = elements(e, list);
  std::size_t size = all.empty() ? 0 : (all.size() - 1) * separator.size();
  for (const auto& v : all) {
    if (!v.is(value_kind::string)) return e.no_overload("join", {&list, 1});
    size += v.size;
  }
  auto* to = e.spend_bytes(size) && e.spend(static_cast<std::int64_t>(all.size())) ? e.allocate<char>(size) : nullptr;
  if (to == nullptr) return e.limit_error();
  auto* end = to;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i != 0) end = std::copy(separator.begin(), separator.end(), end);
    end = std::copy_n(all[i].view().data(), all[i].size, end);
  }
  return string_value({to, size});
}

// An empty text is found before each character and at the end, as in Go's strings.Replace.
value replace(evaluation& e, std::string_view text, std::string_view old, std::string_view by, std::int64_t limit) {
  if (!e.spend_bytes(text.size())) return e.limit_error();
  auto& out = e.scratch();
  const auto put = [&](std::string_view part) {
    if (out.size() + part.size() > limits::memory_bytes) e.exceed("the evaluation needs more than 8 MiB of memory");
    if (!e.exceeded()) out += part;
  };
  std::int64_t left = limit;
  if (old.empty() && left > 0) put(by), --left;
  while (left > 0 && !text.empty() && !e.exceeded()) {
    const auto found = next_piece(text, old);
    if (found.last && !old.empty()) break;
    put(text.substr(0, found.length));
    put(by);
    text.remove_prefix(found.length + found.separator);
    --left;
  }
  put(text);
  return e.exceeded() ? e.limit_error() : e.copy_string(out);
}

}  // namespace

value join(evaluation& e, const value* args) { return join_by(e, args[0], {}); }
value join_with(evaluation& e, const value* args) { return join_by(e, args[0], args[1].view()); }

value split(evaluation& e, const value* args) { return split_into(e, args[0].view(), args[1].view(), unlimited); }
value split_limited(evaluation& e, const value* args) {
  return split_into(e, args[0].view(), args[1].view(), limit_of(args[2]));
}

value replace_all(evaluation& e, const value* args) {
  return replace(e, args[0].view(), args[1].view(), args[2].view(), unlimited);
}
value replace_limited(evaluation& e, const value* args) {
  return replace(e, args[0].view(), args[1].view(), args[2].view(), limit_of(args[3]));
}

}  // namespace pl::cel
