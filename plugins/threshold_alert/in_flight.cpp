// SPDX-License-Identifier: Apache-2.0
#include "in_flight.hpp"

#include "key_table.hpp"

#include <pipeline/json_members.hpp>

#include <algorithm>
#include <cstring>
#include <optional>

namespace threshold_alert {
namespace {

constexpr char version = 2;  // version 1 has no read_to

void put(std::string& to, std::string_view text) {
  const auto size = static_cast<std::uint32_t>(text.size());
  to.append(reinterpret_cast<const char*>(&size), sizeof size);
  to += text;
}

void put(std::string& to, std::uint64_t number) { to.append(reinterpret_cast<const char*>(&number), sizeof number); }

// Read one number. False: the bytes end too early.
template <class Number>
bool take(std::string_view& from, Number& to) {
  if (from.size() < sizeof to) return false;
  std::memcpy(&to, from.data(), sizeof to);
  from.remove_prefix(sizeof to);
  return true;
}

// Read one text. False: the bytes end too early.
bool take(std::string_view& from, std::string& to) {
  std::uint32_t size = 0;
  if (!take(from, size) || from.size() < size) return false;
  to = from.substr(0, size);
  from.remove_prefix(size);
  return true;
}

std::optional<pl::cell> cell_of(const stored_row& row, std::string_view column) {
  const auto at = std::ranges::find(row.columns, column, &stored_row::column::name);
  if (at == row.columns.end()) return std::nullopt;
  std::vector<pl::cell> cells;
  unpack_key(at->cell, cells);
  return cells.front();
}

// Return whether a stored cell may be emitted.
bool is_sound(std::string_view packed) {
  if (!is_packed(packed, 1)) return false;
  std::vector<pl::cell> cells;
  unpack_key(packed, cells);
  return cells.front().kind != PL_JSON || pl::is_json(pl::bytes_of(cells.front()));
}

}  // namespace

std::string_view stored_row::text(std::string_view of) const {
  const auto found = cell_of(*this, of);
  return found ? pl::bytes_of(*found) : std::string_view();
}

std::int64_t stored_row::time() const {
  const auto found = cell_of(*this, "time");
  return found && found->kind == PL_TIME_NS ? found->as.i : 0;
}

std::string encode_row(std::string_view key, std::uint32_t port, std::uint64_t read_to, pl::batch_view b,
                       pl::row_index row) {
  std::string to(1, version);
  to.push_back(static_cast<char>(port));
  put(to, read_to);
  put(to, key);
  std::string cell;
  for (pl::column_index c = 0; c < b.columns(); ++c) {
    cell.clear();
    append_key(cell, b.at(c, row));
    put(to, b.name(c));
    put(to, cell);
  }
  return to;
}

std::string encode_row(const stored_row& row) {
  std::string to(1, version);
  to.push_back(static_cast<char>(row.port));
  put(to, row.read_to);
  put(to, row.key);
  for (const auto& c : row.columns) {
    put(to, c.name);
    put(to, c.cell);
  }
  return to;
}

pl::result<stored_row> decode_row(std::string_view name, std::string_view bytes) {
  stored_row made;
  made.name = name;
  bool sound = bytes.size() >= 2 && (bytes[0] == 1 || bytes[0] == version) && (bytes[1] == 0 || bytes[1] == 1);
  const bool has_position = sound && bytes[0] == version;
  if (sound) made.port = static_cast<std::uint32_t>(bytes[1]);
  if (sound) bytes.remove_prefix(2);
  sound = sound && (!has_position || take(bytes, made.read_to)) && take(bytes, made.key);
  while (sound && !bytes.empty()) {
    auto& c = made.columns.emplace_back();
    sound = take(bytes, c.name) && take(bytes, c.cell) && is_sound(c.cell);
  }
  if (sound) return made;
  return pl::fatal("a stored notice is damaged, or a later version wrote it");
}

std::string row_name(pl::batch_view b, pl::row_index row) {
  const auto at = [&](std::string_view name_of) -> const pl::cell& { return b.at(*b.find(name_of), row); };
  std::string name(pl::bytes_of(at("id")));
  name.append("/").append(pl::bytes_of(at("state"))).append("/").append(std::to_string(at("time").as.i));
  return name;
}

}  // namespace threshold_alert
