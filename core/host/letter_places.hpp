// SPDX-License-Identifier: Apache-2.0
// What the verbs of `dead-letters` have in common: from the command line to letters.
#pragma once

#include "host/arguments.hpp"
#include "host/letters.hpp"

#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

namespace pl::host {

// The filters of the command line; nothing, and it was said why, where one can't be understood.
[[nodiscard]] std::optional<letter_filter> filter_of(const letter_arguments& given);

// Files of letters, the oldest first. pipeline: only its letters count; empty: all do.
struct letter_place {
  std::string pipeline;
  std::vector<std::filesystem::path> files;
};

// For `list` and `show`: configurations (*.yaml, *.yml) and files of letters. Nothing, and it was said why, on errors.
[[nodiscard]] std::optional<std::vector<letter_place>> places_of(const arguments& args);

// Every letter that fits, with its line. Lines that are no letters are counted on stderr. False: a file can't be read, as was
// said.
bool each_letter(const std::vector<letter_place>& places, const letter_filter& filter,
                 const std::function<void(const letter& l, std::string_view line)>& take);

}  // namespace pl::host
