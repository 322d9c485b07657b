// SPDX-License-Identifier: Apache-2.0
// Spools with records that no source of the configuration reads: their source was renamed or removed, or its pipeline.
#pragma once

#include "config/load.hpp"
#include "engine/node_checks.hpp"
#include "host/session.hpp"

#include <spool_common/folders.hpp>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pl::host {

// The source that reads a spool.
struct spool_reader {
  std::string pipeline, source;
};
// Return the source that reads a spool, according to what the instances use; empty: no source does.
[[nodiscard]] std::optional<spool_reader> reader_of(const spool::spool_info& s,
                                                    const std::vector<engine::exclusive_use>& uses);

// Return every spool in the state directories of these pipelines.
[[nodiscard]] std::vector<spool::spool_info> all_spools(const std::vector<config::pipeline>& pipelines);

// Return the spools that hold unsettled records and that no source reads. The spool of another host, which has it open, is
// not among them, unless its pipeline is one of these: then a running source was renamed in the configuration.
[[nodiscard]] std::vector<spool::spool_info> find_unclaimed(const std::vector<config::pipeline>& pipelines,
                                                            const std::vector<engine::exclusive_use>& uses);

// For `validate`: add a warning for each.
void warn_of_unclaimed_spools(config::load_result& loaded, const std::vector<engine::exclusive_use>& uses);

// For `run`: log each, and publish the number of their records until they are adopted.
class unclaimed_spools {
 public:
  explicit unclaimed_spools(session& s);
  // Main thread.
  void look(const std::vector<config::pipeline>& pipelines);

 private:
  void publish();

  session& session_;
  std::mutex mutex_;
  std::vector<spool::spool_info> found_;
  std::map<std::pair<std::string, std::string>, telemetry::gauge> gauges_;  // by pipeline and source
  std::unique_ptr<telemetry::metrics::registration> collector_;             // last: uses the other members
};

}  // namespace pl::host
