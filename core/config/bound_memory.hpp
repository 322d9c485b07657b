// SPDX-License-Identifier: Apache-2.0
// The memory of bound_options: the cells, the texts and lists that cells point to, and the position of each option.
// One binder fills the memory; it is read-only afterwards. Internal to core/config.
#pragma once

#include "config/bind.hpp"
#include "config/file_stamp.hpp"

#include <deque>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace pl::config {

[[nodiscard]] constexpr pl_cell null_cell() {
  pl_cell cell{};
  cell.kind = PL_NULL;
  return cell;
}

struct bound_options::memory {
  std::vector<pl_cell> cells = std::vector<pl_cell>(1);  // never empty, so that cells() is never null
  std::size_t size = 0;
  std::map<std::string, location, std::less<>> positions;
  location root;
  struct used_file {
    std::string option, path;
    file_stamp seen;
  };
  std::vector<used_file> files;
  std::set<std::string, std::less<>> broken;  // options for which an error was reported before they were bound
  secret_mask secrets;

  void add_file(const std::string& option, const std::string& path) { files.push_back({option, path, stamp_of(path)}); }
  [[nodiscard]] pl_cell text_cell(std::string_view text);
  /// Return a block of n null cells. The block keeps its address.
  [[nodiscard]] std::vector<pl_cell>& new_block(std::size_t n) { return blocks_.emplace_back(n, null_cell()); }

 private:
  // Deques, because elements that cells point to must not move.
  std::deque<std::string> texts_;
  std::deque<std::vector<pl_cell>> blocks_;
};

}  // namespace pl::config
