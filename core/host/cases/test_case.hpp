// SPDX-License-Identifier: Apache-2.0
// The test cases of a pipeline, as written in a file of cases: plain data with positions. docs/testing.md describes the
// format.
#pragma once

#include "config/diagnostics.hpp"
#include "config/load.hpp"
#include "config/value.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pl::host {

struct placed_text {
  std::string text;
  config::location where;
};
using condition = placed_text;  // an expression

// One expected row. Columns that it does not name may have any value.
struct expected_row {
  config::location where;
  std::vector<config::value> cells;  // each with the column as its key
  std::optional<condition> when;     // `where`
};

// What one output of the pipeline must have received.
struct expected_output {
  config::location where;
  std::optional<std::vector<expected_row>> rows;  // all rows
  std::vector<expected_row> contains;             // at least these rows, in any order
  std::optional<std::uint64_t> count;
  std::optional<std::vector<std::string>> columns;  // exactly these columns
  std::optional<condition> every;                   // holds for each row
  bool any_order = false;                           // of `rows`
};

struct named_output {
  std::string name;
  config::location name_where;
  expected_output expected;
};

// One item of `input`: a record, the lines of a file, or a step of the clock.
struct test_step {
  config::location where;
  std::optional<std::int64_t> advance;  // nanoseconds
  std::optional<placed_text> source;    // name of the source, if there are several
  std::optional<std::string> file;      // path, relative to the file of cases
  bool whole_file = false;              // the file is one record
  std::vector<config::value> columns;   // of the record; each with the column as its key
};

struct test_case {
  std::string name;
  config::location where;
  std::optional<placed_text> pipeline;  // its name, if the configuration has several
  std::optional<std::int64_t> now;      // nanoseconds since 1970
  std::vector<test_step> input;
  std::vector<named_output> sinks, outputs;  // outputs: "node" or "node.port"
  std::optional<expected_output> alerts, dead_letters;
};

struct test_file {
  std::filesystem::path path;
  std::map<std::string, std::string> environment;  // variables of the configuration
  std::vector<test_case> cases;
};

// Read a file of cases, and report every mistake with its place.
[[nodiscard]] test_file read_test_file(const std::filesystem::path& path, config::diagnostics& problems);

// Return the files of cases that belong to a configuration: iot.test.yaml and iot.*.test.yaml beside iot.yaml, by name.
[[nodiscard]] std::vector<std::filesystem::path> test_files_of(const std::filesystem::path& configuration);

}  // namespace pl::host
