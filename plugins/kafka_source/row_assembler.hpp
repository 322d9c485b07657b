// SPDX-License-Identifier: Apache-2.0
// From messages to a batch, without copying them and without allocating for each.
#pragma once

#include "fetch_queue.hpp"
#include "message_origin.hpp"
#include "options.hpp"

#include <pipeline/batch.hpp>
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
  // header_columns: names of headers that get a column of their own.
  row_assembler(pl::context ctx, tombstones policy, const std::vector<std::string>& header_columns);

  // Empty: a header of that name may have a column.
  [[nodiscard]] static std::string header_column_fault(const std::string& name);

  // The messages that are ours, as rows, and the ranges that they cover; moves each partition's `next` on. Events among
  // them go to where they came from. Nothing where nothing is left.
  std::optional<pl::batch> assemble(std::unique_ptr<message_array> messages, message_origin& from);

 private:
  // A partition that has part in the batch.
  struct part {
    partition* of;
    std::int64_t next;
    pl::cell topic;
  };
  struct columns;

  void fill(columns& to, message_array& from, message_origin& events);
  bool take_message(columns& to, const rd_kafka_message_t& message, message_origin& from);
  part& part_of(columns& to, partition& p);
  void add_empty_ranges(columns& to, message_origin& from);
  void set_ranges(columns& to, const message_origin& from);
  void fill_headers(columns& to, const rd_kafka_message_t& message, std::uint32_t row);

  pl::context ctx_;
  tombstones policy_;
  std::vector<std::string> header_columns_;
  const pl_schema* schema_;
  pl::counter skipped_tombstones_;
  std::vector<part> parts_;   // of the batch at hand
  std::size_t current_ = 0;   // the part that the last message belonged to
  std::string headers_json_;  // kept for its memory
};

}  // namespace kafka
