// SPDX-License-Identifier: Apache-2.0
#include "engine/arrival_clock.hpp"

#include <algorithm>
#include <charconv>

namespace pl::engine {

namespace {

// Read the next number of an entry; std::nullopt if there is none.
std::optional<std::int64_t> next_number(std::string_view& entry) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(entry.data(), entry.data() + entry.size(), number);
  if (error != std::errc{}) return std::nullopt;
  entry.remove_prefix(static_cast<std::size_t>(end - entry.data()));
  if (!entry.empty()) entry.remove_prefix(1);
  return number;
}

}  // namespace

// ------------------------------------------------------------------------------------------------------------ gaps ---

void arrival_clock::disconnected(std::int64_t at) {
  if (!disconnected_) disconnected_ = at;
}

void arrival_clock::connected(std::int64_t at) {
  if (disconnected_ && !counts_unread_) {
    proven(*disconnected_);
    add({*disconnected_, at, 1});
    observed_ = at;
  }
  disconnected_.reset();
}

// The connection or an observation proves that records could arrive at this time.
void arrival_clock::proven(std::int64_t at) {
  if (at - observed_ > unproven_limit) add({observed_, at, unproven_limit});
  observed_ = std::max(observed_, at);
}

void arrival_clock::add(const gap& g) { gaps_.insert(std::ranges::upper_bound(gaps_, g.from, {}, &gap::from), g); }

// Return the gap that has not ended yet.
std::optional<arrival_clock::gap> arrival_clock::open_gap(std::int64_t now) const {
  if (disconnected_ && !counts_unread_) return gap{*disconnected_, INT64_MAX, 1};
  if (!observed_once_ || now - observed_ <= unproven_limit) return std::nullopt;
  return gap{observed_, INT64_MAX, unproven_limit};
}

// Move the clock, but not through gaps: nothing can have arrived then, or nothing proves that anything could.
void arrival_clock::move_to(std::int64_t to, std::int64_t now) {
  for (const auto& g : gaps_) cross(g, to);
  if (const auto g = open_gap(now)) cross(*g, to);
  clock_ = std::max(clock_, to);
  if (!gaps_.empty()) std::erase_if(gaps_, [&](const gap& g) { return g.to <= clock_; });
}

void arrival_clock::cross(const gap& g, std::int64_t to) {
  const auto from = std::max(g.from, clock_);
  const auto length = std::min(g.to, to) - from;
  if (length < g.shortest) return;
  clock_ = from;
  skip(length);
}

void arrival_clock::skip(std::int64_t length) {
  clock_ += length;
  behind_ += length;
  connected_ = reading();
}

void arrival_clock::wall_clock_moved(std::int64_t by) {
  clock_ += by;
  behind_ += by;
  observed_ += by;
  if (disconnected_) *disconnected_ += by;
  for (auto& g : gaps_) g = {g.from + by, g.to + by, g.shortest};
  for (auto& o : observations_) o = {o.end, o.seen + by, o.before + by};
}

// ----------------------------------------------------------------------------------------------------- observations ---

void arrival_clock::observe(std::uint64_t end, std::int64_t before, std::uint64_t position, std::int64_t now) {
  if (!counts_unread_ && disconnected_) return;
  before = std::min(before, now);
  proven(before);
  observed_once_ = true;
  auto seen = now;
  while (!observations_.empty() && observations_.back().end >= end) {
    seen = observations_.back().seen;
    observations_.pop_back();
  }
  observations_.push_back({end, seen, before});
  if (observations_.size() > max_observations) thin_out();
  pass_observations(position);
}

// Keep every second observation. Without the others, the clock moves in larger steps while a backlog is read.
void arrival_clock::thin_out() {
  std::size_t kept = 0;
  for (auto i = (observations_.size() + 1) % 2; i < observations_.size(); i += 2)
    observations_[kept++] = observations_[i];
  observations_.resize(kept);
}

void arrival_clock::pass_observations(std::uint64_t position) {
  while (!observations_.empty() && observations_.front().end <= position) {
    const auto passed = observations_.front();
    observations_.pop_front();
    pass(passed);
  }
}

void arrival_clock::pass(const observation& o) {
  if (!started_) {
    start(o.before);
  } else if (o.before > clock_) {
    const auto step = o.before - clock_;
    // Records arrived in this time, but their times lie before it: the clocks of their producers are wrong. Treat the
    // records as if they had arrived at its end, rather than consider their devices silent.
    if (misdated_ && !moved_ && step > live_limit)
      skip(step);
    else
      move_to(o.before, o.seen);
    // Only claims say how old the records are that were read so far: let the devices report once before their silence
    // is judged.
    if (started_by_claim_ && step > live_limit) connected_ = reading();
  }
  moved_ = misdated_ = started_by_claim_ = false;
}

// --------------------------------------------------------------------------------------------------------- records ---

void arrival_clock::start(std::int64_t at) {
  started_ = true;
  clock_ = at;
}

std::int64_t arrival_clock::read_record(std::uint64_t position, std::int64_t arrival, bool claimed, std::int64_t now) {
  pass_observations(position);
  if (claimed) remember_claim(arrival);
  const auto at = place(arrival, claimed, now);
  if (!started_) {
    start(at);
    started_by_claim_ = claimed;
  }
  if (at > clock_) {
    move_to(at, now);
    moved_ = true;
  }
  return reading();
}

// Return when the record arrived: not before the clock, and not after it was seen.
std::int64_t arrival_clock::place(std::int64_t arrival, bool claimed, std::int64_t now) {
  const bool at_end = observations_.empty();
  const auto latest = at_end ? now : std::min(now, observations_.front().seen);
  if (claimed || arrival == unknown) {
    if (started_ && at_end && now - clock_ <= live_limit) return std::max(clock_, now);
    arrival = usual_claim();
    if (arrival == unknown) arrival = started_ ? clock_ : latest;
  }
  if (!started_) return std::min(arrival, latest);
  if (arrival < clock_ - unproven_limit) misdated_ = true;
  return std::clamp(arrival, clock_, std::max(clock_, latest));
}

void arrival_clock::remember_claim(std::int64_t arrival) {
  if (arrival == unknown) return;
  auto& oldest = claim_ring_[claims_ % claim_ring_.size()];
  if (claims_ >= claim_ring_.size() && oldest == arrival) return void(++claims_);  // takes its own place
  auto* const sorted = sorted_claims_.data();
  auto* end = sorted + std::min(claims_, sorted_claims_.size());
  if (claims_ >= claim_ring_.size()) {
    auto* gone = std::lower_bound(sorted, end, oldest);
    end = std::copy(gone + 1, end, gone);
  }
  auto* at = std::upper_bound(sorted, end, arrival);
  std::copy_backward(at, end, end + 1);
  *at = oldest = arrival;
  ++claims_;
}

// Return the median of the last claimed times, so that one producer with a wrong clock has no influence.
std::int64_t arrival_clock::usual_claim() const {
  return claims_ == 0 ? unknown : sorted_claims_[std::min(claims_, sorted_claims_.size()) / 2];
}

// --------------------------------------------------------------------------------------------------------- storing ---

std::string arrival_clock::store() {
  stored_ = reading();
  return std::to_string(clock_) + " " + std::to_string(behind_) + " " + std::to_string(connected_);
}

void arrival_clock::restore(std::string_view entry, std::int64_t now) {
  const auto clock = next_number(entry), behind = next_number(entry), connected = next_number(entry);
  if (!clock || !behind || !connected) return;
  start(std::min(*clock, now));
  // If the machine's clock was set back in the meantime, do not stand still until it reaches the same time again.
  behind_ = *behind - (*clock - clock_);
  connected_ = *connected;
  stored_ = reading();
  if (disconnected_) disconnected_ = clock_;
}

}  // namespace pl::engine
