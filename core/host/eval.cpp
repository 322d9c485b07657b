// SPDX-License-Identifier: Apache-2.0
#include "host/eval.hpp"

#include "cel_common/literals.hpp"
#include "cel_common/program.hpp"
#include "cel_common/reference.hpp"
#include "host/arguments.hpp"
#include "host/dead_letter.hpp"

#include <pipeline/json_members.hpp>
#include <pipeline/text.hpp>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <forward_list>
#include <list>
#include <memory>
#include <string_view>
#include <utility>

namespace pl::host {

namespace {

// One row, made from a JSON object. A number without a fraction is a double, like a metric, or with `integers` an int.
// Owns its texts.
class row_of_json {
 public:
  // Return what is wrong; empty if the text is a JSON object.
  std::string read(std::string_view object, bool integers) {
    std::string wrong;
    if (!is_json(object) || !each_json_member(object, [&](std::string_view key, std::string_view text) {
          const auto name = json_text(key);
          if (name && (text[0] != '"' || json_text(text)))
            put(*name, text, integers);
          else
            wrong = "--with: a string contains an unpaired surrogate";
        }))
      return "--with: not a JSON object; write for example {\"temperature\": 21.5}";
    for (const auto& c : columns_)
      names_.push_back(borrow(c.name)), kinds_.push_back(c.kind), cells_.push_back(&c.value);
    schema_ = {static_cast<std::uint32_t>(names_.size()), names_.data()};
    batch_.size = sizeof batch_;
    batch_.rows = batch_.nsel = 1;
    batch_.schema = &schema_;
    batch_.cols = cells_.data();
    return wrong;
  }
  [[nodiscard]] batch_view view() { return batch_view(&batch_); }
  [[nodiscard]] column_set columns() const { return {&schema_, kinds_}; }
  [[nodiscard]] bool has_integers() const noexcept { return has_integers_; }

 private:
  struct column {
    std::string name;
    std::uint32_t kind;  // PL_NULL: unknown
    cell value;
  };

  void put(const std::string& name, std::string_view text, bool integers) {
    columns_.remove_if([&](const column& c) { return c.name == name; });  // the last member of a name counts
    const auto value = cell_of(text, integers);
    columns_.push_back({name, value.kind, value});
  }
  cell cell_of(std::string_view text, bool integers) {
    switch (text[0]) {
      case 'n':
        return null_cell();
      case 't':
      case 'f':
        return bool_cell(text[0] == 't');
      case '{':
      case '[':
        return json_cell(text);
      case '"':
        return text_cell(texts_.emplace_front(*json_text(text)));
      default:
        return number(text, integers);
    }
  }
  // An integer that a double cannot hold exactly is always an int.
  cell number(std::string_view text, bool integers) {
    constexpr std::int64_t exact = std::int64_t{1} << 53;
    std::int64_t i = 0;
    const auto whole = std::from_chars(text.data(), text.data() + text.size(), i);
    const bool is_integer = whole.ec == std::errc() && whole.ptr == text.data() + text.size();
    has_integers_ = has_integers_ || is_integer;
    if (is_integer && (integers || i > exact || i < -exact)) return int_cell(i);
    const auto real = cel::read_double(text);
    return real_cell(real ? *real : text.starts_with('-') ? -HUGE_VAL : HUGE_VAL);
  }

  std::list<column> columns_;
  std::forward_list<std::string> texts_;
  std::vector<pl_str> names_;
  std::vector<std::uint32_t> kinds_;
  std::vector<const pl_cell*> cells_;
  pl_schema schema_{};
  pl_batch batch_{};
  bool has_integers_ = false;
};

// Print what is wrong, and the line of the expression with a mark below the place.
void print_mistake(std::string_view level, std::string_view expression, const failure& why,
                   std::string_view more = {}) {
  const auto offset = std::min(cel::offset_of(why), expression.size());
  const auto begin = expression.substr(0, offset).find_last_of('\n') + 1;  // npos + 1 is 0
  const auto line = expression.substr(begin, expression.substr(begin).find('\n'));
  const auto before = shown(expression.substr(begin, offset - begin), true);
  const auto number =
      std::count(expression.begin(), expression.begin() + static_cast<std::ptrdiff_t>(offset), '\n') + 1;
  fmt::print(stderr, "{}: expression:{}:{}: {}{}\n  {}\n  {}^\n", level, number, offset - begin + 1,
             shown(why.message, true), more, shown(line, true), std::string(count_characters(before), ' '));
}

// The row may come from a device: its texts must not send commands to a terminal.
void print_value(std::string_view value, bool json) {
  std::string text;
  if (json)
    append_json_for_terminal(text, value);
  else
    text = shown(value, true);
  fmt::print("{}\n", text);
}

struct compiled_row {
  std::unique_ptr<row_of_json> row;
  result<cel::program> program;

  [[nodiscard]] result<std::string> print(bool json) const {
    using notation = cel::evaluator::notation;
    return cel::evaluator(program.value()).print(row->view(), 0, json ? notation::json : notation::text);
  }
};

compiled_row compile(const eval_arguments& args, bool integers, bool unchecked = false) {
  auto row = std::make_unique<row_of_json>();
  if (auto wrong = row->read(args.with, integers); !wrong.empty()) return {nullptr, fatal(std::move(wrong))};
  auto program = cel::compile(args.expression, row->columns(), {.unchecked = unchecked});
  return {std::move(row), std::move(program)};
}

// The row has only some of the columns that a pipeline's rows may have. So the expression still has a value if that does
// not depend on the mistake: has(row.humidity) ? humidity : 0.
int eval_in_spite_of(const failure& mistake, const eval_arguments& args) {
  const auto made = compile(args, false, true);
  if (made.program.ok()) {
    if (const auto printed = made.print(args.json); printed.ok()) {
      print_mistake("warning", args.expression, mistake, "; for this row, the result does not depend on it");
      print_value(printed.value(), args.json);
      return exit_ok;
    }
  }
  print_mistake("error", args.expression, mistake);
  const bool no_column = mistake.message.starts_with("unknown column");
  if (no_column && made.row->view().columns() == 0)
    fmt::print(stderr, "hint: pass columns with --with '{{\"temperature\": 21.5}}'\n");
  return exit_usage;
}

}  // namespace

void add_eval_arguments(CLI::App& verb, eval_arguments& args) {
  verb.add_option("expression", args.expression, "The expression; `pipeline-host help expressions` lists the functions")
      ->required()
      ->type_name("EXPR");
  verb.add_option("--with", args.with,
                  "Columns of the row, as a JSON object: '{\"temperature\": 21.5}'. A number is a double, unless the "
                  "expression needs an int; a time is a text: write timestamp(time)")
      ->type_name("JSON");
  verb.add_flag("--json", args.json,
                "Print one JSON value: NaN and infinities as strings, bytes as a string of Latin-1 characters");
}

std::vector<std::string> separate_expression(int argc, const char* const* argv) {
  std::vector<std::string> all(argv + std::min(argc, 1), argv + argc);
  if (all.empty() || all[0] != "eval" || std::find(all.begin(), all.end(), "--") != all.end()) return all;
  std::vector<std::string> options, positional;
  for (std::size_t i = 1; i < all.size(); ++i) {
    const bool option = all[i] == "--json" || all[i] == "--help" || all[i] == "-h" || all[i] == "--with" ||
                        all[i].starts_with("--with=");
    (option ? options : positional).push_back(all[i]);
    if (all[i] == "--with" && i + 1 < all.size()) options.push_back(all[++i]);
  }
  std::vector<std::string> sorted{"eval"};
  sorted.insert(sorted.end(), options.begin(), options.end());
  if (!positional.empty()) sorted.emplace_back("--");
  sorted.insert(sorted.end(), positional.begin(), positional.end());
  return sorted;
}

bool report_second_expression(const std::vector<std::string>& words) {
  const auto separator = std::find(words.begin(), words.end(), "--");
  if (words.empty() || words[0] != "eval" || words.end() - separator < 3) return false;
  const auto& second = separator[2];
  fmt::print(stderr, "error: eval takes one expression, got also '{}'; {}\nRun with --help for more information.\n",
             second,
             second.starts_with('{') ? "pass columns with --with '" + second + "'" : "put the expression in quotes");
  return true;
}

int eval(const arguments& all) {
  const auto& args = all.eval;
  auto made = compile(args, false);
  if (!made.row) {
    fmt::print(stderr, "error: {}\n", shown(made.program.why().message, true));
    return exit_usage;
  }
  // An expression such as n % 2 or list[n] needs an int: then numbers without a fraction are ints.
  if (!made.program.ok() && made.row->has_integers())
    if (auto with_ints = compile(args, true); with_ints.program.ok()) made = std::move(with_ints);
  if (!made.program.ok()) return eval_in_spite_of(made.program.why(), args);
  const auto printed = made.print(args.json);
  if (!printed.ok()) {
    fmt::print(stderr, "error: {}\n", shown(printed.why().message, true));
    return exit_failed;
  }
  print_value(printed.value(), args.json);
  return exit_ok;
}

int print_expressions(bool markdown) {
  const auto text = cel::language_reference(markdown ? cel::reference_format::markdown : cel::reference_format::text);
  std::fputs(text.c_str(), stdout);
  return exit_ok;
}

}  // namespace pl::host
