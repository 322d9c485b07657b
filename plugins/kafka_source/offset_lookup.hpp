// SPDX-License-Identifier: Apache-2.0
// Questions to the brokers about offsets. Each waits for its answer, for a bounded time.
#pragma once

#include "partition.hpp"
#include "start_policy.hpp"

#include <pipeline/result.hpp>

#include <span>
#include <utility>

namespace kafka {

struct watermarks {
  std::int64_t low, high;  // the first offset that is kept, and the next that will be given
};

class offset_lookup {
 public:
  explicit offset_lookup(rd_kafka_t* handle) : handle_(handle) {}

  // Fills in `committed` and `committed_with` of each; unknown_offset where the group has none.
  pl::result<void> committed(std::span<partition* const> of) const;
  pl::result<watermarks> ends(const partition& of) const;
  // Where a partition without a committed offset begins.
  pl::result<std::int64_t> start(const partition& of, const start_policy& policy) const;
  // The end as the last fetch saw it, without asking anybody.
  [[nodiscard]] std::int64_t known_end(const partition& of) const noexcept;

 private:
  pl::result<std::int64_t> at_time(const partition& of, std::int64_t time_ms) const;
  rd_kafka_t* handle_;
};

}  // namespace kafka
