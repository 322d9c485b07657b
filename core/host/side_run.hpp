// SPDX-License-Identifier: Apache-2.0
// Shared code of `replay` and `dead-letters retry`. Both verbs run a modified copy of a configured pipeline once, while
// the pipeline's host keeps running.
#pragma once

#include "config/load.hpp"
#include "engine/pipeline.hpp"
#include "host/arguments.hpp"
#include "host/session.hpp"
#include "host/signals.hpp"

#include <pipeline/result.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace pl::host {

// Return the named pipeline, or the reason why it cannot be chosen. `name`: empty if there is only one.
[[nodiscard]] result<config::pipeline> choose_pipeline(const config::load_result& loaded, const std::string& name);
// Return the named source, or the reason why it cannot be chosen. `why`: the reason why one must be chosen, for the
// error message.
[[nodiscard]] result<std::string> choose_source(const config::pipeline& p, const std::string& name,
                                                std::string_view why);
// Keep only the source and the nodes that it reaches.
void keep_below(config::pipeline& p, const std::string& source);
// Keep only the paths from the sources through the node.
void keep_through(config::pipeline& p, const std::string& node);
// Replace everything above the node by the source, which the node then reads, and drop the other branches.
void enter_at(config::pipeline& p, const std::string& node, config::node source);
// Return whether records of `from` reach the node `to`.
[[nodiscard]] bool leads_to(const config::pipeline& p, const std::string& from, const std::string& to);
// Keep only the transforms that lead to a sink.
void keep_above_sinks(config::pipeline& p);

// Build a node's options in code.
[[nodiscard]] config::value text_option(std::string key, std::string text);
void set_options(config::node& of, std::vector<config::value> options);
// Return the path escaped for an option that expands {name} placeholders.
[[nodiscard]] std::string without_braces(const std::filesystem::path& path);

// A temporary folder <prefix>-XXXXXX for this run. The destructor removes it.
class work_folder {
 public:
  static result<std::unique_ptr<work_folder>> make(const std::filesystem::path& prefix);
  ~work_folder();
  work_folder(const work_folder&) = delete;
  work_folder& operator=(const work_folder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  explicit work_folder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

struct run_outcome {
  int code = exit_ok;    // for any other value, the delivered records are unknown
  bool stopped = false;  // by a signal, before all records were read
  telemetry::pipeline_progress totals;
};

// Run the pipeline until all records are delivered. After a signal, finish only the records that were already read.
// `watch` is called at the interval with the progress.
run_outcome run_through(engine::pipeline& p, signals& incoming, session& s,
                        const std::function<void(const telemetry::pipeline_progress&)>& watch = {},
                        std::chrono::milliseconds interval = std::chrono::milliseconds(50));

[[nodiscard]] std::string plural(std::uint64_t n, std::string_view what);
// Return whether the user confirms. `question`: what would happen.
[[nodiscard]] bool confirmed(bool yes, std::string_view question);

void print_error(std::string_view what);

}  // namespace pl::host
