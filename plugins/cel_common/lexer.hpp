// SPDX-License-Identifier: Apache-2.0
// Splits an expression into tokens.
#pragma once

#include "cel_common/syntax.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pl::cel {

enum class token_kind : std::uint8_t {
  end,
  name,          // an identifier or a reserved word
  escaped_name,  // `content-type`; text: without the backticks
  keyword,       // true, false, null, in
  integer,
  real,
  string,  // value: the decoded content
  bytes,
  sign  // an operator or punctuation
};

struct token {
  token_kind kind = token_kind::end;
  std::uint32_t begin = 0, end = 0;
  std::string_view text;     // as written
  std::string value;         // string, bytes
  std::int64_t integer = 0;  // integer: the value, except for 9223372036854775808, which needs a minus sign
  bool too_large = false;    // integer: the value is 9223372036854775808
  double real = 0;

  [[nodiscard]] bool is(std::string_view sign_or_keyword) const noexcept {
    return (kind == token_kind::sign || kind == token_kind::keyword) && text == sign_or_keyword;
  }
};

// Reads one token after the other. The source must outlive the lexer and its tokens.
class lexer {
 public:
  explicit lexer(std::string_view source) noexcept : source_(source) {}

  // Read the next token; std::nullopt after a mistake, which `why` then describes.
  [[nodiscard]] std::optional<token> next();
  [[nodiscard]] const problem& why() const noexcept { return why_; }

 private:
  [[nodiscard]] char peek(std::size_t ahead = 0) const noexcept {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }
  void skip_space() noexcept;
  [[nodiscard]] std::optional<token> number(token t);
  [[nodiscard]] std::optional<token> quoted(token t);
  [[nodiscard]] std::optional<token> word(token t);
  [[nodiscard]] std::optional<token> escaped_name(token t);
  [[nodiscard]] std::optional<token> sign(token t);
  [[nodiscard]] std::optional<token> done(token t, token_kind kind) const;
  std::nullopt_t fail(std::uint32_t begin, std::uint32_t end, std::string message);

  std::string_view source_;
  std::size_t at_ = 0;
  problem why_;
};

}  // namespace pl::cel
