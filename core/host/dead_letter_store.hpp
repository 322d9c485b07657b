// SPDX-License-Identifier: Apache-2.0
// Find the dead-letter files that file_sink writes, from a configuration or the command line, and read their lines.
// Main thread only: the functions print errors to stderr.
#pragma once

#include "config/pipeline.hpp"
#include "host/arguments.hpp"
#include "host/dead_letter.hpp"

#include <pipeline/result.hpp>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl::host {

// Return the paths of a pipeline's dead letters: one for each writer (usually one), and the local file, if it exists. Fail
// if a plugin other than file_sink writes the dead letters and there is no local file.
[[nodiscard]] result<std::vector<std::filesystem::path>> dead_letter_files(const config::pipeline& p);

// Return the file to which retried dead letters are moved: iot.retried.ndjson for iot.ndjson.
[[nodiscard]] std::filesystem::path retried_name(const std::filesystem::path& dead_letters);

// Return the filters of the command line; nothing, after printing an error, if one is invalid.
[[nodiscard]] std::optional<dead_letter_filter> filter_of(const dead_letter_arguments& given);

// Dead-letter files, the oldest first. `pipeline`: only dead letters of this pipeline count; empty: all count.
struct dead_letter_place {
  std::string pipeline;
  std::vector<std::filesystem::path> files;
};

// Return the given files and their rotated files.
[[nodiscard]] dead_letter_place place_of(const std::string& pipeline, const std::vector<std::filesystem::path>& files);

// Return the files for `list` and `show`, given as configurations (*.yaml, *.yml) or dead-letter files. Return nothing,
// after printing the error, on failure.
[[nodiscard]] std::optional<std::vector<dead_letter_place>> places_of(const arguments& args);

// Call `take` with every dead letter that passes the filter, and its line. Print the number of invalid lines to stderr.
// Return false, after printing an error, if a file cannot be read.
bool each_dead_letter(const std::vector<dead_letter_place>& places, const dead_letter_filter& filter,
                      const std::function<void(const dead_letter& l, std::string_view line)>& take);

}  // namespace pl::host
