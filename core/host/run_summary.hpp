// SPDX-License-Identifier: Apache-2.0
// The last lines of a run: what each pipeline read, stored and rejected. Pure function.
#pragma once

#include "config/pipeline.hpp"
#include "engine/pipeline.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace pl::host {

// "5,000 records read; 4,990 rows stored (store 4,990); 10 rejected (parsed 10), see dead-letters/p.ndjson; 3 alerts"
[[nodiscard]] std::string run_summary(const config::pipeline& p, const std::vector<engine::node_totals>& totals);

[[nodiscard]] std::uint64_t rejected_in(const std::vector<engine::node_totals>& totals);
[[nodiscard]] std::uint64_t read_in(const std::vector<engine::node_totals>& totals);

}  // namespace pl::host
