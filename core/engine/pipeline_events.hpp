// SPDX-License-Identifier: Apache-2.0
// Events that lanes and writers report to their pipeline, from any thread.
#pragma once

#include "engine/call_effects.hpp"

#include <chrono>
#include <memory>
#include <string_view>
#include <vector>

namespace pl::engine {

// Dead letters that are being written. Does not refer to the pipeline, which a reload may replace meanwhile.
class pending_dead_letters {
 public:
  virtual ~pending_dead_letters() = default;
  // Wait until they are written. False: the timeout has passed.
  virtual bool wait(std::chrono::nanoseconds timeout) = 0;
};

class pipeline_events {
 public:
  virtual ~pipeline_events() = default;
  // A node failed permanently, and an operator must act: the pipeline stops, and what is in flight stays unsettled.
  virtual void node_failed(std::string_view node, std::string_view why) = 0;
  // Write rows that a node rejected to the dead letters.
  virtual void rows_rejected(const std::vector<rejection>& rejected, std::string_view node) = 0;
  // Return whether dead letters queue up, so that no more should be added.
  [[nodiscard]] virtual bool dead_letters_full() const = 0;
  // Like rows_rejected, and return an object to wait with until the dead letters are written. Null: they cannot be.
  virtual std::unique_ptr<pending_dead_letters> rows_rejected_urgently(std::vector<rejection> rejected,
                                                                       std::string_view node) = 0;
  [[nodiscard]] virtual bool failed() const = 0;
};

}  // namespace pl::engine
