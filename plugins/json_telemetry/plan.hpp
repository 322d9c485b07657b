// SPDX-License-Identifier: Apache-2.0
// A plan is the checked and compiled form of the options, for record readers. It is immutable.
#pragma once

#include "json.hpp"
#include "options.hpp"
#include "path_tree.hpp"

#include <pipeline/batch.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace json_telemetry {

// Where one column gets its value from, and how it is checked.
struct column_plan {
  std::string name;
  column_type type = column_type::floating;
  bool lenient = false;
  bool required = false;
  bool is_id = false;
  bool may_go_to_extra = false;          // keep a value that does not fit in extra
  pl::cell otherwise = pl::null_cell();  // its text is in plan::default_texts
  std::vector<std::string> from;         // paths, as written, by rank
  std::optional<std::uint16_t> unit_field;
  std::vector<std::string> units;  // accepted
};

struct plan {
  static constexpr std::uint16_t time_field = 0;

  // Field i is column i; the fields of the units follow those of the columns.
  std::vector<column_plan> columns;  // columns[0] is the time
  std::uint16_t fields = 0;
  path_tree tree;
  bool has_readings = false;

  time_unit unit = time_unit::automatic;
  zone_policy zone;
  on_missing_time missing_time = on_missing_time::reject;
  window_options window;

  std::optional<path_pattern> topic, key;
  on_id_conflict id_conflict = on_id_conflict::reject;

  std::string payload;
  std::vector<std::string> keep;
  bool has_extra = true;
  std::vector<std::string> output;  // names: columns, keep, extra

  scan_limits limits;
  std::uint64_t max_size = 0, max_id = 0;
  on_nul nul = on_nul::reject;
  on_tombstone tombstones = on_tombstone::reject;

  std::deque<std::string> default_texts;  // a deque, because cells point into the strings
};

// Called with the path of an option and the problem.
using option_reporter = std::function<void(std::string_view, std::string_view)>;

// Compile the options. Report all problems, not only the first. The plan is usable only if none was reported.
[[nodiscard]] plan make_plan(const options& o, const option_reporter& report);

}  // namespace json_telemetry
