// SPDX-License-Identifier: Apache-2.0
#include "consumer.hpp"

#include "statistics.hpp"

#include <pipeline/failpoint.hpp>

#include <algorithm>
#include <array>
#include <exception>
#include <span>

namespace kafka {

namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

constexpr auto try_again_after = 500ms;

int milliseconds_of(std::chrono::nanoseconds d) {
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(std::max(d, 0ns)).count());
}

std::span<rd_kafka_topic_partition_t> elements(rd_kafka_topic_partition_list_t& list) {
  return {list.elems, static_cast<std::size_t>(list.cnt)};
}

partition_list_ptr only(const partition& p, std::int64_t offset) {
  auto list = make_partition_list(1);
  rd_kafka_topic_partition_list_add(list.get(), p.topic.c_str(), p.number)->offset = offset;
  return list;
}

consumer& owner(void* opaque) { return *static_cast<consumer*>(client::owner_of(opaque)); }

// The body of a callback: librdkafka's frames are below us, and nothing may fly through them. Says what did.
template <class Body>
std::optional<std::string> contained(Body&& body) noexcept {
  try {
    body();
    return std::nullopt;
  } catch (const std::exception& e) {
    return e.what();
  }
}

}  // namespace

// ------------------------------------------------------------------------------------------------ joining, leaving ---

pl::result<std::unique_ptr<consumer>> consumer::join(consumer_settings settings, conf_ptr conf, pl::context ctx) {
  rd_kafka_conf_set_rebalance_cb(conf.get(), on_rebalance);
  rd_kafka_conf_set_offset_commit_cb(conf.get(), on_commit);
  rd_kafka_conf_set_error_cb(conf.get(), on_error);
  rd_kafka_conf_set_stats_cb(conf.get(), on_statistics);
  const auto watch = std::make_shared<group_watch>();
  watch->install(conf.get());
  auto with = client::create(RD_KAFKA_CONSUMER, std::move(conf), ctx);
  if (!with.ok()) return with.why();
  with.value()->keep(watch);
  rd_kafka_poll_set_consumer(with.value()->get());
  std::unique_ptr<consumer> made(new consumer(std::move(settings), *with, watch, ctx));
  made->client_->set_owner(made.get());

  const auto subscription = make_partition_list();
  for (const auto& topic : made->settings_.topics)
    rd_kafka_topic_partition_list_add(subscription.get(), topic.c_str(), RD_KAFKA_PARTITION_UA);
  const auto code = rd_kafka_subscribe(made->client_->get(), subscription.get());
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
    return pl::bad_option(
        "topics", "librdkafka can't subscribe to this: " + text_of(code) + " (is a regular expression malformed?)");
  return made;
}

consumer::consumer(consumer_settings settings, std::shared_ptr<client> with, std::shared_ptr<group_watch> watch,
                   pl::context ctx)
    : settings_(std::move(settings)),
      ctx_(ctx),
      client_(std::move(with)),
      watch_(std::move(watch)),
      fetched_(client_),
      offsets_(client_->get()),
      committer_(client_, watch_, ctx, settings_.commit_interval),
      owned_(ctx.gauge("kafka_assigned_partitions", "Partitions that this host reads at the moment")),
      queued_messages_(ctx.gauge("kafka_queued_messages", "Records fetched from the brokers and not yet taken over")),
      queued_bytes_(ctx.gauge("kafka_queued_bytes", "Their bytes of payload")),
      connected_(ctx.gauge("kafka_connected_brokers", "Brokers with a connection that is up")),
      round_trip_(ctx.gauge("kafka_broker_round_trip_seconds", "Mean round trip to the slowest broker")),
      rebalances_(
          ctx.counter("kafka_rebalances_total", "Times that partitions were given to or taken from this host")) {
  if (settings_.wakes_fetchers) fetched_.wake_fetchers_when_taking(settings_.user, settings_.password);
}

consumer::~consumer() {
  if (!left_) close();  // nobody asked for a stop: what is in flight is the host's to read again
  client_->cut_log();
}

void consumer::leave() {
  if (left_) return;
  const auto uncommitted = [&] {
    std::vector<partition*> those;
    table_.each([&](partition& p) {
      if (p.uncommitted()) those.push_back(&p);
    });
    return those;
  };
  // A rebalance that is under way would refuse the last offsets.
  const auto deadline = clock::now() + 3s;
  const auto soon = [&] { return half_joined() || (watch_->joining() && !uncommitted().empty()); };
  while (soon() && !failure() && clock::now() < deadline) serve(50ms);
  committer_.commit_now(uncommitted());
  leaving_ = true;
  close();
}

// To destroy a handle that was not closed can hang, in the middle of a rebalance, for good. With a queue of our own the
// wait is bounded: a coordinator that is down must not hold up the end of the program.
void consumer::close() {
  left_ = true;
  const queue_ptr closing(rd_kafka_queue_new(client_->get()));
  const error_ptr refused(rd_kafka_consumer_close_queue(client_->get(), closing.get()));
  const auto deadline = clock::now() + 10s;
  while (!refused && !rd_kafka_consumer_closed(client_->get()) && clock::now() < deadline)
    message_ptr(rd_kafka_consume_queue(closing.get(), 20)).reset();
  if (!refused && !rd_kafka_consumer_closed(client_->get())) {
    ctx_.warn("the group '" + settings_.group + "' did not let go within 10 seconds; the client is abandoned");
    client_->abandon();
  }
  if (half_joined()) client_->abandon();
}

// The coordinator has let us in, and given us nothing yet. Before 2.3 librdkafka aborts the process when it destroys a
// handle in that state, closed or not: a cooperative assignor has no state before the first assignment, and is asked to
// free it.
bool consumer::half_joined() const noexcept {
  return rd_kafka_version() < 0x02030000 && !assigned_ && watch_->answered();
}

// ---------------------------------------------------------------------------------------------------------- events ---

void consumer::serve(std::chrono::nanoseconds at_most) {
  auto timeout = milliseconds_of(at_most);
  while (const auto event = message_ptr(rd_kafka_consumer_poll(client_->get(), timeout))) {
    if (event->err != RD_KAFKA_RESP_ERR_NO_ERROR) on_fetch_event(*event);
    timeout = 0;
  }
}

std::optional<pl::failure> consumer::failure() {
  if (failure_) return failure_;
  std::array<char, 512> reason{};
  const auto code = rd_kafka_fatal_error(client_->get(), reason.data(), reason.size());
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return std::nullopt;
  if (code == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID)
    failure_ = pl::failure{pl::status::fenced,
                           "another live process has joined the group '" + settings_.group + "' as instance '" +
                               settings_.instance +
                               "', and the broker has thrown this one out; give each process its own 'instance' (or a "
                               "state directory of its own), or stop one of them",
                           {}};
  else
    failure_ = pl::fatal("librdkafka has given up: " + text_of(code) + ": " + reason.data());
  return failure_;
}

void consumer::on_rebalance(rd_kafka_t*, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t* list,
                            void* opaque) {
  auto& self = owner(opaque);
  const auto thrown = contained([&] {
    self.rebalances_.add();
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
      self.assigned_ = true;
      self.assigned(*list);
    } else {
      self.revoked(*list);
    }
    self.owned_.set(static_cast<double>(self.table_.size()));
  });
  if (thrown) self.failure_ = pl::fatal("while partitions were given or taken: " + *thrown);
}

// What is thrown in the next three can only be for want of memory, and what they do is done again soon.

void consumer::on_commit(rd_kafka_t*, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t* list, void* opaque) {
  auto& self = owner(opaque);
  (void)contained([&] { self.committer_.on_answer(self.table_, code, list); });
}

void consumer::on_error(rd_kafka_t*, int code, const char* reason, void* opaque) {
  (void)contained([&] { owner(opaque).note_error(static_cast<rd_kafka_resp_err_t>(code), reason); });
}

int consumer::on_statistics(rd_kafka_t*, char* json, std::size_t size, void* opaque) {
  (void)contained([&] { owner(opaque).report({json, size}); });
  return 0;  // librdkafka frees the text
}

void consumer::note_error(rd_kafka_resp_err_t code, std::string_view reason) {
  if (code == RD_KAFKA_RESP_ERR__FATAL || !warnings_.allows(rd_kafka_err2name(code))) return;
  const auto why = client_->log().last_failure();
  if (!why.empty() && (code == RD_KAFKA_RESP_ERR__SSL || code == RD_KAFKA_RESP_ERR__AUTHENTICATION))
    return ctx_.warn("no connection to a broker: " + explained(why) + "; trying on");
  const auto what = text_of(code) + ": " + std::string(reason);
  if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
    ctx_.warn("no broker of " + settings_.brokers + " can be reached; trying on (" + std::string(reason) + ")");
  else if (code == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED)
    ctx_.warn("the group took this host for dead, because it did not ask for records in time; it joins again (" +
              std::string(reason) + ")");
  else if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
    ctx_.warn("a topic is not there: " + std::string(reason) + "; create it, or correct 'topic'");
  else if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
    ctx_.warn("the broker does not allow it: " + what + "; give this user Read on the topic and on the group '" +
              settings_.group + "'");
  else
    ctx_.warn(what);
}

void consumer::report(std::string_view statistics_json) {
  const auto found = parse_statistics(statistics_json);
  if (!found) return;
  queued_messages_.set(static_cast<double>(found->queued_messages));
  queued_bytes_.set(static_cast<double>(found->queued_bytes));
  connected_.set(static_cast<double>(found->connected_brokers));
  round_trip_.set(found->slowest_round_trip);
  for (const auto& s : found->partitions)
    if (const auto* p = table_.find(s.topic, s.partition); p != nullptr && s.lag >= 0)
      p->lag.set(static_cast<double>(s.lag));
}

partition* consumer::reading(const rd_kafka_message_t& message) {
  auto* p = table_.find(rd_kafka_topic_name(message.rkt), message.partition);
  return p != nullptr && p->now == phase::reading ? p : nullptr;
}

std::uint64_t consumer::end_of(const partition& p, std::int64_t next) const noexcept {
  const auto end = offsets_.known_end(p);
  return end == unknown_offset ? PL_UNKNOWN : static_cast<std::uint64_t>(std::max(end, next));
}

void consumer::on_fetch_event(const rd_kafka_message_t& event) {
  auto* p = event.rkt == nullptr ? nullptr : table_.find(rd_kafka_topic_name(event.rkt), event.partition);
  if (event.err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
    if (p == nullptr) return;
    p->delivering = true;
    if (p->now == phase::reading && event.offset > p->next) p->empty_until = event.offset;
  } else if (event.err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
    // Of an unplaced partition: it just has no committed offset, and gets a place of its own soon.
    if (p == nullptr || p->now == phase::unplaced) return;
    p->now = phase::out_of_range;
    p->retry_at = {};
    ++not_reading_;
  } else {
    note_error(event.err, rd_kafka_message_errstr(&event));
  }
}

// ------------------------------------------------------------------------------------------------------ assignment ---

bool consumer::cooperative() const {
  return std::string_view(rd_kafka_rebalance_protocol(client_->get())) == "COOPERATIVE";
}

void consumer::assigned(rd_kafka_topic_partition_list_t& list) {
  std::vector<partition*> fresh;
  for (const auto& entry : elements(list)) {
    auto* p = table_.find(entry.topic, entry.partition);
    if (p == nullptr) p = &table_.add(entry.topic, entry.partition);
    const auto number = std::to_string(p->number);
    p->lag = ctx_.gauge("kafka_consumer_lag", "Records between the committed offset and the partition's end",
                        {{"topic", p->topic}, {"partition", number}});
    p->lost = ctx_.counter("kafka_lost_records_total",
                           "Records that the broker had deleted before they were read (offset out of range)",
                           {{"topic", p->topic}, {"partition", number}});
    p->queue.reset(rd_kafka_queue_get_partition(client_->get(), p->topic.c_str(), p->number));
    fresh.push_back(p);
  }
  // What can't be placed now begins anywhere, unread, and is moved later: librdkafka wants its answer.
  warn_unplaced(place(fresh));
  for (auto& entry : elements(list)) {
    auto* p = table_.find(entry.topic, entry.partition);
    entry.offset = p->now == phase::unplaced ? RD_KAFKA_OFFSET_INVALID : p->next;
    if (p->now == phase::unplaced) ++not_reading_;
    fetched_.attach(p->queue.get());
  }
  apply_assignment(list);
}

void consumer::apply_assignment(rd_kafka_topic_partition_list_t& list) {
  std::string why;
  if (cooperative()) {
    if (const error_ptr error{rd_kafka_incremental_assign(client_->get(), &list)})
      why = rd_kafka_error_string(error.get());
  } else if (const auto code = rd_kafka_assign(client_->get(), &list); code != RD_KAFKA_RESP_ERR_NO_ERROR) {
    why = text_of(code);
  }
  if (!why.empty()) ctx_.warn("librdkafka did not take the assignment: " + why);
}

void consumer::revoked(rd_kafka_topic_partition_list_t& list) {
  // Another member may have them already: then our offsets are no longer welcome.
  const bool too_late = rd_kafka_assignment_lost(client_->get()) != 0;
  std::vector<partition*> gone;
  for (const auto& entry : elements(list))
    if (auto* p = table_.find(entry.topic, entry.partition)) gone.push_back(p);
  for (auto* p : gone) {
    if (p->now == phase::unplaced || destroyed()) continue;  // the host never heard of it, or is not listening any more
    const auto settled = ctx_.lost(p->stream);
    if (settled != PL_UNKNOWN) p->settled = static_cast<std::int64_t>(settled);
    p->lag.set(0);
  }
  if (!too_late && !destroyed()) committer_.commit_now(gone);
  for (auto* p : gone) table_.remove(*p);
  watch_->expect_join();
  apply_revocation(list);
}

void consumer::apply_revocation(rd_kafka_topic_partition_list_t& list) {
  if (!cooperative()) {
    rd_kafka_assign(client_->get(), nullptr);
    return;
  }
  if (const error_ptr error{rd_kafka_incremental_unassign(client_->get(), &list)})
    ctx_.warn(std::string("librdkafka did not take the revocation: ") + rd_kafka_error_string(error.get()));
}

// -------------------------------------------------------------------------------------- placing, moving, repairing ---

pl::result<void> consumer::place(const std::vector<partition*>& those) {
  if (those.empty()) return {};
  // The host looks at the sinks before we look at the broker: an order that is given in between is then seen.
  for (auto* p : those)
    if (auto expected = ctx_.announced(p->stream); !expected.ok()) return expected;
  if (auto known = offsets_.committed(those); !known.ok()) return known;
  for (auto* p : those)
    if (auto placed = place_one(*p); !placed.ok()) return placed;
  return {};
}

pl::result<void> consumer::place_one(partition& p) {
  auto from = p.committed;
  auto why = p.committed_with == committer_.mark(p.committed) ? pl::begin::by_progress : pl::begin::by_order;
  if (from == unknown_offset) {
    const auto start = offsets_.start(p, settings_.start);
    if (!start.ok()) return start.why();
    from = start.value();
    why = pl::begin::by_policy;
  }
  const auto answer = ctx_.assigned(p.stream, static_cast<std::uint64_t>(from), why);
  if (!answer.ok()) {
    if (answer.why().code == pl::status::fatal) failure_ = answer.why();
    return answer.why();
  }
  p.next = static_cast<std::int64_t>(answer.value());
  if (why == pl::begin::by_policy && p.next > from)
    if (auto reported = report_missing_offset(p, from); !reported.ok()) return reported;
  if (why != pl::begin::by_progress)
    if (auto marked = mark_start(p); !marked.ok()) return marked;
  p.now = phase::reading;
  if (ctx_.logs(pl::log_level::debug)) ctx_.debug(p.stream + " is read from " + std::to_string(p.next));
  return {};
}

// A broker forgets a group's offsets with the topic, or when they expire; the sinks still know theirs. These may lie inside of
// other data now.
pl::result<void> consumer::report_missing_offset(const partition& p, std::int64_t start) {
  const auto ends = offsets_.ends(p);
  if (!ends.ok()) return ends.why();
  if (p.next > ends.value().high) return {};  // out of range: noticed when it is fetched
  const auto next = std::to_string(p.next);
  const auto what = "the group has no offset of " + p.stream + " any more, though the sinks have it up to " + next +
                    ": the topic was created anew, or the group's offsets have expired";
  if (settings_.on_out_of_range == out_of_range::stop) {
    failure_ = pl::fatal(what + "; on_out_of_range: stop. Reset the group's offset with Kafka's tools: to " + next +
                         " to go on, to the earliest if it was created anew");
    ctx_.error(failure_->message);
    return *failure_;
  }
  ctx_.error(what + "; going on at " + next + ". If it was created anew, records " + std::to_string(start) + " to " +
             std::to_string(p.next - 1) + ", " + std::to_string(p.next - start) +
             " of them, are not read: reset the group to the earliest with Kafka's tools to have them");
  return {};
}

// A start that doesn't rest on our own progress gets our mark before the first record is read. An order would be obeyed again
// after a crash; and where there was no offset yet, "latest" would skip what came in between, and branches that keep no
// positions would miss what was under way to them.
pl::result<void> consumer::mark_start(partition& p) {
  p.settled = p.next;
  p.committed = unknown_offset;
  pl::failpoint("mark.before");
  committer_.commit_now({&p});
  pl::failpoint("mark.after");
  if (p.committed == p.next) return {};
  return pl::retry("the broker does not take offset " + std::to_string(p.next) + " of " + p.stream +
                   ", where reading is to begin; it is tried again");
}

void consumer::warn_unplaced(const pl::result<void>& placed) {
  if (placed.ok() || placed.why().message.empty()) return;  // where the host refused, it has said why
  if (warnings_.allows("place")) ctx_.warn(placed.why().message);
}

void consumer::place_waiting() {
  const auto now = clock::now();
  if (now < place_at_) return;
  std::vector<partition*> waiting;
  table_.each([&](partition& p) {
    if (p.now == phase::unplaced) waiting.push_back(&p);
  });
  if (waiting.empty()) return;
  const auto placed = place(waiting);
  if (!placed.ok()) place_at_ = now + try_again_after;
  warn_unplaced(placed);
  for (auto* p : waiting) {
    if (p->now != phase::reading) continue;
    p->now = phase::moving;
    p->fetch_from = p->next;
  }
}

void consumer::tend() {
  if (left_) return;
  committer_.commit_if_due(table_);
  attach_new();
  if (not_reading_ == 0) return;
  place_waiting();
  const auto now = clock::now();
  std::size_t waiting = 0;
  table_.each([&](partition& p) {
    if (p.now == phase::moving && now >= p.retry_at) move(p);
    if (p.now == phase::out_of_range && now >= p.retry_at && !failure_) repair(p);
    if (p.now != phase::reading) ++waiting;
  });
  not_reading_ = waiting;
}

void consumer::attach_new() {
  // Stopping a partition's fetcher ends the forwarding of its queue, at a moment of librdkafka's choosing: until the
  // first record of the new assignment has come, it may be that one.
  table_.each([&](partition& p) {
    if (!p.delivering) fetched_.attach(p.queue.get());
  });
}

void consumer::move(partition& p) {
  const auto list = only(p, p.fetch_from);
  const error_ptr error(rd_kafka_seek_partitions(client_->get(), list.get(), 1000));
  const bool moved = !error && list->elems[0].err == RD_KAFKA_RESP_ERR_NO_ERROR;
  // A fetcher that has stopped (offset out of range) or not begun can't seek.
  if (moved || restart(p, p.fetch_from))
    p.now = phase::reading;
  else
    p.retry_at = clock::now() + try_again_after;
}

bool consumer::restart(partition& p, std::int64_t from) {
  p.delivering = false;
  if (!cooperative()) {
    const auto all = make_partition_list();
    table_.each([&](partition& other) {
      other.delivering = false;
      rd_kafka_topic_partition_list_add(all.get(), other.topic.c_str(), other.number)->offset =
          &other == &p      ? from
          : other.next >= 0 ? other.next
                            : RD_KAFKA_OFFSET_INVALID;
    });
    return rd_kafka_assign(client_->get(), all.get()) == RD_KAFKA_RESP_ERR_NO_ERROR;
  }
  const auto list = only(p, from);
  // Fails where an earlier attempt got half-way: then there is nothing to unassign.
  const error_ptr ignored(rd_kafka_incremental_unassign(client_->get(), list.get()));
  const error_ptr error(rd_kafka_incremental_assign(client_->get(), list.get()));
  if (error) ctx_.warn(p.stream + " can't be read on: " + rd_kafka_error_string(error.get()));
  return !error;
}

void consumer::repair(partition& p) {
  p.retry_at = clock::now() + try_again_after;
  const auto ends = offsets_.ends(p);
  if (!ends.ok()) {
    if (warnings_.allows("repair")) ctx_.warn(ends.why().message);
    return;
  }
  if (p.next >= ends.value().low && p.next <= ends.value().high) {  // it has come back, or was never gone
    if (restart(p, p.next)) p.now = phase::reading;
    return;
  }
  go_on_after_loss(p, ends.value());
}

void consumer::go_on_after_loss(partition& p, const watermarks& ends) {
  const auto kept = " (the broker has " + std::to_string(ends.low) + " to " + std::to_string(ends.high) + ")";
  const bool behind = p.next < ends.low;
  const auto count = behind ? ends.low - p.next : 0;
  const auto what =
      behind ? "LOST: records " + std::to_string(p.next) + " to " + std::to_string(ends.low - 1) + " of " + p.stream +
                   ", " + std::to_string(count) + " of them, were deleted on the broker before they were read" + kept
             : "position " + std::to_string(p.next) + " of " + p.stream +
                   " lies beyond the partition's end: the topic was created anew, or its end was cut off" + kept;
  if (settings_.on_out_of_range == out_of_range::stop) {
    failure_ = pl::fatal(what +
                         "; on_out_of_range: stop. Reset the group's offset with Kafka's tools, or set "
                         "on_out_of_range to earliest or latest");
    ctx_.error(failure_->message);
    return;
  }
  const auto target = settings_.on_out_of_range == out_of_range::earliest ? ends.low : ends.high;
  if (!(behind ? restart(p, target) : go_back(p, target))) return;  // tried again soon
  p.now = phase::reading;
  if (behind) {
    p.empty_until = target;
    p.lost.add(static_cast<double>(count));
  }
  const auto skipped = target - std::max(ends.low, behind ? p.next : target);
  ctx_.error(what + "; going on at " + std::to_string(target) +
             (skipped > 0 ? ", which skips " + std::to_string(skipped) + " more" : std::string{}) +
             " (option on_out_of_range). Longer retention on the topic, or a faster sink, avoids this");
}

bool consumer::go_back(partition& p, std::int64_t to) {
  // Positions begin again: for the host this is the end of one stream and the beginning of another.
  (void)ctx_.lost(p.stream);
  const auto answer = ctx_.assigned(p.stream, static_cast<std::uint64_t>(to), pl::begin::by_order);
  if (!answer.ok()) return false;
  if (!restart(p, to)) return false;
  p.next = to;
  p.settled = to;
  p.empty_until = unknown_offset;
  return true;
}

void consumer::seek(std::string_view stream, std::int64_t next) {
  auto* p = table_.find(stream);
  if (p == nullptr) return;  // taken from us in the meantime: whoever has it now begins where it should
  p->next = next;
  p->empty_until = unknown_offset;
  p->now = phase::moving;
  p->fetch_from = next;
  p->retry_at = {};
  ++not_reading_;
  move(*p);
}

void consumer::settle(std::string_view stream, std::int64_t next) {
  pl::failpoint("settle");
  if (auto* p = table_.find(stream)) p->settled = next;
}

}  // namespace kafka
