// SPDX-License-Identifier: Apache-2.0
#include "engine/stream_table.hpp"

#include "telemetry/engine_metrics.hpp"

#include <algorithm>
#include <vector>

namespace pl::engine {

assigned_stream* stream_table::find(std::string_view name) {
  const auto at = streams_.find(name);
  return at == streams_.end() ? nullptr : &at->second;
}

assigned_stream& stream_table::assign(std::string_view name, const stream_claim& claim) {
  assigned_stream fresh;
  fresh.state = std::make_shared<stream_state>(std::string(name), claim.start, claim.settled);
  fresh.claim = claim;
  namespace em = telemetry::engine_metrics;
  auto& metrics = source_.common().metrics;
  fresh.state->lag = metrics.get(em::lag_records, source_.pipeline(), source_.node(), name);
  fresh.state->settled_position = metrics.get(em::settled_position, source_.pipeline(), source_.node(), name);
  return streams_.insert_or_assign(std::string(name), std::move(fresh)).first->second;
}

void stream_table::revoke(std::string_view name) {
  const auto at = streams_.find(name);
  if (at == streams_.end()) return;
  lag_ -= at->second.lag;
  const auto stream = at->second.state;
  stream->mark_revoked();
  streams_.erase(at);
  std::erase_if(revoked_, [](const auto& s) { return s.expired(); });
  if (!stream->idle()) revoked_.push_back(stream);
  // Another lane or host may own the stream now.
  source_.common().metrics.remove(source_.pipeline(), source_.node(), {"stream", stream->name()});
}

void stream_table::clear() {
  for (const auto& [name, s] : streams_) {
    s.state->mark_revoked();
    source_.common().metrics.remove(source_.pipeline(), source_.node(), {"stream", name});
  }
  streams_.clear();
  lag_ = 0;
}

assigned_stream& stream_table::find_or_assign(std::string_view name, std::uint64_t first) {
  if (auto* known = find(name)) return *known;
  stream_claim unclaimed;
  unclaimed.start = unclaimed.settled = first;
  return assign(name, unclaimed);
}

void stream_table::observe_end(std::string_view name, std::uint64_t end) {
  auto* s = find(name);
  if (s == nullptr || end == PL_UNKNOWN) return;
  s->end = end;
  update_lag(*s);
}

bool stream_table::reads_again() const {
  return std::ranges::any_of(streams_, [](const auto& entry) {
    const auto& s = entry.second;
    const auto position = s.state->position();
    const auto is_above = [position](std::uint64_t at) { return at > position; };
    const bool trimmed = is_above(s.claim.settled) || std::ranges::any_of(s.claim.next, is_above);
    return trimmed && (s.end == PL_UNKNOWN || position < s.end);
  });
}

void stream_table::update_lag(assigned_stream& s) {
  if (s.end == PL_UNKNOWN) return;
  const auto& state = *s.state;
  const auto end = std::max(s.end, state.position());
  const auto lag = end > state.settled() ? end - state.settled() : 0;
  state.lag.set(static_cast<double>(lag));
  lag_known_ = true;
  lag_ += lag - s.lag;  // unsigned: wraps back
  s.lag = lag;
}

void stream_table::begin_read(record_batch& batch) {
  std::vector<flight> flights;
  auto* ranges = const_cast<pl_range*>(batch.ranges);  // the batch's own memory, not passed on yet
  for (std::uint32_t i = 0; i < batch.nranges; ++i) {
    auto& r = ranges[i];
    auto& s = find_or_assign(pl::view(r.stream), r.first);
    r.first = std::min(r.first, s.state->position());
    r.source = borrow(source_.node());
    r.epoch = s.claim.epoch;
    flights.push_back({s.state, s.state->begin(r.next)});
    if (r.end != PL_UNKNOWN) s.end = r.end;
    update_lag(s);
  }
  batch.track(std::make_shared<settlement>(inbox_, std::move(flights)));
  ++in_flight_;
}

bool stream_table::begin_timer(record_batch& batch, std::span<assigned_stream* const> streams) {
  const auto bytes = sizeof(pl_range) * std::max<std::size_t>(1, streams.size());
  auto* ranges = static_cast<pl_range*>(batch.alloc(bytes, alignof(pl_range)));
  if (ranges == nullptr) return false;
  std::vector<flight> flights;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    const auto& s = streams[i]->state;
    const auto now = s->position();
    ranges[i] = {borrow(s->name()), now, now, PL_UNKNOWN, borrow(source_.node()), streams[i]->claim.epoch};
    flights.push_back({s, s->begin(now)});
  }
  batch.ranges = ranges;
  batch.nranges = static_cast<std::uint32_t>(streams.size());
  batch.track(std::make_shared<settlement>(inbox_, std::move(flights)));
  ++in_flight_;
  return true;
}

void stream_table::show_clocks(const arrival_clocks& clocks) {
  for (auto& [name, s] : streams_) {
    const auto lag = clocks.lag(name);
    if (!lag) continue;
    auto& shown = s.state->arrival_clock_lag;
    if (!shown)
      shown = source_.common().metrics.get(telemetry::engine_metrics::arrival_clock_lag_seconds, source_.pipeline(),
                                           source_.node(), name);
    shown->set(std::chrono::duration<double>(*lag).count());
  }
}

void stream_table::settle() {
  std::map<stream_state*, std::uint64_t> settled_before;
  std::vector<std::shared_ptr<stream_state>> alive;
  auto reports = inbox_.take();
  if (const auto lost = inbox_.take_loss())
    lose_all(*lost == settlement_inbox::loss::fenced ? "another host has claimed a stream of this lane"
                                                     : "the queue of a sink is damaged on disk");
  for (auto& report : reports) {
    in_flight_ -= report.batches;
    for (auto& f : report.flights) {
      const auto before = f.stream->settled();
      if (!f.stream->report(f.number, report.delivered)) continue;
      settled_before.try_emplace(f.stream.get(), before);
      alive.push_back(std::move(f.stream));
    }
  }
  if (!settled_before.empty()) settle_at_source(settled_before);
}

void stream_table::lose_all(const char* why) {
  for (const auto& [name, s] : streams_) s.state->mark_lost();
  for (const auto& s : revoked_)
    if (const auto stream = s.lock()) stream->mark_lost();  // the lane waits for them, too; their next owner reads them
  if (status_.rejoin_reason() == nullptr) status_.rejoin(why);
}

void stream_table::settle_at_source(const std::map<stream_state*, std::uint64_t>& settled_before) {
  std::vector<pl_range> ranges;
  for (const auto& [s, before] : settled_before) {
    auto* current = find(s->name());
    if (current == nullptr || current->state.get() != s) continue;  // revoked since
    update_lag(*current);
    s->settled_position.set(static_cast<double>(s->settled()));
    ranges.push_back(range_of(borrow(s->name()), before, s->settled()));
  }
  if (ranges.empty()) return;
  if (const auto told = source_.settle(ranges); !told.ok()) status_.fail(source_, told.why().message);
}

void stream_table::wait_until_idle(stream_state& stream, clock::time_point deadline) {
  std::vector<settlement_inbox::report> others;
  while (!stream.idle() && !status_.abandoned()) {
    for (auto& report : inbox_.take()) {
      for (auto& f : report.flights)
        if (f.stream.get() == &stream) stream.report(f.number, report.delivered);
      others.push_back(std::move(report));
    }
    const auto now = clock::now();
    if (now >= deadline) break;
    if (!stream.idle()) inbox_.wait(deadline - now);
  }
  for (auto& report : others) inbox_.put(std::move(report));
}

}  // namespace pl::engine
