// SPDX-License-Identifier: Apache-2.0
// Fingerprints of the records of a partition that were read lately. When a topic was deleted and created again, records
// of the new topic may have been read already, from the old position on; they must not be read twice.
#pragma once

#include <librdkafka/rdkafka.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kafka {

class recent_records {
 public:
  // Note a record. Offsets ascend; what was noted at this offset or later is replaced.
  void add(std::int64_t offset, std::uint64_t fingerprint);
  // A check has confirmed the topic, and was sent when `next` was the read position. Discard what was read before the
  // last check but one: an answer may be older than a deletion by the time that a topic's deletion takes in the cluster.
  void confirm(std::int64_t next);
  [[nodiscard]] bool contains(std::int64_t offset, std::uint64_t fingerprint) const;
  // Return whether a record at or after this offset was noted.
  [[nodiscard]] bool reaches(std::int64_t offset) const noexcept {
    return !records_.empty() && records_.back().offset >= offset;
  }
  [[nodiscard]] bool empty() const noexcept { return records_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return records_.size(); }

 private:
  struct record {
    std::int64_t offset;
    std::uint64_t fingerprint;
  };
  std::vector<record> records_;  // ascending
  std::int64_t confirmed_ = 0;   // by the last check: records below belong to the topic as it was then
};

// Return a number that differs for different records of one partition: it covers the time, the sizes, and the ends of
// the value. It is cheap, because it is computed for each record.
[[nodiscard]] std::uint64_t fingerprint_of(const rd_kafka_message_t& message) noexcept;

}  // namespace kafka
