// SPDX-License-Identifier: Apache-2.0
#include "column_kinds.hpp"

#include <algorithm>
#include <array>
#include <optional>

namespace timescale {
namespace {

constexpr std::array<std::uint32_t, 7> kinds{PL_BOOL, PL_I64, PL_F64, PL_TIME_NS, PL_TEXT, PL_BYTES, PL_JSON};

constexpr bool is_number(std::uint32_t kind) { return kind == PL_I64 || kind == PL_F64; }

bool is_integer(wire type) { return type == wire::int2 || type == wire::int4 || type == wire::int8; }

// Return the kinds that a type accepts, for a message: "int and float".
std::string accepted(wire type) {
  std::vector<std::string_view> names;
  for (const auto kind : kinds)
    if (fit_of(kind, type) != fit::never) names.push_back(pl::kind_name(kind));
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i)
    text.append(i == 0 ? "" : i + 1 == names.size() ? " and " : ", ").append(names[i]);
  return text;
}

std::string_view kind_or_kinds(wire type) {
  return std::ranges::count_if(kinds, [&](auto k) { return fit_of(k, type) != fit::never; }) == 1 ? "kind" : "kinds";
}

std::string misfit(const table_info& table, const copied_column& c, std::uint32_t kind) {
  return "table '" + table.name.shown() + "': column '" + c.column + "' (" + c.type_name + ") accepts the " +
         std::string(kind_or_kinds(c.type)) + " " + accepted(c.type) + ", but the field '" + c.field +
         "' has the kind " + std::string(pl::kind_name(kind)) +
         ", so every row with a value in it is rejected; change the type of the column to " +
         std::string(sql_type_of(kind)) + ", or map another field to it with 'columns'";
}

std::string fraction(const table_info& table, const copied_column& c) {
  return "table '" + table.name.shown() + "': column '" + c.column + "' (" + c.type_name +
         ") stores whole numbers only, but the field '" + c.field +
         "' has the kind float, so a row whose value has a fraction is rejected; change the type of the column to "
         "double precision, or declare the field as int where it is parsed";
}

// Combine the kinds of a column that occurs twice.
std::uint32_t joined(std::uint32_t a, std::uint32_t b) {
  if (a == b) return a;
  return is_number(a) && is_number(b) ? std::uint32_t{PL_F64} : std::uint32_t{PL_NULL};
}

}  // namespace

fit fit_of(std::uint32_t kind, wire type) noexcept {
  const auto among = [kind](std::initializer_list<std::uint32_t> these) {
    return std::ranges::find(these, kind) != these.end();
  };
  const auto by_value = [](bool may) { return may ? fit::by_value : fit::never; };
  if (std::ranges::find(kinds, kind) == kinds.end()) return fit::always;
  switch (type) {
    case wire::boolean:
      return kind == PL_BOOL ? fit::always : fit::never;
    case wire::int8:
      return kind == PL_I64 ? fit::always : by_value(kind == PL_F64);
    case wire::int2:
    case wire::int4:
    case wire::float4:
      return by_value(is_number(kind));
    case wire::float8:
      return is_number(kind) ? fit::always : fit::never;
    case wire::numeric:
      return kind == PL_I64 ? fit::always : by_value(among({PL_F64, PL_TEXT, PL_JSON}));
    case wire::timestamp:
    case wire::date:
      return kind == PL_TIME_NS ? fit::always : by_value(kind == PL_TEXT);
    case wire::text:
    case wire::json:
    case wire::jsonb:
      return by_value(true);
    case wire::bytea:
      return among({PL_TEXT, PL_BYTES, PL_JSON}) ? fit::always : fit::never;
    case wire::uuid:
      return by_value(among({PL_TEXT, PL_BYTES}));
  }
  return fit::by_value;
}

std::string_view sql_type_of(std::uint32_t kind) noexcept {
  switch (kind) {
    case PL_BOOL:
      return "boolean";
    case PL_I64:
      return "bigint";
    case PL_F64:
      return "double precision";
    case PL_TIME_NS:
      return "timestamptz";
    case PL_BYTES:
      return "bytea";
    case PL_JSON:
      return "jsonb";
    default:
      return "text";
  }
}

kind_report check_kinds(const options& o, const table_info& table, const copy_plan& plan, const pl::column_set& in) {
  kind_report found;
  for (const auto& c : plan.columns) {
    const auto kind = in.kind_of(c.field);
    if (fit_of(kind, c.type) == fit::never) {
      const bool own = o.create && o.create->columns.contains(c.column);
      const auto option = own ? "create.columns." + c.column : o.columns.empty() ? "table" : "columns." + c.column;
      found.errors.push_back({option, misfit(table, c, kind)});
    } else if (kind == PL_F64 && is_integer(c.type)) {
      found.warnings.push_back(fraction(table, c));
    }
  }
  return found;
}

pl::column_set merged(pl::context context, const std::vector<pl::column_set>& inputs) {
  std::vector<std::string_view> names;
  std::vector<std::uint32_t> of;
  bool typed = true;
  for (const auto& in : inputs) {
    if (in.schema == nullptr) return {};
    typed = typed && in.kinds.size() == in.schema->ncols;
    for (pl::column_index c = 0; c < in.schema->ncols; ++c) {
      const auto name = pl::view(in.schema->names[c]);
      const auto at = std::ranges::find(names, name) - names.begin();
      if (at < std::ssize(names)) {
        of[static_cast<std::size_t>(at)] = joined(of[static_cast<std::size_t>(at)], in.kind(c));
        continue;
      }
      names.push_back(name);
      of.push_back(in.kind(c));
    }
  }
  if (inputs.empty()) return {};
  return {context.schema(names), typed ? std::move(of) : std::vector<std::uint32_t>{}};
}

pl::column_set observed(const pl_schema& schema, const pl::batch_list& batches) {
  std::vector<std::optional<std::uint32_t>> found(schema.ncols);
  for (const auto b : batches) {
    if (&b.schema() != &schema) continue;
    for (pl::column_index c = 0; c < schema.ncols; ++c)
      for (const auto row : b.selection())
        if (const auto kind = b.at(c, row).kind; kind != PL_NULL) found[c] = found[c] ? joined(*found[c], kind) : kind;
  }
  pl::column_set all{&schema};
  for (const auto& kind : found) all.kinds.push_back(kind.value_or(PL_NULL));
  return all;
}

}  // namespace timescale
