// SPDX-License-Identifier: Apache-2.0
// What `replay` shows: how far it is, and what came of it.
#pragma once

#include "engine/pipeline.hpp"
#include "host/side_run.hpp"
#include "telemetry/log.hpp"
#include "telemetry/progress.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

namespace pl::host {

// Where a dry run leaves its alerts and its letters, in its folder.
[[nodiscard]] std::filesystem::path alerts_in(const std::filesystem::path& work);
[[nodiscard]] std::filesystem::path letters_in(const std::filesystem::path& work);

// A bar with the time that is left on a terminal; else a line every ten seconds.
class replay_progress {
 public:
  replay_progress(telemetry::logger& log, std::uint64_t records);
  void show(const telemetry::pipeline_progress& now);
  void end();

 private:
  telemetry::logger& log_;
  const std::uint64_t records_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point next_;
};

// "[#########.....] 62 %  1,234,567 of 2,000,000  412,000 rec/s  3 s left"; columns: of the terminal.
[[nodiscard]] std::string progress_bar(std::uint64_t done, std::uint64_t all, std::chrono::duration<double> since,
                                       std::size_t columns);

// Both answer the exit code.
int report_replay(const engine::pipeline& p, const run_outcome& done, std::uint64_t records,
                  const std::filesystem::path& letters);
// format: text (alerts as a table and lines), or ndjson (alerts as they are on stdout, the rest on stderr).
int report_dry_run(const engine::pipeline& p, const run_outcome& done, const std::filesystem::path& work,
                   const std::string& format);

}  // namespace pl::host
