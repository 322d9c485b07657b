// SPDX-License-Identifier: Apache-2.0
// Shows progress on stderr: a table on a terminal, otherwise a line every five seconds.
#pragma once

#include "alert_ledger.hpp"
#include "ledger.hpp"

#include <cstdint>
#include <string>

namespace pl::load {

struct snapshot {
  ledger::progress sent;
  alert_tally alerts;
  bool verify = false, sending = false;
  std::uint32_t connected = 0, connections = 0;
  std::uint64_t broken_connections = 0, waiting = 0;
  std::string error;
};

class display {
 public:
  display(bool quiet, std::string run);

  // Return whether the next update is due.
  [[nodiscard]] bool is_due() const;
  void show(const snapshot& s);
  void finish();

 private:
  [[nodiscard]] std::string table(const snapshot& s, double seconds) const;
  [[nodiscard]] std::string line(const snapshot& s, double seconds) const;

  bool quiet_, terminal_;
  std::string run_;
  std::int64_t begin_us_ = 0, last_us_ = 0;
  ledger::progress before_;
  int lines_ = 0;
};

}  // namespace pl::load
