// SPDX-License-Identifier: Apache-2.0
#include "placement.hpp"

#include "deletion_text.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

namespace kafka {

pl::result<void> placement::place(const std::vector<partition*>& those) {
  if (those.empty()) return {};
  // The host reads the sinks' positions before the source queries the broker, so that an offset reset in between is
  // noticed.
  for (auto* p : those)
    if (auto expected = ctx_.announced(p->stream); !expected.ok()) return expected;
  if (auto known = offsets_.committed(those); !known.ok()) return known;
  if (auto chosen = choose_first(those); !chosen.ok()) return chosen;
  for (auto* p : those)
    if (auto placed = place_one(*p); !placed.ok()) return placed;
  return {};
}

// The start policy applies to a topic that the group has never read. A partition that is added to a topic later begins
// at its first record, because the partition had no records before.
pl::result<void> placement::choose_first(const std::vector<partition*>& those) {
  if (start_.where == start_policy::kind::earliest) return {};
  std::map<std::string, std::vector<partition*>> open;  // by topic
  for (auto* p : those)
    if (p->committed == unknown_offset && p->first == unknown_offset && !deleted_.created_again(p->topic, p->stream))
      open[p->topic].push_back(p);
  for (const auto& [topic, partitions] : open)
    if (auto chosen = choose_first(topic, partitions); !chosen.ok()) return chosen;
  return {};
}

// The first member that reads a topic chooses and commits the start of all its partitions at once. Otherwise a partition
// that another member is assigned a moment later would be taken for one that was added.
pl::result<void> placement::choose_first(const std::string& topic, const std::vector<partition*>& those) {
  auto all = offsets_.partitions_of(topic);
  if (!all.ok()) return all.why();
  const bool read_before = std::ranges::any_of(*all, [](const auto& p) { return p->committed != unknown_offset; });
  const auto policy = read_before ? start_policy{} : start_;
  std::vector<partition*> without;
  for (auto& p : *all) {
    if (p->committed != unknown_offset) continue;
    if (read_before && std::ranges::none_of(those, [&](const auto* own) { return own->number == p->number; })) continue;
    const auto first = offsets_.start(*p, policy);
    if (!first.ok()) return first.why();
    p->first = first.value();
    without.push_back(p.get());
  }
  if (!read_before && !without.empty())
    if (auto committed = committer_.commit_first(without); !committed.ok()) return committed;
  for (auto* own : those)
    for (const auto* p : without)
      if (p->number == own->number) own->first = p->first;
  if (read_before)
    for (const auto* own : those)
      if (own->first != unknown_offset)
        ctx_.info(own->stream + " was added to a topic that is being read: it is read from its first record (" +
                  std::to_string(own->first) + ")");
  return {};
}

// Return where a partition without a committed offset begins.
pl::result<placement::beginning> placement::beginning_of(partition& p) {
  if (deleted_.created_again(p.topic, p.stream)) return begin_again(p);
  if (p.first != unknown_offset) return beginning{p.first, pl::start_reason::policy};
  const auto start = offsets_.start(p, start_);
  if (!start.ok()) return start.why();
  return beginning{start.value(), pl::start_reason::policy};
}

// The topic was deleted and created again while this member was in the group: a new stream, whose positions have
// nothing to do with those that the sinks have.
pl::result<placement::beginning> placement::begin_again(partition& p) {
  const auto ends = offsets_.ends(p);
  if (!ends.ok()) return ends.why();
  const auto* before = deleted_.find(p.stream);
  const auto what = created_again_text(p.stream, ends.value(), before == nullptr ? unknown_offset : before->next);
  if (on_missing_ == out_of_range::stop) {
    stop_ = pl::fatal(what + "; stopping (on_out_of_range: stop)" + std::string(advice_after_deletion));
    ctx_.error(stop_->message);
    return *stop_;
  }
  const auto at = on_missing_ == out_of_range::earliest ? ends.value().low : ends.value().high;
  ctx_.error(what + continued_text(at, ends.value()));
  return beginning{at, pl::start_reason::reset};
}

pl::result<void> placement::place_one(partition& p) {
  const bool own_commit = p.committed_with == committer_.commit_metadata(p.committed);
  beginning from{p.committed, own_commit ? pl::start_reason::committed : pl::start_reason::reset};
  if (p.committed == unknown_offset) {
    const auto found = beginning_of(p);
    if (!found.ok()) return found.why();
    from = *found;
  }
  const auto assigned = ctx_.assigned(p.stream, static_cast<std::uint64_t>(from.at), from.why);
  if (!assigned.ok()) {
    if (assigned.why().code == pl::status::fatal) stop_ = assigned.why();
    return assigned.why();
  }
  p.next = static_cast<std::int64_t>(assigned.value());
  if (from.why == pl::start_reason::policy && p.next > from.at)
    if (auto reported = report_missing_offset(p, from.at); !reported.ok()) return reported;
  if (from.why != pl::start_reason::committed)
    if (auto committed = committer_.commit_start(p); !committed.ok()) return committed;
  if (const auto* before = deleted_.find(p.stream)) {
    // Only if the positions begin again: after any other revocation, records that were read but not settled are read again.
    if (from.why == pl::start_reason::reset) p.again = before->read;
    deleted_.forget(p.stream);
  }
  p.now = phase::reading;
  p.watched = true;
  if (ctx_.logs(pl::log_level::debug)) ctx_.debug(p.stream + " is read from " + std::to_string(p.next));
  return {};
}

// A broker deletes a group's offsets with the topic, or when they expire, while the sinks still have theirs. The
// sinks' position may then point into other data.
pl::result<void> placement::report_missing_offset(const partition& p, std::int64_t start) {
  const auto ends = offsets_.ends(p);
  if (!ends.ok()) return ends.why();
  if (p.next > ends.value().high) return {};  // out of range: detected at the fetch
  const auto next = std::to_string(p.next);
  const auto what = "the group has no offset of " + p.stream + ", although the sinks have its records up to " + next +
                    ": the topic was created again, or the group's offsets have expired";
  if (on_missing_ == out_of_range::stop) {
    stop_ = pl::fatal(what + "; stopping (on_out_of_range: stop). Reset the group's offset with Kafka's tools: to " +
                      next + " to continue, to the earliest if the topic was created again");
    ctx_.error(stop_->message);
    return *stop_;
  }
  ctx_.error(what + "; continuing at " + next + ". If the topic was created again, records " + std::to_string(start) +
             " to " + std::to_string(p.next - 1) + " (" + std::to_string(p.next - start) +
             " records) are not read; to read them, reset the group to the earliest offset with Kafka's tools");
  return {};
}

}  // namespace kafka
