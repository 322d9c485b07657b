// SPDX-License-Identifier: Apache-2.0
#include "config/bound_memory.hpp"
#include "config/scalar_position.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace pl::config {

namespace {

bool equal_items(const pl_cell* a, const pl_cell* b, std::size_t n);

bool equal_cells(const pl_cell& a, const pl_cell& b) {
  if (a.kind != b.kind || a.len != b.len) return false;
  switch (a.kind) {
    case PL_BOOL:
    case PL_I64:
    case PL_TIME_NS:
      return a.as.i == b.as.i;
    case PL_F64:
      return !(a.as.f < b.as.f) && !(b.as.f < a.as.f);
    case PL_TEXT:
    case PL_BYTES:
    case PL_JSON:
      return a.len == 0 || std::memcmp(a.as.p, b.as.p, a.len) == 0;
    case PL_LIST:
    case PL_OBJECT:
      return equal_items(a.as.items, b.as.items, a.len);
    case PL_MAP:
      return equal_items(a.as.items, b.as.items, 2 * std::size_t{a.len});
    default:
      return true;
  }
}

bool equal_items(const pl_cell* a, const pl_cell* b, std::size_t n) {
  return n == 0 || std::equal(a, a + n, b, equal_cells);
}

}  // namespace

bound_options::bound_options() : memory_(std::make_unique<memory>()) {}
bound_options::bound_options(bound_options&&) noexcept = default;
bound_options& bound_options::operator=(bound_options&&) noexcept = default;
bound_options::~bound_options() = default;

const pl_cell* bound_options::cells() const { return memory_->cells.data(); }
std::size_t bound_options::size() const { return memory_->size; }
const secret_mask& bound_options::secrets() const { return memory_->secrets; }

location bound_options::position_of(std::string_view option_path) const {
  const auto suffix = option_path.rfind('@');
  if (suffix != std::string_view::npos && memory_->positions.count(option_path) == 0) {
    std::size_t offset = 0;
    const auto digits = option_path.substr(suffix + 1);
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), offset);
    if (!digits.empty() && read.ec == std::errc() && read.ptr == digits.data() + digits.size()) {
      const auto found = memory_->positions.find(option_path.substr(0, suffix));
      return found == memory_->positions.end() ? position_of(option_path.substr(0, suffix))
                                               : position_in_scalar(found->second, offset);
    }
  }
  while (!option_path.empty()) {
    const auto found = memory_->positions.find(option_path);
    if (found != memory_->positions.end()) return found->second;
    const auto parent = option_path.find_last_of(".[");
    option_path = option_path.substr(0, parent == std::string_view::npos ? 0 : parent);
  }
  return memory_->root;
}

bool bound_options::broken(std::string_view option_path) const {
  return memory_->broken.count(option_path) > 0 ||
         memory_->broken.count(option_path.substr(0, option_path.rfind('@'))) > 0;
}

std::vector<std::string> bound_options::changed_files() const {
  std::vector<std::string> options;
  for (const auto& f : memory_->files)
    if (stamp_of(f.path) != f.seen) options.push_back(f.option);
  return options;
}

std::vector<std::string> bound_options::changed_files(const bound_options& before) const {
  std::vector<std::string> options;
  for (const auto& f : memory_->files)
    for (const auto& old : before.memory_->files)
      if (old.option == f.option && old.seen != f.seen) options.push_back(f.option);
  return options;
}

pl_cell bound_options::memory::text_cell(std::string_view text) {
  pl_cell cell{};
  cell.kind = PL_TEXT;
  cell.len = static_cast<std::uint32_t>(text.size());
  cell.as.p = texts_.emplace_back(text).data();
  return cell;
}

bool equal(const bound_options& a, const bound_options& b) {
  return a.size() == b.size() && equal_items(a.cells(), b.cells(), a.size());
}

}  // namespace pl::config
