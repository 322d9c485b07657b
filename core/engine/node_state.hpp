// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>
#include <string>

namespace pl::engine {

// Whether a lane or a writer does its work, for /health/ready. Any thread.
class node_state {
 public:
  // Empty: it does. Else why not ("connecting", "retrying: connection refused").
  void waiting_for(std::string why) {
    std::scoped_lock lock(mutex_);
    why_ = std::move(why);
  }
  [[nodiscard]] std::string why() const {
    std::scoped_lock lock(mutex_);
    return why_;
  }

 private:
  mutable std::mutex mutex_;
  std::string why_ = "starting";
};

}  // namespace pl::engine
