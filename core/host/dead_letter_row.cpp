// SPDX-License-Identifier: Apache-2.0
#include "host/dead_letter_row.hpp"

#include <pipeline/json_members.hpp>

#include <cstring>
#include <string_view>

namespace pl::host {

namespace {

// Return the value of a column that the dead letter stores outside of the row.
const std::optional<std::string>* own_column(const dead_letter& l, std::string_view name) {
  return name == "value" ? &l.value : name == "key" ? &l.key : name == "topic" ? &l.topic : nullptr;
}

void append_part(std::string& to, std::string_view bytes) {
  to += std::to_string(bytes.size());
  to += ':';
  to += bytes;
}

}  // namespace

std::optional<engine::stored_row> row_of(const dead_letter& l) {
  auto row = l.record.empty() ? std::nullopt : engine::parse_stored_row(l.record);
  if (!row) return std::nullopt;
  for (auto& c : *row) {
    if (c.present || c.kind == PL_NULL) continue;
    const auto* own = own_column(l, c.name);
    if (own != nullptr && *own)
      c.bytes = **own;
    else if (c.name == "headers")
      c.bytes = l.headers;
    else
      return std::nullopt;  // the value was removed from the file
    c.present = true;
  }
  return row;
}

std::string row_identity(const dead_letter& l, const engine::stored_row& row) {
  std::string id;
  append_part(id, l.stream);
  append_part(id, l.position ? std::to_string(*l.position) : std::string());
  for (const auto& c : row) {
    append_part(id, c.name);
    append_part(id, std::to_string(c.kind));
    std::uint64_t bits = 0;
    std::memcpy(&bits, &c.real, sizeof bits);
    append_part(id, c.kind == PL_F64 ? std::to_string(bits) : c.bytes.empty() ? std::to_string(c.number) : c.bytes);
  }
  return id;
}

std::string with_new_reason(const std::string& line, const std::string& newer) {
  std::string time, reason, merged;
  const bool read = each_json_member(newer, [&](std::string_view key, std::string_view value) {
    if (key == "\"time\"") time = value;
    if (key == "\"reason\"") reason = value;
  });
  const bool copied = each_json_member(line, [&](std::string_view key, std::string_view value) {
    merged += merged.empty() ? "{" : ",";
    merged += key;
    merged += ':';
    merged += key == "\"time\"" ? time : key == "\"reason\"" ? reason : std::string(value);
  });
  return read && copied && !time.empty() && !reason.empty() ? merged + "}" : line;
}

}  // namespace pl::host
