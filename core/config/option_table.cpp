// SPDX-License-Identifier: Apache-2.0
#include "config/option_table.hpp"

#include "config/text.hpp"

#include <algorithm>

namespace pl::config {

std::span<const pl_option> options_of(const pl_component& component) {
  return {component.options, component.options == nullptr ? 0 : component.noptions};
}

std::span<const pl_option> fields_of(const pl_option& option) {
  return {option.fields, option.fields == nullptr ? 0 : option.nfields};
}

const pl_option* find_option(std::span<const pl_option> table, std::string_view key) {
  const auto found = std::find_if(table.begin(), table.end(), [&](const pl_option& o) { return view(o.key) == key; });
  return found == table.end() ? nullptr : &*found;
}

std::vector<std::string_view> split_choices(std::string_view allowed) {
  std::vector<std::string_view> words;
  while (!allowed.empty()) {
    const auto bar = std::min(allowed.find('|'), allowed.size());
    words.push_back(trim(allowed.substr(0, bar)));
    allowed.remove_prefix(std::min(bar + 1, allowed.size()));
  }
  return words;
}

pl_option element_of(const pl_option& option) {
  auto element = option;
  element.kind = option.element;
  element.element = 0;
  element.def = element.example = pl_str{nullptr, 0};
  element.flags = option.flags & PL_SECRET;
  return element;
}

}  // namespace pl::config
