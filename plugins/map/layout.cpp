// SPDX-License-Identifier: Apache-2.0
#include "layout.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

namespace map {

namespace {

class planner {
 public:
  planner(const options& o, std::vector<pl::failure>* faults) : options_(o), faults_(faults) {}

  pl::result<layout> plan(std::span<const std::string> columns) {
    plan_.work.assign(columns.begin(), columns.end());
    add_set();
    for (std::uint32_t i = 0; i < plan_.work.size(); ++i) plan_.out.push_back({plan_.work[i], i});
    rename();
    if (auto why = find_duplicate()) return *std::move(why);
    keep();
    drop();
    return std::move(plan_);
  }

 private:
  void add_set() {
    for (const auto& [name, expression] : options_.set) {
      plan_.visible.push_back(static_cast<std::uint32_t>(plan_.work.size()));
      const auto at = std::ranges::find(plan_.work, name);
      plan_.step_to.push_back(static_cast<std::uint32_t>(at - plan_.work.begin()));
      if (at == plan_.work.end()) plan_.work.push_back(name);
    }
  }

  // All columns are renamed at once, so that two columns can exchange their names.
  void rename() {
    auto renamed = plan_.out;
    for (const auto& [from, to] : options_.rename)
      if (const auto at = find(from, "rename." + from + "@key")) renamed[*at].name = to;
    plan_.out = std::move(renamed);
  }

  void keep() {
    if (options_.keep.empty()) return;
    std::vector<layout::output> kept;
    for (std::size_t i = 0; i < options_.keep.size(); ++i)
      if (const auto at = find(options_.keep[i], "keep[" + std::to_string(i) + "]")) kept.push_back(plan_.out[*at]);
    plan_.out = std::move(kept);
  }

  void drop() {
    for (std::size_t i = 0; i < options_.drop.size(); ++i)
      if (const auto at = find(options_.drop[i], "drop[" + std::to_string(i) + "]"))
        plan_.out.erase(plan_.out.begin() + static_cast<std::ptrdiff_t>(*at));
  }

  [[nodiscard]] std::optional<pl::failure> find_duplicate() const {
    std::set<std::string_view> names;
    for (const auto& c : plan_.out)
      if (!names.insert(c.name).second)
        return pl::bad_option("rename", "two columns would have the name '" + c.name +
                                            "'; rename the other one, too, or choose another name");
    return std::nullopt;
  }

  // Return the index of a column among the present ones.
  std::optional<std::size_t> find(const std::string& name, std::string option) {
    const auto at = std::ranges::find(plan_.out, name, &layout::output::name);
    if (at != plan_.out.end()) return static_cast<std::size_t>(at - plan_.out.begin());
    if (faults_ == nullptr) return std::nullopt;
    std::vector<std::string_view> names;
    for (const auto& c : plan_.out) names.push_back(c.name);
    faults_->push_back(pl::bad_option(std::move(option),
                                      "there is no column '" + name + "' here" + pl::did_you_mean(name, names, "; ")));
    return std::nullopt;
  }

  const options& options_;
  std::vector<pl::failure>* faults_;
  layout plan_;
};

std::optional<std::string> first_repeated(const std::vector<std::string>& names) {
  std::set<std::string_view> seen;
  for (const auto& name : names)
    if (!seen.insert(name).second) return name;
  return std::nullopt;
}

}  // namespace

pl::result<layout> plan(std::span<const std::string> columns, const options& o, std::vector<pl::failure>* faults) {
  return planner(o, faults).plan(columns);
}

std::vector<pl::failure> faults_of(const options& o) {
  std::vector<pl::failure> faults;
  for (const auto& [name, expression] : o.set)
    if (name.empty()) faults.push_back(pl::bad_option("set", "a column of 'set' has an empty name"));
  std::set<std::string_view> targets;
  for (const auto& [from, to] : o.rename) {
    const auto option = "rename." + from;
    if (to.empty()) faults.push_back(pl::bad_option(option, "the new name of '" + from + "' is empty"));
    if (!targets.insert(to).second)
      faults.push_back(pl::bad_option(option, "two columns are renamed to '" + to + "'; choose another name"));
  }
  if (const auto twice = first_repeated(o.keep))
    faults.push_back(pl::bad_option("keep", "'" + *twice + "' is listed twice; remove one of them"));
  if (const auto twice = first_repeated(o.drop))
    faults.push_back(pl::bad_option("drop", "'" + *twice + "' is listed twice; remove one of them"));
  if (o.set.empty() && o.rename.empty() && o.keep.empty() && o.drop.empty())
    faults.push_back(pl::bad_option({}, "nothing to do; set at least one of 'set', 'rename', 'keep' and 'drop'"));
  return faults;
}

}  // namespace map
