// SPDX-License-Identifier: Apache-2.0
#include "committer.hpp"

#include <pipeline/failpoint.hpp>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <span>
#include <utility>

namespace kafka {

namespace {

using namespace std::chrono_literals;

using event_ptr = std::unique_ptr<rd_kafka_event_t, pl::freed_by<rd_kafka_event_destroy>>;

constexpr auto response_overdue = 60s;  // then stop waiting for the response: a later commit supersedes it
constexpr auto check_interval = 5s;     // of partitions without anything to commit
constexpr std::chrono::milliseconds confirmation_lasts = 500ms, answer_overdue = 5s;
constexpr std::chrono::milliseconds verification_at_stop = 2s, verify_again = 100ms;
constexpr int wait_ms = 5000;

// The group was rebalanced while the commit was in flight; the rebalance callback handles the partition.
bool is_rebalance(rd_kafka_resp_err_t code) {
  return code == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS || code == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION ||
         code == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
}

std::span<const rd_kafka_topic_partition_t> elements(const rd_kafka_topic_partition_list_t* list) {
  return list == nullptr
             ? std::span<const rd_kafka_topic_partition_t>{}
             : std::span<const rd_kafka_topic_partition_t>(list->elems, static_cast<std::size_t>(list->cnt));
}

std::optional<std::int64_t> found_in(const std::map<commit_check::place, std::int64_t>& in,
                                     const commit_check::place& of) {
  const auto found = in.find(of);
  return found == in.end() ? std::nullopt : std::optional(found->second);
}

// Take from `others` what belongs to a topic whose deletion `vanished` shows: its commits came after the deletion. A stream
// that began after the topic was last confirmed is of the new topic already.
std::vector<partition*> take_deleted_with(const std::vector<partition*>& vanished, std::vector<partition*>& others) {
  const auto deleted = [&](const partition* q) {
    return std::ranges::any_of(vanished, [&](const partition* p) {
      return !p->log_differs && p->topic == q->topic && q->begun_after < p->confirmed_by;
    });
  };
  const auto kept = std::stable_partition(others.begin(), others.end(), [&](const auto* q) { return !deleted(q); });
  std::vector<partition*> taken(kept, others.end());
  others.erase(kept, others.end());
  return taken;
}

}  // namespace

committer::committer(std::shared_ptr<client> with, std::shared_ptr<group_watch> watch, const offset_lookup& offsets,
                     pl::context ctx, std::chrono::nanoseconds interval)
    : client_(std::move(with)),
      watch_(std::move(watch)),
      offsets_(offsets),
      ctx_(ctx),
      interval_(interval),
      check_(client_),
      commits_(ctx.counter("kafka_commits_total", "Offsets committed to the broker, counted per partition and commit")),
      failures_(
          ctx.counter("kafka_commit_failures_total", "Offset commits that the broker rejected; they are retried")) {}

std::string committer::commit_metadata(std::int64_t offset) const {
  return "pipeline-host:" + std::string(ctx_.pipeline()) + ":" + std::to_string(offset);
}

void committer::append(rd_kafka_topic_partition_list_t& to, const partition& p, std::int64_t offset, mark with) const {
  auto* entry = rd_kafka_topic_partition_list_add(&to, p.topic.c_str(), p.number);
  entry->offset = offset;
  if (with == mark::none) return;
  const auto text = commit_metadata(offset);
  entry->metadata = strdup(text.c_str());  // freed with the list
  entry->metadata_size = text.size();
}

partition_list_ptr committer::offsets_of(const std::vector<partition*>& those) const {
  auto list = make_partition_list(static_cast<int>(those.size()));
  for (auto* p : those) {
    append(*list, *p, p->settled, mark::own);
    p->committing = p->settled;
  }
  return list;
}

// ------------------------------------------------------------------------------------------------- without waiting ---

std::vector<partition*> committer::commit_if_due(const partition_table& table) {
  std::vector<partition*> vanished;
  if (const auto answer = check_.take()) vanished = note_answer(table, *answer);
  const auto now = std::chrono::steady_clock::now();
  const bool joining = watch_->joining();
  // A topic that was created again between the check and the commit would hide behind the commit.
  if (!joining && !check_.pending() && verify_at_ && now >= *verify_at_) verify(table);
  if (joining || now - sent_ < (waiting_ ? std::chrono::nanoseconds(response_overdue) : interval_)) return vanished;
  bool open = false;
  std::vector<partition*> those;
  table.each([&](partition& p) {
    if (!p.uncommitted() || p.now == phase::recreated) return;
    open = true;
    if (p.log.established() && p.confirmed && now - *p.confirmed < confirmation_lasts) those.push_back(&p);
  });
  if (those.empty()) {
    if ((open || now >= next_check_) && !check_.pending()) ask(table, commit_check::ends::no);
    return vanished;
  }
  sent_ = now;
  pl::failpoint("broker.before");
  const auto code = rd_kafka_commit(client_->get(), offsets_of(those).get(), 1);
  for (auto* p : those) p->confirmed.reset();
  waiting_ = code == RD_KAFKA_RESP_ERR_NO_ERROR;
  if (!waiting_)
    for (auto* p : those) note(*p, code, p->committing);
  return vanished;
}

void committer::on_response(const partition_table& table, rd_kafka_resp_err_t code,
                            const rd_kafka_topic_partition_list_t* offsets) {
  waiting_ = false;
  verify_at_.emplace();
  pl::failpoint("broker.after");
  for (const auto& entry : elements(offsets))
    if (auto* p = table.find(entry.topic, entry.partition))
      note(*p, entry.err != RD_KAFKA_RESP_ERR_NO_ERROR ? entry.err : code, entry.offset);
}

void committer::ask(const partition_table& table, commit_check::ends with) {
  std::vector<commit_check::question> questions;
  table.each([&](partition& p) {
    p.asked = p.committed != unknown_offset && p.now != phase::unplaced && p.now != phase::recreated;
    p.asked_at = p.next;
    if (p.asked) questions.push_back({{p.topic, p.number}, p.leader, p.log.ask(p.next)});
  });
  asked_ = std::chrono::steady_clock::now();
  next_check_ = asked_ + check_interval;
  ++checks_;
  asked_ends_ = with == commit_check::ends::yes;
  if (!questions.empty()) check_.ask(std::move(questions), with);
}

void committer::verify(const partition_table& table) {
  verify_at_.reset();
  ask(table, commit_check::ends::yes);
}

std::vector<partition*> committer::note_answer(const partition_table& table, const commit_check::answer& answer) {
  std::vector<partition*> vanished;
  if (answer.why != RD_KAFKA_RESP_ERR_NO_ERROR) {
    if (warnings_.allows("check"))
      ctx_.warn("cannot check the committed offsets of the group before the next commit: " + text_of(answer.why) +
                "; retrying");
    return vanished;
  }
  const auto now = std::chrono::steady_clock::now();
  const bool in_time = now - asked_ < answer_overdue;  // else this process may have been frozen meanwhile
  std::vector<partition*> others;
  table.each([&](partition& p) {
    if (!std::exchange(p.asked, false)) return;
    const commit_check::place place(p.topic, p.number);
    const auto end = found_in(answer.ends, place);
    // A position at which nothing was read may be wrong itself: the fetch reports that.
    p.log_differs = p.delivering && ((end && *end < p.asked_at) || !p.log.matches(found_in(answer.first_later, place)));
    const bool missing = std::ranges::find(answer.missing, place) != answer.missing.end();
    (missing || p.log_differs ? vanished : others).push_back(&p);
  });
  for (auto* p : take_deleted_with(vanished, others)) vanished.push_back(p);
  if (!in_time) return vanished;
  for (auto* p : others) {
    p->confirmed = now;
    p->confirmed_by = checks_;
    const auto first_later = found_in(answer.first_later, {p->topic, p->number});
    if (first_later) p->log.confirm(*first_later);
    if (first_later || !p->log.queried())
      p->recent.confirm(p->asked_at);
    else if (asked_ends_)
      verify_at_ = now + verify_again;
    p->known_end = std::max(p->known_end, offsets_.known_end(*p));
  }
  return vanished;
}

// ---------------------------------------------------------------------------------------------------------- waiting ---

std::vector<partition*> committer::verify_now(const partition_table& table) {
  std::vector<partition*> vanished;
  const auto deadline = std::chrono::steady_clock::now() + verification_at_stop;
  if (waiting_) verify_at_.emplace();
  while (std::chrono::steady_clock::now() < deadline && !watch_->joining()) {
    if (!check_.pending()) {
      if (!verify_at_) break;
      verify(table);
    }
    check_.wait_until(deadline);
    if (const auto answer = check_.take()) std::ranges::copy(note_answer(table, *answer), std::back_inserter(vanished));
  }
  return vanished;
}

rd_kafka_resp_err_t committer::send_and_wait(const rd_kafka_topic_partition_list_t& offsets) const {
  const queue_ptr responses(rd_kafka_queue_new(client_->get()));
  const auto code = rd_kafka_commit_queue(client_->get(), &offsets, responses.get(), nullptr, nullptr);
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return code;
  const event_ptr response(rd_kafka_queue_poll(responses.get(), wait_ms));
  return response ? rd_kafka_event_error(response.get()) : RD_KAFKA_RESP_ERR__TIMED_OUT;
}

std::vector<partition*> committer::commit_now(const std::vector<partition*>& those, check when) {
  std::vector<partition*> placed, missing, open;
  std::ranges::copy_if(those, std::back_inserter(placed), [](const auto* p) {
    return p->committed != unknown_offset && p->now != phase::unplaced && p->now != phase::recreated;
  });
  // Partitions without anything to commit are checked, too: this may be the only moment at which the deletion shows.
  // During a join the broker would respond to neither the check nor the commit.
  if (when == check::now && !placed.empty() && !watch_->joining()) {
    auto found = offsets_.without_commit(placed);
    if (!found.ok()) {
      if (warnings_.allows("check")) ctx_.warn(found.why().message + "; offsets are not committed");
      return {};
    }
    missing = *std::move(found);
  }
  std::erase_if(placed, [&](auto* p) { return std::ranges::find(missing, p) != missing.end(); });
  for (auto* p : take_deleted_with(missing, placed)) missing.push_back(p);
  std::ranges::copy_if(placed, std::back_inserter(open), [](const auto* p) { return p->uncommitted(); });
  if (open.empty()) return missing;
  const auto code = send_and_wait(*offsets_of(open));
  for (auto* p : open) note(*p, code, p->committing);
  return missing;
}

// Commit a start that is not the group's own progress before the first record is read. After a crash an offset reset
// would otherwise be applied again, and without any offset `latest` would skip the records in between. Branches that
// keep no positions would miss records in flight.
pl::result<void> committer::commit_start(partition& p) {
  p.settled = p.next;
  p.committed = unknown_offset;
  p.confirmed.reset();
  p.asked = false;  // an answer that is under way is about an earlier commit
  p.begun_after = checks_;
  pl::failpoint("commit_start.before");
  note(p, send_and_wait(*offsets_of({&p})), p.next);
  pl::failpoint("commit_start.after");
  if (p.committed == p.next) return {};
  return pl::retry("the broker rejects the commit of offset " + std::to_string(p.next) + " of " + p.stream +
                   ", the start position; retrying");
}

pl::result<void> committer::commit_reset(const partition& p, std::int64_t offset) {
  const auto list = make_partition_list(1);
  append(*list, p, offset, mark::none);
  const auto code = send_and_wait(*list);
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return {};
  return pl::retry("the broker rejects the commit of offset " + std::to_string(offset) + " of " + p.stream + ": " +
                   text_of(code));
}

pl::result<void> committer::commit_first(const std::vector<partition*>& those) {
  const auto list = make_partition_list(static_cast<int>(those.size()));
  for (const auto* p : those) append(*list, *p, p->first, mark::own);
  const auto code = send_and_wait(*list);
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return {};
  return pl::retry("the broker rejects the commit of the start positions of topic '" + those.front()->topic +
                   "': " + text_of(code));
}

void committer::note(partition& p, rd_kafka_resp_err_t code, std::int64_t offset) {
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
    p.committed = offset;
    commits_.add();
    return;
  }
  failures_.add();
  if (is_rebalance(code)) return;
  if (warnings_.allows("commit"))
    ctx_.warn("the broker rejected the commit of offset " + std::to_string(offset) + " of " + p.stream + ": " +
              text_of(code) + "; retrying (after a restart, records since offset " + std::to_string(p.committed) +
              " would be read again)");
}

}  // namespace kafka
