// SPDX-License-Identifier: Apache-2.0
#include "cel_common/reference.hpp"

#include "cel_common/functions.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace pl::cel {

namespace {

struct line {
  std::string written, meaning;
};

struct section {
  std::string_view title;
  std::vector<line> lines;
};

section operators() {
  return {"Operators, from the tightest to the loosest",
          {{"a.b  a[b]  f(a)  a.f(b)", "member of a map, element of a list or map, call"},
           {"-a  !a", "negation, logical not"},
           {"a * b  a / b  a % b",
            "arithmetic; an int beside a double becomes a double; int / int is an int; % takes ints"},
           {"a + b  a - b", "arithmetic, also of times and durations; + also joins strings, bytes and lists"},
           {"a == b  a != b  a < b  a <= b  a > b  a >= b", "comparison; numbers by their exact values"},
           {"a in b", "whether a list contains a value, or a map a key"},
           {"a && b", "logical and: false if one of the two is false, even if the other fails"},
           {"a || b", "logical or: true if one of the two is true, even if the other fails"},
           {"a ? b : c", "b if a is true, c if a is false; only that one is evaluated"}}};
}

section macros() {
  return {
      "Macros",
      {{"has(a.b)", "whether a map has the key, or a row the column: has(row.humidity)"},
       {"list.all(x, condition)", "whether the condition is true for every element x of a list, or key of a map"},
       {"list.exists(x, condition)", "whether it is true for at least one"},
       {"list.exists_one(x, condition)", "whether it is true for exactly one"},
       {"list.filter(x, condition)", "the elements for which it is true"},
       {"list.map(x, result)", "the list of the results"},
       {"list.map(x, condition, result)", "the list of the results for the elements for which the condition is true"}}};
}

// Functions of one topic: one line for each name, with all of its signatures.
section functions(std::string_view title, topic about) {
  section made{title, {}};
  std::string_view name;
  for (const auto& o : all_overloads()) {
    // `size` is in two topics.
    const bool here = o.about == about && !(o.name == "size" && about == topic::strings);
    if (!here) continue;
    if (o.name == name) {
      made.lines.back().written += "\n" + signature(o);
      if (made.lines.back().meaning.empty()) made.lines.back().meaning = o.doc;
    } else {
      made.lines.push_back({signature(o), std::string(o.doc)});
    }
    name = o.name;
  }
  if (about == topic::numbers) {
    made.lines.push_back(
        {"math.greatest(number, ...) -> number\nmath.greatest(list) -> number", "The greatest of the numbers."});
    made.lines.push_back(
        {"math.least(number, ...) -> number\nmath.least(list) -> number", "The least of the numbers."});
    std::sort(made.lines.begin(), made.lines.end(), [](const line& a, const line& b) { return a.written < b.written; });
  }
  return made;
}

std::array<section, 7> sections() {
  return {operators(),
          macros(),
          functions("Numbers", topic::numbers),
          functions("Strings", topic::strings),
          functions("Times and durations", topic::times),
          functions("Lists and maps", topic::lists),
          functions("Conversions", topic::conversions)};
}

void append_text(std::string& out, const section& s) {
  out.append("\n").append(s.title).append(":\n");
  for (const auto& [written, meaning] : s.lines) {
    std::string indented = "  " + written;
    for (auto at = indented.find('\n'); at != std::string::npos; at = indented.find('\n', at + 1))
      indented.insert(at + 1, "  ");
    out.append(indented).append("\n      ").append(meaning).append("\n");
  }
}

void append_markdown(std::string& out, const section& s) {
  out.append("\n## ").append(s.title).append("\n\n| | |\n|---|---|\n");
  for (const auto& [written, meaning] : s.lines) {
    std::string code = "`" + written + "`";
    for (const auto& [from, to] :
         {std::pair<std::string_view, std::string_view>{"\n", "`<br>`"}, {"  ", "` `"}, {"|", "\\|"}})
      for (auto at = code.find(from); at != std::string::npos; at = code.find(from, at + to.size()))
        code.replace(at, from.size(), to);
    out.append("| ").append(code).append(" | ").append(meaning).append(" |\n");
  }
}

}  // namespace

std::string language_reference(reference_format format) {
  const bool markdown = format == reference_format::markdown;
  std::string out =
      markdown ? "# Expressions: operators and functions\n\nThe language, its types and its limits: "
                 "[expressions](../expressions.md).\n"
               : "Expressions are written in the Common Expression Language (cel.dev). The columns of a row are\n"
                 "variables; row is the whole row. Try an expression on one row:\n"
                 "  pipeline-host eval 'temperature * 9 / 5 + 32' --with '{\"temperature\": 21.5}'\n";
  for (const auto& s : sections()) markdown ? append_markdown(out, s) : append_text(out, s);
  return out;
}

}  // namespace pl::cel
