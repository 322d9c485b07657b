// SPDX-License-Identifier: Apache-2.0
#include "host/run_summary.hpp"

#include "host/dead_letter_store.hpp"
#include "host/side_run.hpp"

#include <fmt/format.h>

namespace pl::host {

namespace {

// "12 rows stored (store 9, notify 3)"
std::string with_nodes(std::uint64_t sum, std::string_view what, const std::string& nodes) {
  return fmt::format("{} {}{}", telemetry::format_count(sum), what, nodes.empty() ? "" : " (" + nodes + ")");
}

void add(std::string& nodes, const std::string& node, std::uint64_t n) {
  nodes += fmt::format("{}{} {}", nodes.empty() ? "" : ", ", node, telemetry::format_count(n));
}

std::string place_of_dead_letters(const config::pipeline& p) {
  const auto files = dead_letter_files(p);
  if (files.ok() && !files->empty()) return ", see " + files->front().string();
  return p.dead_letters ? ", sent to " + p.dead_letters->plugin : "";
}

}  // namespace

std::uint64_t rejected_in(const std::vector<engine::node_totals>& totals) {
  std::uint64_t sum = 0;
  for (const auto& t : totals) sum += t.rejected;
  return sum;
}

std::uint64_t read_in(const std::vector<engine::node_totals>& totals) {
  std::uint64_t sum = 0;
  for (const auto& t : totals)
    if (t.role == config::role::source) sum += t.out;
  return sum;
}

std::string run_summary(const config::pipeline& p, const std::vector<engine::node_totals>& totals) {
  std::uint64_t stored = 0, alerts = 0, dropped = 0;
  std::string sinks, rejecting, dropping;
  for (const auto& t : totals) {
    if (t.role == config::role::sink) stored += t.out, add(sinks, t.node, t.out);
    if (t.alerts) alerts += t.out;
    if (t.rejected != 0) add(rejecting, t.node, t.rejected);
    if (t.dropped != 0) dropped += t.dropped, add(dropping, t.node, t.dropped);
  }
  const auto rejected = rejected_in(totals);
  return fmt::format("{} read; {}; {}{}; {}{}", plural(read_in(totals), "record"),
                     with_nodes(stored, stored == 1 ? "row stored" : "rows stored", sinks),
                     with_nodes(rejected, "rejected", rejecting), rejected == 0 ? "" : place_of_dead_letters(p),
                     dropped == 0 ? "" : with_nodes(dropped, "dropped", dropping) + "; ", plural(alerts, "alert"));
}

}  // namespace pl::host
