// SPDX-License-Identifier: Apache-2.0
// The librdkafka configurations of the sink's clients.
#pragma once

#include "options.hpp"

#include <pipeline/context.hpp>
#include <pipeline/result.hpp>

#include <kafka_common/client.hpp>
#include <kafka_common/properties.hpp>

#include <memory>
#include <string>

namespace kafka {

// Validate brokers and properties and report errors. Return true if there are none.
[[nodiscard]] bool check_connection(const sink_options& options, pl::context ctx);

// Return the configuration of a producer. An empty transactional_id means no transactions.
[[nodiscard]] conf_ptr producer_conf(const sink_options& options, pl::context ctx,
                                     const std::string& transactional_id = {});
// Return the configuration of a consumer that reads only committed records.
[[nodiscard]] conf_ptr reader_conf(const sink_options& options, pl::context ctx);
// Return the configuration of the client for queries, which sees the end of partitions including open transactions.
[[nodiscard]] conf_ptr observer_conf(const sink_options& options, pl::context ctx);

}  // namespace kafka
