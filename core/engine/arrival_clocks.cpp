// SPDX-License-Identifier: Apache-2.0
#include "engine/arrival_clocks.hpp"

#include <algorithm>
#include <array>
#include <ctime>

namespace pl::engine {

namespace {

constexpr std::int64_t smallest_step = arrival_clock::second / 2;  // smaller ones are adjustments of the clock's rate
constexpr std::int64_t longest_look = arrival_clock::second / 20;  // the thread may be interrupted between two clocks
constexpr std::size_t max_changes = 1000;

std::int64_t time_of(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return now.tv_sec * arrival_clock::second + now.tv_nsec;
}

// Let the clocks that have seen no claimed time yet see those of the batch first.
void expect_claims(batch_view rows, const std::vector<arrival_clock*>& clocks) {
  std::vector<bool> first;
  for (const auto* clock : clocks) first.push_back(!clock->has_claims());
  if (std::ranges::find(first, true) == first.end()) return;
  for (std::uint32_t row = 0; row < rows.rows(); ++row)
    if (first[rows.origin(row)]) clocks[rows.origin(row)]->expect_claim(rows.raw()->arrival[row]);
}

}  // namespace

machine_clocks machine_clocks::system() {
  return {[] { return time_of(CLOCK_REALTIME); }, [] { return time_of(CLOCK_BOOTTIME); }};
}

machine_clocks machine_clocks::simulated(std::shared_ptr<const simulated_clock> clock) {
  return {[clock] { return clock->now_ns(); }, [clock] { return clock->now_ns(); }};
}

void arrival_clocks::want(bool on) {
  if (!on) clocks_.clear();
  wanted_ = on;
}

// Return the wall time. If the wall clock was set, its old and new times mean the same for the arrival clocks.
std::int64_t arrival_clocks::now() {
  const auto before = machine_.running();
  const auto wall = machine_.wall();
  const auto running = machine_.running();
  if (running - before > longest_look) return wall;
  const auto moved = offset_ ? wall - running - *offset_ : 0;
  offset_ = wall - running;
  if (moved > smallest_step || moved < -smallest_step) {
    if (receiving_since_) *receiving_since_ += moved;
    for (auto& [stream, clock] : clocks_) clock.wall_clock_moved(moved);
  }
  return wall;
}

// ----------------------------------------------------------------------------------------------------- connections ---

void arrival_clocks::receiving(bool yes) {
  std::scoped_lock lock(mutex_);
  if (yes == (changes_.empty() ? receiving_ : changes_.back().first)) return;
  changes_.emplace_back(yes, machine_.wall());
  if (changes_.size() > max_changes) changes_.erase(changes_.begin());  // nobody reads them: no transform uses clocks
}

void arrival_clocks::apply_changes() {
  std::scoped_lock lock(mutex_);
  for (const auto& [yes, at] : changes_) {
    receiving_ = yes;
    receiving_since_ = yes ? std::optional(at) : std::nullopt;
    for (auto& [stream, clock] : clocks_) yes ? clock.connected(at) : clock.disconnected(at);
  }
  changes_.clear();
}

// --------------------------------------------------------------------------------------------------------- streams ---

arrival_clock& arrival_clocks::add(std::string_view stream, std::string_view entry, std::int64_t now) {
  arrival_clock fresh(counts_unread_, now);
  if (!entry.empty()) fresh.restore(entry, now);
  if (receiving_since_) fresh.connected(*receiving_since_);
  return clocks_.insert_or_assign(std::string(stream), fresh).first->second;
}

arrival_clock& arrival_clocks::clock_of(std::string_view stream, std::int64_t now) {
  const auto at = clocks_.find(stream);
  return at != clocks_.end() ? at->second : add(stream, {}, now);
}

void arrival_clocks::assign(std::string_view stream, std::string_view entry) {
  if (!wanted_) return;
  apply_changes();
  add(stream, entry, now());
}

void arrival_clocks::revoke(std::string_view stream) {
  if (const auto at = clocks_.find(stream); at != clocks_.end()) clocks_.erase(at);
}

// ----------------------------------------------------------------------------------------------------- from sources ---

void arrival_clocks::observe(std::string_view stream, std::uint64_t end, std::int64_t before, std::uint64_t position) {
  if (!wanted_) return;
  apply_changes();
  const auto at = now();
  clock_of(stream, at).observe(end, before, position, at);
}

bool arrival_clocks::read(record_batch& batch) {
  if (!wanted_) return true;
  apply_changes();
  const auto at = now();
  std::vector<arrival_clock*> clocks;
  for (const auto& range : batch.view().ranges()) clocks.push_back(&clock_of(pl::view(range.stream), at));
  if (batch.arrival != nullptr && batch.rows != 0 && !clocks.empty() && !read_rows(batch, clocks, at)) return false;
  for (std::size_t i = 0; i < clocks.size(); ++i) clocks[i]->read_to(batch.ranges[i].next);
  return true;
}

bool arrival_clocks::read_rows(record_batch& batch, const std::vector<arrival_clock*>& clocks, std::int64_t now) {
  const auto rows = batch.view();
  auto* readings = static_cast<std::int64_t*>(batch.alloc(batch.rows * sizeof(std::int64_t), alignof(std::int64_t)));
  if (readings == nullptr) return false;
  const bool claimed = batch.arrival_claimed != 0;
  if (claimed) expect_claims(rows, clocks);
  for (std::uint32_t row = 0; row < batch.rows; ++row) {
    auto& clock = *clocks[rows.origin(row)];
    const auto position = rows.has_positions() ? rows.position(row) : 0;
    readings[row] = clock.read_record(position, batch.arrival[row], claimed, now);
  }
  batch.arrival = readings;
  return true;
}

// --------------------------------------------------------------------------------------------------------- reading ---

std::optional<pl_arrival> arrival_clocks::reading(std::string_view stream) const {
  const auto at = clocks_.find(stream);
  if (at == clocks_.end() || !at->second.started()) return std::nullopt;
  const auto& clock = at->second;
  return pl_arrival{clock.reading(), clock.behind(), clock.connected_at()};
}

std::optional<std::chrono::nanoseconds> arrival_clocks::lag(std::string_view stream) const {
  const auto at = reading(stream);
  if (!at) return std::nullopt;
  return std::chrono::nanoseconds(machine_.wall() - at->now_ns - at->behind_ns);
}

std::optional<std::string> arrival_clocks::store(std::string_view stream) {
  const auto at = clocks_.find(stream);
  if (at == clocks_.end() || !at->second.started()) return std::nullopt;
  return at->second.store();
}

std::int64_t arrival_clocks::unstored(std::string_view stream) const {
  const auto at = clocks_.find(stream);
  return at == clocks_.end() ? 0 : at->second.unstored();
}

}  // namespace pl::engine
