// SPDX-License-Identifier: Apache-2.0
#include "cel_common/rows.hpp"

#include "cel_common/containers.hpp"
#include "cel_common/moments.hpp"

namespace pl::cel {

namespace {

std::string_view cell_kind_name(std::uint32_t kind) noexcept {
  static constexpr std::string_view names[] = {"null", "bool", "int", "double", "timestamp", "string", "bytes", "JSON"};
  return kind < std::size(names) ? names[kind] : "unknown";
}

}  // namespace

value cell_value(evaluation& e, const cell& c) {
  switch (c.kind) {
    case PL_BOOL:
      return bool_value(c.as.i != 0);
    case PL_I64:
      return int_value(c.as.i);
    case PL_F64:
      return double_value(c.as.f);
    case PL_TIME_NS:
      return *make_timestamp(0, c.as.i);  // every int64 of nanoseconds is in the years 1677 to 2262
    case PL_TEXT:
      return string_value(bytes_of(c));
    case PL_BYTES:
      return bytes_value(bytes_of(c));
    case PL_JSON:
      return read_json(e, bytes_of(c));
    default:
      return null_value();
  }
}

void bound_rows::bind(batch_view batch) {
  batch_ = batch.raw();
  if (schema_ != &batch.schema()) {
    schema_ = &batch.schema();
    indexes_.clear();
    for (const auto& c : plan_->columns) indexes_.push_back(batch.find(c.name));
  }
  for (std::size_t i = 0; i < columns_.size(); ++i)
    columns_[i] = {indexes_[i] ? batch_->cols[*indexes_[i]] : nullptr, plan_->columns[i].kind};
}

value bound_rows::read(evaluation& e, std::uint32_t slot, row_index row) const {
  const auto& column = columns_[slot];
  if (column.cells == nullptr) return null_value();
  const auto& c = column.cells[row];
  if (column.kind == PL_NULL || column.kind == PL_JSON || c.kind == column.kind || c.kind == PL_NULL)
    return cell_value(e, c);
  if (column.kind == PL_F64 && c.kind == PL_I64) return double_value(static_cast<double>(c.as.i));
  return e.fail({"the column '", plan_->columns[slot].name, "' contains a value of type ", cell_kind_name(c.kind),
                 "; it was declared as ", cell_kind_name(column.kind)});
}

value bound_rows::whole_row(evaluation& e, row_index row) const {
  const auto b = batch();
  auto* made = e.spend(b.columns()) ? e.allocate<entry>(b.columns()) : nullptr;
  if (made == nullptr) return e.limit_error();
  auto* end = made;
  for (column_index c = 0; c < b.columns(); ++c) {
    if (batch_->cols[c] == nullptr || is_null(b.at(c, row))) continue;
    *end++ = {string_value(b.name(c)), cell_value(e, b.at(c, row))};
  }
  return make_map(e, {made, end});
}

}  // namespace pl::cel
