// SPDX-License-Identifier: Apache-2.0
// The start position of a partition: the host's position, else the group's committed offset, else the start policy.
// Queries the brokers, with a time-out. Use on the thread that serves the consumer.
#pragma once

#include "committer.hpp"
#include "deleted_topics.hpp"
#include "offset_lookup.hpp"
#include "options.hpp"
#include "partition.hpp"
#include "start_policy.hpp"

#include <pipeline/context.hpp>
#include <pipeline/result.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kafka {

class placement {
 public:
  // `stop` is set when the source cannot continue.
  placement(const start_policy& start, out_of_range on_missing, const offset_lookup& offsets, committer& commits,
            deleted_topics& deleted, pl::context ctx, std::optional<pl::failure>& stop)
      : start_(start),
        on_missing_(on_missing),
        offsets_(offsets),
        committer_(commits),
        deleted_(deleted),
        ctx_(ctx),
        stop_(stop) {}

  // Set `next` of each partition and its phase to reading. On failure the remaining ones stay unplaced; retry later.
  pl::result<void> place(const std::vector<partition*>& those);

 private:
  struct beginning {
    std::int64_t at;
    pl::start_reason why;
  };
  pl::result<void> choose_first(const std::vector<partition*>& those);
  pl::result<void> choose_first(const std::string& topic, const std::vector<partition*>& those);
  pl::result<void> place_one(partition& p);
  pl::result<beginning> beginning_of(partition& p);
  pl::result<beginning> begin_again(partition& p);
  pl::result<void> report_missing_offset(const partition& p, std::int64_t start);

  const start_policy start_;
  const out_of_range on_missing_;
  const offset_lookup& offsets_;
  committer& committer_;
  deleted_topics& deleted_;
  pl::context ctx_;
  std::optional<pl::failure>& stop_;
};

}  // namespace kafka
