// SPDX-License-Identifier: Apache-2.0
// A YAML value that knows where it was written. Plain data; owns everything but the shared source_text.
#pragma once

#include "config/diagnostics.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pl::config {

struct value {
  enum class kind : std::uint8_t { null, scalar, list, map };

  kind type = kind::null;
  std::string key;     ///< of members of a map
  location key_where;  ///< likewise; else empty
  location where;
  std::string text;             ///< scalars: the text, after interpolation
  std::string written;          ///< scalars that were interpolated: the text before
  bool quoted = false;          ///< written in quotes, or as a block: never a number, bool or null by itself
  bool secret = false;          ///< came from ${file:...}: not to be shown
  bool broken = false;          ///< an error about it has been reported: say nothing more
  std::vector<value> children;  ///< of lists and maps

  [[nodiscard]] bool is_map() const { return type == kind::map; }
  [[nodiscard]] bool is_list() const { return type == kind::list; }
  [[nodiscard]] bool is_scalar() const { return type == kind::scalar; }
  [[nodiscard]] bool is_null() const { return type == kind::null; }

  [[nodiscard]] const value* find(std::string_view name) const;
  [[nodiscard]] value* find(std::string_view name);

  /// Where a message about this value points: a scalar, or the key of a list or map that begins on a later line.
  [[nodiscard]] const location& at() const;

  /// From now on no message shows what is written here.
  void hide() const;
};

/// "${NAME}" or "${file:/path}" and nothing else: says where a text is from, and nothing of the text.
[[nodiscard]] bool is_mere_reference(std::string_view text);

}  // namespace pl::config
