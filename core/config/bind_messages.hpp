// SPDX-License-Identifier: Apache-2.0
// Messages, with hints, about values that an option rejects. No message contains the value of a secret.
// Pure functions, for any thread. Internal to core/config.
#pragma once

#include "config/value.hpp"

#include <pipeline/abi.h>

#include <span>
#include <string>
#include <string_view>

namespace pl::config {

/// The option to which a value is bound, and the option's name in paths ("rules[2].for") and in messages.
struct bind_target {
  const pl_option& option;
  std::string path, label;
};

struct bind_message {
  std::string text, hint;
};

/// `owner`: "timescale_sink", "'tls' of timescale_sink".
[[nodiscard]] bind_message missing_option(const bind_target& to, std::string_view owner);
[[nodiscard]] bind_message no_value(const bind_target& to);
[[nodiscard]] bind_message empty_text(const value& v, const bind_target& to);
/// `fix`: how to write the value; empty if unknown.
[[nodiscard]] bind_message wrong_kind(const value& v, const bind_target& to, std::string fix);
[[nodiscard]] bind_message wrong_choice(const value& v, const bind_target& to);
[[nodiscard]] bind_message out_of_range(const value& v, const bind_target& to);

/// Return a fix for wrong_kind; empty if there is no good advice.
[[nodiscard]] std::string list_fix(const value& v, const bind_target& to);
[[nodiscard]] std::string braces_fix(const value& v, const bind_target& to);

/// Return "options are: url, table", the hint for an unknown name.
[[nodiscard]] std::string list_of(std::span<const std::string_view> names);

}  // namespace pl::config
