// SPDX-License-Identifier: Apache-2.0
//
// Reports the progress of pipelines: on a terminal, as a line that is updated every few seconds; otherwise as a line in
// the log every half minute.
//
//   iot  12,345 rec/s in  12,300 rec/s stored  lag 4,200  alerts 12  rejected 3  mem 34 MiB
//
// "dropped 5" follows the rejected records if sinks have dropped rows, and "disk 1.2 GiB" the memory while the queue of a
// sink is on disk.
//
// Ownership: main creates the reporter, and destroys it before the logger and the objects that the snapshot reads.
// Threads:   the reporter has one thread, which calls `snapshot`. The formatting functions are pure.
// Errors:    none; a snapshot that throws is skipped.
#pragma once

#include "telemetry/log.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pl::telemetry {

// Totals of one pipeline since it was started.
struct pipeline_progress {
  std::string pipeline;
  std::uint64_t records_in = 0;
  std::uint64_t records_stored = 0;
  std::uint64_t alerts = 0;
  std::uint64_t rejected = 0;
  std::optional<std::uint64_t> lag;  // records not yet read; nullopt: unknown
  std::uint64_t memory_bytes = 0;
  std::chrono::nanoseconds uptime{0};
  std::uint64_t disk_bytes = 0;  // of the queues of sinks
  std::uint64_t dropped = 0;     // rows, by sinks whose queue was full
};
using progress_snapshot = std::vector<pipeline_progress>;

// Totals and rates between two snapshots.
struct pipeline_rates {
  pipeline_progress now;
  double in_per_second = 0;
  double stored_per_second = 0;
};
// Return the rates. A new or restarted pipeline (its uptime or a total decreased) is averaged over its uptime.
std::vector<pipeline_rates> rates_between(const progress_snapshot& before, const progress_snapshot& now);

std::string format_count(std::uint64_t n);                 // 1,234,567
std::string format_rate(double per_second);                // 12,345; below 10 with one decimal
std::string format_bytes(std::uint64_t bytes);             // 512 B, 34 MiB, 1.5 GiB
std::string format_progress(const pipeline_rates& rates);  // without the pipeline's name
// Return the progress of the pipelines side by side if it fits, else their sum as "3 pipelines", cut to `columns`.
std::string progress_line(std::span<const pipeline_rates> pipelines, std::size_t columns);

struct progress_options {
  std::chrono::milliseconds terminal_interval{2'000};  // 0: no line on the terminal
  std::chrono::milliseconds log_interval{30'000};      // 0: no lines in the log
};

// Shows progress and ticks the logger until the reporter is destroyed.
class progress_reporter {
 public:
  progress_reporter(logger& log, std::function<progress_snapshot()> snapshot, const progress_options& options = {});
  ~progress_reporter();
  progress_reporter(const progress_reporter&) = delete;
  progress_reporter& operator=(const progress_reporter&) = delete;

 private:
  class state;
  std::unique_ptr<state> state_;
};

}  // namespace pl::telemetry
