// SPDX-License-Identifier: Apache-2.0
// What librdkafka is told, for each of the clients that the sink has.
#pragma once

#include "options.hpp"

#include <pipeline/context.hpp>
#include <pipeline/result.hpp>

#include <kafka_common/client.hpp>
#include <kafka_common/properties.hpp>

#include <memory>
#include <string>

namespace kafka {

// Reports what is wrong with brokers and properties. True: nothing.
[[nodiscard]] bool check_connection(const sink_options& options, pl::context ctx);

// transactional_id empty: without transactions.
[[nodiscard]] conf_ptr producer_conf(const sink_options& options, pl::context ctx,
                                     const std::string& transactional_id = {});
// Reads what is committed alone.
[[nodiscard]] conf_ptr reader_conf(const sink_options& options, pl::context ctx);
// For questions to the cluster; sees the end of partitions as it is, with transactions that aren't finished.
[[nodiscard]] conf_ptr observer_conf(const sink_options& options, pl::context ctx);

}  // namespace kafka
