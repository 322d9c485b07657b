// SPDX-License-Identifier: Apache-2.0
#include "engine/node_meters.hpp"

namespace pl::engine {

namespace em = telemetry::engine_metrics;

node_meters::node_meters(telemetry::metrics& m, std::string_view pipeline, std::string_view node, config::role role)
    : retries(m.get(em::retries_total, pipeline, node)),
      restarts(m.get(em::restarts_total, pipeline, node)),
      role_(role),
      records_in_(m.get(em::records_in_total, pipeline, node)),
      records_out_(m.get(em::records_out_total, pipeline, node)),
      bytes_in_(m.get(em::bytes_in_total, pipeline, node)),
      bytes_out_(m.get(em::bytes_out_total, pipeline, node)),
      rejected_(m.get(em::rejected_total, pipeline, node)),
      batch_rows_(m.get(em::batch_rows, pipeline, node)) {
  if (role == config::role::source) in_flight_batches = m.get(em::in_flight_batches, pipeline, node);
  if (role != config::role::sink) return;
  write_seconds = m.get(em::write_seconds, pipeline, node);
  queue_bytes = m.get(em::queue_bytes, pipeline, node);
  given_up = m.get(em::given_up_total, pipeline, node);
  dropped_ = m.get(em::dropped_total, pipeline, node);
  circuit_open = m.get(em::circuit_open, pipeline, node);
  queue_limit_bytes = m.get(em::queue_limit_bytes, pipeline, node);
  queue_disk_bytes = m.get(em::queue_disk_bytes, pipeline, node);
  queue_disk_batches = m.get(em::queue_disk_batches, pipeline, node);
  queue_disk_limit_bytes = m.get(em::queue_disk_limit_bytes, pipeline, node);
}

}  // namespace pl::engine
