// SPDX-License-Identifier: Apache-2.0
#include "layout.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

namespace unpivot {

namespace {

class planner {
 public:
  planner(std::span<const std::string> columns, std::span<const std::uint32_t> kinds, const options& o,
          std::vector<pl::failure>* faults)
      : columns_(columns), kinds_(kinds), options_(o), faults_(faults) {}

  pl::result<layout> plan() {
    turn();
    keep();
    for (const auto c : plan_.kept) add(columns_[c], kind(c));
    if (!options_.explode)
      add(options_.name, PL_TEXT);
    else if (options_.index)
      add(*options_.index, PL_I64);
    add(options_.value.value_or(options_.explode.value_or("value")),
        options_.explode ? std::uint32_t{PL_JSON} : common_kind());
    std::set<std::string_view> names;
    for (const auto& name : plan_.out)
      if (!names.insert(name).second)
        return pl::bad_option(option_of(name), "two output columns would have the name '" + name +
                                                   "'; choose another name, or leave the column out of 'keep'");
    return std::move(plan_);
  }

 private:
  [[nodiscard]] std::uint32_t kind(pl::column_index c) const {
    return c < kinds_.size() ? kinds_[c] : std::uint32_t{PL_NULL};
  }

  void add(const std::string& name, std::uint32_t kind) {
    plan_.out.push_back(name);
    plan_.out_kinds.push_back(kind);
  }

  void turn() {
    const auto one = [&](const std::string& name, std::string option) {
      const auto at = find(name, std::move(option));
      if (!at) return;
      plan_.turned.push_back(*at);
      plan_.turned_names.push_back(name);
    };
    if (options_.explode) one(*options_.explode, "explode");
    for (std::size_t i = 0; i < options_.columns.size(); ++i)
      one(options_.columns[i], "columns[" + std::to_string(i) + "]");
    if (!options_.explode || plan_.turned.empty() || faults_ == nullptr) return;
    if (const auto k = kind(plan_.turned.front()); k != PL_NULL && k != PL_JSON)
      faults_->push_back(pl::bad_option("explode", "the column '" + *options_.explode + "' has the kind " +
                                                       std::string(pl::kind_name(k)) + "; this option needs json"));
  }

  void keep() {
    if (!options_.keep.empty()) {
      for (std::size_t i = 0; i < options_.keep.size(); ++i)
        if (const auto at = find(options_.keep[i], "keep[" + std::to_string(i) + "]")) plan_.kept.push_back(*at);
      return;
    }
    for (pl::column_index c = 0; c < columns_.size(); ++c)
      if (std::ranges::find(plan_.turned, c) == plan_.turned.end()) plan_.kept.push_back(c);
  }

  // Return the kind of all values. Integers beside floats count as floats, as in a metric column.
  [[nodiscard]] std::uint32_t common_kind() const {
    std::set<std::uint32_t> found;
    for (const auto c : plan_.turned) found.insert(kind(c));
    if (found == std::set<std::uint32_t>{PL_I64, PL_F64}) return PL_F64;
    return found.size() == 1 ? *found.begin() : std::uint32_t{PL_NULL};
  }

  [[nodiscard]] std::string option_of(const std::string& name) const {
    if (options_.index == name) return "index";
    if (options_.value == name) return "value";
    return options_.explode ? "keep" : "name";
  }

  std::optional<pl::column_index> find(const std::string& name, std::string option) {
    const auto at = std::ranges::find(columns_, name);
    if (at != columns_.end()) return static_cast<pl::column_index>(at - columns_.begin());
    if (faults_ != nullptr)
      faults_->push_back(pl::bad_option(
          std::move(option), "the input has no column '" + name + "'" + pl::did_you_mean(name, columns_, "; ")));
    return std::nullopt;
  }

  std::span<const std::string> columns_;
  std::span<const std::uint32_t> kinds_;
  const options& options_;
  std::vector<pl::failure>* faults_;
  layout plan_;
};

bool repeats(const std::vector<std::string>& names) {
  const std::set<std::string_view> distinct(names.begin(), names.end());
  return distinct.size() != names.size();
}

}  // namespace

pl::result<layout> plan(std::span<const std::string> columns, std::span<const std::uint32_t> kinds, const options& o,
                        std::vector<pl::failure>* faults) {
  return planner(columns, kinds, o, faults).plan();
}

std::vector<pl::failure> faults_of(const options& o) {
  std::vector<pl::failure> faults;
  const auto need = [&](bool holds, std::string option, std::string message) {
    if (!holds) faults.push_back(pl::bad_option(std::move(option), std::move(message)));
  };
  need(o.explode || !o.columns.empty(), {}, "nothing to do; set 'columns' or 'explode'");
  need(!o.explode || o.columns.empty(), "explode",
       "'columns' and 'explode' exclude each other; use two nodes, one after the other");
  need(!o.explode || !o.explode->empty(), "explode", "the name of the column is empty");
  need(!o.index || o.explode, "index", "'index' needs 'explode'");
  need(!o.index || !o.index->empty(), "index", "the name of the column is empty");
  need(!o.value || !o.value->empty(), "value", "the name of the column is empty");
  need(o.explode || !o.name.empty(), "name", "the name of the column is empty");
  need(!repeats(o.columns), "columns", "a column is listed twice; its values would be stored twice");
  need(!repeats(o.keep), "keep", "a column is listed twice");
  return faults;
}

}  // namespace unpivot
