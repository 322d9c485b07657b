// SPDX-License-Identifier: Apache-2.0
// A configured pipeline, run once, changed in parts, beside the host that runs it: what `replay` and `dead-letters retry`
// have in common.
#pragma once

#include "config/load.hpp"
#include "engine/pipeline.hpp"
#include "host/arguments.hpp"
#include "host/session.hpp"
#include "host/signals.hpp"

#include <pipeline/result.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace pl::host {

// The pipeline that is meant, or why there is none. name: empty where there is only one.
[[nodiscard]] result<config::pipeline> choose_pipeline(const config::load_result& loaded, const std::string& name);
// The same for a source of it. why: must one be chosen.
[[nodiscard]] result<std::string> choose_source(const config::pipeline& p, const std::string& name,
                                                std::string_view why);
// Leaves only what the source reaches.
void keep_below(config::pipeline& p, const std::string& source);
// Leaves only the transforms that lead to a sink.
void keep_above_sinks(config::pipeline& p);

// A node's options, made by us.
[[nodiscard]] config::value text_option(std::string key, std::string text);
void set_options(config::node& of, std::vector<config::value> options);
// A path as it is, for an option in which {name} stands for something.
[[nodiscard]] std::string without_braces(const std::filesystem::path& path);

// A folder for this run alone: <prefix>-XXXXXX.
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
  int code = exit_ok;    // other: nothing is known of what was delivered
  bool stopped = false;  // by a signal, before all was read
  telemetry::pipeline_progress totals;
};

// Until all is read and delivered, or a signal comes: then what was read is finished. watch: called now and then.
run_outcome run_through(engine::pipeline& p, signals& incoming, session& s,
                        const std::function<void(const telemetry::pipeline_progress&)>& watch = {});

[[nodiscard]] std::string plural(std::uint64_t n, std::string_view what);
// True: go on. question: what would happen.
[[nodiscard]] bool confirmed(bool yes, std::string_view question);

void say_error(std::string_view what);

}  // namespace pl::host
