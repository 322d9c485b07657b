// SPDX-License-Identifier: Apache-2.0
// The engine's own metrics of one node, over all its lanes or writers. Thread-safe.
#pragma once

#include "config/pipeline.hpp"
#include "engine/record_batch.hpp"
#include "telemetry/engine_metrics.hpp"

#include <atomic>
#include <cstdint>
#include <string_view>

namespace pl::engine {

class node_meters {
 public:
  node_meters(telemetry::metrics& metrics, std::string_view pipeline, std::string_view node, config::role role);
  [[nodiscard]] config::role role() const noexcept { return role_; }

  void received(record_batch& b) noexcept {
    records_in_.add(b.nsel);
    bytes_in_.add(static_cast<double>(b.payload_bytes()));
    batch_rows_.observe(b.nsel);
  }
  void received_rows(std::uint64_t rows) noexcept { records_in_.add(static_cast<double>(rows)); }
  void emitted(record_batch& b) noexcept {
    records_out_.add(b.nsel);
    bytes_out_.add(static_cast<double>(b.payload_bytes()));
    out_total_.fetch_add(b.nsel, std::memory_order_relaxed);
  }
  // Count rows that became dead letters.
  void rejected(std::uint64_t rows) noexcept {
    rejected_.add(static_cast<double>(rows));
    rejected_total_.fetch_add(rows, std::memory_order_relaxed);
  }
  // Count rows for which the queue of a sink had no room.
  void dropped(std::uint64_t rows) noexcept {
    dropped_.add(static_cast<double>(rows));
    dropped_total_.fetch_add(rows, std::memory_order_relaxed);
  }
  void stored(std::uint64_t rows, std::uint64_t bytes) noexcept {
    records_out_.add(static_cast<double>(rows));
    bytes_out_.add(static_cast<double>(bytes));
    out_total_.fetch_add(rows, std::memory_order_relaxed);
  }

  [[nodiscard]] std::uint64_t out_total() const noexcept { return out_total_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t rejected_total() const noexcept {
    return rejected_total_.load(std::memory_order_relaxed);
  }

  [[nodiscard]] std::uint64_t dropped_total() const noexcept { return dropped_total_.load(std::memory_order_relaxed); }

  telemetry::counter retries, restarts;
  // Of sinks. Each writer's queue adds its part to queue_bytes, queue_disk_bytes and queue_disk_batches.
  telemetry::histogram write_seconds;
  telemetry::gauge queue_bytes, queue_limit_bytes;
  telemetry::gauge queue_disk_bytes, queue_disk_batches, queue_disk_limit_bytes;
  telemetry::counter given_up;
  telemetry::gauge circuit_open;       // each writer adds its part
  telemetry::gauge in_flight_batches;  // of sources; each lane adds its part

 private:
  config::role role_;
  telemetry::counter records_in_, records_out_, bytes_in_, bytes_out_, rejected_, dropped_;
  telemetry::histogram batch_rows_;
  std::atomic<std::uint64_t> out_total_{0}, rejected_total_{0}, dropped_total_{0};
};

}  // namespace pl::engine
