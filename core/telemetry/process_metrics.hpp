// SPDX-License-Identifier: Apache-2.0
//
// Metrics of the process, with the names that Prometheus client libraries use. Any thread.
#pragma once

#include <string>

namespace pl::telemetry {

// Return the metrics in the text format of Prometheus. A metric that the system does not provide is left out.
std::string process_metrics();

// The reference table, in Markdown.
std::string process_metrics_markdown();

}  // namespace pl::telemetry
