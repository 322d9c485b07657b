// SPDX-License-Identifier: Apache-2.0
#include "exact_writer.hpp"

#include "connection.hpp"

#include <pipeline/failpoint.hpp>

#include <algorithm>
#include <future>
#include <utility>

namespace kafka {

namespace {

constexpr auto take_over_timeout = std::chrono::milliseconds(10'000);
constexpr auto idle = std::chrono::minutes(10);

std::chrono::milliseconds transaction_time(const sink_options& o) {
  return std::chrono::ceil<std::chrono::milliseconds>(o.transaction_timeout);
}

void send_position(const holder& by, const stream_id& of, const stream_position& to) {
  by.by->send(by.positions.get(), partition_of(of), position_key(of), text_of(to));
}

}  // namespace

pl::result<holder> take_over(const stream_id& of, const sink_options& options, pl::context ctx, position_log& log) {
  // Check first that the positions topic is readable: a host that cannot read it must not fence another one.
  if (auto readable = log.read_committed(of); !readable.ok()) return readable.why();
  auto opened = producer::open(producer_conf(options, ctx, transactional_id(of)), options.topic, ctx);
  if (!opened.ok()) return opened.why();
  holder made{std::move(*opened), nullptr, {}};
  made.positions = made.by->topic(options.positions_topic);
  if (!made.positions) return pl::fatal("topic '" + options.positions_topic + "': " + text_of(rd_kafka_last_error()));
  if (auto taken = made.by->take_over(take_over_timeout); !taken.ok())
    return pl::retry("cannot begin transactions at " + options.brokers + " as '" + transactional_id(of) +
                     "': " + taken.why().message);
  auto at = log.read_latest(of);
  if (!at.ok()) return at.why();
  made.at = *at;
  return made;
}

// ---------------------------------------------------------------------------------------------------- exact_writer ---

stream_id exact_writer::id_of(const pl::stream_move& m) const {
  return {std::string(ctx_.pipeline()), std::string(ctx_.node()), m.source, m.stream};
}

// Return the holder of a stream, or take the stream over if it has no holder under this claim.
pl::result<holder*> exact_writer::held(const stream_id& of, const pl::stream_move& move) {
  if (const auto found = holders_.find(of); found != holders_.end()) {
    if (found->second.at.epoch == move.epoch && !found->second.by->broken()) return &found->second;
    holders_.erase(found);
  }
  auto taken = take_over(of, options_, ctx_, log_);
  if (!taken.ok()) return taken.why();
  return &holders_.insert_or_assign(of, std::move(*taken)).first->second;
}

pl::result<void> exact_writer::write(std::span<const stream_share> shares, std::uint64_t token, encoder& with,
                                     const pl::batch_list& batches) {
  std::vector<transaction> all;
  all.reserve(shares.size());
  for (const auto& share : shares) all.push_back({&share, id_of(share.move), {with, batches, share.rows}});
  std::optional<pl::failure> failed;
  const auto note = [&](const pl::result<void>& outcome) {
    if (!outcome.ok() && !failed) failed = outcome.why();
  };
  while (!failed && !std::all_of(all.begin(), all.end(), [](const auto& t) { return t.done; })) {
    for (auto& t : all)
      if (!t.done) note(begin(t, token));
    // Commit the transactions in parallel, each on its own thread.
    std::vector<std::future<void>> ending;
    transaction* last = nullptr;
    for (auto& t : all) {
      if (!t.open) continue;
      if (auto* before = std::exchange(last, &t))
        ending.push_back(std::async(std::launch::async, [=, this] { end(*before); }));
    }
    if (last != nullptr) end(*last);
    for (auto& e : ending) e.get();
    for (auto& t : all)
      if (t.open) note(conclude(t, token));
  }
  if (failed) return *failed;
  return {};
}

// Begin the transaction and queue the share of the stream, unless an earlier attempt has committed it.
pl::result<void> exact_writer::begin(transaction& t, std::uint64_t token) {
  const auto& move = t.share->move;
  auto by = held(t.of, move);
  if (!by.ok()) return by.why();
  auto& h = **by;
  h.used = std::chrono::steady_clock::now();
  if (h.at.epoch == move.epoch && h.at.token == token) return t.done = true, pl::result<void>();
  if (h.at.epoch != move.epoch || h.at.next != move.first) {
    const auto where = h.at;
    holders_.erase(t.of);
    return pl::fenced("another host has claimed " + move.stream + " (its position is " + std::to_string(where.next) +
                      " under claim " + std::to_string(where.epoch) + ", expected " + std::to_string(move.first) +
                      " under claim " + std::to_string(move.epoch) + "); nothing of it was written");
  }
  if (auto begun = h.by->begin(); !begun.ok()) {
    if (h.by->broken()) return holders_.erase(t.of), pl::result<void>();  // fenced: retry with a new holder
    return abort_transaction(h, begun.why().message);
  }
  pl::failpoint("kafka.begun");
  t.by = &h;
  t.open = true;
  t.rows.send_all(*h.by);
  for (const auto* c : t.share->changes)
    h.by->send(h.positions.get(), partition_of(t.of), state_key(t.of, pl::view(c->node), pl::view(c->key)),
               c->erase != 0 ? std::nullopt : std::optional(pl::view(c->value)));
  send_position(h, t.of, {move.next, move.epoch, token});
  return {};
}

// Wait for acknowledgements and commit. Runs on any thread.
void exact_writer::end(transaction& t) const {
  t.failed = t.by->by->finish();
  if (!t.failed.empty()) return;
  pl::failpoint("kafka.sent");
  auto committed = t.by->by->commit(transaction_time(options_));
  t.why_not_committed = committed.ok() ? std::string() : committed.why().message;
  pl::failpoint("kafka.committed");
}

pl::result<void> exact_writer::conclude(transaction& t, std::uint64_t token) {
  auto& h = *t.by;
  t.open = false;
  if (t.failed.empty() && t.why_not_committed.empty()) {
    h.at = {t.share->move.next, t.share->move.epoch, token};
    t.done = true;
    return {};
  }
  pl::result<void> outcome;
  if (!h.by->broken()) outcome = t.failed.empty() ? abort_transaction(h, t.why_not_committed) : refuse(t);
  // If the outcome of a commit is not known, or the producer was fenced, the next takeover determines the outcome.
  if (h.by->broken()) holders_.erase(t.of);
  return outcome;
}

// Abort the transaction; if this fails too, mark the producer as broken.
pl::failure exact_writer::abort_transaction(holder& by, std::string why) const {
  if (auto aborted = by.by->abort(transaction_time(options_)); !aborted.ok()) {
    why += "; " + aborted.why().message;
    by.by->mark_broken();
  }
  return pl::retry("a transaction at " + options_.brokers + " for topic '" + options_.topic + "' was aborted: " + why);
}

// Find the rows that brokers reject, by sending parts in transactions that are aborted, and report them. Nothing is
// written, because the rows must be in the dead letters first.
pl::failure exact_writer::refuse(transaction& t) {
  auto& by = *t.by;
  const auto failed = std::exchange(t.failed, {});
  // The other rows were aborted with the transaction.
  std::vector<undelivered> suspects;
  for (const auto& f : failed)
    if (f.row != of_no_row && is_message_fault(f.why)) suspects.push_back(f);
  const auto& first = suspects.empty() ? failed.front() : suspects.front();
  auto left =
      abort_transaction(by, std::to_string(failed.size()) + " records were not acknowledged: " + text_of(first.why));
  std::string broken;
  const auto found = t.rows.bisect(*by.by, suspects, [&](const std::function<void()>& part) {
    if (by.by->broken()) return;
    if (auto begun = by.by->begin(); !begun.ok()) broken = begun.why().message;
    part();
    if (auto aborted = by.by->abort(transaction_time(options_)); !aborted.ok()) {
      broken = aborted.why().message;
      by.by->mark_broken();
    }
  });
  if (!broken.empty() || found.refused.empty()) return left;
  t.rows.reject(ctx_, found.refused, options_.topic);
  return pl::rejected(std::to_string(found.refused.size()) + " records cannot be written to topic '" + options_.topic +
                      "'");
}

void exact_writer::drop_idle_holders() {
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(holders_, [&](const auto& h) { return now - h.second.used > idle; });
}

// -------------------------------------------------------------------------------------------- topic_position_store ---

pl::result<bool> topic_position_store::watermark_applies(const stream_id& of, const pl_state_watermark& watermark) {
  if (watermark.rule == PL_WATERMARK_NONE) return false;
  auto entries = log_.state_of(of);
  if (!entries.ok()) return entries.why();
  const bool stored = entries->contains({std::string(), std::string(pl::view(watermark.key))});
  return stored == (watermark.rule == PL_WATERMARK_UPDATE);
}

pl::result<bool> topic_position_store::claim(const stream_id& of, pl_position seen, pl_position wanted,
                                             const pl_state_watermark& watermark) {
  auto taken = take_over(of, options_, ctx_, log_);
  if (!taken.ok()) return taken.why();
  auto& by = *taken;
  if (by.at.next != seen.next || by.at.epoch != seen.epoch) return false;
  const auto applies = watermark_applies(of, watermark);
  if (!applies.ok()) return applies.why();
  const auto claim_failed = [&](const pl::failure& why) {
    return pl::retry("claiming " + of.stream + " in topic '" + options_.positions_topic + "' at " + options_.brokers +
                     ": " + why.message);
  };
  if (auto begun = by.by->begin(); !begun.ok()) return claim_failed(begun.why());
  send_position(by, of, {wanted.next, wanted.epoch, 0});
  if (*applies)
    by.by->send(by.positions.get(), partition_of(of), state_key(of, {}, pl::view(watermark.key)),
                pl::view(watermark.value));
  if (const auto failed = by.by->finish(); !failed.empty()) return claim_failed(pl::retry(text_of(failed.front().why)));
  if (auto committed = by.by->commit(transaction_time(options_)); !committed.ok()) return claim_failed(committed.why());
  pl::failpoint("kafka.claimed");
  return true;
}

}  // namespace kafka
