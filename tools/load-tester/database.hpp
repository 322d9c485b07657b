// SPDX-License-Identifier: Apache-2.0
// This run's rows in the database.
#pragma once

#include "histogram.hpp"
#include "ledger.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace pl::load {

struct table_options {
  std::string url;
  std::string table;                   // may have a schema
  std::string extra_column = "extra";  // where json_telemetry puts what it does not map: the run and the number
  std::string run, device_prefix;
  std::int64_t begin_us = 0;  // no row of this run is older
};

// One connection. Errors are sentences; after one, connect() again. One thread at a time.
class database {
 public:
  explicit database(table_options options);
  ~database();
  database(const database&) = delete;
  database& operator=(const database&) = delete;

  // Each answers with an empty text, or with what went wrong and what to do.
  std::string connect();
  // Where there is no table yet (the pipeline makes it) it says so in `exists`, which is no error.
  std::string check(bool& exists);

  // Which of its rows could not be seen before.
  struct mark {
    std::string transaction;  // the oldest one that was open then; empty: none was asked yet
  };
  // Numbers of rows that became visible since `since`, measured at `from_us` or later; moves `since`.
  std::string appeared(std::int64_t from_us, mark& since, std::vector<std::uint64_t>& seqs);
  std::string all(const std::function<void(const stored_row&)>& row);

 private:
  struct connection;
  std::string attempt(const std::function<void()>& what);
  std::string table_sql() const;
  std::string filter_sql(std::int64_t from_us) const;

  table_options options_;
  std::unique_ptr<connection> connection_;
};

// Asks the database again and again which messages it shows, and notes when it saw them. A thread of its own.
class watcher {
 public:
  watcher(const table_options& options, ledger& messages);
  ~watcher();
  watcher(const watcher&) = delete;
  watcher& operator=(const watcher&) = delete;

  std::string start();
  void stop();
  // Time between two looks: no latency is known better than that.
  [[nodiscard]] latency resolution() const;
  // What the last look that failed said; empty while all is well.
  [[nodiscard]] std::string trouble() const;

 private:
  void run(const std::stop_token& stop);
  std::string look(std::int64_t now);
  void note(std::string trouble);

  table_options options_;
  ledger& ledger_;
  database database_;
  database::mark near_, far_;
  std::int64_t last_far_us_ = 0;
  bool exists_ = false;
  mutable std::mutex lock_;
  histogram gaps_;
  std::string trouble_;
  std::jthread thread_;
};

}  // namespace pl::load
