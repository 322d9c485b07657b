// SPDX-License-Identifier: Apache-2.0
// Rows of cells as PostgreSQL's binary COPY format. What can't be put into its column is refused here, with a reason,
// before the database sees it; which kind of cell goes into which type is in README.md.
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
  pl::column_index from = 0;  // in the incoming schema
  wire type = wire::text;
  bool not_null = false;
  std::uint32_t max_characters = 0;  // 0: no limit
  std::string field;                 // incoming name
  std::string column, type_name;     // the table's
};

// Before the first row and behind the last one.
inline constexpr std::string_view copy_header{"PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19};
inline constexpr std::string_view copy_trailer{"\377\377", 2};

class row_encoder {
 public:
  explicit row_encoder(std::vector<copied_column> columns) : columns_(std::move(columns)), cells_(columns_.size()) {}

  // The rows that follow are this batch's.
  void bind(pl::batch_view batch) noexcept {
    for (std::size_t i = 0; i < columns_.size(); ++i) cells_[i] = batch.column(columns_[i].from).data();
  }
  // False: the row can't be written, why() says why, and nothing was appended.
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
  // Notes why, and is false.
  [[nodiscard]] bool refuse(const copied_column& c, const cell& v, std::string_view what);

  std::vector<copied_column> columns_;
  std::vector<const cell*> cells_;
  std::string why_;
  std::string scratch_;  // text made out of other kinds
  numeric_encoder numeric_;
};

}  // namespace timescale
