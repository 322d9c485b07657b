// SPDX-License-Identifier: Apache-2.0
// Selects the records that each position store still needs: records that a store received before are trimmed.
// A store receives the output of one source batch as one group, with the batch's ranges (even if no row is left) and
// the state changes, so that the store's positions stay contiguous. Runs on the lane's thread.
#pragma once

#include "engine/lane_graph.hpp"
#include "engine/state_keeper.hpp"
#include "engine/stream_table.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace pl::engine {

using batch_group = std::vector<batch_ref>;

class exact_router {
 public:
  exact_router(instance& source, const position_stores& stores, stream_table& streams, state_keeper& state,
               lane_status& status)
      : source_(source), stores_(stores), streams_(streams), state_(state), status_(status) {}

  // Pass batches on to a sink. A position store's batches are gathered until `finish`; any other sink immediately
  // receives the records that were not settled under an earlier claim.
  void route(sink_node& sink, const batch_group& batches);
  // Finish one source batch (pass its root) or one tick (pass null): push the gathered batches.
  void finish(record_batch* root);
  // Remove rejections of records that only transforms read again: their dead letters were written the first time.
  void drop_settled(std::vector<rejection>& rejected) const;

 private:
  [[nodiscard]] batch_ref timer_root(const std::vector<state_change>& changes);
  bool group_for(std::size_t store, const batch_group& gathered, record_batch* root,
                 const std::vector<state_change>& changes, batch_group& all);
  [[nodiscard]] batch_ref position_only(record_batch& root, std::size_t store,
                                        const std::vector<state_change>& changes) const;
  [[nodiscard]] std::vector<pl_state_change> changes_for(record_batch& to, std::size_t store,
                                                         const std::vector<state_change>& changes) const;
  template <class Floor>
  [[nodiscard]] batch_ref trim(batch_ref batch, Floor&& floor_of) const;
  [[nodiscard]] batch_ref trim_for(batch_ref batch, std::size_t store) const;
  [[nodiscard]] batch_ref trim_settled(batch_ref batch);

  instance& source_;
  const position_stores& stores_;
  stream_table& streams_;
  state_keeper& state_;
  lane_status& status_;
  std::vector<batch_group> gathered_;  // by store, from the current source batch
};

}  // namespace pl::engine
