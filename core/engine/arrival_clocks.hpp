// SPDX-License-Identifier: Apache-2.0
// The arrival clocks of a lane's streams. They are kept only while a transform of the lane uses them. Lane's thread; any
// thread may call `receiving`.
#pragma once

#include "engine/arrival_clock.hpp"
#include "engine/host_clock.hpp"
#include "engine/record_batch.hpp"

#include <pipeline/abi.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pl::engine {

// Key of a clock in a stream's state; its node's name is empty. Persisted: never change it.
constexpr std::string_view arrival_clock_key = "arrival_clock";

// The clocks of the machine, in nanoseconds; replaced in tests.
struct machine_clocks {
  std::function<std::int64_t()> wall, running;  // running: also while the machine is suspended
  static machine_clocks system();
  static machine_clocks simulated(std::shared_ptr<const simulated_clock> clock);
};

class arrival_clocks {
 public:
  // counts_unread: the source is PL_RECORDS_UNREAD.
  explicit arrival_clocks(bool counts_unread, machine_clocks machine = machine_clocks::system())
      : counts_unread_(counts_unread), machine_(std::move(machine)) {}

  void want(bool on);
  [[nodiscard]] bool wanted() const noexcept { return wanted_; }

  // Any thread. Whether the source can receive records now.
  void receiving(bool yes);

  // A stream was assigned. entry: its clock as it was stored; empty: none.
  void assign(std::string_view stream, std::string_view entry);
  void revoke(std::string_view stream);
  void clear() { clocks_.clear(); }

  // Take note of a batch that was read, and replace its arrival times by readings. False: out of memory.
  [[nodiscard]] bool read(record_batch& batch);
  // See pl_host_liveness.observed_end. position: up to here the stream is read.
  void observe(std::string_view stream, std::uint64_t end, std::int64_t before, std::uint64_t position);

  // std::nullopt: the stream has no clock yet.
  [[nodiscard]] std::optional<pl_arrival> reading(std::string_view stream) const;
  // Return how far the clock is behind the wall clock.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> lag(std::string_view stream) const;
  // Return the clock as an entry of the stream's state; std::nullopt: the stream has no clock.
  [[nodiscard]] std::optional<std::string> store(std::string_view stream);
  // Return how far the clock has advanced since `store` was called.
  [[nodiscard]] std::int64_t unstored(std::string_view stream) const;

 private:
  arrival_clock& clock_of(std::string_view stream, std::int64_t now);
  arrival_clock& add(std::string_view stream, std::string_view entry, std::int64_t now);
  std::int64_t now();
  void apply_changes();
  bool read_rows(record_batch& batch, const std::vector<arrival_clock*>& clocks, std::int64_t now);

  const bool counts_unread_;
  const machine_clocks machine_;
  bool wanted_ = false;
  std::map<std::string, arrival_clock, std::less<>> clocks_;  // by stream
  std::optional<std::int64_t> receiving_since_;
  std::optional<std::int64_t> offset_;  // of the wall clock from the running one

  std::mutex mutex_;
  bool receiving_ = false;
  std::vector<std::pair<bool, std::int64_t>> changes_;  // of `receiving`, each with its time; not applied yet
};

}  // namespace pl::engine
