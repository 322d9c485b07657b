// SPDX-License-Identifier: Apache-2.0
#include "engine/dead_letter_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <new>
#include <tuple>
#include <utility>

namespace pl::engine {

namespace {

// Lets the dead-letter sink write without waiting for a full batch, as long as this object lives.
class flushed_dead_letters final : public pending_dead_letters {
 public:
  flushed_dead_letters(std::shared_ptr<sink_node> sink, std::shared_ptr<release_latch> latch)
      : sink_(std::move(sink)), latch_(std::move(latch)) {
    sink_->flush(true);
  }
  ~flushed_dead_letters() override {
    latch_->end_wait();
    sink_->flush(false);
  }
  bool wait(std::chrono::nanoseconds timeout) override { return latch_->wait(timeout); }

 private:
  std::shared_ptr<sink_node> sink_;
  std::shared_ptr<release_latch> latch_;
};

std::string place_of(batch_view view, row_index row) {
  if (view.ranges().empty()) return "a row without a stream";
  const auto position = view.position(row);
  return std::string(view.stream(row)) + (position == PL_UNKNOWN ? "" : "@" + std::to_string(position));
}

std::string period_text(std::chrono::nanoseconds period) {
  return fmt::format("{:g} s", std::chrono::duration<double>(period).count());
}

// Return the rows by batch, stream and reasons that share a limit, in the order of their first rows. A dead letter has a limited
// number of runs of positions.
std::vector<std::vector<rejection>> groups_of_collapsed(std::vector<rejection> rows, std::string_view node,
                                                        const reason_limit& limit) {
  struct open_group {
    std::size_t at = 0;
    std::uint64_t last = 0;
    std::size_t runs = 0;
  };
  constexpr std::size_t most_runs = 500;
  std::vector<std::vector<rejection>> groups;
  std::map<std::tuple<record_batch*, std::uint32_t, std::string>, open_group> open;
  for (auto& r : rows) {
    const auto view = r.of->view();
    const bool placed = r.of->nranges != 0;
    const auto position = placed ? view.position(r.row) : PL_UNKNOWN;
    auto [found, is_new] = open.try_emplace(
        std::tuple(r.of.get(), placed ? view.origin(r.row) : 0U, limit.group_of(node, r.why)), open_group{});
    auto& group = found->second;
    if (is_new || group.runs >= most_runs) {
      group = {groups.size(), PL_UNKNOWN, 0};
      groups.emplace_back();
    }
    if (position != group.last && position != group.last + 1) ++group.runs;
    group.last = position;
    groups[group.at].push_back(std::move(r));
  }
  return groups;
}

class no_wait final : public pending_dead_letters {
 public:
  bool wait(std::chrono::nanoseconds) override { return true; }
};

}  // namespace

bool dead_letter_writer::write(const std::vector<rejection>& rejected, std::string_view node, refused_at where,
                               const std::shared_ptr<release_latch>& latch) {
  try {
    return write_as_batches(rejected, node, where, latch);
  } catch (const std::bad_alloc&) {
    for (const auto& r : rejected) r.of->mark_undelivered();
    events_.node_failed(dead_letters_node, fmt::format("out of memory for the dead letters of {}", node));
    return false;
  }
}

bool dead_letter_writer::write_as_batches(const std::vector<rejection>& rejected, std::string_view node,
                                          refused_at where, const std::shared_ptr<release_latch>& latch) {
  if (node == dead_letters_node) return std::ranges::all_of(rejected, [&](const auto& r) { return write_smaller(r); });
  if (where == refused_at::sink)
    write_all(format_.batches(rejected, node, where), latch);
  else if (sink_->discards())
    discarded_.add(rejected, node);
  else
    write_all(limited(rejected, node), latch);
  return true;
}

void dead_letter_writer::write_all(batches all, const std::shared_ptr<release_latch>& latch) {
  for (auto& batch : all) {
    if (latch) batch->count_release(latch);
    std::vector<batch_ref> one;
    one.push_back(std::move(batch));
    sink_->push(std::move(one));
  }
}

// Return the dead letters of rows that a transform rejects. Rows beyond the limit for their reason become one dead letter
// for each source batch, stream and reason, which derives from the batch: the records settle once it is written.
dead_letter_writer::batches dead_letter_writer::limited(const std::vector<rejection>& rejected, std::string_view node) {
  const auto now = common_.wall_ns();
  std::vector<bool> stored(rejected.size());
  for (std::size_t i = 0; i < rejected.size(); ++i) stored[i] = limit_.admit(node, rejected[i].why, now);
  if (std::ranges::find(stored, false) == stored.end()) return format_.batches(rejected, node, refused_at::transform);
  std::vector<rejection> complete, rest;
  for (std::size_t i = 0; i < rejected.size(); ++i) {
    const auto& r = rejected[i];
    (stored[i] ? complete : rest).push_back({batch_ref::share(*r.of), r.row, r.why});
  }
  auto groups = groups_of_collapsed(std::move(rest), node, limit_);
  for (auto group = groups.begin(); group != groups.end();) {
    if (group->size() == 1) {  // one record is not shorter as a number
      complete.push_back(std::move(group->front()));
      group = groups.erase(group);
      continue;
    }
    if (limit_.is_first_excess(node, group->front().why)) warn_of_collapse(group->front(), node);
    ++group;
  }
  std::uint64_t collapsed = 0;
  auto all = format_.batches(complete, node, refused_at::transform);
  for (const auto& group : groups) {
    collapsed += group.size();
    all.push_back(format_.collapsed(group, node));
  }
  common_.metrics.get(telemetry::engine_metrics::collapsed_total, pipeline_, node).add(static_cast<double>(collapsed));
  return all;
}

void dead_letter_writer::warn_of_collapse(const rejection& first, std::string_view node) {
  const auto most = limit_.settings();
  common_.log.warn(pipeline_, node,
                   "more than {} records in {} were rejected for one reason; the dead letters have the number and the "
                   "positions of the others, and not their originals (dead_letters.collapse): {}",
                   telemetry::format_count(most.originals), period_text(most.per), first.why);
}

// The dead-letter sink rejects a dead letter. It must not stop the pipeline at each start: write it with less content.
bool dead_letter_writer::write_smaller(const rejection& rejected) {
  auto original = rejected.of->replaced();
  if (original.times == 0) original = {rejected.of.get(), rejected.row, 0};
  if (original.times == 2) return write_locally(original, rejected);
  const auto view = original.original->view();
  if (original.times == 0)
    common_.log.warn(pipeline_, dead_letters_node,
                     "the sink rejects the dead letter of {}: {}; writing it again without its whole content",
                     place_of(view, original.row), rejected.why);
  const auto to = original.times == 0 ? dead_letter_format::size::cut : dead_letter_format::size::bare;
  std::vector<batch_ref> one;
  one.push_back(format_.smaller(original, *rejected.of, rejected.why, to));
  sink_->push(std::move(one));
  return true;
}

bool dead_letter_writer::write_locally(const record_batch::replacement& original, const rejection& rejected) {
  const auto written = local_.append(original.original->view(), original.row);
  if (written.ok()) {
    common_.log.error(pipeline_, dead_letters_node,
                      "the sink rejects the dead letter in any form: {}; the complete dead letter is in {}",
                      rejected.why, local_.file().string());
    return true;
  }
  rejected.of->mark_undelivered();
  events_.node_failed(dead_letters_node, fmt::format("the sink rejects a dead letter in any form: {}; and it {}",
                                                     rejected.why, written.why().message));
  return false;
}

std::unique_ptr<pending_dead_letters> dead_letter_writer::write_urgently(std::vector<rejection> rejected,
                                                                         std::string_view node, refused_at where) {
  if (node == dead_letters_node) {
    // Its own writer must not wait for itself. Nothing is lost by going on: a dead letter moves no position, and its
    // record is settled once the smaller dead letter is written.
    return write(rejected, node, where) ? std::make_unique<no_wait>() : nullptr;
  }
  auto latch = std::make_shared<release_latch>();
  if (!write(rejected, node, where, latch)) return nullptr;
  rejected.clear();  // dead letters are released once nothing holds the batches that they derive from
  return std::make_unique<flushed_dead_letters>(sink_, std::move(latch));
}

}  // namespace pl::engine
