// SPDX-License-Identifier: Apache-2.0
// Find text that looks like a secret without an option table: in a file that cannot be parsed, or inside a URL.
#pragma once

#include "config/diagnostics.hpp"

#include <cstddef>
#include <string_view>
#include <vector>

namespace pl::config {

/// Return the secrets in one line: the password of a URL with a user, and the value of a key such as password, secret,
/// token or api_key. A single reference, ${NAME}, is not a secret.
[[nodiscard]] std::vector<source_text::range> find_secrets(std::string_view line);

/// Return the PEM private keys, of any length.
[[nodiscard]] std::vector<source_text::range> find_private_keys(std::string_view text);

}  // namespace pl::config
