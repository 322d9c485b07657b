// SPDX-License-Identifier: Apache-2.0
// Runs the cases of the specification: tests/conformance/README.md.
#include "cel_common/checker.hpp"
#include "cel_common/interpreter.hpp"
#include "cel_common/output.hpp"
#include "cel_common/parser.hpp"
#include "typed_json.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <set>
#include <string>

using namespace pl;
using namespace pl::cel;
using namespace pl::cel::testing;

namespace {

struct conformance_case {
  std::string id, expression;
  std::map<std::string, std::string> bindings;
  std::string value;  // empty: the evaluation must fail
  bool unchecked = false;
};

std::vector<conformance_case> read_cases() {
  std::vector<conformance_case> cases;
  std::ifstream file(CONFORMANCE "/cases.jsonl");
  for (std::string line; std::getline(file, line);) {
    const auto m = members_of(line);
    conformance_case c;
    c.id = *json_text(m.at("file")) + "/" + *json_text(m.at("section")) + "/" + *json_text(m.at("name"));
    c.expression = *json_text(m.at("expr"));
    if (m.count("bindings") != 0) c.bindings = members_of(m.at("bindings"));
    if (m.count("value") != 0) c.value = m.at("value");
    c.unchecked = m.count("unchecked") != 0;
    cases.push_back(std::move(c));
  }
  return cases;
}

// Case and reason.
std::map<std::string, std::string> read_unsupported() {
  std::map<std::string, std::string> all;
  std::ifstream file(CONFORMANCE "/unsupported.txt");
  for (std::string line; std::getline(file, line);)
    if (!line.empty() && line[0] != '#') all[line.substr(0, line.find('\t'))] = line.substr(line.find('\t') + 1);
  return all;
}

// The kind of cells that hold the values of a typed JSON value.
std::uint32_t cell_kind(const std::string& json) {
  static const std::map<std::string, std::uint32_t> kinds{
      {"bool", PL_BOOL}, {"int", PL_I64}, {"double", PL_F64}, {"string", PL_TEXT}, {"bytes", PL_BYTES}};
  const auto found = kinds.find(members_of(json).begin()->first);
  return found == kinds.end() ? std::uint32_t{PL_NULL} : found->second;
}

// Replace columns by their values.
void substitute(node& n, const std::map<std::string, value>& values) {
  for (const auto& a : n.args) substitute(*a, values);
  if (n.what != op::column) return;
  n.what = op::constant;
  n.constant = values.at(n.text);
}

// Return what is wrong; empty if the case passes.
std::string run(const conformance_case& c) {
  std::vector<pl_str> names;
  std::vector<std::uint32_t> kinds;
  for (const auto& [name, json] : c.bindings) {
    names.push_back(borrow(name));
    kinds.push_back(cell_kind(json));
  }
  const pl_schema schema{static_cast<std::uint32_t>(names.size()), names.data()};
  const auto parsed = parse(c.expression);
  plan p;
  std::optional<problem> mistake;
  if (const auto* wrong = std::get_if<problem>(&parsed))
    mistake = *wrong;
  else
    mistake = check(*std::get<expr_ptr>(parsed), column_names({&schema, kinds}), c.unchecked, p);
  if (mistake) return c.value.empty() ? "" : "does not compile: " + mistake->message;

  arena memory;
  evaluation e(memory);
  std::map<std::string, value> values;
  for (const auto& [name, json] : c.bindings) values[name] = typed_value(e, json);
  substitute(*p.root, values);
  const auto got = interpreter(e, nullptr, p.locals).run(*p.root);
  if (got.is_error()) return c.value.empty() ? "" : "fails: " + std::string(got.error->text);
  std::string shown;
  (void)append_text_value(e, shown, got);
  if (c.value.empty()) return "does not fail; the result is " + shown;
  return same(e, got, typed_value(e, c.value)) ? "" : "the result is " + shown + ", not " + c.value;
}

}  // namespace

TEST_CASE("every conformance case has the specified result, or is listed with a reason") {
  const auto unsupported = read_unsupported();
  const auto cases = read_cases();
  CHECK(cases.size() == 833);
  std::set<std::string> ids;
  for (const auto& c : cases) {
    ids.insert(c.id);
    const auto wrong = run(c);
    if (unsupported.count(c.id) == 0)
      CHECK_MESSAGE(wrong.empty(), c.id, ": ", c.expression, "\n  ", wrong);
    else
      CHECK_MESSAGE(!wrong.empty(), c.id, " is listed as unsupported, but passes");
  }
  for (const auto& [id, reason] : unsupported) {
    CHECK_MESSAGE(ids.count(id) == 1, id, " is listed as unsupported, but does not exist");
    CHECK_MESSAGE(!reason.empty(), id, " has no reason");
  }
}
