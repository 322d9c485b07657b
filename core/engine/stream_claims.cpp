// SPDX-License-Identifier: Apache-2.0
#include "engine/stream_claims.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pl::engine {

using namespace std::chrono_literals;

namespace {

constexpr auto revoke_timeout = 10s;  // a rebalance must not wait longer for what is in flight
constexpr auto outage_timeout = 1s;   // nor the other streams, for a sink that is down
constexpr auto same_rebalance = 1s;   // at most, between the revocations of two streams
constexpr auto rejoin_patience = 1s;  // for sinks that fail, before what is in flight is read again

}  // namespace

void stream_claims::read_again_in_outage() {
  const auto now = stream_table::clock::now();
  if (rejoin_since_ == stream_table::clock::time_point{}) rejoin_since_ = now;
  if (now - rejoin_since_ < rejoin_patience || (source_.component().caps & PL_REPLAYABLE) == 0) return;
  // New claims need the sinks that keep positions. Once these work, they can also write what they have.
  for (std::size_t i = 0; i < graph_.stores.size(); ++i)
    if (graph_.stores.sink(i).failing()) return;
  const auto stuck = [](const auto& sink) { return sink->failing() && sink->unwritten().groups != 0; };
  if (std::ranges::any_of(graph_.sinks, stuck)) streams_.lose_all(status_.rejoin_reason());
}

result<void> stream_claims::stream_announced(std::string_view stream) {
  if (const auto held = held_.find(stream); held != held_.end()) held_.erase(held);
  if (const auto looked = graph_.stores.look(source_.node(), stream); !looked.ok()) return report(looked.why(), stream);
  return {};
}

result<std::uint64_t> stream_claims::stream_assigned(std::string_view stream, start_reason why,
                                                     std::uint64_t proposed) {
  const auto claimed = claim(stream, why, proposed);
  if (!claimed.ok()) return report(claimed.why(), stream);
  if (why == start_reason::reset && claimed->epoch > 1)
    source_.log(telemetry::log_level::info,
                fmt::format("{} is read from {}: the group's offset was reset", stream, claimed->start));
  refused_.erase(std::string(stream));
  if (refused_.empty()) status_.claimed();
  const bool known = why == start_reason::committed || claimed->has_state || claimed->epoch > 1;
  if (why != start_reason::reset && known && claimed->start > 0)
    continued_.insert_or_assign(std::string(stream), claimed->start);
  streams_.assign(stream, *claimed);
  state_.stream_assigned(stream, *claimed);
  return claimed->start;
}

result<stream_claim> stream_claims::claim(std::string_view stream, start_reason why, std::uint64_t proposed) {
  stream_claim claimed;
  claimed.start = claimed.settled = proposed;
  if (!graph_.stores.empty()) {
    const auto held = held_.find(stream);
    const claim_request request{why, proposed, held == held_.end() ? 0 : held->second, state_.enabled(),
                                graph_.state_store()};
    auto made = graph_.stores.claim(source_.node(), stream, request);
    if (!made.ok()) return made;
    claimed = *std::move(made);
  }
  arrivals_.assign(stream, {});
  if (!state_.enabled()) {
    state_.report_unused(stream);
  } else if (const auto restored = state_.restore(stream, why, claimed); !restored.ok()) {
    return restored.why();
  }
  return claimed;
}

void stream_claims::report_continued() {
  if (continued_.empty()) return;
  any_continued_ = true;
  constexpr std::size_t most = 5;
  std::string text;
  std::size_t n = 0;
  for (const auto& [stream, position] : continued_)
    if (++n <= most) text += fmt::format("{}{} of {}", n == 1 ? "" : ", ", position, stream);
  if (n > most) text += fmt::format(" and {} other streams", n - most);
  source_.log(telemetry::log_level::info, "continuing at position " + text);
  continued_.clear();
}

// Log a failed claim for operators. Return the failure for the source: fatal, or retry in all other cases.
failure stream_claims::report(const failure& refused, std::string_view stream) {
  if (refused.code == status::fatal) {
    status_.fail(source_, refused.message);
    return refused;
  }
  if (refused.code == status::fenced) status_.rejoin("another host has claimed a stream of this lane");
  auto why = fmt::format("{} cannot be claimed: {}", stream, refused.message);
  status_.claim_refused(why);
  refused_.emplace(stream);
  source_.log(telemetry::log_level::warn, why + "; the claim is retried");
  return retry(std::move(why));
}

// Return until when to wait for what is in flight: all streams of one rebalance together. A backlog on disk is that of an
// outage, which may be over.
stream_table::clock::time_point stream_claims::revoke_deadline() {
  const auto now = stream_table::clock::now();
  if (now - last_revoked_ < same_rebalance) return revoke_until_;
  const bool outage =
      std::ranges::any_of(graph_.sinks, [](const auto& sink) { return sink->failing() || sink->disk_bytes() != 0; });
  return revoke_until_ = now + (outage ? outage_timeout : revoke_timeout);
}

std::uint64_t stream_claims::stream_revoked(std::string_view stream) {
  refused_.erase(std::string(stream));
  if (refused_.empty()) status_.no_claim_refused();
  const auto* assigned = streams_.find(stream);
  if (assigned == nullptr) return PL_UNKNOWN;
  const auto state = assigned->state;
  held_.insert_or_assign(state->name(), assigned->claim.epoch);
  const bool flushing = walk_.flush(true);
  const auto deadline = revoke_deadline();
  streams_.wait_until_idle(*state, deadline);
  walk_.store_delivered();  // the next owner must not emit it again
  streams_.wait_until_idle(*state, deadline);
  walk_.flush(flushing);
  streams_.revoke(stream);
  arrivals_.revoke(stream);
  state_.stream_revoked(stream);
  last_revoked_ = stream_table::clock::now();
  return state->settled();
}

void stream_claims::receiving(std::string_view why_not) {
  arrivals_.receiving(why_not.empty());
  status_.receiving(why_not);
}

void stream_claims::stream_observed(std::string_view stream, std::uint64_t end, std::int64_t before) {
  if (const auto* known = streams_.find(stream)) arrivals_.observe(stream, end, before, known->state->position());
  streams_.observe_end(stream, end);
}

}  // namespace pl::engine
