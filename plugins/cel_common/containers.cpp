// SPDX-License-Identifier: Apache-2.0
#include "cel_common/containers.hpp"

#include "cel_common/literals.hpp"

#include <pipeline/json_members.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

namespace pl::cel {

namespace {

constexpr std::uint32_t small_map = 8;  // entries that are searched one after the other

// Compare keys: booleans before integers before strings. The kinds are those of keys.
std::weak_ordering compare_keys(const value& a, const value& b) noexcept {
  if (a.kind != b.kind) return a.kind <=> b.kind;
  return a.is(value_kind::string) ? a.view() <=> b.view() : a.integer <=> b.integer;
}

bool is_key(const value& v) noexcept {
  return v.is(value_kind::boolean) || v.is(value_kind::integer) || v.is(value_kind::string);
}

// A double with an integer's value finds the entry of that integer.
std::optional<value> as_key(const value& v) noexcept {
  if (is_key(v)) return v;
  if (!v.is(value_kind::real) || v.real != std::trunc(v.real) || std::abs(v.real) >= 9.2e18) return std::nullopt;
  return int_value(static_cast<std::int64_t>(v.real));
}

value json_number(std::string_view text) noexcept {
  constexpr std::int64_t exact = std::int64_t{1} << 53;
  std::int64_t integer = 0;
  const auto whole = std::from_chars(text.data(), text.data() + text.size(), integer);
  const bool is_integer = whole.ec == std::errc() && whole.ptr == text.data() + text.size();
  if (is_integer && (integer > exact || integer < -exact)) return int_value(integer);
  const auto real = read_double(text);
  if (!real) return double_value(text.starts_with('-') ? -HUGE_VAL : HUGE_VAL);
  return double_value(*real);
}

value json_string(evaluation& e, std::string_view raw) {
  const auto plain = raw.substr(1, raw.size() - 2);
  if (plain.find('\\') == std::string_view::npos) return string_value(plain);
  const auto decoded = json_text(raw);
  return decoded ? e.copy_string(*decoded) : e.fail({"the JSON string ", raw, " contains an unpaired surrogate"});
}

value json_container(value_kind kind, std::string_view text) noexcept {
  auto v = span_value(kind, text);
  v.json = true;
  return v;
}

// Skips a JSON array element by element: take(text of the element).
template <class Take>
void each_json_element(std::string_view array, Take&& take) {
  pl::detail::json_walk walk(array);
  walk.space();
  if (!walk.take('[')) return;
  walk.space();
  if (walk.take(']')) return;
  do {
    walk.space();
    const auto at = walk.here();
    if (!walk.value()) return;
    take(walk.since(at));
    walk.space();
  } while (walk.take(','));
}

template <class Each>
std::uint32_t count_calls(Each&& each) {
  std::uint32_t n = 0;
  each([&](auto&&...) { ++n; });
  return n;
}

// Return the raw text of an object's member; the last one counts if there are several.
std::string_view json_member(std::string_view object, std::string_view key) {
  std::string_view found;
  (void)each_json_member(object, [&](std::string_view raw, std::string_view text) {
    const auto name = raw.substr(1, raw.size() - 2);
    const bool same = name.find('\\') == std::string_view::npos ? name == key : json_text(raw) == key;
    if (same) found = text;
  });
  return found;
}

// Sort the indexes of the entries by key; equal keys keep their order.
std::uint32_t* sorted_indexes(evaluation& e, std::span<const entry> entries) {
  auto* indexes = e.allocate<std::uint32_t>(entries.size());
  if (indexes == nullptr) return nullptr;
  std::iota(indexes, indexes + entries.size(), 0U);
  std::stable_sort(indexes, indexes + entries.size(),
                   [&](std::uint32_t a, std::uint32_t b) { return compare_keys(entries[a].key, entries[b].key) < 0; });
  return indexes;
}

// Return the entries without those whose key follows again, in their order.
std::span<entry> without_repeated(evaluation& e, std::span<entry> entries, const std::uint32_t* sorted) {
  auto* repeated = e.allocate<bool>(entries.size());
  if (repeated == nullptr) return {};
  std::fill(repeated, repeated + entries.size(), false);
  for (std::size_t i = 0; i + 1 < entries.size(); ++i)
    if (compare_keys(entries[sorted[i]].key, entries[sorted[i + 1]].key) == 0) repeated[sorted[i]] = true;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < entries.size(); ++i)
    if (!repeated[i]) entries[kept++] = entries[i];
  return entries.first(kept);
}

}  // namespace

value read_json(evaluation& e, std::string_view document) {
  const auto text = trim(document);
  switch (text.empty() ? '\0' : text[0]) {
    case '{':
      return json_container(value_kind::map, text);
    case '[':
      return json_container(value_kind::list, text);
    case '"':
      return text.size() < 2 ? null_value() : json_string(e, text);
    case 't':
    case 'f':
      return bool_value(text[0] == 't');
    case 'n':
    case '\0':
      return null_value();
    default:
      return json_number(text);
  }
}

std::span<const value> elements(evaluation& e, const value& list) {
  if (!list.json) return {list.items, list.size};
  const auto n = count_calls([&](auto take) { each_json_element(list.view(), take); });
  if (n > limits::list_size) e.exceed("a JSON array has more than 100000 elements");
  auto* made = e.spend_bytes(list.size) && e.spend(n) ? e.allocate<value>(n) : nullptr;
  if (made == nullptr) return {};
  auto* end = made;
  each_json_element(list.view(), [&](std::string_view text) { *end++ = read_json(e, text); });
  return {made, end};
}

value read_map(evaluation& e, const value& map) {
  if (!map.json) return map;
  const auto object = map.view();
  const auto n = count_calls([&](auto take) { (void)each_json_member(object, take); });
  if (n > limits::list_size) e.exceed("a JSON object has more than 100000 members");
  auto* made = e.spend_bytes(object.size()) ? e.allocate<entry>(n) : nullptr;
  if (made == nullptr) return e.limit_error();
  auto* end = made;
  (void)each_json_member(object, [&](std::string_view key, std::string_view text) {
    *end++ = {json_string(e, key), read_json(e, text)};
  });
  return make_map(e, {made, end}, duplicates::keep_last);
}

std::span<const entry> entries(evaluation& e, const value& map) {
  const auto read = read_map(e, map);
  if (read.is_error()) return {};
  return {read.map->entries, read.size};
}

std::uint32_t count(evaluation& e, const value& list_or_map) {
  if (!list_or_map.json) return list_or_map.size;
  if (list_or_map.is(value_kind::map)) return static_cast<std::uint32_t>(entries(e, list_or_map).size());
  (void)e.spend_bytes(list_or_map.size);
  return count_calls([&](auto take) { each_json_element(list_or_map.view(), take); });
}

std::optional<value> find(evaluation& e, const value& map, const value& key) {
  const auto wanted = as_key(key);
  if (!wanted) return std::nullopt;
  if (map.json) {
    if (!wanted->is(value_kind::string) || !e.spend_bytes(map.size)) return std::nullopt;
    const auto text = json_member(map.view(), wanted->view());
    if (text.empty()) return std::nullopt;
    return read_json(e, text);
  }
  const auto* all = map.map->entries;
  if (map.map->sorted == nullptr) {
    const auto* found =
        std::find_if(all, all + map.size, [&](const entry& x) { return compare_keys(x.key, *wanted) == 0; });
    return found == all + map.size ? std::nullopt : std::optional(found->mapped);
  }
  const auto* end = map.map->sorted + map.size;
  const auto* at = std::lower_bound(map.map->sorted, end, *wanted,
                                    [&](std::uint32_t i, const value& k) { return compare_keys(all[i].key, k) < 0; });
  if (at == end || compare_keys(all[*at].key, *wanted) != 0) return std::nullopt;
  return all[*at].mapped;
}

std::optional<value> find(evaluation& e, const value& map, std::string_view key) {
  return find(e, map, string_value(key));
}

value make_map(evaluation& e, std::span<entry> entries, duplicates repeated) {
  for (const auto& x : entries)
    if (!is_key(x.key)) return x.key.is_error() ? x.key : e.fail({"a key cannot be of type ", kind_name(x.key.kind)});
  const auto* sorted = sorted_indexes(e, entries);
  if (sorted == nullptr || !e.spend(static_cast<std::int64_t>(entries.size()))) return e.limit_error();
  const auto end = entries.empty() ? entries.size() : entries.size() - 1;
  for (std::size_t i = 0; i < end; ++i) {
    if (compare_keys(entries[sorted[i]].key, entries[sorted[i + 1]].key) != 0) continue;
    if (repeated == duplicates::fail) return e.fail({"the map has the same key twice"});
    const auto kept = without_repeated(e, entries, sorted);
    return e.exceeded() ? e.limit_error() : make_map(e, kept, duplicates::fail);
  }
  auto* data = e.allocate<map_data>(1);
  if (data == nullptr) return e.limit_error();
  *data = {entries.data(), entries.size() > small_map ? sorted : nullptr};
  value v;
  v.kind = value_kind::map;
  v.size = static_cast<std::uint32_t>(entries.size());
  v.map = data;
  return v;
}

}  // namespace pl::cel
