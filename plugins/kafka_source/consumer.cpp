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

constexpr auto retry_interval = 500ms;
constexpr auto watch_interval = 500ms;

int milliseconds_of(std::chrono::nanoseconds d) {
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(std::max(d, 0ns)).count());
}

std::span<rd_kafka_topic_partition_t> elements(rd_kafka_topic_partition_list_t& list) {
  return {list.elems, static_cast<std::size_t>(list.cnt)};
}

consumer* owner(void* opaque) { return client::owner_of<consumer>(opaque); }

std::string explained_join_failure(rd_kafka_resp_err_t code) {
  if (code != RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL) return text_of(code);
  return "a member of the group does not support the assignment strategy 'cooperative-sticky' (" + text_of(code) +
         "); stop that member, use another 'group', or set properties: {partition.assignment.strategy: range}";
}

// Run the body of a callback. No exception may propagate through librdkafka's frames; return the message of one that
// was caught.
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
    return pl::bad_option("topics",
                          "librdkafka rejects the subscription: " + text_of(code) + "; check the regular expressions");
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
      committer_(client_, watch_, offsets_, ctx, settings_.commit_interval),
      assignment_(client_, ctx, table_),
      placement_(settings_.start, settings_.on_out_of_range, offsets_, committer_, deleted_, ctx, failure_),
      repair_(settings_.on_out_of_range, offsets_, committer_, assignment_, ctx, failure_),
      live_(ctx.liveness()),
      reception_(settings_.brokers, settings_.group),
      ends_(client_),
      owned_(ctx.gauge("kafka_assigned_partitions", "Partitions that are assigned to this host")),
      queued_messages_(ctx.gauge("kafka_queued_messages", "Records fetched from the brokers and not yet polled")),
      queued_bytes_(ctx.gauge("kafka_queued_bytes", "Payload bytes of the records fetched and not yet polled")),
      connected_(ctx.gauge("kafka_connected_brokers", "Brokers that are connected")),
      round_trip_(ctx.gauge("kafka_broker_round_trip_seconds", "Mean round-trip time to the slowest broker")),
      rebalances_(
          ctx.counter("kafka_rebalances_total", "Times that partitions were assigned to this host or revoked")) {
  if (settings_.wakes_fetchers) fetched_.wake_fetchers_when_taking(*settings_.wakes_fetchers);
}

consumer::~consumer() {
  if (!left_) close();  // without a stop: records in flight are read again
  client_->set_owner(nullptr);
  client_->cut_log();
}

void consumer::leave() {
  if (left_) return;
  const auto uncommitted = [&] {
    bool any = false;
    table_.each([&](const partition& p) { any = any || p.uncommitted(); });
    return any;
  };
  // Wait for the end of a rebalance, because the broker would reject the last offsets during it.
  const auto deadline = clock::now() + 3s;
  const auto soon = [&] { return half_joined() || (watch_->joining() && uncommitted()); };
  while (soon() && !failure() && clock::now() < deadline) serve(50ms);
  for (auto* p : committer_.verify_now(table_)) p->recreate();
  std::vector<partition*> all;
  table_.each([&](partition& p) { all.push_back(&p); });
  commit_before_leaving(all);
  leaving_ = true;
  close();
}

// Destroying a handle that was not closed can block forever during a rebalance. Closing through a separate queue
// bounds the wait: a coordinator that is down must not delay the end of the program.
void consumer::close() {
  left_ = true;
  table_.each([&](const partition& p) { deleted_any_ = deleted_any_ || p.was_recreated; });
  ends_.stop();
  committer_.stop_checks();
  const queue_ptr closing(rd_kafka_queue_new(client_->get()));
  const error_ptr refused(rd_kafka_consumer_close_queue(client_->get(), closing.get()));
  const auto deadline = clock::now() + 10s;
  while (!refused && !rd_kafka_consumer_closed(client_->get()) && clock::now() < deadline)
    message_ptr(rd_kafka_consume_queue(closing.get(), 20)).reset();
  if (!refused && !rd_kafka_consumer_closed(client_->get())) {
    ctx_.warn("the group '" + settings_.group + "' was not left within 10 seconds; abandoning the client");
    client_->abandon();
  }
  if (half_joined() || deleted_.any() || deleted_any_) client_->abandon();
}

// A client that has noticed the deletion of a topic is abandoned once it has left the group: librdkafka (found in 2.0.2)
// keeps a reference to the partitions that no longer exist, and its destruction waits for it forever.

// Return whether the join has succeeded but no assignment has arrived. Before 2.3, librdkafka aborts the process when
// a handle in this state is destroyed, closed or not: it frees an assignor state that does not exist yet.
bool consumer::half_joined() const noexcept {
  return rd_kafka_version() < 0x02030000 && !assigned_ && watch_->responded();
}

// ---------------------------------------------------------------------------------------------------------- events ---

void consumer::serve(std::chrono::nanoseconds at_most) {
  auto timeout = milliseconds_of(at_most);
  attach_new();  // before the events: then no record is taken from the fetch queue before an earlier one is found here
  while (const auto event = message_ptr(rd_kafka_consumer_poll(client_->get(), timeout))) {
    if (event->err == RD_KAFKA_RESP_ERR_NO_ERROR)
      on_stray_record(*event);
    else
      on_fetch_event(*event);
    timeout = 0;
  }
}

// A record in the queue of events would be missing from the rows: fetch it again.
void consumer::on_stray_record(const rd_kafka_message_t& record) {
  auto* p = reading(record);
  if (p == nullptr || record.offset < p->next) return;
  p->now = phase::moving;
  p->fetch_from = p->next;
  p->retry_at = {};
  ++not_reading_;
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
                               "', and the broker has fenced this one; give each process its own 'instance' or its own "
                               "state directory, or stop one of them",
                           {}};
  else
    failure_ = pl::fatal("librdkafka reports a fatal error: " + text_of(code) + ": " + reason.data());
  return failure_;
}

void consumer::on_rebalance(rd_kafka_t*, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t* list,
                            void* opaque) {
  auto* const of = owner(opaque);
  if (of == nullptr) return;
  auto& self = *of;
  const auto thrown = contained([&] {
    self.rebalances_.add();
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
      self.assigned_ = true;
      self.reception_.note_assignment();
      self.assigned(*list);
    } else {
      self.revoked(*list);
    }
    self.owned_.set(static_cast<double>(self.table_.size()));
  });
  if (thrown) self.failure_ = pl::fatal("error in the rebalance callback: " + *thrown);
}

// The next three callbacks can throw only when memory runs out, and their work is repeated soon.

void consumer::on_commit(rd_kafka_t*, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t* list, void* opaque) {
  if (auto* self = owner(opaque)) (void)contained([&] { self->committer_.on_response(self->table_, code, list); });
}

void consumer::on_error(rd_kafka_t*, int code, const char* reason, void* opaque) {
  if (auto* self = owner(opaque))
    (void)contained([&] { self->note_error(static_cast<rd_kafka_resp_err_t>(code), reason); });
}

int consumer::on_statistics(rd_kafka_t*, char* json, std::size_t size, void* opaque) {
  if (auto* self = owner(opaque)) (void)contained([&] { self->report({json, size}); });
  return 0;  // librdkafka frees the text
}

void consumer::note_error(rd_kafka_resp_err_t code, std::string_view reason) {
  if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) reception_.note_brokers_down(std::string(reason), clock::now());
  if (reason.starts_with("JoinGroup failed")) reception_.note_join_failure(explained_join_failure(code));
  const bool refused = code == RD_KAFKA_RESP_ERR__SSL || code == RD_KAFKA_RESP_ERR__AUTHENTICATION;
  const auto why = refused ? client_->log().last_failure() : std::string();
  if (!why.empty()) reception_.note_refusal(explained(why), clock::now());
  if (code == RD_KAFKA_RESP_ERR__FATAL || !warnings_.allows(rd_kafka_err2name(code))) return;
  if (!why.empty()) return ctx_.warn("no connection to a broker: " + explained(why) + "; retrying");
  const auto what = text_of(code) + ": " + std::string(reason);
  if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
    ctx_.warn("no broker of " + settings_.brokers + " can be reached; retrying (" + std::string(reason) + ")");
  else if (code == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED)
    ctx_.warn("the group removed this host because it did not poll in time; joining again (" + std::string(reason) +
              ")");
  else if (code == RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL)
    ctx_.warn("cannot join the group '" + settings_.group + "': " + explained_join_failure(code) + "; retrying");
  else if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
    ctx_.warn("a topic does not exist: " + std::string(reason) + "; create it, or correct 'topic'");
  else if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
    ctx_.warn("the broker denies access: " + what + "; give this user Read on the topic and on the group '" +
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
    if (auto* p = table_.find(s.topic, s.partition)) {
      p->leader = s.leader;
      if (s.lag >= 0) p->lag.set(static_cast<double>(s.lag));
    }
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
    // An unplaced partition has no committed offset yet; placement sets its start.
    if (p == nullptr || p->now == phase::unplaced) return;
    p->now = phase::out_of_range;
    p->retry_at = {};
    ++not_reading_;
  } else {
    note_unknown(event.err, event);
    note_error(event.err, rd_kafka_message_errstr(&event));
  }
}

// A topic or a partition does not exist. If this member read it, it was deleted, and may be created again.
void consumer::note_unknown(rd_kafka_resp_err_t code, const rd_kafka_message_t& event) {
  const bool unknown = code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
                       code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
  if (!unknown || !assigned_) return;
  deleted_.note_unknown(event.rkt == nullptr ? "" : rd_kafka_topic_name(event.rkt));
  committer_.check_soon();
}

// ------------------------------------------------------------------------------------------------------ assignment ---

void consumer::assigned(rd_kafka_topic_partition_list_t& list) {
  std::vector<partition*> fresh;
  for (const auto& entry : elements(list)) {
    auto* p = table_.find(entry.topic, entry.partition);
    if (p == nullptr) p = &table_.add(entry.topic, entry.partition);
    const auto number = std::to_string(p->number);
    p->lag = ctx_.gauge("kafka_consumer_lag", "Records between the committed offset and the partition's end",
                        {{"topic", p->topic}, {"partition", number}});
    p->lost = ctx_.counter("kafka_lost_records_total",
                           "Records that were deleted on the broker before they were read (offset out of range)",
                           {{"topic", p->topic}, {"partition", number}});
    p->queue.reset(rd_kafka_queue_get_partition(client_->get(), p->topic.c_str(), p->number));
    fresh.push_back(p);
  }
  // librdkafka requires a response now: a partition that cannot be placed yet is assigned unread and moved later.
  warn_unplaced(placement_.place(fresh));
  for (auto& entry : elements(list)) {
    auto* p = table_.find(entry.topic, entry.partition);
    entry.offset = p->now == phase::unplaced ? RD_KAFKA_OFFSET_INVALID : p->next;
    fetched_.attach(p->queue.get());
  }
  assignment_.add(list);
  count_not_reading();
}

// Commit the settled offsets of partitions that are about to be revoked. Where the previous commit has vanished, let the
// next owner begin the new stream.
void consumer::commit_before_leaving(const std::vector<partition*>& those) {
  // While the consumer closes, librdkafka looks up no committed offsets; leave() has checked them just before.
  const auto check = left_ ? committer::check::done : committer::check::now;
  for (auto* p : committer_.commit_now(those, check)) p->recreate();
  for (auto* p : those) {
    const bool recreated = p->now == phase::recreated;
    if (recreated) repair_.leave_reset(*p);
    if (recreated || (deleted_.unknown(p->topic) && p->now != phase::unplaced))
      deleted_.note_revoked(p->stream, {recreated ? p->deleted_at : p->next, p->again.empty() ? p->recent : p->again});
  }
}

void consumer::commit_if_due() {
  for (auto* p : committer_.commit_if_due(table_)) {
    p->recreate();
    ++not_reading_;
  }
}

void consumer::revoked(rd_kafka_topic_partition_list_t& list) {
  // Another member may own the partitions already: then the broker must not get this member's offsets.
  const bool too_late = rd_kafka_assignment_lost(client_->get()) != 0;
  std::vector<partition*> gone;
  for (const auto& entry : elements(list))
    if (auto* p = table_.find(entry.topic, entry.partition)) gone.push_back(p);
  for (auto* p : gone) {
    if (p->now == phase::unplaced || destroyed()) continue;  // the host has not seen the stream, or is gone
    const auto settled = ctx_.revoked(p->stream);
    if (settled != PL_UNKNOWN) p->settled = static_cast<std::int64_t>(settled);
    p->lag.set(0);
  }
  if (!too_late && !destroyed()) commit_before_leaving(gone);
  for (auto* p : gone) {
    deleted_any_ = deleted_any_ || p->was_recreated;
    table_.remove(*p);
  }
  watch_->expect_join();
  assignment_.remove(list);
  count_not_reading();
}

// ---------------------------------------------------------------------------------------------- what is due ---

void consumer::warn_unplaced(const pl::result<void>& placed) {
  if (placed.ok() || placed.why().message.empty()) return;  // the host has logged its reason
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
  const auto placed = placement_.place(waiting);
  if (!placed.ok()) place_at_ = now + retry_interval;
  warn_unplaced(placed);
  for (auto* p : waiting) {
    if (p->now != phase::reading) continue;
    p->now = phase::moving;
    p->fetch_from = p->next;
  }
}

// Report to the host whether records are received.
void consumer::report_reception() {
  const auto why_not = reception_.why_not(watch_->joining(), watch_->last_response(), clock::now());
  why_not.empty() ? live_.connected() : live_.disconnected(why_not);
}

// Pass on how far records have arrived, for the arrival clocks and the lag.
// Without a transform that uses the clocks, it matters only while nothing is read: what a fetch returns is recent enough.
void consumer::observe_ends(bool reading) {
  for (const auto& seen : ends_.take())
    if (const auto* p = table_.find(seen.topic, seen.partition); p != nullptr && p->now != phase::unplaced)
      live_.observed_end(p->stream, static_cast<std::uint64_t>(seen.end), seen.before);
  if (clock::now() < watch_at_) return;
  watch_at_ = clock::now() + watch_interval;
  std::vector<end_target> targets;
  if (live_.wanted() || !reading)
    table_.each([&](const partition& p) {
      if (p.now != phase::unplaced) targets.push_back({p.topic, p.number, p.leader});
    });
  ends_.watch(std::move(targets));
}

void consumer::tend(bool reading) {
  if (left_) return;
  report_reception();
  observe_ends(reading);
  commit_if_due();
  attach_new();
  if (not_reading_ == 0) return;
  place_waiting();
  const auto now = clock::now();
  table_.each([&](partition& p) {
    if (p.now == phase::moving && now >= p.retry_at) move(p);
    if (p.now == phase::out_of_range && now >= p.retry_at && !failure_) {
      p.retry_at = clock::now() + retry_interval;
      repair_.repair(p);
    }
    if (p.now == phase::recreated && now >= p.retry_at && !failure_) {
      p.retry_at = clock::now() + retry_interval;
      repair_.begin_again(p);
    }
  });
  count_not_reading();
}

void consumer::count_not_reading() {
  not_reading_ = 0;
  table_.each([&](const partition& p) {
    if (p.now != phase::reading) ++not_reading_;
  });
}

void consumer::attach_new() {
  // When a partition's fetcher stops, librdkafka ends the forwarding of its queue at some later time. Until the first
  // record of the new assignment arrives, forward the queue again.
  table_.each([&](partition& p) {
    if (!p.delivering) fetched_.attach(p.queue.get());
  });
}

void consumer::move(partition& p) {
  if (assignment_.seek(p, p.fetch_from))
    p.now = phase::reading;
  else
    p.retry_at = clock::now() + retry_interval;
}

void consumer::settle(std::string_view stream, std::int64_t next) {
  pl::failpoint("settle");
  if (auto* p = table_.find(stream)) p->settled = next;
}

}  // namespace kafka
