// SPDX-License-Identifier: Apache-2.0
// The status that the parts of one lane share: whether the lane failed, was abandoned or must claim its streams again;
// the receiver of its events; which of its nodes are not ready, and why; and when an outage is over.
// Threads: only the lane's thread may call functions that are not marked "any thread".
#pragma once

#include "engine/backoff.hpp"
#include "engine/instance.hpp"
#include "engine/node_meters.hpp"
#include "engine/outage.hpp"
#include "engine/pipeline_events.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

class lane_status {
 public:
  lane_status(const instance& source, std::shared_ptr<node_meters> meters);

  void report_to(pipeline_events& events) noexcept { events_ = &events; }  // any thread
  [[nodiscard]] pipeline_events& events() const noexcept { return *events_.load(); }

  // Record a permanent failure: the lane ends, and the pipeline stops.
  void fail(const instance& unit, std::string_view why);
  [[nodiscard]] bool failed() const noexcept { return failed_; }

  void abandon() noexcept { abandoned_ = true; }  // any thread
  [[nodiscard]] bool abandoned() const noexcept { return abandoned_; }

  // Request that all streams are claimed again. why: a string literal. Any thread.
  void rejoin(const char* why) noexcept { rejoin_reason_ = why; }
  void rejoined() noexcept { rejoin_reason_ = nullptr; }
  [[nodiscard]] const char* rejoin_reason() const noexcept { return rejoin_reason_; }

  void phase(std::string why);  // why the lane is not ready; empty: it is
  void source_started(bool yes);
  void claim_refused(std::string why);  // a stream is not read, because its claim is refused
  void no_claim_refused();
  void claimed();  // a stream, and no claim is refused
  // Any thread. Set why the source cannot receive records. Empty: it can. Logs the end of an outage.
  void receiving(std::string_view why_not);

  // The state of transforms cannot be written to the local database, or can be written again. Logged when it changes.
  void state_not_written(std::string_view why);
  void state_written();
  [[nodiscard]] bool state_unwritten() const noexcept { return state_since_.ongoing(); }

  // Log a temporary failure of a node. Return how long to wait before the next attempt.
  std::chrono::nanoseconds retry_after(const failure& failed, backoff& pause, const instance& unit);
  // An attempt succeeded. waiting: the records that are not settled, if known.
  void recovered(const instance& unit, std::optional<std::uint64_t> waiting);

  // Any thread.
  struct reason {
    std::string node, why;
  };
  [[nodiscard]] std::vector<reason> not_ready() const;
  [[nodiscard]] std::string not_accepting() const;  // why the source cannot take records; empty: it can

 private:
  struct trouble {
    std::string why;
    outage since;
  };
  [[nodiscard]] std::string retrying(std::string_view node) const;

  const instance& source_;
  std::shared_ptr<node_meters> meters_;  // the source's
  std::atomic<pipeline_events*> events_{nullptr};
  std::atomic<bool> failed_{false}, abandoned_{false}, source_started_{false};
  std::atomic<const char*> rejoin_reason_{nullptr};

  mutable std::mutex mutex_;
  std::string phase_ = "starting", claims_, not_receiving_, state_;
  outage not_receiving_since_, claims_since_, state_since_;
  bool received_ = false;
  std::map<std::string, trouble, std::less<>> retrying_;  // by node
  std::atomic<bool> any_retrying_{false};
};

}  // namespace pl::engine
