// SPDX-License-Identifier: Apache-2.0
#include "replay.hpp"

#include <regex.h>

#include <algorithm>
#include <charconv>
#include <span>
#include <tuple>
#include <utility>

namespace kafka {

namespace {

using clock = std::chrono::steady_clock;
constexpr int timeout_ms = 5000;
constexpr auto retry_interval = std::chrono::milliseconds(500);

using metadata_ptr = std::unique_ptr<const rd_kafka_metadata_t, pl::freed_by<rd_kafka_metadata_destroy>>;

bool matches(const std::string& pattern, const std::string& name) {
  if (!pattern.starts_with('^')) return pattern == name;
  regex_t compiled;
  if (regcomp(&compiled, pattern.c_str(), REG_EXTENDED | REG_NOSUB) != 0) return false;
  const bool fits = regexec(&compiled, name.c_str(), 0, nullptr, 0) == 0;
  regfree(&compiled);
  return fits;
}

// "topic/3"
partition partition_of(const std::string& stream) {
  partition p;
  const auto slash = stream.rfind('/');
  p.stream = stream;
  p.topic = stream.substr(0, slash);
  if (slash != std::string::npos) std::from_chars(stream.data() + slash + 1, stream.data() + stream.size(), p.number);
  return p;
}

}  // namespace

pl::result<std::unique_ptr<replay>> replay::open(conf_ptr conf, pl::context ctx) {
  auto with = client::create(RD_KAFKA_CONSUMER, std::move(conf), ctx);
  if (!with.ok()) return with.why();
  rd_kafka_poll_set_consumer(with.value()->get());
  return std::unique_ptr<replay>(new replay(*with, ctx));
}

replay::replay(std::shared_ptr<client> with, pl::context ctx)
    : ctx_(ctx), client_(std::move(with)), fetched_(client_), offsets_(client_->get()) {}

replay::~replay() { client_->cut_log(); }

// --------------------------------------------------------------------------------------------------------- planning ---

pl::result<std::vector<partition>> replay::partitions_of(const std::vector<std::string>& topics) const {
  const rd_kafka_metadata_t* raw = nullptr;
  const auto code = rd_kafka_metadata(client_->get(), 1, nullptr, &raw, timeout_ms);
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
    return pl::retry("the brokers did not return the list of topics: " + text_of(code));
  const metadata_ptr all(raw);
  std::vector<partition> found;
  for (const auto& topic : std::span(all->topics, static_cast<std::size_t>(all->topic_cnt))) {
    const std::string name = topic.topic;
    if (std::none_of(topics.begin(), topics.end(), [&](const auto& t) { return matches(t, name); })) continue;
    for (int i = 0; i < topic.partition_cnt; ++i)
      found.push_back(partition_of(stream_name(name, topic.partitions[i].id)));
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return std::tie(a.topic, a.number) < std::tie(b.topic, b.number); });
  return found;
}

pl::result<std::vector<replay::window>> replay::windows(const std::vector<std::string>& topics, pl_bound from,
                                                        pl_bound until) {
  auto found = partitions_of(topics);
  if (!found.ok()) return found.why();
  std::vector<partition*> all;
  for (auto& p : *found) all.push_back(&p);
  if (until.kind == PL_BOUND_NOW && !all.empty())
    if (auto known = offsets_.committed(all); !known.ok()) return known.why();
  return windows_of(*found, from, until);
}

pl::result<std::vector<replay::window>> replay::windows_of(std::vector<partition>& found, pl_bound from,
                                                           pl_bound until) {
  std::vector<window> all;
  for (auto& p : found) {
    const auto ends = offsets_.ends(p);
    if (!ends.ok()) return ends.why();
    const auto first = offset_at(p, from, *ends);
    if (!first.ok()) return first.why();
    const auto next = offset_at(p, until, *ends);
    if (!next.ok()) return next.why();
    const auto begin = std::clamp(*first, ends->low, ends->high);
    const auto end = std::clamp(*next, begin, ends->high);
    all.push_back({p.stream, static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(end),
                   static_cast<std::uint64_t>(ends->low), static_cast<std::uint64_t>(ends->high)});
  }
  return all;
}

// Return the offset for a bound, not clamped: it may lie outside the records that the broker has.
pl::result<std::int64_t> replay::offset_at(const partition& of, pl_bound bound, const watermarks& ends) const {
  constexpr std::int64_t ns = 1'000'000;
  if (bound.kind == PL_BOUND_POSITION) return bound.value;
  if (bound.kind == PL_BOUND_TIME_NS) {
    // Kafka times are in milliseconds: use the first one that is not before the bound.
    const auto ms = bound.value / ns + (bound.value % ns > 0 ? 1 : 0);
    return offsets_.start(of, {start_policy::kind::time, ms});
  }
  return of.committed == unknown_offset ? ends.high : of.committed;
}

// ---------------------------------------------------------------------------------------------------------- reading ---

pl::result<void> replay::select(const std::vector<window>& windows) {
  for (const auto& w : windows) {
    if (w.first >= w.next) continue;
    const auto named = partition_of(w.stream);
    auto& p = table_.add(named.topic, named.number);
    p.next = static_cast<std::int64_t>(w.first);
    p.now = phase::reading;
    p.queue.reset(rd_kafka_queue_get_partition(client_->get(), p.topic.c_str(), p.number));
    p.until = static_cast<std::int64_t>(w.next);
    open_.insert(&p);
  }
  return assign();
}

pl::result<void> replay::assign() {
  const auto list = make_partition_list();
  table_.each([&](partition& p) {
    p.delivering = false;
    if (open_.contains(&p)) rd_kafka_topic_partition_list_add(list.get(), p.topic.c_str(), p.number)->offset = p.next;
  });
  attach();  // before the assignment: otherwise librdkafka forwards the first records to the consumer's queue
  const auto code = rd_kafka_assign(client_->get(), list.get());
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return pl::fatal("librdkafka rejected the assignment: " + text_of(code));
  attach();
  return {};
}

// See consumer::attach_new.
void replay::attach() {
  table_.each([&](partition& p) {
    if (!p.delivering) fetched_.attach(p.queue.get());
  });
}

bool replay::done() const noexcept {
  bool left = !open_.empty();
  table_.each([&](const partition& p) { left = left || p.empty_until != unknown_offset; });
  return !left;
}

void replay::tend() {
  attach();  // before the events: then no record is taken from the fetch queue before an earlier one is found here
  while (const auto event = message_ptr(rd_kafka_consumer_poll(client_->get(), 0))) {
    if (event->err == RD_KAFKA_RESP_ERR_NO_ERROR)
      on_stray_record(*event);
    else
      on_fetch_event(*event);
  }
  table_.each([&](partition& p) {
    if (p.now == phase::out_of_range && clock::now() >= p.retry_at) repair(p);
  });
  check_ends();
  read_again();
}

partition* replay::reading(const rd_kafka_message_t& message) {
  auto* p = table_.find(rd_kafka_topic_name(message.rkt), message.partition);
  if (p == nullptr || p->now != phase::reading || !open_.contains(p) || doubtful_.contains(p)) return nullptr;
  if (message.offset >= p->until) {
    ended_.insert(p);
    return nullptr;
  }
  // The first record since the assignment.
  if (!p->delivering && message.offset > p->next && !read_twice(*p)) {
    doubt(*p);
    return nullptr;
  }
  return p;
}

void replay::on_fetch_event(const rd_kafka_message_t& event) {
  auto* p = event.rkt == nullptr ? nullptr : table_.find(rd_kafka_topic_name(event.rkt), event.partition);
  if (p != nullptr && event.err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
    if (doubtful_.contains(p)) return;
    p->delivering = true;
    if (event.offset >= p->until && open_.contains(p)) ended_.insert(p);
  } else if (p != nullptr && event.err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
    p->now = phase::out_of_range;
    p->retry_at = {};
  } else if (warnings_.allows(rd_kafka_err2name(event.err))) {
    ctx_.warn(text_of(event.err) + ": " + rd_kafka_message_errstr(&event));
  }
}

// A record in the queue of the client's events would be missing from the rows.
void replay::on_stray_record(const rd_kafka_message_t& record) {
  auto* p = table_.find(rd_kafka_topic_name(record.rkt), record.partition);
  if (p != nullptr && open_.contains(p) && record.offset >= p->next && record.offset < p->until) doubt(*p);
}

// ------------------------------------------------------------------------------------------------ missing positions ---

// Positions without a record at the begin or at the end of what was fetched are legitimate (compaction, transaction
// markers), but may also mean that records were missed. Only what two readings from the same position miss is not there.

bool replay::read_twice(const partition& p) const {
  const auto again = again_from_.find(&p);
  return again != again_from_.end() && again->second == p.next;
}

// Read the partition again from `next`, once the others are read.
void replay::doubt(partition& p) {
  if (!doubtful_.insert(&p).second) return;
  const auto list = make_partition_list(1);
  rd_kafka_topic_partition_list_add(list.get(), p.topic.c_str(), p.number);
  rd_kafka_pause_partitions(client_->get(), list.get());
}

// Called between batches: `next` includes the records before the end.
void replay::check_ends() {
  for (auto* p : std::exchange(ended_, {})) {
    if (p->next >= p->until || read_twice(*p))
      finish(*p);
    else if (open_.contains(p))
      doubt(*p);
  }
}

void replay::read_again() {
  if (doubtful_.empty() || doubtful_.size() < open_.size()) return;
  const auto list = make_partition_list(static_cast<int>(doubtful_.size()));
  for (auto* p : std::exchange(doubtful_, {})) {
    ctx_.info(p->stream + ": no record was received for position " + std::to_string(p->next) + "; reading it again");
    again_from_[p] = p->next;
    rd_kafka_topic_partition_list_add(list.get(), p->topic.c_str(), p->number);
  }
  rd_kafka_resume_partitions(client_->get(), list.get());
  if (const auto assigned = assign(); !assigned.ok()) ctx_.warn(assigned.why().message);
}

// The last records of the window may be transaction markers, or compacted away: extend the range to the end of the
// window.
void replay::finish(partition& p) {
  doubtful_.erase(&p);
  if (open_.erase(&p) == 0) return;
  p.empty_until = p.until;
  const auto list = make_partition_list(1);
  rd_kafka_topic_partition_list_add(list.get(), p.topic.c_str(), p.number);
  rd_kafka_pause_partitions(client_->get(), list.get());
}

// Continue at the first record that the broker has, after retention deleted the next one.
void replay::repair(partition& p) {
  p.retry_at = clock::now() + retry_interval;
  const auto ends = offsets_.ends(p);
  if (!ends.ok()) {
    if (warnings_.allows("repair")) ctx_.warn(ends.why().message);
    return;
  }
  const auto target = std::clamp(ends->low, p.next, p.until);
  const bool shorter = ends->high < target;  // truncated, or created again
  if (target > p.next)
    ctx_.error("LOST: records " + std::to_string(p.next) + " to " + std::to_string(target - 1) + " of " + p.stream +
               " were deleted on the broker before they were read");
  if (shorter)
    ctx_.error("LOST: records " + std::to_string(target) + " to " + std::to_string(p.until - 1) + " of " + p.stream +
               " no longer exist: the topic was truncated or created again, and ends at " + std::to_string(ends->high));
  p.now = phase::reading;
  p.next = target;
  if (target == p.until || shorter) return finish(p);
  if (const auto assigned = assign(); !assigned.ok()) ctx_.warn(assigned.why().message);
}

std::uint64_t replay::end_of(const partition& p, std::int64_t next) const noexcept {
  const auto end = offsets_.known_end(p);
  return end == unknown_offset ? PL_UNKNOWN : static_cast<std::uint64_t>(std::max(end, next));
}

// ----------------------------------------------------------------------------------------------------------- reset ---

pl::result<void> replay::reset_offsets(const std::vector<window>& windows, const std::string& group) {
  const auto list = make_partition_list(static_cast<int>(windows.size()));
  for (const auto& w : windows) {
    const auto p = partition_of(w.stream);
    rd_kafka_topic_partition_list_add(list.get(), p.topic.c_str(), p.number)->offset =
        static_cast<std::int64_t>(w.first);
  }
  auto code = rd_kafka_commit(client_->get(), list.get(), 0);
  for (const auto& entry : std::span(list->elems, static_cast<std::size_t>(list->cnt)))
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) code = entry.err;
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return {};
  if (code == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID || code == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS ||
      code == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION)
    return pl::fatal("the group '" + group +
                     "' has members: stop the hosts first, and wait until their sessions have ended (up to the session "
                     "time-out, 45 s, for hosts with an instance)");
  return pl::fatal("the broker rejected the offsets of group '" + group + "': " + text_of(code));
}

}  // namespace kafka
