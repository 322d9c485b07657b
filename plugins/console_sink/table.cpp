// SPDX-License-Identifier: Apache-2.0
#include "table.hpp"

#include <pipeline/json.hpp>
#include <pipeline/text_template.hpp>

#include <algorithm>

namespace console {
namespace {

constexpr std::string_view bold = "\x1B[1m", dim = "\x1B[2m", plain = "\x1B[0m";
constexpr std::string_view absent = "-";

void pad(std::string& out, std::size_t from, std::size_t width) {
  if (from < width) out.append(width - from, ' ');
}

}  // namespace

std::string printable(std::string_view text, std::size_t width) {
  std::string out;
  std::size_t wide = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto n = pl::utf8_sequence(text, i);
    const auto sequence = text.substr(i, n == 0 ? 1 : n);
    std::string next;
    if (n == 0 || pl::is_unsafe_for_terminal(pl::code_point(sequence)))
      for (const char c : sequence) pl::append_byte_escape(next, c);
    else
      next = sequence;
    const bool last = i + sequence.size() == text.size();
    if (wide + pl::count_characters(next) + (last ? 0 : 1) > width) return out + "\xE2\x80\xA6";  // an ellipsis
    wide += pl::count_characters(next);
    out += next;
    i += sequence.size();
  }
  return out;
}

std::string table::text_of(const pl::cell& c) const {
  if (pl::is_null(c)) return std::string(absent);
  std::string text;
  pl::text_template::append_plain(text, c);
  return printable(text, max_width_);
}

void table::append(std::string& out, pl::batch_view b) {
  if (b.selected() == 0) return;
  if (schema_ != &b.schema()) begin(out, b);
  for (const auto row : b.selection()) append_row(out, b, row);
}

void table::begin(std::string& out, pl::batch_view b) {
  if (schema_ != nullptr) out.push_back('\n');
  schema_ = &b.schema();
  widths_.assign(b.columns(), 0);
  for (pl::column_index c = 0; c < b.columns(); ++c) {
    const auto name = printable(b.name(c), max_width_);
    widths_[c] = pl::count_characters(name);
    for (const auto row : b.selection()) widths_[c] = std::max(widths_[c], pl::count_characters(text_of(b.at(c, row))));
    if (color_) out += bold;
    out += name;
    if (color_) out += plain;
    if (c + 1 < b.columns()) pad(out, pl::count_characters(name), widths_[c] + 2);
  }
  out.push_back('\n');
}

void table::append_row(std::string& out, pl::batch_view b, pl::row_index row) {
  for (pl::column_index c = 0; c < b.columns(); ++c) {
    const auto& cell = b.at(c, row);
    const auto text = text_of(cell);
    const auto wide = pl::count_characters(text);
    widths_[c] = std::max(widths_[c], wide);
    const bool last = c + 1 == b.columns();
    if (pl::is_number(cell) && !last) pad(out, wide, widths_[c]);
    if (color_ && pl::is_null(cell))
      out.append(dim).append(text).append(plain);
    else
      out += text;
    if (last) continue;
    if (!pl::is_number(cell)) pad(out, wide, widths_[c]);
    out += "  ";
  }
  out.push_back('\n');
}

}  // namespace console
