// SPDX-License-Identifier: Apache-2.0
// path_tree maps the paths of fields, such as metrics.temperature, to columns. The scan of a message walks the tree and
// does one look-up in a small hash table per key, without allocating strings.
#pragma once

#include <pipeline/result.hpp>

#include <json_common/key_ends.hpp>

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace json_telemetry {

struct path_step {
  std::string key;                     // of a member of an object
  std::optional<std::uint32_t> index;  // of an array element; the step has no key then
};
using field_path = std::vector<path_step>;

// Parse a path such as "metrics.temperature", "location.coordinates[0]" or "a\.b" (a key that contains a dot).
[[nodiscard]] pl::result<field_path> parse_path(std::string_view text);
[[nodiscard]] std::string escaped_key(std::string_view key);  // the key as one step of a path

// The field that the value at a path belongs to, and the rank of the path among the field's paths (0: preferred).
struct path_target {
  std::uint16_t field;
  std::uint16_t rank;
};

class path_tree {
 public:
  using node = std::uint32_t;
  static constexpr node root = 0, none = UINT32_MAX;

  path_tree() : nodes_(1) {}
  path_tree(path_tree&&) = default;  // not copyable: the table points into the nodes
  path_tree& operator=(path_tree&&) = default;

  void add(const field_path& path, path_target target);
  // Keep the value at this path whole, even if it is an object.
  void take_whole(const field_path& path) { nodes_[insert(path)].whole = true; }
  void mark_readings(const field_path& path) { nodes_[insert(path)].readings = true; }
  // Build the hash tables. Call once, after the last path was added.
  void build();

  [[nodiscard]] std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(nodes_.size()); }

  // Return the node of the member `key` of the object at `parent`; none if no path contains it.
  [[nodiscard]] node member(node parent, std::string_view key) const noexcept {
    const auto& n = nodes_[parent];
    if (n.bits == no_members) return none;
    const json::key_ends of_key(key);
    for (auto at = of_key.place(n.bits);; at = next_place(at, n.bits)) {
      const auto& e = table_[n.table + at];
      if (e.to == none) return none;
      if (e.length == key.size() && e.ends_of_key == of_key &&
          (key.size() <= json::key_ends::reach || std::memcmp(e.key, key.data(), key.size()) == 0))
        return e.to;
    }
  }
  [[nodiscard]] node element(node parent, std::uint32_t index) const noexcept {
    for (const auto& e : nodes_[parent].elements)
      if (e.index == index) return e.to;
    return none;
  }
  // Return whether the value at this node is only a field: no path leads below it, and it is not marked as readings.
  [[nodiscard]] bool is_leaf(node at) const noexcept { return nodes_[at].leaf; }
  // Return the field of a leaf that belongs to one field only; else null.
  [[nodiscard]] const path_target* only_target(node at) const noexcept { return nodes_[at].only; }
  [[nodiscard]] bool has_members(node at) const noexcept { return !nodes_[at].members.empty(); }
  [[nodiscard]] bool has_elements(node at) const noexcept { return !nodes_[at].elements.empty(); }
  [[nodiscard]] bool is_whole(node at) const noexcept { return nodes_[at].whole; }
  [[nodiscard]] bool is_readings(node at) const noexcept { return nodes_[at].readings; }
  [[nodiscard]] std::span<const path_target> targets(node at) const noexcept { return nodes_[at].targets; }

 private:
  static constexpr std::uint8_t no_members = 0;
  struct member_of {
    std::string key;
    node to;
  };
  struct element_of {
    std::uint32_t index;
    node to;
  };
  struct node_data {
    std::uint32_t table = 0;  // index of the first of its 2^bits entries
    std::uint8_t bits = no_members;
    bool leaf = false;
    bool whole = false, readings = false;
    const path_target* only = nullptr;  // see only_target
    std::vector<path_target> targets;
    std::vector<member_of> members;
    std::vector<element_of> elements;
  };
  struct entry {
    json::key_ends ends_of_key;
    const char* key = nullptr;
    std::size_t length = 0;
    node to = none;  // none: the entry is free
  };

  static std::uint32_t next_place(std::uint32_t at, std::uint8_t bits) noexcept {
    return (at + 1) & ((1U << bits) - 1);
  }
  node insert(const field_path& path);
  node child(node parent, const path_step& step);
  void build_table(node_data& n);

  std::vector<node_data> nodes_;
  std::vector<entry> table_;
};

}  // namespace json_telemetry
