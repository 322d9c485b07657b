// SPDX-License-Identifier: Apache-2.0
// Fuzz target: any bytes as a JSON list. Its elements are valid JSON and are as many as the scanner counts; a document
// that is not JSON is rejected; nothing is read outside of it.
#include "json_list.hpp"

#include <pipeline/json_members.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated property: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  std::vector<pl::cell> cells{pl::int_cell(7)};
  const auto read = unpivot::append_elements(input, 100, cells);
  must(!cells.empty() && cells.front().kind == PL_I64, "earlier cells stay");
  if (!read.ok()) {
    must(cells.size() == 1 && !read.why().message.empty(), "a failure appends nothing and has a reason");
    return 0;
  }
  std::string again = "[";
  for (std::size_t i = 1; i < cells.size(); ++i) {
    const auto text = cells[i].kind == PL_NULL ? std::string_view("null") : pl::bytes_of(cells[i]);
    const bool inside = cells[i].kind == PL_NULL ||
                        (text.data() >= input.data() && text.data() + text.size() <= input.data() + input.size());
    must(inside, "an element is a part of the document");
    must(pl::is_json(text), "an element is valid JSON");
    again.append(i > 1 ? "," : "").append(text);
  }
  // A document that is not a list would be nested one level deeper here.
  const auto begin = input.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos || input[begin] != '[') return 0;
  std::vector<pl::cell> same;
  must(unpivot::append_elements(again + "]", 100, same).ok() && same.size() == cells.size() - 1,
       "the list of the elements has the same elements");
  return 0;
}
