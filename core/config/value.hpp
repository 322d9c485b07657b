// SPDX-License-Identifier: Apache-2.0
// A YAML value with its position in the source. Plain data; owns everything except the shared source_text.
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
  std::string key;     ///< set for members of a map
  location key_where;  ///< set for members of a map; else empty
  location where;
  std::string text;                     ///< scalars: the text, after interpolation
  std::string written;                  ///< interpolated scalars: the text before interpolation
  std::vector<std::string> file_texts;  ///< the texts that ${file:...} inserted into `text`
  bool quoted = false;                  ///< written in quotes, or as a block: never a number, bool or null by itself
  bool secret = false;                  ///< comes from ${file:...}; must not be shown
  bool broken = false;                  ///< an error has been reported: report no further errors
  std::vector<value> children;          ///< elements of lists and maps

  [[nodiscard]] bool is_map() const { return type == kind::map; }
  [[nodiscard]] bool is_list() const { return type == kind::list; }
  [[nodiscard]] bool is_scalar() const { return type == kind::scalar; }
  [[nodiscard]] bool is_null() const { return type == kind::null; }

  [[nodiscard]] const value* find(std::string_view name) const;
  [[nodiscard]] value* find(std::string_view name);

  /// Return the position for messages about this value: the value, or the key of a list or map that begins on a later
  /// line.
  [[nodiscard]] const location& at() const;

  /// Mark this value as secret: messages do not show its text.
  void hide() const;
};

/// Return whether the text is exactly "${NAME}" or "${file:/path}", and so names the origin of a text without showing
/// it.
[[nodiscard]] bool is_mere_reference(std::string_view text);

}  // namespace pl::config
