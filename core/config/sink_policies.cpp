// SPDX-License-Identifier: Apache-2.0
#include "config/sink_policies.hpp"

#include <fmt/format.h>

namespace pl::config {

namespace {

// Such a sink must not leave rows out: its positions would move past rows that it does not have.
void check_exactly_once(const node& n, diagnostics& problems) {
  if (n.when_full != full_policy::block)
    problems.error(n.when_full_where,
                   fmt::format("'{}' delivers exactly once, so it cannot drop rows (when_full: {})", n.name,
                               to_string(n.when_full)),
                   "remove 'when_full', or set 'delivery: at_least_once' on this sink");
  if (n.on_failure == failure_policy::dead_letters)
    problems.error(
        n.on_failure_where,
        fmt::format("'{}' delivers exactly once, so it cannot give up on rows (on_failure: dead_letters)", n.name),
        "remove 'on_failure', or set 'delivery: at_least_once' on this sink");
}

void check_at_least_once(const node& n, diagnostics& problems) {
  if (n.on_failure == failure_policy::dead_letters && !n.retry.give_up_after)
    problems.error(n.on_failure_where,
                   fmt::format("'{}' never gives up, so 'on_failure: dead_letters' has no effect", n.name),
                   "set for how long a failed write is retried, for example 'retry: {give_up_after: 30s}'");
}

}  // namespace

void check_sink_policies(const pipeline& p, diagnostics& problems) {
  for (const auto& n : p.sinks)
    if (n.delivery.value_or(p.delivery) == delivery::exactly_once)
      check_exactly_once(n, problems);
    else
      check_at_least_once(n, problems);
}

}  // namespace pl::config
