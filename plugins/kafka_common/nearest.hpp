// SPDX-License-Identifier: Apache-2.0
// "did you mean ...?": the known name that a misspelt one was probably meant to be.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace kafka {

// Nothing where no candidate is near enough to be worth a guess.
[[nodiscard]] std::optional<std::string_view> nearest(std::string_view word, std::span<const std::string> candidates);

// "; did you mean 'x'?", or nothing.
[[nodiscard]] std::string suggestion(std::string_view word, std::span<const std::string> candidates);

}  // namespace kafka
