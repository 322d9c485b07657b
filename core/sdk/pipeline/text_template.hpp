// SPDX-License-Identifier: Apache-2.0
// Templates such as "users/{user_id}/devices/{device_id}/alerts": text with column names in braces. {{ and }} are
// literal braces.
#pragma once

#include <pipeline/batch.hpp>
#include <pipeline/json.hpp>
#include <pipeline/result.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl {

class text_template {
 public:
  struct piece {
    std::string text;  // literal, or the column's name
    bool is_column = false;
  };

  // Parse a template. A failure has the code fatal, and its message states the position of the mistake.
  static result<text_template> parse(std::string_view source) {
    text_template t;
    std::string literal;
    for (std::size_t i = 0; i < source.size(); ++i) {
      const char c = source[i];
      if ((c == '{' || c == '}') && i + 1 < source.size() && source[i + 1] == c) {
        literal.push_back(c);
        ++i;
        continue;
      }
      if (c == '}')
        return fatal("'}' at character " + std::to_string(i + 1) + " has no '{' before it; write '}}' for a brace");
      if (c != '{') {
        literal.push_back(c);
        continue;
      }
      const auto close = source.find('}', i);
      if (close == std::string_view::npos)
        return fatal("'{' at character " + std::to_string(i + 1) + " is not closed; write '{{' for a brace");
      const auto name = source.substr(i + 1, close - i - 1);
      if (name.empty())
        return fatal("empty '{}' at character " + std::to_string(i + 1) + "; write the name of a column inside");
      if (!literal.empty()) t.pieces_.push_back({std::exchange(literal, {}), false});
      t.pieces_.push_back({std::string(name), true});
      i = close;
    }
    if (!literal.empty()) t.pieces_.push_back({std::move(literal), false});
    return t;
  }

  [[nodiscard]] const std::vector<piece>& pieces() const noexcept { return pieces_; }

  // Look up the columns in a schema. Return the first name that is missing. Cheap while the schema stays the same.
  std::optional<std::string_view> bind(const pl_schema& schema) {
    if (schema_ != &schema) {
      schema_ = &schema;
      columns_.clear();
      missing_.reset();
      for (const auto& p : pieces_) {
        const auto c = p.is_column ? find_column(schema, p.text) : std::nullopt;
        if (p.is_column && !c && !missing_) missing_ = columns_.size();
        columns_.push_back(c);
      }
    }
    return missing_ ? std::optional<std::string_view>(pieces_[*missing_].text) : std::nullopt;
  }

  // Append the text for one row of a batch whose schema was passed to `bind`. escape(out, bytes) writes one value. Null
  // becomes an empty text; text and bytes are written unchanged, other kinds as in JSON (times without quotes).
  template <class Escape>
  void render(std::string& out, batch_view b, row_index row, Escape&& escape) const {
    std::string value;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      if (!pieces_[i].is_column) {
        out += pieces_[i].text;
        continue;
      }
      if (!columns_[i]) continue;
      value.clear();
      append_plain(value, b.at(*columns_[i], row));
      escape(out, std::string_view(value));
    }
  }
  void render(std::string& out, batch_view b, row_index row) const {
    render(out, b, row, [](std::string& to, std::string_view v) { to += v; });
  }

  static void append_plain(std::string& out, const cell& c) {
    if (has_bytes(c))
      out += bytes_of(c);
    else if (c.kind == PL_TIME_NS)
      append_rfc3339(out, c.as.i);
    else if (!is_null(c))
      append_json(out, c);
  }

 private:
  std::vector<piece> pieces_;
  std::vector<std::optional<column_index>> columns_;
  std::optional<std::size_t> missing_;  // first piece whose column is missing
  const pl_schema* schema_ = nullptr;
};

}  // namespace pl
