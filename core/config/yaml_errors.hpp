// SPDX-License-Identifier: Apache-2.0
// Translate yaml-cpp's errors into messages with a fix. Internal to core/config.
#pragma once

#include "config/diagnostics.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pl::config {

struct yaml_event {
  enum class kind : std::uint8_t { null, alias, scalar, list, map, end };
  kind type;
  std::size_t offset;
  std::size_t anchor;
  std::string text;
  bool quoted;
};

/// Report the parser's error at `offset`. `events`: the events parsed before the error.
void report_syntax_error(const std::shared_ptr<source_text>& source, std::size_t offset, std::string_view error,
                         const std::vector<yaml_event>& events, diagnostics& problems);

/// Report a line that is neither 'key: value' nor a list item.
void report_key_without_value(const location& where, std::string_view text, diagnostics& problems);

}  // namespace pl::config
