// SPDX-License-Identifier: Apache-2.0
// Where in a document the fields are: paths such as metrics.temperature, compiled into a tree that is walked along
// while a message is scanned: one look-up in a small hash table per key, no strings.
#pragma once

#include <pipeline/result.hpp>

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace json_telemetry {

struct path_step {
  std::string key;                     // of an object's member
  std::optional<std::uint32_t> index;  // instead: of an array's element
};
using field_path = std::vector<path_step>;

// "metrics.temperature", "location.coordinates[0]", "a\.b" (a key with a dot in it).
[[nodiscard]] pl::result<field_path> parse_path(std::string_view text);
[[nodiscard]] std::string escaped_key(std::string_view key);  // as one step of a path

// Which field a value at some path feeds, and which of the field's alternatives it is (0: the one it prefers).
struct path_target {
  std::uint16_t field;
  std::uint16_t rank;
};

class path_tree {
 public:
  using node = std::uint32_t;
  static constexpr node root = 0, none = UINT32_MAX;

  path_tree() : nodes_(1) {}
  path_tree(path_tree&&) = default;  // never copied: the table points into the nodes
  path_tree& operator=(path_tree&&) = default;

  void add(const field_path& path, path_target target);
  // The value at this path is taken whole, even if it is an object.
  void take_whole(const field_path& path) { nodes_[insert(path)].whole = true; }
  void mark_readings(const field_path& path) { nodes_[insert(path)].readings = true; }
  // Call once, after the last path.
  void build();

  [[nodiscard]] std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(nodes_.size()); }

  // The member `key` of the object at `parent`; none if no path leads there.
  [[nodiscard]] node member(node parent, std::string_view key) const noexcept {
    const auto& n = nodes_[parent];
    if (n.bits == no_members) return none;
    const ends of_key(key);
    for (auto at = of_key.place(n.bits);; at = next_place(at, n.bits)) {
      const auto& e = table_[n.table + at];
      if (e.to == none) return none;
      if (e.length == key.size() && e.ends_of_key == of_key &&
          (key.size() <= ends::reach || std::memcmp(e.key, key.data(), key.size()) == 0))
        return e.to;
    }
  }
  [[nodiscard]] node element(node parent, std::uint32_t index) const noexcept {
    for (const auto& e : nodes_[parent].elements)
      if (e.index == index) return e.to;
    return none;
  }
  // Nothing below it, nothing special: its value is a field.
  [[nodiscard]] bool is_leaf(node at) const noexcept { return nodes_[at].leaf; }
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
    std::uint32_t table = 0;  // where its 2^bits entries begin
    std::uint8_t bits = no_members;
    bool leaf = false;
    bool whole = false, readings = false;
    std::vector<path_target> targets;
    std::vector<member_of> members;
    std::vector<element_of> elements;
  };
  // A key's first and last bytes: all of a short key, and enough of a long one to find its place.
  struct ends {
    static constexpr std::size_t reach = 16;  // keys up to here are equal if these and their lengths are
    std::uint64_t head = 0, tail = 0;

    ends() = default;
    explicit ends(std::string_view key) noexcept {
      if (key.size() >= 8) {
        std::memcpy(&head, key.data(), 8);
        std::memcpy(&tail, key.data() + key.size() - 8, 8);
      } else if (key.size() >= 4) {
        std::uint32_t first, last;
        std::memcpy(&first, key.data(), 4);
        std::memcpy(&last, key.data() + key.size() - 4, 4);
        head = first;
        tail = last;
      } else if (!key.empty()) {
        const auto byte = [&](std::size_t i) { return static_cast<std::uint64_t>(static_cast<unsigned char>(key[i])); };
        head = byte(0);
        tail = byte(key.size() / 2) << 8 | byte(key.size() - 1);
      }
    }
    bool operator==(const ends&) const = default;
    [[nodiscard]] std::uint32_t place(std::uint8_t bits) const noexcept {
      const auto mixed = (head + tail * 0x9E3779B97F4A7C15) * 0x2545F4914F6CDD1D;
      return static_cast<std::uint32_t>(mixed >> (64 - bits));
    }
  };
  struct entry {
    ends ends_of_key;
    const char* key = nullptr;
    std::size_t length = 0;
    node to = none;  // free
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
