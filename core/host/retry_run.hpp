// SPDX-License-Identifier: Apache-2.0
// One run of `dead-letters retry`: runs the pipeline of a retry_group once, then moves the dead letters of what was
// delivered out of their files. Main thread.
#pragma once

#include "config/pipeline.hpp"
#include "host/retry_plan.hpp"
#include "host/session.hpp"
#include "host/side_run.hpp"
#include "host/signals.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace pl::host {

struct retry_outcome {
  int code = exit_ok;    // not exit_ok: it is unknown what was delivered, and no dead letter was moved
  bool stopped = false;  // by a signal
  std::uint64_t delivered = 0, rejected = 0, not_tried = 0;
  std::uint64_t without_row = 0;                              // records of which no row reached a sink
  std::vector<std::pair<std::string, std::uint64_t>> stored;  // rows, by sink
};

// p: the configured pipeline, which the group's items enter. source: the source that records replace; for rows, the
// name of the source that they came from. sinks: only these, unless empty. files: the dead letters' files.
[[nodiscard]] retry_outcome run_group(const config::pipeline& p, const std::string& source,
                                      const std::vector<std::string>& sinks, const retry_group& group,
                                      const std::vector<std::filesystem::path>& files, session& s, signals& incoming);

}  // namespace pl::host
