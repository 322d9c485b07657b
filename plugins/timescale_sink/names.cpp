// SPDX-License-Identifier: Apache-2.0
#include "names.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <optional>
#include <utility>

namespace timescale {
namespace {

// Remove one part of a dotted name from the front of `rest` and return it; return nothing if a quote is not closed.
std::optional<std::string> take_part(std::string_view& rest) {
  std::string part;
  if (!rest.starts_with('"')) {
    const auto end = std::min(rest.find('.'), rest.size());
    part = rest.substr(0, end);
    rest.remove_prefix(end);
    return part;
  }
  for (std::size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] != '"') {
      part.push_back(rest[i]);
    } else if (i + 1 < rest.size() && rest[i + 1] == '"') {
      part.push_back(rest[i++]);
    } else {
      rest.remove_prefix(i + 1);
      return part;
    }
  }
  return std::nullopt;
}

}  // namespace

std::string quoted_identifier(std::string_view name) {
  std::string sql = "\"";
  for (const char c : name) {
    if (c == '"') sql.push_back('"');
    sql.push_back(c);
  }
  return sql + '"';
}

std::string quoted_literal(std::string_view text) {
  std::string sql = "E'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') sql.push_back(c);
    sql.push_back(c);
  }
  return sql + '\'';
}

std::string table_name::sql() const {
  return schema.empty() ? quoted_identifier(table) : quoted_identifier(schema) + '.' + quoted_identifier(table);
}

std::string table_name::shown() const { return schema.empty() ? table : schema + '.' + table; }

pl::result<table_name> parse_table_name(std::string_view written) {
  const auto wrong = [&](const char* why) {
    return pl::bad_option("table", "'" + std::string(written) + "' is not a valid table name: " + why);
  };
  std::vector<std::string> parts;
  auto rest = written;
  while (true) {
    auto part = take_part(rest);
    if (!part) return wrong("a double quote is not closed");
    if (part->empty()) return wrong("a part is empty; write table or schema.table");
    if (part->size() > 63) return wrong("PostgreSQL names have at most 63 bytes");
    if (part->find('\0') != std::string::npos) return wrong("it contains a NUL byte");
    parts.push_back(*std::move(part));
    if (rest.empty()) break;
    if (rest.front() != '.') return wrong("a closing double quote must be followed by a dot or the end of the name");
    rest.remove_prefix(1);
  }
  if (parts.size() > 2) return wrong("write table or schema.table; specify the database in 'url'");
  if (parts.size() == 1) return table_name{{}, std::move(parts[0])};
  return table_name{std::move(parts[0]), std::move(parts[1])};
}

std::string did_you_mean(std::string_view name, std::span<const std::string> known, std::string_view otherwise) {
  auto guess = pl::did_you_mean(name, known, "; ");
  return guess.empty() ? std::string(otherwise) : guess;
}

std::string quoted_list(std::span<const std::string> names) {
  std::string text;
  for (const auto& n : names) text += (text.empty() ? "" : ", ") + quoted_identifier(n);
  return text;
}

std::string unique_index_sql(const table_name& table, std::span<const std::string> columns) {
  return "CREATE UNIQUE INDEX ON " + table.sql() + " (" + quoted_list(columns) + ")";
}

std::string listed(std::span<const std::string> names) {
  std::string all;
  for (const auto& n : names) all += (all.empty() ? "'" : ", '") + n + "'";
  return all;
}

}  // namespace timescale
