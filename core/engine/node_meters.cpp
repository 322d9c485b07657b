// SPDX-License-Identifier: Apache-2.0
#include "engine/node_meters.hpp"

namespace pl::engine {

namespace em = telemetry::engine_metrics;

node_meters::node_meters(telemetry::metrics& m, std::string_view pipeline, std::string_view node)
    : retries(m.get(em::retries_total, pipeline, node)),
      restarts(m.get(em::restarts_total, pipeline, node)),
      records_in_(m.get(em::records_in_total, pipeline, node)),
      records_out_(m.get(em::records_out_total, pipeline, node)),
      bytes_in_(m.get(em::bytes_in_total, pipeline, node)),
      bytes_out_(m.get(em::bytes_out_total, pipeline, node)),
      rejected_(m.get(em::rejected_total, pipeline, node)),
      batch_rows_(m.get(em::batch_rows, pipeline, node)) {}

}  // namespace pl::engine
