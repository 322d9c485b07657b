// SPDX-License-Identifier: Apache-2.0
#include "telemetry/engine_metrics.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace pl::telemetry::engine_metrics {
namespace {

template <metric_kind Kind, std::size_t Labels>
std::string row(const metric_def<Kind, Labels>& def) {
  return fmt::format("| `pipeline_{}` | {} | {} | {} |\n", def.name, to_string(Kind), fmt::join(def.labels, ", "),
                     def.doc);
}

}  // namespace

std::string to_markdown() {
  const std::string head = "| metric | kind | labels | meaning |\n|---|---|---|---|\n";
  return head + std::apply([](const auto&... def) { return (row(def) + ...); }, all);
}

}  // namespace pl::telemetry::engine_metrics
