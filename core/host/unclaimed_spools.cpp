// SPDX-License-Identifier: Apache-2.0
#include "host/unclaimed_spools.hpp"

#include "host/side_run.hpp"
#include "telemetry/engine_metrics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>

namespace pl::host {

namespace fs = std::filesystem;

namespace {

std::string about(const spool::spool_info& s) {
  return fmt::format("{} of the source {}/{} {} in the spool {}, and no source of this configuration reads it",
                     plural(s.unsettled, "record"), s.pipeline, s.source, s.unsettled == 1 ? "is" : "are",
                     s.folder.string());
}

constexpr std::string_view remedy =
    "if the source or its pipeline was renamed, move the records to the new one: pipeline-host spools adopt CONFIG; to "
    "discard them, delete the folder";

fs::path full_path(const fs::path& path) {
  std::error_code failed;
  return fs::absolute(path, failed).lexically_normal();
}

}  // namespace

std::optional<spool_reader> reader_of(const spool::spool_info& s, const std::vector<engine::exclusive_use>& uses) {
  const auto source = full_path(s.folder).parent_path();
  for (const auto& use : uses) {
    if (use.kind != PL_EXCLUSIVE_SPOOL || fs::path(use.name).parent_path() != source) continue;
    if (s.plugin.empty() || s.plugin == use.plugin) return spool_reader{use.pipeline, use.node};
  }
  return std::nullopt;
}

std::vector<spool::spool_info> all_spools(const std::vector<config::pipeline>& pipelines) {
  std::vector<spool::spool_info> all;
  std::set<fs::path> seen;
  for (const auto& p : pipelines)
    if (seen.insert(full_path(p.state_dir)).second)
      for (auto& s : spool::find_spools(p.state_dir)) all.push_back(std::move(s));
  return all;
}

std::vector<spool::spool_info> find_unclaimed(const std::vector<config::pipeline>& pipelines,
                                              const std::vector<engine::exclusive_use>& uses) {
  auto all = all_spools(pipelines);
  std::erase_if(all, [&](const auto& s) {
    const bool of_another_host =
        s.in_use && std::ranges::find(pipelines, s.pipeline, &config::pipeline::name) == pipelines.end();
    return s.unsettled == 0 || of_another_host || reader_of(s, uses);
  });
  return all;
}

void warn_of_unclaimed_spools(config::load_result& loaded, const std::vector<engine::exclusive_use>& uses) {
  for (const auto& s : find_unclaimed(loaded.pipelines, uses)) {
    const auto at = std::ranges::find(loaded.pipelines, s.pipeline, &config::pipeline::name);
    const auto& p = at == loaded.pipelines.end() ? loaded.pipelines.front() : *at;
    loaded.problems.warning(p.where, about(s), std::string(remedy));
  }
}

unclaimed_spools::unclaimed_spools(session& s) : session_(s) {
  collector_ = session_.metrics().before_render([this] {
    const std::scoped_lock lock(mutex_);
    std::error_code ignored;
    std::erase_if(found_, [&](const auto& found) { return !fs::exists(found.folder, ignored); });  // adopted meanwhile
    publish();
  });
}

void unclaimed_spools::look(const std::vector<config::pipeline>& pipelines) {
  auto found = find_unclaimed(pipelines, session_.uses());
  for (const auto& s : found) session_.log().warn(s.pipeline, s.source, "{}; {}", about(s), remedy);
  const std::scoped_lock lock(mutex_);
  found_ = std::move(found);
  publish();
}

void unclaimed_spools::publish() {
  namespace em = telemetry::engine_metrics;
  std::map<std::pair<std::string, std::string>, std::uint64_t> records;
  for (const auto& [source, gauge] : gauges_) records[source] = 0;
  for (const auto& s : found_) records[{s.pipeline, s.source}] += s.unsettled;
  for (const auto& [source, n] : records) {
    auto& gauge = gauges_[source];
    gauge = session_.metrics().get(em::unclaimed_spool_records, source.first, source.second);
    gauge.set(static_cast<double>(n));
  }
}

}  // namespace pl::host
