// SPDX-License-Identifier: Apache-2.0
#include "encoder.hpp"

#include <pipeline/json.hpp>
#include <pipeline/text_template.hpp>
#include <pipeline/time.hpp>

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>

namespace timescale {
namespace {

constexpr std::int64_t epoch_days = 10'957;  // from 1970-01-01 to 2000-01-01, PostgreSQL's epoch
constexpr std::int64_t epoch_us = epoch_days * 86'400 * 1'000'000;
constexpr std::int64_t day_ns = 86'400LL * 1'000'000'000;
constexpr std::uint32_t null_length = 0xFFFF'FFFF;
constexpr std::size_t largest_field = (1U << 30) - (1U << 16);  // PostgreSQL limits the whole row to 1 GB
constexpr std::size_t shown_bytes = 60;

template <std::unsigned_integral T>
void put_fixed(byte_buffer& out, T v) {
  char* const at = out.grow(4 + sizeof(T));
  const auto length = network_order(static_cast<std::uint32_t>(sizeof(T)));
  v = network_order(v);
  std::memcpy(at, &length, 4);
  std::memcpy(at + 4, &v, sizeof v);
}

void put_bytes(byte_buffer& out, std::string_view bytes) {
  char* const at = out.grow(4 + bytes.size());
  const auto length = network_order(static_cast<std::uint32_t>(bytes.size()));
  std::memcpy(at, &length, 4);
  if (!bytes.empty()) std::memcpy(at + 4, bytes.data(), bytes.size());
}

// Round to the nearest microsecond, as PostgreSQL does for text with more digits.
std::int64_t rounded_us(std::int64_t ns) {
  const auto us = ns / 1000, rest = ns % 1000;
  return rest >= 500 ? us + 1 : rest <= -500 ? us - 1 : us;
}

std::int64_t floored_day(std::int64_t ns) { return ns / day_ns - (ns % day_ns < 0 ? 1 : 0); }

// Return a short, printable form of a value for a message.
std::string shown(const pl::cell& v) {
  std::string text;
  switch (v.kind) {
    case PL_NULL:
      return "null";
    case PL_BYTES:
      return std::to_string(v.len) + " bytes";
    case PL_TIME_NS:
      return "the time " + pl::rfc3339(v.as.i);
    case PL_TEXT:
    case PL_JSON: {
      auto piece = pl::bytes_of(v).substr(0, shown_bytes);
      if (v.len > shown_bytes)  // not in the middle of a character
        while (!piece.empty() && !pl::is_utf8(piece) && piece.size() + 4 > shown_bytes) piece.remove_suffix(1);
      if (!pl::is_utf8(piece)) return "a text of " + std::to_string(v.len) + " bytes";
      if (v.kind == PL_JSON)
        text = piece;
      else
        pl::append_json_string(text, piece);
      if (v.len > shown_bytes) text += "...";
      return (v.kind == PL_JSON ? "the JSON " : "the text ") + text;
    }
    case PL_F64:
      if (!std::isfinite(v.as.f)) return std::isnan(v.as.f) ? "NaN" : "an infinite number";
      [[fallthrough]];
    default:
      pl::append_json(text, v);
      return v.kind == PL_BOOL ? text : "the number " + text;
  }
}

}  // namespace

bool row_encoder::append(byte_buffer& out, pl::row_index row) {
  const auto start = out.size();
  out.put(static_cast<std::uint16_t>(columns_.size()));
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (append_cell(out, columns_[i], cells_[i][row])) continue;
    out.truncate(start);
    return false;
  }
  if (out.size() - start <= largest_field) return true;
  why_ = "the row has " + std::to_string(out.size() - start) + " bytes, more than PostgreSQL accepts";
  out.truncate(start);
  return false;
}

bool row_encoder::reject(const copied_column& c, const cell& v, std::string_view what) {
  why_ = "'" + c.field + "' is " + shown(v) + ": column '" + c.column + "' (" + c.type_name + ") " + std::string(what);
  return false;
}

bool row_encoder::append_cell(byte_buffer& out, const copied_column& c, const cell& v) {
  if (v.kind == PL_NULL) {
    if (c.not_null) return reject(c, v, "does not accept nulls");
    out.put(null_length);
    return true;
  }
  switch (c.type) {
    case wire::float8:
      return append_float8(out, c, v);
    case wire::text:
      return append_text(out, c, v);
    case wire::timestamp:
      return append_timestamp(out, c, v);
    case wire::json:
    case wire::jsonb:
      return append_json(out, c, v);
    case wire::int2:
      return append_int<std::int16_t>(out, c, v);
    case wire::int4:
      return append_int<std::int32_t>(out, c, v);
    case wire::int8:
      return append_int<std::int64_t>(out, c, v);
    case wire::float4:
      return append_float4(out, c, v);
    case wire::numeric:
      return append_numeric(out, c, v);
    case wire::boolean:
      return append_bool(out, c, v);
    case wire::date:
      return append_date(out, c, v);
    case wire::bytea:
      return append_bytea(out, c, v);
    case wire::uuid:
      return append_uuid(out, c, v);
  }
  return reject(c, v, "has an unsupported type");
}

bool row_encoder::append_bool(byte_buffer& out, const copied_column& c, const cell& v) {
  if (v.kind != PL_BOOL) return reject(c, v, "accepts only true and false");
  put_fixed(out, static_cast<std::uint8_t>(v.as.i != 0));
  return true;
}

template <class Int>
bool row_encoder::append_int(byte_buffer& out, const copied_column& c, const cell& v) {
  auto whole = v.as.i;
  if (v.kind == PL_F64) {
    if (std::trunc(v.as.f) != v.as.f) return reject(c, v, "accepts only whole numbers");
    if (v.as.f < -0x1p63 || v.as.f >= 0x1p63) return reject(c, v, "cannot store a number of this size");
    whole = static_cast<std::int64_t>(v.as.f);
  } else if (v.kind != PL_I64) {
    return reject(c, v, "accepts only whole numbers");
  }
  if (whole < std::numeric_limits<Int>::min() || whole > std::numeric_limits<Int>::max())
    return reject(c, v, "cannot store a number of this size");
  put_fixed(out, static_cast<std::make_unsigned_t<Int>>(whole));
  return true;
}

bool row_encoder::append_float4(byte_buffer& out, const copied_column& c, const cell& v) {
  const auto number = pl::number_of(v);
  if (!number) return reject(c, v, "accepts only numbers");
  const auto narrow = static_cast<float>(*number);
  if (std::isinf(narrow) && !std::isinf(*number)) return reject(c, v, "cannot store a number of this size");
  put_fixed(out, std::bit_cast<std::uint32_t>(narrow));
  return true;
}

bool row_encoder::append_float8(byte_buffer& out, const copied_column& c, const cell& v) {
  const auto number = pl::number_of(v);
  if (!number) return reject(c, v, "accepts only numbers");
  put_fixed(out, std::bit_cast<std::uint64_t>(*number));
  return true;
}

bool row_encoder::append_numeric(byte_buffer& out, const copied_column& c, const cell& v) {
  if (v.kind == PL_TEXT || v.kind == PL_JSON)
    return numeric_.append(out, pl::bytes_of(v)) || reject(c, v, "accepts only numbers of up to 131072 digits");
  std::array<char, 32> text{};
  std::to_chars_result end{};
  if (v.kind == PL_I64)
    end = std::to_chars(text.data(), text.data() + text.size(), v.as.i);
  else if (v.kind == PL_F64)
    end = std::to_chars(text.data(), text.data() + text.size(), v.as.f);
  else
    return reject(c, v, "accepts only numbers");
  return numeric_.append(out, {text.data(), end.ptr}) || reject(c, v, "accepts only finite numbers");
}

bool row_encoder::append_timestamp(byte_buffer& out, const copied_column& c, const cell& v) {
  if (v.kind == PL_TIME_NS) {
    put_fixed(out, static_cast<std::uint64_t>(rounded_us(v.as.i) - epoch_us));
    return true;
  }
  if (v.kind != PL_TEXT) return reject(c, v, "accepts only times");
  const auto us = parse_time(pl::bytes_of(v));
  if (!us) return reject(c, v, "accepts only times, as text like 2026-11-24T18:10:23.5Z with years from 0001 to 9999");
  put_fixed(out, static_cast<std::uint64_t>(*us - epoch_us));
  return true;
}

bool row_encoder::append_date(byte_buffer& out, const copied_column& c, const cell& v) {
  std::optional<std::int64_t> day;
  if (v.kind == PL_TIME_NS)
    day = floored_day(v.as.i);
  else if (v.kind == PL_TEXT)
    day = parse_date(pl::bytes_of(v));
  if (!day) return reject(c, v, "accepts only times, and dates as text like 2026-11-24");
  put_fixed(out, static_cast<std::uint32_t>(*day - epoch_days));
  return true;
}

bool row_encoder::check_bytes(const copied_column& c, const cell& v, std::string_view bytes) {
  if (bytes.size() > largest_field) return reject(c, v, "accepts less than 1 GB");
  switch (check_text(bytes)) {
    case text_fault::nul:
      return reject(c, v, "cannot store the NUL byte in the text");
    case text_fault::not_utf8:
      return reject(c, v, "accepts only valid UTF-8");
    case text_fault::none:
      break;
  }
  return true;
}

bool row_encoder::append_text(byte_buffer& out, const copied_column& c, const cell& v) {
  auto bytes = pl::bytes_of(v);
  if (!pl::has_bytes(v)) {
    scratch_.clear();
    pl::text_template::append_plain(scratch_, v);
    bytes = scratch_;
  }
  if (!check_bytes(c, v, bytes)) return false;
  if (c.max_characters != 0 && bytes.size() > c.max_characters && characters(bytes) > c.max_characters)
    return reject(c, v, "accepts at most " + std::to_string(c.max_characters) + " characters");
  put_bytes(out, bytes);
  return true;
}

bool row_encoder::append_json(byte_buffer& out, const copied_column& c, const cell& v) {
  auto document = pl::bytes_of(v);
  if (v.kind != PL_JSON) {
    if (v.kind == PL_TEXT && !check_bytes(c, v, document)) return false;
    scratch_.clear();
    pl::append_json(scratch_, v);
    document = scratch_;
  } else if (!check_bytes(c, v, document)) {
    return false;
  }
  if (document.size() > largest_field) return reject(c, v, "accepts less than 1 GB");
  if (c.type == wire::json) {
    put_bytes(out, document);
    return true;
  }
  if (has_escaped_nul(document)) return reject(c, v, "cannot store the NUL (\\u0000) in one of its strings");
  out.put(static_cast<std::uint32_t>(document.size() + 1));
  out.put(std::uint8_t{1});  // version of jsonb's format
  out.append(document);
  return true;
}

bool row_encoder::append_bytea(byte_buffer& out, const copied_column& c, const cell& v) {
  if (!pl::has_bytes(v)) return reject(c, v, "accepts only bytes and text");
  if (v.len > largest_field) return reject(c, v, "accepts less than 1 GB");
  put_bytes(out, pl::bytes_of(v));
  return true;
}

bool row_encoder::append_uuid(byte_buffer& out, const copied_column& c, const cell& v) {
  if (v.kind == PL_BYTES && v.len == 16) {
    put_bytes(out, pl::bytes_of(v));
    return true;
  }
  const auto id = v.kind == PL_TEXT ? parse_uuid(pl::bytes_of(v)) : std::nullopt;
  if (!id) return reject(c, v, "accepts only UUIDs, as 16 bytes or 32 hexadecimal digits");
  put_bytes(out, {id->data(), id->size()});
  return true;
}

}  // namespace timescale
