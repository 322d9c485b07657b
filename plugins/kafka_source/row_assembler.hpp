// SPDX-License-Identifier: Apache-2.0
// Conversion of messages to a batch, without copying payloads and without an allocation for each message.
#pragma once

#include "fetch_queue.hpp"
#include "message_origin.hpp"
#include "options.hpp"

#include <pipeline/batch.hpp>
#include <pipeline/component.hpp>
#include <pipeline/context.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kafka {

class row_assembler {
 public:
  // `header_columns`: names of headers to add as columns.
  row_assembler(pl::context ctx, tombstones policy, const std::vector<std::string>& header_columns);

  // Return why no header column may have this name; empty if it may.
  [[nodiscard]] static std::string header_column_fault(const std::string& name);

  // Return the columns of the batches, and their kinds.
  [[nodiscard]] pl::column_set emitted() const;

  // Convert the messages of assigned partitions to rows with their ranges, and advance each partition's `next`. Events
  // among the messages go to `from`. Return nullopt if neither rows nor ranges remain.
  std::optional<pl::batch> assemble(std::unique_ptr<message_array> messages, message_origin& from);
  // Set whether rows get an arrival time.
  void want_arrivals(bool on) noexcept { arrivals_wanted_ = on; }

 private:
  // A partition with rows or a range in the batch.
  struct part {
    partition* of;
    std::int64_t next;
    pl::cell topic;
    const rd_kafka_topic_t* handle = nullptr;  // of its last message; its messages have the same
  };
  struct columns;

  void fill(columns& to, message_array& from, message_origin& events);
  static bool read_before(partition& p, const rd_kafka_message_t& message);
  bool take_message(columns& to, const rd_kafka_message_t& message, message_origin& from);
  [[nodiscard]] partition* same_as_last(const rd_kafka_message_t& message) const;
  part& part_of(columns& to, partition& p);
  void add_empty_ranges(columns& to, message_origin& from);
  void set_ranges(columns& to, const message_origin& from);
  void fill_headers(columns& to, const rd_kafka_message_t& message, std::uint32_t row);

  pl::context ctx_;
  tombstones policy_;
  bool arrivals_wanted_ = false;
  std::vector<std::string> header_columns_;
  const pl_schema* schema_;
  pl::counter skipped_tombstones_;
  std::vector<part> parts_;   // of the current batch
  std::size_t current_ = 0;   // index of the last message's part
  std::string headers_json_;  // reused to avoid allocations
};

}  // namespace kafka
