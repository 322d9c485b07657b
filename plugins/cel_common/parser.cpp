// SPDX-License-Identifier: Apache-2.0
#include "cel_common/parser.hpp"

#include "cel_common/limits.hpp"
#include "cel_common/macros.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

namespace pl::cel {

namespace {

constexpr std::array<std::string_view, 17> reserved{"as",        "break",  "const",  "continue", "else", "for",
                                                    "function",  "if",     "import", "let",      "loop", "package",
                                                    "namespace", "return", "var",    "void",     "while"};

bool is_reserved(std::string_view name) noexcept {
  return std::find(reserved.begin(), reserved.end(), name) != reserved.end();
}

// Binary operators by precedence, from the loosest to the tightest.
constexpr int relation = 3;
int precedence(const token& t) noexcept {
  if (t.is("||")) return 1;
  if (t.is("&&")) return 2;
  for (const std::string_view sign : {"==", "!=", "<", "<=", ">", ">=", "in"})
    if (t.is(sign)) return relation;
  if (t.is("+") || t.is("-")) return 4;
  if (t.is("*") || t.is("/") || t.is("%")) return 5;
  return 0;
}

// A recursive descent parser. After a mistake, `failed_` is set, every function returns null, and no token is read.
class parser {
 public:
  explicit parser(std::string_view text) : lexer_(text) { advance(); }

  std::variant<expr_ptr, problem> run() {
    auto tree = expression();
    if (!failed_ && token_.kind != token_kind::end) unexpected("an operator or the end of the expression");
    if (failed_) return why_;
    return tree;
  }

 private:
  void advance() {
    auto next = failed_ ? std::nullopt : lexer_.next();
    last_end_ = token_.end;
    last_text_ = token_.text;
    if (next)
      token_ = *std::move(next);
    else if (!failed_)
      fail(lexer_.why());
  }
  bool take(std::string_view sign) {
    if (failed_ || !token_.is(sign)) return false;
    advance();
    return true;
  }
  void expect(std::string_view sign) {
    if (!take(sign)) unexpected("'" + std::string(sign) + "'");
  }
  std::nullptr_t fail(problem why) {
    if (!failed_) why_ = std::move(why);
    failed_ = true;
    return nullptr;
  }
  std::nullptr_t unexpected(const std::string& wanted) {
    if (failed_) return nullptr;
    const bool end = token_.kind == token_kind::end;
    const auto found =
        end ? std::string("the expression ends here") : "unexpected '" + valid_utf8(cut_bytes(token_.text, 40)) + "'";
    return fail({found + "; expected " + wanted + advice(), token_.begin, token_.end});
  }
  // Return what to write instead of a word that is an operator in other languages.
  [[nodiscard]] std::string advice() const {
    if (token_.is("?") && last_text_ == "?") return " (write x != null ? x : 0 for a default)";
    if (last_text_ == "not" || last_text_ == "NOT") return " (write ! for a logical not)";
    if (token_.kind != token_kind::name) return {};
    const auto word = to_lower(token_.text);
    if (word == "and") return " (write && for a logical and)";
    if (word == "or") return " (write || for a logical or)";
    if (word == "not") return " (write ! for a logical not: !(a in b))";
    if (word == "like") return " (write text.contains('a'), text.startsWith('a') or text.matches('a.*b'))";
    if (word == "between") return " (write a >= 10 && a <= 20)";
    if (word == "is") return " (write == to compare)";
    return {};
  }

  expr_ptr make(form what, std::uint32_t begin) {
    auto e = std::make_unique<expr>();
    e->what = what;
    e->begin = begin;
    return e;
  }
  // Set the end of a node, and limit the size and the depth of the tree.
  expr_ptr finish(expr_ptr e) {
    if (failed_) return nullptr;
    e->end = std::max(last_end_, e->begin);
    for (const auto& a : e->args) e->depth = std::max(e->depth, a->depth + 1);
    return counted(std::move(e));
  }
  expr_ptr counted(expr_ptr e) {
    if (e->depth > limits::depth) return too_deep(e->begin);
    if (++nodes_ > limits::nodes)
      return fail({"the expression has more than " + std::to_string(limits::nodes) + " parts", e->begin, e->end});
    return e;
  }
  std::nullptr_t too_deep(std::uint32_t begin) {
    return fail(
        {"the expression is nested more than " + std::to_string(limits::depth) + " levels deep", begin, token_.end});
  }
  expr_ptr call(std::string_view function, std::uint32_t begin, expr_ptr a, expr_ptr b = nullptr) {
    if (failed_) return nullptr;
    auto e = make(form::call, begin);
    e->text = function;
    e->args.push_back(std::move(a));
    if (b) e->args.push_back(std::move(b));
    return finish(std::move(e));
  }

  // Expr = ConditionalOr ["?" ConditionalOr ":" Expr]
  expr_ptr expression() {
    if (++level_ > limits::depth) return too_deep(token_.begin);
    const auto begin = token_.begin;
    auto condition = binary(1);
    if (take("?")) {
      auto e = make(form::call, begin);
      e->text = "?:";
      e->args.push_back(std::move(condition));
      e->args.push_back(binary(1));
      expect(":");
      e->args.push_back(expression());
      condition = finish(std::move(e));
    }
    --level_;
    return condition;
  }

  // Append an operand to a node of operands that are evaluated one after the other, so that they are one level.
  expr_ptr extend(expr_ptr e, expr_ptr operand) {
    if (failed_) return nullptr;
    e->end = std::max(last_end_, e->begin);
    e->depth = std::max(e->depth, operand->depth + 1);
    e->args.push_back(std::move(operand));
    return counted(std::move(e));
  }

  // Operators of at least this precedence, from left to right. Chains of operators of one precedence become one node,
  // except for comparisons.
  expr_ptr binary(int lowest) {
    const auto begin = token_.begin;
    auto left = unary();
    int chained = 0;  // precedence of the operators that `left` consists of
    for (int level = precedence(token_); !failed_ && level >= lowest && level != 0; level = precedence(token_)) {
      const std::string op(token_.text);
      advance();
      auto right = binary(level + 1);
      if (failed_) return nullptr;
      if (level == chained && level != relation) {
        if (level > relation) {
          left->what = form::chain;
          left->text += op;
        }
        left = extend(std::move(left), std::move(right));
      } else {
        left = call(op, begin, std::move(left), std::move(right));
      }
      chained = level;
    }
    return left;
  }

  // "!" {"!"} Member | "-" {"-"} Member. A minus sign directly before a number belongs to the number.
  expr_ptr unary() {
    if (failed_ || (!token_.is("!") && !token_.is("-"))) return member();
    std::vector<std::uint32_t> begins;
    const std::string op(token_.text);
    while (!failed_ && token_.is(op)) {
      begins.push_back(token_.begin);
      advance();
    }
    if (begins.size() > limits::depth) return too_deep(begins.front());
    const bool number = token_.kind == token_kind::integer || token_.kind == token_kind::real;
    if (op == "-" && number) {
      negative_ = begins.back();
      begins.pop_back();
    }
    auto e = member();
    for (; !begins.empty(); begins.pop_back()) e = call(op, begins.back(), std::move(e));
    return e;
  }

  // Primary, then any number of .member, .function(arguments) and [index].
  expr_ptr member() {
    const auto begin = token_.begin;
    auto e = primary();
    while (!failed_) {
      if (take(".")) {
        e = selection(std::move(e), begin);
      } else if (take("[")) {
        auto index = expression();
        expect("]");
        e = call("[]", begin, std::move(e), std::move(index));
      } else {
        break;
      }
    }
    return e;
  }

  expr_ptr selection(expr_ptr target, std::uint32_t begin) {
    const bool escaped = token_.kind == token_kind::escaped_name;
    if (!escaped && token_.kind != token_kind::name)
      return unexpected(token_.is("?") ? "a member's name; optional values are not supported" : "a member's name");
    auto e = make(form::select, begin);
    e->text = escaped ? token_.value : std::string(token_.text);
    e->args.push_back(std::move(target));
    advance();
    if (escaped || !take("(")) return finish(std::move(e));
    e->what = form::call;
    e->has_target = true;
    arguments(*e, ")");
    return expand(finish(std::move(e)));
  }

  // Read arguments up to the closing sign. A comma may follow the last element of a list or map, but not of a call.
  void arguments(expr& e, std::string_view close) {
    while (!failed_ && !token_.is(close)) {
      e.args.push_back(expression());
      if (!take(",")) break;
      if (token_.is(close) && close == ")") unexpected("another argument");
    }
    expect(close);
  }

  expr_ptr primary() {
    if (failed_) return nullptr;
    const auto begin = token_.begin;
    if (take("(")) {
      auto e = expression();
      expect(")");
      return e;
    }
    if (take("[")) {
      auto e = make(form::list, begin);
      arguments(*e, "]");
      return finish(std::move(e));
    }
    if (take("{")) return map(begin);
    const bool absolute = take(".");
    if (token_.kind == token_kind::name) return name(begin, absolute);
    return absolute ? unexpected("a name") : literal();
  }

  expr_ptr map(std::uint32_t begin) {
    auto e = make(form::map, begin);
    while (!failed_ && !token_.is("}")) {
      e->args.push_back(expression());
      expect(":");
      e->args.push_back(expression());
      if (!take(",")) break;
    }
    expect("}");
    return finish(std::move(e));
  }

  expr_ptr name(std::uint32_t begin, bool absolute) {
    if (is_reserved(token_.text))
      return fail({"'" + std::string(token_.text) + "' is a reserved word; a column of this name is row." +
                       std::string(token_.text) +
                       (token_.text == "if" ? "; for a choice, write condition ? a : b" : ""),
                   token_.begin, token_.end});
    auto e = make(form::name, begin);
    e->absolute = absolute;
    e->text = token_.text;
    advance();
    if (token_.is("{"))
      return fail(
          {"messages such as " + e->text + "{...} are not supported; write a map: {'key': value}", begin, token_.end});
    if (!take("(")) return finish(std::move(e));
    e->what = form::call;
    arguments(*e, ")");
    return expand(finish(std::move(e)));
  }

  expr_ptr literal() {
    const auto begin = std::exchange(negative_, std::nullopt);
    auto e = make(form::null_literal, begin.value_or(token_.begin));
    switch (token_.kind) {
      case token_kind::integer:
        if (token_.too_large && !begin)
          return fail({"the number " + std::string(token_.text) + " is too large", token_.begin, token_.end});
        e->what = form::int_literal;
        e->integer = begin && !token_.too_large ? -token_.integer : token_.integer;
        break;
      case token_kind::real:
        e->what = form::double_literal;
        e->real = begin ? -token_.real : token_.real;
        break;
      case token_kind::string:
      case token_kind::bytes:
        e->what = token_.kind == token_kind::string ? form::string_literal : form::bytes_literal;
        e->text = std::move(token_.value);
        break;
      default:
        if (token_.is("true") || token_.is("false")) {
          e->what = form::bool_literal;
          e->boolean = token_.is("true");
        } else if (!token_.is("null")) {
          return unexpected("a value");
        }
    }
    advance();
    return finish(std::move(e));
  }

  // Turn the call of a macro into the macro's own node.
  expr_ptr expand(expr_ptr e) {
    if (failed_) return nullptr;
    if (auto wrong = expand_macro(*e)) return fail(*std::move(wrong));
    return e;
  }

  lexer lexer_;
  token token_;
  std::uint32_t last_end_ = 0;             // end of the token before
  std::string_view last_text_;             // of the token before
  std::optional<std::uint32_t> negative_;  // place of the minus sign that belongs to the next number
  std::uint32_t level_ = 0, nodes_ = 0;
  bool failed_ = false;
  problem why_;
};

}  // namespace

std::variant<expr_ptr, problem> parse(std::string_view text) {
  if (text.size() > limits::text_bytes)
    return problem{"the expression has more than " + std::to_string(limits::text_bytes) + " bytes", 0, 0};
  if (const auto at = find_invalid_utf8(text); at != std::string_view::npos)
    return problem{"the expression is not valid UTF-8", static_cast<std::uint32_t>(at),
                   static_cast<std::uint32_t>(at + 1)};
  return parser(text).run();
}

}  // namespace pl::cel
