// SPDX-License-Identifier: Apache-2.0
#include "range_repair.hpp"

#include "deletion_text.hpp"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace kafka {

void range_repair::repair(partition& p) {
  const auto ends = offsets_.ends(p);
  if (!ends.ok()) {
    if (warnings_.allows("repair")) ctx_.warn(ends.why().message);
    return;
  }
  if (p.next >= ends.value().low && p.next <= ends.value().high) {
    // The offset is in range now: fetch again, unless these are the records of another topic of that name.
    const auto missing = offsets_.without_commit({&p});
    if (!missing.ok()) return;
    if (!missing->empty())
      p.recreate();
    else if (assignment_.restart(p, p.next))
      p.now = phase::reading;
    return;
  }
  continue_after_loss(p, ends.value());
}

void range_repair::continue_after_loss(partition& p, const watermarks& ends) {
  const auto kept = " (on the broker, the partition begins at " + std::to_string(ends.low) + " and ends at " +
                    std::to_string(ends.high) + ")";
  const bool behind = p.next < ends.low;
  const auto count = behind ? ends.low - p.next : 0;
  const auto what =
      behind ? "LOST: records " + std::to_string(p.next) + " to " + std::to_string(ends.low - 1) + " of " + p.stream +
                   " (" + std::to_string(count) + " records) were deleted on the broker before they were read" + kept
             : "position " + std::to_string(p.next) + " of " + p.stream +
                   " lies beyond the partition's end: the topic was created again, or its end was truncated" + kept;
  if (policy_ == out_of_range::stop) {
    stop_ = pl::fatal(what +
                      "; stopping (on_out_of_range: stop). Reset the group's offset with Kafka's tools, or set "
                      "on_out_of_range to earliest or latest");
    ctx_.error(stop_->message);
    return;
  }
  const auto target = policy_ == out_of_range::earliest ? ends.low : ends.high;
  if (!(behind ? assignment_.restart(p, target) : go_back(p, target))) return;  // the caller retries
  p.now = phase::reading;
  if (behind) {
    p.empty_until = target;
    p.lost.add(static_cast<double>(count));
  }
  const auto skipped = target - std::max(ends.low, behind ? p.next : target);
  ctx_.error(what + "; continuing at " + std::to_string(target) +
             (skipped > 0 ? ", which skips " + std::to_string(skipped) + " more records" : std::string{}) +
             " (option on_out_of_range). To avoid this, increase the topic's retention or use a faster sink");
}

bool range_repair::go_back(partition& p, std::int64_t to) {
  // The positions restart, so report to the host that one stream ends and another one begins.
  (void)ctx_.revoked(p.stream);
  const auto assigned = ctx_.assigned(p.stream, static_cast<std::uint64_t>(to), pl::start_reason::reset);
  if (!assigned.ok()) return false;
  p.next = to;
  if (!committer_.commit_start(p).ok() || !assignment_.restart(p, to)) return false;
  p.empty_until = p.known_end = unknown_offset;
  p.log_differs = false;
  p.recent = {};
  p.log = {};
  return true;
}

// ------------------------------------------------------------------------------ a topic that was deleted and created ---

bool range_repair::stops(const std::string& what) {
  if (policy_ != out_of_range::stop) return false;
  stop_ = pl::fatal(what + "; stopping (on_out_of_range: stop)" + std::string(advice_after_deletion));
  ctx_.error(stop_->message);
  return true;
}

// Return the ends of the new partition, if it exists. Ask for the number of partitions first, because asking for the
// ends of a partition that does not exist takes until the time-out, and a rebalance or a stop must not wait for it.
std::optional<watermarks> range_repair::new_ends(const partition& p) {
  const auto count = offsets_.partition_count(p.topic);
  if (count.ok() && count.value() <= p.number) return std::nullopt;
  const auto ends = count.ok() ? offsets_.ends(p, std::chrono::seconds(1)) : pl::result<watermarks>(count.why());
  if (ends.ok()) return ends.value();
  if (warnings_.allows("new_ends")) ctx_.warn(ends.why().message);
  return std::nullopt;
}

void range_repair::begin_again(partition& p) {
  const auto found = new_ends(p);
  if (!found) {
    if (warnings_.allows("begin_again"))
      ctx_.warn(p.stream + ": the topic was deleted while it was read (the next position was " +
                std::to_string(p.deleted_at) + "); waiting until it is created again");
    return;
  }
  const auto ends = *found;
  auto what = created_again_text(p.stream, ends, p.deleted_at, p.log_differs);
  const auto unread = unread_of(p);
  if (unread > 0)
    what += "; LOST: records " + std::to_string(p.deleted_at) + " to " + std::to_string(p.known_end - 1) +
            " of the deleted topic (" + std::to_string(unread) + " records) were not read";
  if (stops(what)) return;
  const auto at = policy_ == out_of_range::earliest ? ends.low : ends.high;
  // If this host dies before the claim, the next owner begins the new stream, too.
  if (!committer_.commit_reset(p, at).ok()) return;
  if (p.again.empty()) p.again = std::exchange(p.recent, {});
  if (!go_back(p, at)) return;
  p.lost.add(static_cast<double>(unread));
  p.now = phase::reading;
  ctx_.error(what + continued_text(at, ends));
}

void range_repair::leave_reset(partition& p) {
  if (policy_ == out_of_range::stop) return;
  const auto ends = new_ends(p);
  if (!ends) return;
  const auto at = policy_ == out_of_range::earliest ? ends->low : ends->high;
  if (!committer_.commit_reset(p, at).ok()) return;
  ctx_.error(created_again_text(p.stream, *ends, p.deleted_at, p.log_differs) + "; the group's offset was reset to " +
             std::to_string(at) + ", where the next owner of the partition begins");
}

}  // namespace kafka
