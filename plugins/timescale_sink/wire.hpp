// SPDX-License-Identifier: Apache-2.0
// The binary formats that this sink supports. A type is identified by its receive function (pg_type.typreceive),
// because that function defines the format. Enums, citext and varchar therefore need no separate handling.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace timescale {

enum class wire : std::uint8_t {
  boolean,
  int2,
  int4,
  int8,
  float4,
  float8,
  numeric,
  timestamp,  // with and without time zone: both have the same eight bytes
  date,
  text,
  json,
  jsonb,
  bytea,
  uuid
};

[[nodiscard]] constexpr std::optional<wire> wire_of(std::string_view receive_function) noexcept {
  constexpr std::array<std::pair<std::string_view, wire>, 19> known{{{"boolrecv", wire::boolean},
                                                                     {"int2recv", wire::int2},
                                                                     {"int4recv", wire::int4},
                                                                     {"int8recv", wire::int8},
                                                                     {"float4recv", wire::float4},
                                                                     {"float8recv", wire::float8},
                                                                     {"numeric_recv", wire::numeric},
                                                                     {"timestamp_recv", wire::timestamp},
                                                                     {"timestamptz_recv", wire::timestamp},
                                                                     {"date_recv", wire::date},
                                                                     {"textrecv", wire::text},
                                                                     {"varcharrecv", wire::text},
                                                                     {"bpcharrecv", wire::text},
                                                                     {"citextrecv", wire::text},
                                                                     {"enum_recv", wire::text},
                                                                     {"json_recv", wire::json},
                                                                     {"jsonb_recv", wire::jsonb},
                                                                     {"bytearecv", wire::bytea},
                                                                     {"uuid_recv", wire::uuid}}};
  for (const auto& [name, type] : known)
    if (name == receive_function) return type;
  return std::nullopt;
}

}  // namespace timescale
