// SPDX-License-Identifier: Apache-2.0
// The readiness of a lane or a writer, for /health/ready. Thread-safe.
#pragma once

#include <mutex>
#include <string>

namespace pl::engine {

class node_state {
 public:
  // Set why the node is not ready ("connecting", "retrying: connection refused"). Empty: it is ready.
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
