// SPDX-License-Identifier: Apache-2.0
// Components for the engine's tests: a test sets their behaviour, and they record their calls. Thread-safe.
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

// The state that a test and its components share. Thread-safe.
struct stage {
  struct stored_row {
    std::string stream;
    std::uint64_t position;
    std::string text;
  };

  // The source: `streams` streams of `rows` records each, or of endless records.
  std::uint64_t streams = 1, rows = 1000;
  std::uint64_t rows_per_poll = 100;
  bool endless = false;
  std::function<void()> on_keep_alive;  // in each poll for no records
  std::set<std::uint64_t> revoke_at;    // after that many polls the stream s/0 is revoked and assigned again

  // The result of a call; unset: success. The number counts the calls, from 0.
  std::function<pl::result<void>(std::uint64_t)> on_write, on_apply;
  std::function<pl::result<void>()> on_start;  // of the source
  std::function<pl::result<void>()> on_sink_start, on_transform_start;
  std::function<pl::result<void>()> on_create;             // of each instance
  std::function<pl::result<void>(std::uint64_t)> on_dead;  // of the dead-letter sink
  // By the row's text. The sink: reject_in_write writes the other rows, reject_by_name writes none, and refuse does not
  // name the row.
  std::function<bool(std::string_view)> reject_in_apply, reject_in_write, reject_by_name, refuse;
  std::function<bool(std::string_view)> reject_early;      // by the row's text, before on_write is called
  std::function<void(const pl::liveness&)> on_connection;  // of the sink, in each write
  bool progress = false;                                   // each write reports progress before on_write is called
  std::function<bool(std::string_view)> keep;              // transform: hold the batch back

  std::atomic<std::uint64_t> writes{0}, dead_writes{0}, applies{0}, creates{0}, starts{0}, stops{0}, keep_alives{0},
      polls{0};
  std::atomic<std::uint64_t> revoked_settled{0};

  std::mutex mutex;
  std::vector<stored_row> stored, dead;
  std::vector<std::string> reasons, records;     // of the dead letters: their columns `reason` and `record`
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

// Stages by name: the configuration is the only way to pass anything to a component.
std::shared_ptr<stage> stage_named(const std::string& name);
std::shared_ptr<stage> new_stage(const std::string& name);

// Source test_source, transform test_transform, sinks test_sink and test_dead; each with an option `stage`.
const pl_plugin& test_plugin();

}  // namespace pl::engine::test
