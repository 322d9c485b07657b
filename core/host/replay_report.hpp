// SPDX-License-Identifier: Apache-2.0
// Progress and results of the verb `replay`, printed for the user.
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

// Return the file of a dry run's alerts, or of its dead letters, in the dry run's work folder.
[[nodiscard]] std::filesystem::path alerts_in(const std::filesystem::path& work);
[[nodiscard]] std::filesystem::path dead_letters_in(const std::filesystem::path& work);

// Shows a progress bar with the remaining time on a terminal; otherwise prints a line every ten seconds.
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

// Return "[#########.....] 62 %  1,234,567 of 2,000,000  412,000 rec/s  3 s left". `columns`: width of the terminal.
[[nodiscard]] std::string progress_bar(std::uint64_t done, std::uint64_t all, std::chrono::duration<double> since,
                                       std::size_t columns);

// Print the result of a replay or of a dry run, and return the exit code. `records`: positions of the windows.
int report_replay(const engine::pipeline& p, const run_outcome& done, std::uint64_t records,
                  const std::filesystem::path& dead_letters);
// `format`: text (alerts as lines and a table), or ndjson (alerts unchanged on stdout, the rest on stderr).
int report_dry_run(const engine::pipeline& p, const run_outcome& done, std::uint64_t records,
                   const std::filesystem::path& work, const std::string& format);

}  // namespace pl::host
