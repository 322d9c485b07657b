// SPDX-License-Identifier: Apache-2.0
// What looks like a secret, where no option table says so (a file that can't be parsed, a password inside a URL).
#pragma once

#include "config/diagnostics.hpp"

#include <cstddef>
#include <string_view>
#include <vector>

namespace pl::config {

/// In one line: the password of a URL with a user, and what follows a key such as password, secret, token or api_key.
/// A mere reference, ${NAME}, is not one.
[[nodiscard]] std::vector<source_text::range> find_secrets(std::string_view line);

/// PEM private keys, of any length.
[[nodiscard]] std::vector<source_text::range> find_private_keys(std::string_view text);

}  // namespace pl::config
