// SPDX-License-Identifier: Apache-2.0
// Passes the events of a sink to the pipeline that owns it. A reload moves a sink to another pipeline while its writers
// run: once `connect` has returned, no call into the earlier pipeline is in progress. Any thread.
#pragma once

#include "engine/pipeline_events.hpp"

#include <mutex>
#include <shared_mutex>

namespace pl::engine {

class events_link {
 public:
  void connect(pipeline_events& to) {
    std::unique_lock lock(mutex_);
    to_ = &to;
  }
  // Call `use` with the pipeline's events. It must not wait.
  template <class F>
  auto call(F&& use) const {
    std::shared_lock lock(mutex_);
    return use(*to_);
  }

 private:
  mutable std::shared_mutex mutex_;
  pipeline_events* to_ = nullptr;
};

}  // namespace pl::engine
