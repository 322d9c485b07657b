// SPDX-License-Identifier: Apache-2.0
// Lists the open alerts of a lane's transforms: those in memory, or those that stored state contains.
#pragma once

#include "engine/alert_request.hpp"
#include "engine/lane_graph.hpp"

#include <string_view>

namespace pl::engine {

// On the lane's thread, or while the lane does not run.
[[nodiscard]] result<alert_list> open_alerts(lane_graph& graph);

// Restore the stored state of all streams of a source into the transforms of a lane that is never started, and list its
// open alerts. It changes nothing that is stored. Host's main thread.
[[nodiscard]] result<alert_list> stored_alerts(lane_graph& graph, std::string_view source);

}  // namespace pl::engine
