// SPDX-License-Identifier: Apache-2.0
#include "json_list.hpp"

#include <json_common/json_scanner.hpp>

#include <memory>
#include <string>

namespace unpivot {

pl::result<void> append_elements(std::string_view document, std::uint32_t max_elements, std::vector<pl::cell>& to) {
  const auto before = to.size();
  std::vector<std::unique_ptr<char[]>> memory;  // of keys with escapes
  json::text_arena arena;
  arena.begin([&](std::size_t bytes) { return memory.emplace_back(std::make_unique<char[]>(bytes)).get(); });
  // The document was accepted before, by limits of its reader.
  json::json_scanner scanner({.max_depth = 1'000, .max_keys = UINT32_MAX, .unique_keys = false}, arena);
  scanner.begin(document);
  bool too_long = false;
  const auto element = [&](std::uint32_t index) {
    json::json_value value;
    if (too_long = index >= max_elements; too_long || !scanner.value(value)) return false;
    to.push_back(value.kind == json::json_kind::null ? pl::null_cell() : pl::json_cell(value.raw));
    return true;
  };
  const bool is_list = scanner.peek() == '[';
  if ((is_list ? scanner.array(element) : element(0)) && scanner.finish()) {
    if (!is_list && pl::is_null(to.back())) to.pop_back();
    return {};
  }
  to.resize(before);
  if (too_long)
    return pl::rejected("the list has more than " + std::to_string(max_elements) + " elements (max_elements)");
  return pl::rejected("the value is not JSON: " + scanner.explain());
}

}  // namespace unpivot
