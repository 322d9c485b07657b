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

void send_standing(const holder& by, const stream_id& of, const standing& to) {
  by.by->send(by.positions.get(), partition_of(of), position_key(of), text_of(to));
}

}  // namespace

pl::result<holder> take_over(const stream_id& of, const sink_options& options, pl::context ctx, position_log& log) {
  // Before anything is taken over: the topic of positions has to be there, and whoever can't read it disturbs nobody.
  if (auto glance = log.glance(of); !glance.ok()) return glance.why();
  auto opened = producer::open(producer_conf(options, ctx, transactional_id(of)), options.topic, ctx);
  if (!opened.ok()) return opened.why();
  holder made{std::move(*opened), nullptr, {}};
  made.positions = made.by->topic(options.positions_topic);
  if (!made.positions) return pl::fatal("topic '" + options.positions_topic + "': " + text_of(rd_kafka_last_error()));
  if (auto taken = made.by->take_over(take_over_timeout); !taken.ok())
    return pl::retry("can't begin transactions at " + options.brokers + " as '" + transactional_id(of) +
                     "': " + taken.why().message);
  auto at = log.look(of);
  if (!at.ok()) return at.why();
  made.at = *at;
  return made;
}

// ---------------------------------------------------------------------------------------------------- exact_writer ---

stream_id exact_writer::id_of(const pl::stream_move& m) const {
  return {std::string(ctx_.pipeline()), std::string(ctx_.node()), m.source, m.stream};
}

// The holder of a stream, where it stands under this claim; a new one where the stream was claimed since.
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
    // The brokers' answers are waited for at the same time, each by a thread of its own.
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

// All of the stream's share is on its way then, or it is there already.
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
    return pl::fenced("another host has claimed " + move.stream + " (it stands at " + std::to_string(where.next) +
                      " under claim " + std::to_string(where.epoch) + ", and not at " + std::to_string(move.first) +
                      " under " + std::to_string(move.epoch) + "); nothing of it was written");
  }
  if (auto begun = h.by->begin(); !begun.ok()) {
    if (h.by->broken()) return holders_.erase(t.of), pl::result<void>();  // shut out: once more, with a new one
    return given_up(h, begun.why().message);
  }
  pl::failpoint("kafka.begun");
  t.by = &h;
  t.open = true;
  t.rows.send_all(*h.by);
  for (const auto* c : t.share->changes)
    h.by->send(h.positions.get(), partition_of(t.of), state_key(t.of, pl::view(c->node), pl::view(c->key)),
               c->erase != 0 ? std::nullopt : std::optional(pl::view(c->value)));
  send_standing(h, t.of, {move.next, move.epoch, token});
  return {};
}

// In any thread.
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
  if (!h.by->broken()) outcome = t.failed.empty() ? given_up(h, t.why_not_committed) : refuse(t);
  // What became of a transaction whose end is not known, and who shut us out, shows when the stream is taken over anew.
  if (h.by->broken()) holders_.erase(t.of);
  return outcome;
}

// The transaction is given up; a holder for whom that fails too is made anew.
pl::failure exact_writer::given_up(holder& by, std::string why) const {
  if (auto aborted = by.by->abort(transaction_time(options_)); !aborted.ok()) {
    why += "; " + aborted.why().message;
    by.by->condemn();
  }
  return pl::retry("a transaction at " + options_.brokers + " for topic '" + options_.topic + "' was given up: " + why);
}

// Rows that no broker takes are named, and nothing is written: they have to be in the dead letters first. To find them, parts
// are sent in transactions that are given up.
pl::failure exact_writer::refuse(transaction& t) {
  auto& by = *t.by;
  const auto failed = std::exchange(t.failed, {});
  // Of the others nothing is known: they went when the transaction failed.
  std::vector<undelivered> suspects;
  for (const auto& f : failed)
    if (f.row != of_no_row && is_of_the_message(f.why)) suspects.push_back(f);
  const auto& first = suspects.empty() ? failed.front() : suspects.front();
  auto left = given_up(by, std::to_string(failed.size()) + " records were not acknowledged: " + text_of(first.why));
  std::string broken;
  const auto found = t.rows.sort_out(*by.by, suspects, [&](const std::function<void()>& part) {
    if (by.by->broken()) return;
    if (auto begun = by.by->begin(); !begun.ok()) broken = begun.why().message;
    part();
    if (auto aborted = by.by->abort(transaction_time(options_)); !aborted.ok()) {
      broken = aborted.why().message;
      by.by->condemn();
    }
  });
  if (!broken.empty() || found.refused.empty()) return left;
  t.rows.reject(ctx_, found.refused, options_.topic);
  return pl::rejected(std::to_string(found.refused.size()) + " records can't be written to topic '" + options_.topic +
                      "'");
}

void exact_writer::let_go_of_idle() {
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(holders_, [&](const auto& h) { return now - h.second.used > idle; });
}

// --------------------------------------------------------------------------------------------------- position_book ---

pl::result<bool> position_book::mark_applies(const stream_id& of, const pl_mark& mark) {
  if (mark.rule == PL_MARK_NOTHING) return false;
  auto entries = log_.state_of(of);
  if (!entries.ok()) return entries.why();
  const bool there = entries->contains({std::string(), std::string(pl::view(mark.key))});
  return there == (mark.rule == PL_MARK_AGAIN);
}

pl::result<bool> position_book::claim(const stream_id& of, pl_position seen, pl_position wanted, const pl_mark& mark) {
  auto taken = take_over(of, options_, ctx_, log_);
  if (!taken.ok()) return taken.why();
  auto& by = *taken;
  if (by.at.next != seen.next || by.at.epoch != seen.epoch) return false;
  const auto marks = mark_applies(of, mark);
  if (!marks.ok()) return marks.why();
  const auto answer = [&](const pl::failure& why) {
    return pl::retry("claiming " + of.stream + " in topic '" + options_.positions_topic + "' at " + options_.brokers +
                     ": " + why.message);
  };
  if (auto begun = by.by->begin(); !begun.ok()) return answer(begun.why());
  send_standing(by, of, {wanted.next, wanted.epoch, 0});
  if (*marks)
    by.by->send(by.positions.get(), partition_of(of), state_key(of, {}, pl::view(mark.key)), pl::view(mark.value));
  if (const auto failed = by.by->finish(); !failed.empty()) return answer(pl::retry(text_of(failed.front().why)));
  if (auto committed = by.by->commit(transaction_time(options_)); !committed.ok()) return answer(committed.why());
  pl::failpoint("kafka.claimed");
  return true;
}

}  // namespace kafka
