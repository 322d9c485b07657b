// SPDX-License-Identifier: Apache-2.0
#include "ledger.hpp"

#include <algorithm>
#include <limits>

namespace pl::load {
namespace {

constexpr std::size_t examples = 5;

void increase(std::uint8_t& counter) {
  if (counter < std::numeric_limits<std::uint8_t>::max()) ++counter;
}

void remember(std::vector<std::uint64_t>& list, std::uint64_t seq) {
  if (list.size() < examples) list.push_back(seq);
}

}  // namespace

std::uint64_t ledger::make(const reading& r) {
  entry e;
  e.time_us = r.time_us;
  e.due_us = r.time_us;
  e.device = r.device;
  e.centi = r.centi;
  if (r.broken != breakage::none) e.flags = is_broken;
  const std::lock_guard hold(lock_);
  entries_.push_back(e);
  return entries_.size() - 1;
}

void ledger::note_sent(std::uint64_t seq, std::int64_t due_us) {
  const std::lock_guard hold(lock_);
  auto& e = entries_[seq];
  if (e.sent == 0) e.due_us = due_us;
  if (e.sent == 0 && !e.is(is_broken)) ++good_;
  increase(e.sent);
  ++sent_;
}

void ledger::note_acknowledged(std::uint64_t seq, std::int64_t at_us) {
  const std::lock_guard hold(lock_);
  auto& e = entries_[seq];
  if (e.acknowledged == 0 && !e.is(is_broken)) ++expected_;
  increase(e.acknowledged);
  ++acknowledged_;
  to_broker_.add(at_us - e.due_us);
}

void ledger::note_resent(std::uint64_t seq) {
  const std::lock_guard hold(lock_);
  increase(entries_[seq].resent);
}

void ledger::note_seen(std::uint64_t seq, std::int64_t at_us) {
  const std::lock_guard hold(lock_);
  if (seq >= entries_.size()) return;  // not a message of this run; the final count reports it
  auto& e = entries_[seq];
  if (e.is(is_seen) || e.is(is_broken)) return;
  e.flags |= is_seen;
  ++seen_;
  to_database_.add(at_us - e.due_us);
}

void ledger::clear_stored() {
  const std::lock_guard hold(lock_);
  altered_ = 0;
  for (auto& e : entries_) e.stored = 0;
}

void ledger::note_stored(const stored_row& row) {
  const std::lock_guard hold(lock_);
  if (row.seq >= entries_.size()) {
    ++altered_;
    return;
  }
  auto& e = entries_[row.seq];
  increase(e.stored);
  if (!e.is(is_broken) && (row.device != e.device || row.centi != e.centi)) ++altered_;
}

void ledger::note_dead_letter(std::uint64_t seq) {
  const std::lock_guard hold(lock_);
  if (seq < entries_.size()) entries_[seq].flags |= is_dead_lettered;
}

bool ledger::acknowledged(std::uint64_t seq) const {
  const std::lock_guard hold(lock_);
  return seq < entries_.size() && entries_[seq].acknowledged > 0;
}

tally ledger::count(const tally_options& options) const {
  tally t;
  const std::lock_guard hold(lock_);
  t.altered = altered_;
  for (std::size_t seq = 0; seq < entries_.size(); ++seq) add(t, seq, entries_[seq], options);
  return t;
}

void ledger::add(tally& t, std::uint64_t seq, const entry& e, const tally_options& options) {
  if (e.sent == 0) return;
  ++t.messages;
  t.sent += e.sent;
  t.acknowledged += e.acknowledged;
  t.stored += e.stored;
  if (e.resent > 0) ++t.maybe_twice;
  if (e.is(is_dead_lettered)) ++t.dead_lettered;
  if (!e.is(is_broken)) return add_good(t, seq, e, options);
  ++t.broken;
  if (e.stored > 0) ++t.broken_stored;
  if (options.dead_letters_read && e.acknowledged > 0 && e.stored == 0 && !e.is(is_dead_lettered)) ++t.broken_vanished;
}

// Each acknowledged copy must be stored; a copy that was only sent may be.
void ledger::add_good(tally& t, std::uint64_t seq, const entry& e, const tally_options& options) {
  const auto min_rows = options.one_row_each ? std::min<unsigned>(e.acknowledged, 1) : e.acknowledged;
  const auto max_rows = options.one_row_each ? 1U : unsigned{e.sent} + e.resent;
  t.expected += min_rows;
  if (e.is(is_dead_lettered)) {
    ++t.good_dead_lettered;
  } else if (e.stored < min_rows) {
    t.lost += min_rows - e.stored;
    remember(t.lost_examples, seq);
  }
  if (e.stored <= max_rows) return;
  t.duplicated += e.stored - max_rows;
  remember(t.duplicated_examples, seq);
}

ledger::progress ledger::so_far() const {
  const std::lock_guard hold(lock_);
  return {sent_, acknowledged_, seen_, expected_, good_, summary(to_broker_), summary(to_database_)};
}

std::optional<std::int64_t> ledger::oldest_unseen_us() {
  const std::lock_guard hold(lock_);
  while (first_unseen_ < entries_.size() && (entries_[first_unseen_].flags & (is_seen | is_broken)) != 0)
    ++first_unseen_;
  if (first_unseen_ == entries_.size()) return std::nullopt;
  return entries_[first_unseen_].time_us;
}

}  // namespace pl::load
