// SPDX-License-Identifier: Apache-2.0
// Records which alerts are expected and which have arrived.
#pragma once

#include "histogram.hpp"
#include "ledger.hpp"

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace pl::load {

struct alert_tally {
  std::uint64_t expected = 0, seen = 0;  // firing alerts: one for each episode
  std::uint64_t missing = 0;
  std::uint64_t resolved_expected = 0, resolved_seen = 0, resolved_missing = 0;
  std::uint64_t duplicated = 0;  // same id and state as an earlier alert
  std::uint64_t unexpected = 0;  // alerts that belong to no episode
  latency to_alert;
};

// Thread-safe: the sender and the listener use it concurrently.
class alert_ledger {
 public:
  // Ignore alerts of other rules, and of devices whose ids have another prefix.
  alert_ledger(std::string rule, std::string device_prefix);

  // Record a reading of an episode that is about to be sent.
  void expect(const reading& r, std::uint64_t seq);
  void arrived(std::string_view json, std::int64_t at_us);

  // Count the alerts. An alert is expected if the broker has acknowledged a reading that raises it.
  [[nodiscard]] alert_tally count(const ledger& messages) const;

 private:
  struct episode {
    std::uint32_t device = 0;
    std::int64_t first_ms = 0, end_ms = 0;  // end: time of the reading that resolves the alert; 0: not yet
    std::vector<std::uint64_t> hot;         // numbers of the messages above the threshold
    std::uint64_t end_seq = 0;
    bool fired = false, resolved = false;
  };
  struct alert {
    std::string id, state;
    std::uint32_t device = 0;
    std::int64_t since_ms = 0, time_us = 0;
  };
  [[nodiscard]] bool parse(std::string_view json, alert& to) const;
  void take(const alert& a, std::int64_t at_us);
  episode* find(std::uint32_t device, std::int64_t since_ms);

  std::string rule_, device_prefix_;
  mutable std::mutex lock_;
  std::vector<episode> episodes_;                                            // by number
  std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> of_device_;  // numbers of its episodes, in order
  std::unordered_set<std::string> known_;                                    // id and state
  std::uint64_t duplicated_ = 0, unexpected_ = 0;
  histogram to_alert_;
};

}  // namespace pl::load
