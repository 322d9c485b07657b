// SPDX-License-Identifier: Apache-2.0
#include "engine/overflow.hpp"

#include <fmt/format.h>

#include <utility>

namespace pl::engine {

namespace {

std::string rows_text(std::uint64_t n) {
  return fmt::format("{} row{}", telemetry::format_count(n), n == 1 ? "" : "s");
}

}  // namespace

std::string overflow::which() const { return policy_ == config::full_policy::drop_newest ? "newest" : "oldest"; }

std::string overflow::limit_text() const {
  const auto memory = telemetry::format_bytes(limit_);
  return disk_limit_ == 0 ? memory : memory + ", and " + telemetry::format_bytes(disk_limit_) + " on disk";
}

void overflow::dropped(queued_group group) {
  const auto rows = group.size.rows;
  if (group.on_disk()) meters_->received_rows(rows);  // it is not read only to measure it
  for (const auto& b : group.batches) meters_->received(*b);
  group.settle();
  if (rows == 0) return;
  meters_->dropped(rows);
  std::scoped_lock lock(mutex_);
  if (!episode_.ongoing()) episode_.attempt_failed(), rows_ = 0, logged_ = false;
  rows_ += rows;
  total_ += rows;
  unlogged_ += rows;
  const auto now = clock::now();
  if (last_line_ != clock::time_point::min() && now - last_line_ < interval) return;
  last_line_ = now;
  if (!std::exchange(logged_, true))
    sink_.log(
        telemetry::log_level::warn,
        fmt::format("the queue is full ({}): its {} rows are dropped (when_full: {}); the sink is slower than its "
                    "input, or does not work; {} dropped so far",
                    limit_text(), which(), config::to_string(policy_), rows_text(total_)));
  else
    sink_.log(telemetry::log_level::warn,
              fmt::format("the queue is still full: {} dropped since the last message, {} in total",
                          rows_text(unlogged_), telemetry::format_count(total_)));
  unlogged_ = 0;
}

void overflow::has_room() {
  std::scoped_lock lock(mutex_);
  if (!episode_.ongoing()) return;
  const auto again = episode_.end_of_state();
  if (!std::exchange(logged_, false)) return;  // a short episode soon after another one
  unlogged_ = 0;
  sink_.log(telemetry::log_level::info,
            fmt::format("the queue has room {}; {} dropped, {} in total", again,
                        rows_text(rows_) + (rows_ == 1 ? " was" : " were"), telemetry::format_count(total_)));
}

void overflow::finish() {
  std::scoped_lock lock(mutex_);
  if (episode_.ongoing()) (void)episode_.end_of_state();
  if (std::exchange(unlogged_, 0) == 0) return;
  sink_.log(telemetry::log_level::warn, fmt::format("the full queue dropped {} in total (when_full: {})",
                                                    rows_text(total_), config::to_string(policy_)));
}

std::string overflow::reason() const {
  std::scoped_lock lock(mutex_);
  if (!episode_.ongoing()) return {};
  return fmt::format("the queue is full, {} rows are dropped: {} so far", which(), telemetry::format_count(total_));
}

}  // namespace pl::engine
