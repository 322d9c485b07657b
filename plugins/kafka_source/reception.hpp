// SPDX-License-Identifier: Apache-2.0
// Whether this host receives records: whether a broker responds, and whether the consumer has joined its group.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>

namespace kafka {

class reception {
 public:
  using time = std::chrono::steady_clock::time_point;

  reception(std::string brokers, std::string group) : brokers_(std::move(brokers)), group_(std::move(group)) {}

  // No broker can be reached, until one responds.
  void note_brokers_down(std::string why, time now) {
    down_since_ = now;
    down_ = std::move(why);
  }
  // A connection to a broker failed for a reason that the operator can change: a certificate or a login.
  void note_refusal(std::string why, time now) {
    refused_at_ = now;
    refusal_ = std::move(why);
  }
  void note_join_failure(std::string why) { join_failure_ = std::move(why); }
  // The group has assigned its partitions to the members; this one may have none.
  void note_assignment() {
    joined_ = true;
    join_failure_.clear();
  }

  // Return why no record is received; empty if records are received, or would be if there were any. joining: a join of
  // the group is in progress. last_response: of any broker.
  [[nodiscard]] std::string why_not(bool joining, time last_response, time now);

 private:
  std::string brokers_, group_;
  bool joined_ = false;
  std::string down_, join_failure_, refusal_;
  std::optional<time> down_since_, joining_since_, refused_at_;
};

}  // namespace kafka
