// SPDX-License-Identifier: Apache-2.0
// The names that an expression may use: columns, and the variables of macros.
#pragma once

#include "cel_common/types.hpp"

#include <pipeline/component.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl::cel {

// The columns of the rows. Unknown columns are possible only if no column is known beforehand.
class column_names {
 public:
  explicit column_names(const column_set& columns);

  [[nodiscard]] bool known() const noexcept { return known_; }
  // Return the kind of a column (PL_NULL: unknown); std::nullopt if the rows do not have it.
  [[nodiscard]] std::optional<std::uint32_t> kind(std::string_view name) const;
  // Return "; did you mean 'temperature'?", or the columns if none is similar.
  [[nodiscard]] std::string suggestion(std::string_view name) const;

 private:
  bool known_;
  std::vector<std::string_view> names_;
  std::vector<std::uint32_t> kinds_;
};

// Variables of nested macros, the innermost last.
class local_scopes {
 public:
  struct variable {
    std::string name;
    std::uint32_t slot;
    type static_type;
  };
  // Return the slot of the new variable.
  std::uint32_t enter(std::string name, type of) {
    const auto slot = static_cast<std::uint32_t>(variables_.size());
    variables_.push_back({std::move(name), slot, std::move(of)});
    most_ = std::max(most_, slot + 1);
    return slot;
  }
  void leave() { variables_.pop_back(); }
  [[nodiscard]] const variable* find(std::string_view name) const {
    for (auto v = variables_.rbegin(); v != variables_.rend(); ++v)
      if (v->name == name) return &*v;
    return nullptr;
  }
  [[nodiscard]] std::uint32_t most() const noexcept { return most_; }

 private:
  std::vector<variable> variables_;
  std::uint32_t most_ = 0;
};

}  // namespace pl::cel
