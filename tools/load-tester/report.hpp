// SPDX-License-Identifier: Apache-2.0
// The report of a run, as text and as JSON.
#pragma once

#include "alert_ledger.hpp"
#include "ledger.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace pl::load {

struct report {
  std::string run;
  double wanted_rate = 0;  // 0: as fast as possible
  double seconds = 0;      // of sending
  std::uint32_t devices = 0, connections = 0, silent_devices = 0;
  int qos = 1;
  bool verified = false, dead_letters_read = false, one_row_each = false, interrupted = false;
  std::uint64_t broken_connections = 0;
  unsigned alert_interruptions = 0;
  tally messages;
  alert_tally alerts;
  latency lateness, to_broker, to_database, resolution;
  std::vector<std::string> errors;  // failures to read the database or the dead letters

  [[nodiscard]] double rate() const { return seconds > 0 ? static_cast<double>(messages.sent) / seconds : 0; }
};

// Return a message for each reason why the run has not passed; empty if it has.
std::vector<std::string> faults(const report& r);

std::string as_text(const report& r);
std::string as_json(const report& r);

// The trial of one rate by --find-limit.
struct trial {
  double rate = 0;
  bool sustained = false;
  std::string why_not;
  report seen;
};
struct limit_report {
  double rate = 0;  // the highest sustained rate; 0: none
  std::vector<trial> trials;
};
std::string as_text(const limit_report& r);
std::string as_json(const limit_report& r);

std::string grouped(std::uint64_t n);    // 12,345
std::string time_text(std::int64_t us);  // 850 us, 12.3 ms, 4.56 s

}  // namespace pl::load
