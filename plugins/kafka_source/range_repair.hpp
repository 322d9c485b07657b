// SPDX-License-Identifier: Apache-2.0
// Recovery from an offset that the broker no longer has because retention deleted it or the topic was created again.
// Reports the lost records. Use on the thread that serves the consumer.
#pragma once

#include "assignment.hpp"
#include "committer.hpp"
#include "offset_lookup.hpp"
#include "options.hpp"
#include "partition.hpp"

#include <pipeline/context.hpp>
#include <pipeline/result.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace kafka {

class range_repair {
 public:
  // `stop` is set when the source cannot continue.
  range_repair(out_of_range policy, const offset_lookup& offsets, committer& commits, assignment& fetching,
               pl::context ctx, std::optional<pl::failure>& stop)
      : policy_(policy), offsets_(offsets), committer_(commits), assignment_(fetching), ctx_(ctx), stop_(stop) {}

  // Set p to phase::reading, or leave its phase unchanged for a retry.
  void repair(partition& p);
  // The same for phase::recreated: begin the new stream of a topic that was deleted and created again.
  void begin_again(partition& p);
  // For such a partition, or one that is revoked before its new stream has begun: reset the group's offset, so that the
  // next owner begins the new stream.
  void leave_reset(partition& p);

 private:
  void continue_after_loss(partition& p, const watermarks& ends);
  bool go_back(partition& p, std::int64_t to);
  [[nodiscard]] std::optional<watermarks> new_ends(const partition& p);
  [[nodiscard]] bool stops(const std::string& what);

  const out_of_range policy_;
  const offset_lookup& offsets_;
  committer& committer_;
  assignment& assignment_;
  pl::context ctx_;
  std::optional<pl::failure>& stop_;
  rate_limit warnings_{std::chrono::seconds(10)};
};

}  // namespace kafka
