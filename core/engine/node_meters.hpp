// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/record_batch.hpp"
#include "telemetry/engine_metrics.hpp"

#include <atomic>
#include <cstdint>
#include <string_view>

namespace pl::engine {

// The engine's own metrics of one node, over all its lanes or writers. Any thread.
class node_meters {
 public:
  node_meters(telemetry::metrics& metrics, std::string_view pipeline, std::string_view node);

  void took(record_batch& b) noexcept {
    records_in_.add(b.nsel);
    bytes_in_.add(static_cast<double>(b.payload_bytes()));
    batch_rows_.observe(b.nsel);
    in_total_.fetch_add(b.nsel, std::memory_order_relaxed);
  }
  void gave(record_batch& b) noexcept {
    records_out_.add(b.nsel);
    bytes_out_.add(static_cast<double>(b.payload_bytes()));
    out_total_.fetch_add(b.nsel, std::memory_order_relaxed);
  }
  // Rows that were in a batch counted by `gave`, and went to the dead letters instead.
  void rejected(std::uint64_t rows) noexcept {
    rejected_.add(static_cast<double>(rows));
    rejected_total_.fetch_add(rows, std::memory_order_relaxed);
  }
  void stored(std::uint64_t rows, std::uint64_t bytes) noexcept {
    records_out_.add(static_cast<double>(rows));
    bytes_out_.add(static_cast<double>(bytes));
    out_total_.fetch_add(rows, std::memory_order_relaxed);
  }

  [[nodiscard]] std::uint64_t in_total() const noexcept { return in_total_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t out_total() const noexcept { return out_total_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t rejected_total() const noexcept {
    return rejected_total_.load(std::memory_order_relaxed);
  }

  telemetry::counter retries, restarts;
  telemetry::histogram write_seconds;
  telemetry::gauge queue_bytes, queue_limit_bytes, in_flight_batches;

 private:
  telemetry::counter records_in_, records_out_, bytes_in_, bytes_out_, rejected_;
  telemetry::histogram batch_rows_;
  std::atomic<std::uint64_t> in_total_{0}, out_total_{0}, rejected_total_{0};
};

}  // namespace pl::engine
