// SPDX-License-Identifier: Apache-2.0
#include "position_record.hpp"

#include <pipeline/hash.hpp>

#include <array>
#include <charconv>
#include <initializer_list>

namespace kafka {

namespace {

constexpr char separator = '\n';

void append_name(std::string& to, std::string_view name) {
  for (const char c : name) {
    if (c == '\\') to += '\\';
    if (c == separator)
      to += "\\n";
    else
      to += c;
  }
}

std::string joined(std::initializer_list<std::string_view> names) {
  std::string text;
  for (const auto name : names) {
    if (!text.empty()) text += separator;
    append_name(text, name);
  }
  return text;
}

std::string state_prefix(const stream_id& of) {
  return joined({"state", of.pipeline, of.sink, of.source, of.stream}) + separator;
}

std::string name_of(std::string_view written) {
  std::string name;
  for (std::size_t i = 0; i < written.size(); ++i) {
    if (written[i] != '\\' || i + 1 == written.size())
      name += written[i];
    else
      name += written[++i] == 'n' ? separator : '\\';
  }
  return name;
}

}  // namespace

std::string position_key(const stream_id& of) {
  return joined({"position", of.pipeline, of.sink, of.source, of.stream});
}

std::string state_key(const stream_id& of, std::string_view node, std::string_view key) {
  auto text = state_prefix(of);
  append_name(text, node);
  text += separator;
  text += key;
  return text;
}

std::optional<std::pair<std::string, std::string>> entry_of(const stream_id& of, std::string_view key) {
  const auto prefix = state_prefix(of);
  if (!key.starts_with(prefix)) return std::nullopt;
  key.remove_prefix(prefix.size());
  const auto end = key.find(separator);
  if (end == std::string_view::npos) return std::nullopt;
  return std::pair{name_of(key.substr(0, end)), std::string(key.substr(end + 1))};
}

std::optional<std::string> stream_of(const stream_id& of_source, std::string_view key) {
  for (const auto* kind : {"position", "state"}) {
    const auto prefix = joined({kind, of_source.pipeline, of_source.sink, of_source.source}) + separator;
    if (!key.starts_with(prefix)) continue;
    key.remove_prefix(prefix.size());
    return name_of(key.substr(0, key.find(separator)));
  }
  return std::nullopt;
}

std::string text_of(const stream_position& at) {
  return "{\"next\":" + std::to_string(at.next) + ",\"epoch\":" + std::to_string(at.epoch) +
         ",\"token\":" + std::to_string(at.token) + '}';
}

std::optional<stream_position> parse_position(std::string_view text) {
  stream_position at;
  const auto take = [&](std::string_view before, std::uint64_t& number) {
    if (!text.starts_with(before)) return false;
    text.remove_prefix(before.size());
    const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
    if (read.ec != std::errc()) return false;
    text.remove_prefix(static_cast<std::size_t>(read.ptr - text.data()));
    return true;
  };
  if (!take("{\"next\":", at.next) || !take(",\"epoch\":", at.epoch) || !take(",\"token\":", at.token) || text != "}")
    return std::nullopt;
  return at;
}

std::int32_t partition_of(const stream_id& of) {
  const std::string_view stream(of.stream);
  const auto digits = stream.find_last_not_of("0123456789") + 1;  // npos + 1 is 0: only digits
  std::uint32_t number = 0;
  std::from_chars(stream.data() + digits, stream.data() + stream.size(),
                  number);  // 0 if there is no number, or it is too large
  // The location of stored records depends on this hash, so it must never change.
  const auto family = pl::fnv1a_32(joined({of.pipeline, of.sink, of.source, stream.substr(0, digits)}));
  constexpr auto spread = static_cast<std::uint32_t>(positions_partitions);
  return static_cast<std::int32_t>((family % spread + number % spread) % spread);
}

std::string transactional_id(const stream_id& of) {
  return "pipeline-host/" + of.pipeline + '/' + of.sink + '/' + of.source + '/' + of.stream;
}

}  // namespace kafka
