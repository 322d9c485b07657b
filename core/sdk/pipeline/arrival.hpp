// SPDX-License-Identifier: Apache-2.0
// The arrival clock of streams: what transforms read ("arrival/1" in abi.h), and what sources report for it
// ("liveness/1"). Both are handles from the context: look one up in the constructor. They do nothing if the host does
// not offer the extension.
#pragma once

#include <pipeline/abi.h>
#include <pipeline/batch.hpp>
#include <pipeline/extension.hpp>
#include <pipeline/result.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace pl {

// A reading of a stream's arrival clock: see pl_arrival. batch_view::arrival returns readings of the same clock.
struct arrival_reading {
  timestamp now;                       // never decreases
  std::chrono::nanoseconds behind{0};  // a reading plus `behind` is wall time
  std::optional<timestamp> connected;  // the reading at the end of the last gap in which nothing could arrive

  [[nodiscard]] timestamp wall(timestamp reading) const noexcept { return reading + behind; }
};

// For transforms. The host keeps arrival clocks only if a transform looked this up in its constructor.
class arrival_clocks {
 public:
  arrival_clocks() = default;
  explicit arrival_clocks(const pl_host* host) noexcept
      : host_(host), table_(complete_table<pl_host_arrival>(host->extension(host->ctx, borrow(PL_EXT_ARRIVAL)))) {}

  // In restored, apply, tick and snapshot. std::nullopt: the stream has no arrival clock (yet); its source reports no
  // arrivals, or nothing arrived and nothing was observed.
  [[nodiscard]] std::optional<arrival_reading> read(std::string_view stream) const noexcept {
    pl_arrival raw{};
    if (table_.arrival == nullptr || table_.arrival(host_->ctx, borrow(stream), &raw) != PL_OK) return std::nullopt;
    arrival_reading now{at(raw.now_ns), std::chrono::nanoseconds(raw.behind_ns), {}};
    if (raw.connected_ns != INT64_MIN) now.connected = at(raw.connected_ns);
    return now;
  }

 private:
  [[nodiscard]] static timestamp at(std::int64_t ns) noexcept { return timestamp(std::chrono::nanoseconds(ns)); }

  const pl_host* host_ = nullptr;
  pl_host_arrival table_{};
};

// For sources.
class liveness {
 public:
  liveness() = default;
  explicit liveness(const pl_host* host) noexcept
      : host_(host), table_(complete_table<pl_host_liveness>(host->extension(host->ctx, borrow(PL_EXT_LIVENESS)))) {}

  // Any thread. Records can be received from now on, or no longer. The host shows `why` as the reason that the node is not
  // ready. Cheap if nothing changed.
  void connected() const noexcept { receiving({}); }
  void disconnected(std::string_view why) const noexcept { receiving(why.empty() ? "disconnected" : why); }
  // In poll. Return whether arrival times and observed ends are needed.
  [[nodiscard]] bool wanted() const noexcept { return table_.wanted != nullptr && table_.wanted(host_->ctx) != 0; }
  // In poll. Every record of the stream that arrived before `before` has a position below `end`. It must be proven.
  void observed_end(std::string_view stream, std::uint64_t end, timestamp before) const noexcept {
    if (table_.observed_end != nullptr)
      table_.observed_end(host_->ctx, borrow(stream), end, before.time_since_epoch().count());
  }

 private:
  void receiving(std::string_view why_not) const noexcept {
    if (table_.receiving != nullptr) table_.receiving(host_->ctx, borrow(why_not));
  }

  const pl_host* host_ = nullptr;
  pl_host_liveness table_{};
};

}  // namespace pl
