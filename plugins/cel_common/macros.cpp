// SPDX-License-Identifier: Apache-2.0
#include "cel_common/macros.hpp"

#include <algorithm>
#include <array>
#include <string>

namespace pl::cel {

namespace {

struct macro {
  std::string_view name;
  std::size_t least, most;  // arguments after the target
  form what;
};

constexpr std::array<macro, 6> macros{{{"all", 2, 2, form::all},
                                       {"exists", 2, 2, form::exists},
                                       {"exists_one", 2, 2, form::exists_one},
                                       {"existsOne", 2, 2, form::exists_one},
                                       {"filter", 2, 2, form::filter},
                                       {"map", 2, 3, form::transform}}};

std::optional<problem> expand_has(expr& call) {
  auto& argument = *call.args.front();
  if (argument.what != form::select)
    return problem{"has() needs a member, such as has(row.humidity)", argument.begin, argument.end};
  call.what = form::presence;
  call.text = std::move(argument.text);
  auto target = std::move(argument.args.front());
  call.args.front() = std::move(target);
  return std::nullopt;
}

}  // namespace

std::optional<problem> expand_macro(expr& call) {
  if (!call.has_target) return call.text == "has" && call.args.size() == 1 ? expand_has(call) : std::nullopt;
  const auto count = call.args.size() - 1;
  const auto found = std::find_if(macros.begin(), macros.end(), [&](const macro& m) {
    return m.name == call.text && count >= m.least && count <= m.most;
  });
  if (found == macros.end()) return std::nullopt;
  const auto& variable = *call.args[1];
  if (variable.what != form::name || variable.absolute)
    return problem{
        call.text + "() needs a variable's name as its first argument, such as list." + call.text + "(x, ...)",
        variable.begin, variable.end};
  call.what = found->what;
  call.has_target = false;
  call.text = variable.text;
  call.args.erase(call.args.begin() + 1);
  return std::nullopt;
}

}  // namespace pl::cel
