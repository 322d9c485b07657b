// SPDX-License-Identifier: Apache-2.0
// The streams assigned to a lane: what is in flight, and each stream's settled position, lag and claim. Call the
// functions on the lane's thread; any thread may call `wake`, `lag` and `lag_known`.
#pragma once

#include "engine/arrival_clocks.hpp"
#include "engine/instance.hpp"
#include "engine/lane_status.hpp"
#include "engine/position_stores.hpp"
#include "engine/stream_state.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

struct assigned_stream {
  std::shared_ptr<stream_state> state;
  stream_claim claim;
  std::uint64_t end = PL_UNKNOWN;  // as last observed
  std::uint64_t lag = 0;           // records that are not settled
};

class stream_table {
 public:
  using clock = std::chrono::steady_clock;
  using map = std::map<std::string, assigned_stream, std::less<>>;

  stream_table(instance& source, lane_status& status) : source_(source), status_(status) {}

  [[nodiscard]] assigned_stream* find(std::string_view name);
  [[nodiscard]] const map& all() const noexcept { return streams_; }
  assigned_stream& assign(std::string_view name, const stream_claim& claim);
  void revoke(std::string_view name);
  void clear();

  // Put a batch that the source read in flight: fill in its ranges, and make them contiguous with what was read before.
  void begin_read(record_batch& batch);
  // Put a batch that a timer made in flight, with an empty range at the current position of each stream. False: out of
  // memory.
  bool begin_timer(record_batch& batch, std::span<assigned_stream* const> streams);
  // Return whether records of a stream are read again that its sinks have: their output is trimmed.
  [[nodiscard]] bool reads_again() const;
  [[nodiscard]] std::uint64_t in_flight() const noexcept { return in_flight_; }  // batches
  // The source observed the end of a stream, also without reading it.
  void observe_end(std::string_view name, std::uint64_t end);

  // What settles there was read by this lane.
  [[nodiscard]] const settlement_inbox& inbox() const noexcept { return inbox_; }

  // Update the metrics of the streams' clocks.
  void show_clocks(const arrival_clocks& clocks);

  // Claim and read all streams again. What is in flight need not be written before, and must not be written after.
  void lose_all(const char* why);

  // Count the reports of released batches, and report to the source how far its streams are settled.
  void settle();
  // Wait for a report, `wake`, or the timeout.
  void wait(std::chrono::nanoseconds timeout) { inbox_.wait(timeout); }
  void wake() { inbox_.wake(); }
  // Wait until nothing of one stream is in flight. Reports of other streams are kept for the next `settle`.
  void wait_until_idle(stream_state& stream, clock::time_point deadline);

  [[nodiscard]] std::uint64_t lag() const noexcept { return lag_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool lag_known() const noexcept { return lag_known_.load(std::memory_order_relaxed); }

 private:
  assigned_stream& find_or_assign(std::string_view name, std::uint64_t first);
  void update_lag(assigned_stream& s);
  void settle_at_source(const std::map<stream_state*, std::uint64_t>& settled_before);

  instance& source_;
  lane_status& status_;
  map streams_;
  settlement_inbox inbox_;
  std::uint64_t in_flight_ = 0;
  std::vector<std::weak_ptr<stream_state>> revoked_;  // streams of which something was in flight when they were revoked
  std::atomic<std::uint64_t> lag_{0};
  std::atomic<bool> lag_known_{false};
};

}  // namespace pl::engine
