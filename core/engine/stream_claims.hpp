// SPDX-License-Identifier: Apache-2.0
// Handles the assignment of a source's streams (look, claim, restore) and their revocation (settle what is in flight).
// The class is separate from stream_table and state_keeper so that neither depends on the other. Runs on the lane's
// thread, within a source's poll, start or stop.
#pragma once

#include "engine/arrival_clocks.hpp"
#include "engine/graph_walk.hpp"
#include "engine/lane_graph.hpp"
#include "engine/state_keeper.hpp"
#include "engine/stream_table.hpp"

#include <atomic>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace pl::engine {

class stream_claims final : public stream_listener {
 public:
  stream_claims(instance& source, lane_graph& graph, stream_table& streams, arrival_clocks& arrivals,
                state_keeper& state, graph_walk& walk, lane_status& status)
      : source_(source),
        graph_(graph),
        streams_(streams),
        arrivals_(arrivals),
        state_(state),
        walk_(walk),
        status_(status) {}

  // Discard data about earlier claims, before the source starts again and assigns all its streams.
  void clear_refused() {
    refused_.clear();
    status_.no_claim_refused();
  }
  void clear() {
    held_.clear();
    rejoin_since_ = {};
  }
  // While the lane waits for what is in flight, to claim its streams again: if that takes time because a sink does not work,
  // let it be read again instead, so that the other sinks need not wait for this one.
  void read_again_in_outage();
  // Log the streams that continue where an earlier run or another host stopped, once after they were assigned.
  void report_continued();
  [[nodiscard]] bool continued() const noexcept { return any_continued_; }  // any thread

  result<void> stream_announced(std::string_view stream) override;
  result<std::uint64_t> stream_assigned(std::string_view stream, start_reason why, std::uint64_t proposed) override;
  std::uint64_t stream_revoked(std::string_view stream) override;
  void receiving(std::string_view why_not) override;
  [[nodiscard]] bool arrivals_wanted() const override { return arrivals_.wanted(); }
  void stream_observed(std::string_view stream, std::uint64_t end, std::int64_t before) override;

 private:
  result<stream_claim> claim(std::string_view stream, start_reason why, std::uint64_t proposed);
  failure report(const failure& refused, std::string_view stream);
  [[nodiscard]] stream_table::clock::time_point revoke_deadline();

  instance& source_;
  lane_graph& graph_;
  stream_table& streams_;
  arrival_clocks& arrivals_;
  state_keeper& state_;
  graph_walk& walk_;
  lane_status& status_;
  std::set<std::string> refused_;                   // streams whose claim is retried
  std::map<std::string, std::uint64_t> continued_;  // streams and positions to log
  std::atomic<bool> any_continued_{false};
  std::map<std::string, std::uint64_t, std::less<>>
      held_;  // epochs of streams that were revoked and not announced since
  stream_table::clock::time_point revoke_until_{}, last_revoked_{};
  stream_table::clock::time_point rejoin_since_{};  // {}: the lane does not claim its streams again
};

}  // namespace pl::engine
