// SPDX-License-Identifier: Apache-2.0
// Templates of payloads, such as {{"id":"{device_id}","temperature":{temperature}}}. If the template is JSON, values are
// written so that they cannot change its structure: escaped inside quotes, and as JSON values elsewhere. {column:json}
// writes a JSON value in any template, and {column:raw} the value unchanged.
#pragma once

#include <pipeline/json.hpp>
#include <pipeline/json_members.hpp>
#include <pipeline/text_template.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pl {

class payload_template {
 public:
  enum class encoding {
    plain,        // unchanged, as text_template does
    json,         // as a JSON value
    json_string,  // escaped, inside the quotes of the template
    json_quoted   // as a JSON value whose text is escaped, inside the quotes of the template
  };
  struct piece {
    std::string text;  // literal, or the column's name
    std::optional<encoding> column;
  };

  // Parse a template. A failure has the code fatal, and its message states the mistake.
  static result<payload_template> parse(std::string_view source) {
    auto parsed = text_template::parse(source);
    if (!parsed.ok()) return parsed.why();
    payload_template t;
    std::vector<std::string> suffixes;
    for (const auto& p : parsed->pieces()) {
      const auto [name, suffix] = p.is_column ? split(p.text) : std::pair(std::string_view(p.text), std::string_view());
      if (p.is_column && name.empty())
        return fatal("'{" + p.text + "}' has no column before ':" + std::string(suffix) + "'");
      t.pieces_.push_back({std::string(name), p.is_column ? std::optional(encoding::plain) : std::nullopt});
      suffixes.emplace_back(suffix);
    }
    t.json_ = t.looks_like_json(suffixes);
    t.choose_encodings(suffixes);
    return t;
  }

  [[nodiscard]] const std::vector<piece>& pieces() const noexcept { return pieces_; }
  // Return whether the template is JSON, so that values are escaped.
  [[nodiscard]] bool is_json() const noexcept { return json_; }

  // Look up the columns in a schema. Return the first name that is missing. Cheap while the schema stays the same.
  std::optional<std::string_view> bind(const pl_schema& schema) {
    if (schema_ != &schema) {
      schema_ = &schema;
      columns_.clear();
      missing_.reset();
      for (const auto& p : pieces_) {
        const auto c = p.column ? find_column(schema, p.text) : std::nullopt;
        if (p.column && !c && !missing_) missing_ = columns_.size();
        columns_.push_back(c);
      }
    }
    return missing_ ? std::optional<std::string_view>(pieces_[*missing_].text) : std::nullopt;
  }

  // Append the text for one row of a batch whose schema was passed to `bind`.
  void render(std::string& out, batch_view b, row_index row) const {
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const auto& p = pieces_[i];
      if (!p.column)
        out += p.text;
      else if (columns_[i])
        append(out, b.at(*columns_[i], row), *p.column);
    }
  }

  static void append(std::string& out, const cell& c, encoding how) {
    std::string text;
    switch (how) {
      case encoding::plain:
        text_template::append_plain(out, c);
        break;
      case encoding::json:
        append_value(out, c);
        break;
      case encoding::json_string:
        text_template::append_plain(text, c);
        append_inside_quotes(out, text);
        break;
      case encoding::json_quoted:
        append_value(text, c);
        append_inside_quotes(out, text);
        break;
    }
  }

 private:
  // Return the column and the suffix, "raw", "json" or none.
  static std::pair<std::string_view, std::string_view> split(std::string_view name) {
    for (const std::string_view suffix : {":raw", ":json"})
      if (name.ends_with(suffix)) return {name.substr(0, name.size() - suffix.size()), suffix.substr(1)};
    return {name, {}};
  }

  // Bytes that are one JSON document, such as the value of a record, are embedded; other bytes become a string.
  static void append_value(std::string& out, const cell& c) {
    if (is_null(c))
      out += "null";
    else if (c.kind == PL_BYTES && is_utf8(bytes_of(c)) && pl::is_json(bytes_of(c)))
      append_json_line(out, bytes_of(c));
    else
      append_json(out, c);
  }

  static void append_inside_quotes(std::string& out, std::string_view text) {
    std::string quoted;
    append_json_string(quoted, valid_utf8(text));
    out.append(quoted, 1, quoted.size() - 2);
  }

  // Return whether the template begins like an object, or is JSON with any value in place of the columns. A raw column may
  // be a value or a part of the structure, which may be empty. A template that consists of columns only is not JSON of its
  // own.
  [[nodiscard]] bool looks_like_json(const std::vector<std::string>& suffixes) const {
    return is_json_with("", suffixes) || is_json_with("0", suffixes);
  }

  [[nodiscard]] bool is_json_with(std::string_view raw, const std::vector<std::string>& suffixes) const {
    constexpr std::string_view space = " \t\r\n";
    std::string sample;
    bool literal = false, in_string = false;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      if (pieces_[i].column) {
        if (!in_string) sample += suffixes[i] == "raw" ? raw : "0";
        continue;
      }
      literal |= pieces_[i].text.find_first_not_of(space) != std::string::npos;
      sample += pieces_[i].text;
      in_string = ends_in_string(pieces_[i].text, in_string);
    }
    const auto first = sample.find_first_not_of(space);
    return literal &&
           ((first != std::string::npos && sample[first] == '{') || (is_utf8(sample) && pl::is_json(sample)));
  }

  // Return whether the text ends inside quotes. `inside`: it begins inside quotes.
  static bool ends_in_string(std::string_view text, bool inside) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (inside && text[i] == '\\')
        ++i;
      else if (text[i] == '"')
        inside = !inside;
    }
    return inside;
  }

  void choose_encodings(const std::vector<std::string>& suffixes) {
    bool in_string = false;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      if (!pieces_[i].column)
        in_string = json_ && ends_in_string(pieces_[i].text, in_string);
      else if (suffixes[i] == "json")
        pieces_[i].column = in_string ? encoding::json_quoted : encoding::json;
      else if (suffixes[i] != "raw" && json_)
        pieces_[i].column = in_string ? encoding::json_string : encoding::json;
    }
  }

  std::vector<piece> pieces_;
  bool json_ = false;
  std::vector<std::optional<column_index>> columns_;
  std::optional<std::size_t> missing_;  // first piece whose column is missing
  const pl_schema* schema_ = nullptr;
};

}  // namespace pl
