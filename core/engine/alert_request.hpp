// SPDX-License-Identifier: Apache-2.0
// A request for the open alerts of running lanes. A lane responds between two batches, so the requester waits, up to a
// deadline: a lane may be busy in a call, or gone after a reload. Any thread.
#pragma once

#include <pipeline/result.hpp>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pl::engine {

// Open alerts of one pipeline. Each is a JSON object with the members "pipeline" and "node", and those of "alerts/1".
using alert_list = std::vector<std::string>;

class alert_request {
 public:
  struct responses {
    alert_list alerts;
    std::vector<std::string> problems;  // why alerts of a lane are missing
  };

  // Name a lane that will respond.
  void expect(const std::string& lane) {
    std::scoped_lock lock(mutex_);
    lanes_[lane].reset();
  }
  void respond(const std::string& lane, result<alert_list> found) {
    std::scoped_lock lock(mutex_);
    lanes_[lane] = std::move(found);
    changed_.notify_all();
  }
  // Wait until each lane has responded or the deadline has passed.
  [[nodiscard]] responses wait(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [&] {
      for (const auto& [lane, found] : lanes_)
        if (!found) return false;
      return true;
    });
    responses all;
    for (const auto& [lane, found] : lanes_) {
      if (!found)
        all.problems.push_back(lane + " did not respond in time: it is busy in a call");
      else if (!found->ok())
        all.problems.push_back(lane + ": " + found->why().message);
      else
        all.alerts.insert(all.alerts.end(), (**found).begin(), (**found).end());
    }
    return all;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::optional<result<alert_list>>> lanes_;
};

}  // namespace pl::engine
