// SPDX-License-Identifier: Apache-2.0
#include "host/cases/yaml_json.hpp"

#include <pipeline/json.hpp>
#include <pipeline/json_members.hpp>

namespace pl::host {

bool is_json_scalar(const config::value& v) {
  return v.is_scalar() && !v.quoted && v.text.find_first_of("\"{[ \t\r\n") == std::string::npos && is_json(v.text);
}

std::string to_json(const config::value& v) {
  if (v.is_null()) return "null";
  if (is_json_scalar(v)) return v.text;
  std::string out;
  if (v.is_scalar()) {
    append_json_string(out, v.text);
    return out;
  }
  out.push_back(v.is_map() ? '{' : '[');
  for (const auto& child : v.children) {
    if (out.size() > 1) out.push_back(',');
    if (v.is_map()) {
      append_json_string(out, child.key);
      out.push_back(':');
    }
    out += to_json(child);
  }
  out.push_back(v.is_map() ? '}' : ']');
  return out;
}

}  // namespace pl::host
