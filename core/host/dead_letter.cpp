// SPDX-License-Identifier: Apache-2.0
#include "host/dead_letter.hpp"

#include "engine/stored_row.hpp"

#include <pipeline/json.hpp>
#include <pipeline/json_members.hpp>
#include <pipeline/text.hpp>
#include <pipeline/time.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

namespace pl::host {

namespace {

// Holds a line's JSON members in their original text, so that a record is read back exactly as it was written.
class members {
 public:
  static std::optional<members> of(std::string_view line) {
    members m;
    const bool whole = is_utf8(line) && each_json_member(line, [&](std::string_view key, std::string_view value) {
                         m.all_.emplace_back(json_text(key).value_or(std::string()), value);
                       });
    return whole ? std::optional(std::move(m)) : std::nullopt;
  }

  // Return the first member with this name; empty if it is missing or null.
  [[nodiscard]] std::string_view raw(std::string_view name) const {
    const auto at = std::find_if(all_.begin(), all_.end(), [&](const auto& m) { return m.first == name; });
    return at == all_.end() || at->second == "null" ? std::string_view{} : at->second;
  }
  [[nodiscard]] std::string text(std::string_view name) const { return json_text(raw(name)).value_or(std::string()); }
  [[nodiscard]] std::optional<std::uint64_t> position(std::string_view name) const {
    const auto digits = raw(name);
    std::int64_t n = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
    if (error != std::errc{} || end != digits.data() + digits.size() || n < 0) return std::nullopt;
    return static_cast<std::uint64_t>(n);
  }
  [[nodiscard]] std::optional<std::string> bytes(std::string_view name) const {
    const auto value = raw(name);
    return value.empty() ? std::nullopt : std::optional(engine::bytes_from_json(value));
  }

 private:
  std::vector<std::pair<std::string, std::string_view>> all_;
};

}  // namespace

std::optional<dead_letter> parse_dead_letter(std::string_view line) {
  if (line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);  // left by an editor
  const auto m = members::of(line);
  if (!m) return std::nullopt;
  dead_letter l;
  l.node = m->text("node");
  l.reason = m->text("reason");
  if (l.node.empty() || l.reason.empty()) return std::nullopt;
  l.time = m->text("time");
  l.pipeline = m->text("pipeline");
  l.stream = m->text("stream");
  l.time_ns = parse_rfc3339(l.time);
  l.record_time_ns = parse_rfc3339(m->text("record_time"));
  l.position = m->position("position");
  if (auto topic = m->bytes("topic"); topic && is_utf8(*topic)) l.topic = std::move(topic);
  l.key = m->bytes("key");
  l.value = m->bytes("value");
  l.headers = m->raw("headers");
  l.record = m->raw("record");
  l.shortened = engine::parse_shortened(l.record);
  l.collapsed = engine::parse_collapsed(l.record);
  if (l.shortened || l.collapsed) l.record.clear();
  return l;
}

bool dead_letter_filter::fits(const dead_letter& l) const {
  return (pipeline.empty() || l.pipeline == pipeline) && (node.empty() || l.node == node) &&
         (stream.empty() || l.stream == stream) && (!since || (l.time_ns && *l.time_ns >= *since)) &&
         (reason.empty() || l.reason.find(reason) != std::string::npos);
}

std::string shown(std::string_view text, bool keep_lines) {
  std::string out;
  each_character(text, [&](std::string_view bytes, bool valid) {
    const bool line = keep_lines && (bytes == "\n" || bytes == "\t");
    if (valid && (line || !is_unsafe_for_terminal(code_point(bytes))))
      out += bytes;
    else
      for (const char byte : bytes) append_byte_escape(out, byte);
  });
  return out;
}

}  // namespace pl::host
