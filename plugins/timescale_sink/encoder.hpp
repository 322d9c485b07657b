// SPDX-License-Identifier: Apache-2.0
// Encodes rows of cells in PostgreSQL's binary COPY format. A value that its column cannot store is rejected here, with
// a reason, before it is sent to the database. README.md lists which kinds of cells each type accepts.
#pragma once

#include "byte_buffer.hpp"
#include "parse.hpp"
#include "wire.hpp"

#include <pipeline/batch.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace timescale {

struct copied_column {
  pl::column_index from = 0;  // in the input schema
  wire type = wire::text;
  bool not_null = false;
  std::uint32_t max_characters = 0;  // 0: no limit
  std::string field;                 // name of the input field
  std::string column, type_name;     // name and type of the table's column
};

// The bytes before the first row and after the last one.
inline constexpr std::string_view copy_header{"PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19};
inline constexpr std::string_view copy_trailer{"\377\377", 2};

class row_encoder {
 public:
  explicit row_encoder(std::vector<copied_column> columns) : columns_(std::move(columns)), cells_(columns_.size()) {}

  // Set the batch whose rows are encoded next.
  void bind(pl::batch_view batch) noexcept {
    for (std::size_t i = 0; i < columns_.size(); ++i) cells_[i] = batch.column(columns_[i].from).data();
  }
  // Append a row. Return false if the row cannot be written; then why() is the reason and nothing was appended.
  [[nodiscard]] bool append(byte_buffer& out, pl::row_index row);
  [[nodiscard]] const std::string& why() const noexcept { return why_; }

 private:
  using cell = pl::cell;
  [[nodiscard]] bool append_cell(byte_buffer& out, const copied_column& c, const cell& v);
  [[nodiscard]] bool append_bool(byte_buffer& out, const copied_column& c, const cell& v);
  template <class Int>
  [[nodiscard]] bool append_int(byte_buffer& out, const copied_column& c, const cell& v);
  [[nodiscard]] bool append_float4(byte_buffer& out, const copied_column& c, const cell& v);
  [[nodiscard]] bool append_float8(byte_buffer& out, const copied_column& c, const cell& v);
  [[nodiscard]] bool append_numeric(byte_buffer& out, const copied_column& c, const cell& v);
  [[nodiscard]] bool append_timestamp(byte_buffer& out, const copied_column& c, const cell& v);
  [[nodiscard]] bool append_date(byte_buffer& out, const copied_column& c, const cell& v);
  [[nodiscard]] bool append_text(byte_buffer& out, const copied_column& c, const cell& v);
  [[nodiscard]] bool append_json(byte_buffer& out, const copied_column& c, const cell& v);
  [[nodiscard]] bool append_bytea(byte_buffer& out, const copied_column& c, const cell& v);
  [[nodiscard]] bool append_uuid(byte_buffer& out, const copied_column& c, const cell& v);
  [[nodiscard]] bool check_bytes(const copied_column& c, const cell& v, std::string_view bytes);
  // Store the reason in why_ and return false.
  [[nodiscard]] bool reject(const copied_column& c, const cell& v, std::string_view what);

  std::vector<copied_column> columns_;
  std::vector<const cell*> cells_;
  std::string why_;
  std::string scratch_;  // text form of other kinds of cells
  numeric_encoder numeric_;
};

}  // namespace timescale
