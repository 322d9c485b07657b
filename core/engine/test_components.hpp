// SPDX-License-Identifier: Apache-2.0
// Components for the engine's tests: they do what a test tells them to, and note what was done to them.
#pragma once

#include <pipeline/plugin.hpp>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace pl::engine::test {

// What a test and its components share. Any thread.
struct stage {
  struct stored_row {
    std::string stream;
    std::uint64_t position;
    std::string text;
  };

  // The source: `streams` streams of `rows` records each, or for ever.
  std::uint64_t streams = 1, rows = 1000;
  bool endless = false;
  std::set<std::uint64_t> lose_at;  // after that many records of the lane the stream s/0 is lost and assigned anew

  // What to do in a call; unset: what a good component does. The number counts the calls, from 0.
  std::function<pl::result<void>(std::uint64_t)> on_write, on_apply;
  std::function<pl::result<void>()> on_start;                                      // of the source
  std::function<bool(std::string_view)> reject_in_apply, reject_in_write, refuse;  // by the row's text
  std::function<bool(std::string_view)> keep;                                      // transform: hold the batch back

  std::atomic<std::uint64_t> writes{0}, applies{0}, creates{0}, starts{0}, stops{0}, keep_alives{0}, polls{0};
  std::atomic<std::uint64_t> lost_settled{0};

  std::mutex mutex;
  std::vector<stored_row> stored, dead;
  std::vector<std::string> reasons;
  std::map<std::string, std::uint64_t> settled;  // by stream

  std::vector<stored_row> rows_stored() {
    std::scoped_lock lock(mutex);
    return stored;
  }
  std::vector<stored_row> dead_stored() {
    std::scoped_lock lock(mutex);
    return dead;
  }
  std::uint64_t settled_of(const std::string& stream) {
    std::scoped_lock lock(mutex);
    return settled.contains(stream) ? settled[stream] : 0;
  }
};

// Stages by the name that the configuration gives: components can't be handed anything else.
std::shared_ptr<stage> stage_named(const std::string& name);
std::shared_ptr<stage> new_stage(const std::string& name);

// Source test_source, transform test_transform, sinks test_sink and test_dead; each with an option `stage`.
const pl_plugin& test_plugin();

}  // namespace pl::engine::test
