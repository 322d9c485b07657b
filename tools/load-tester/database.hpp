// SPDX-License-Identifier: Apache-2.0
// Reads the rows of this run from the database.
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
  std::string extra_column = "extra";  // json_telemetry's column for unmapped fields: the run and the number
  std::string run, device_prefix;
  std::int64_t begin_us = 0;  // lower bound on the time of the run's rows
};

// One connection. Functions return an empty text or the error; after an error, call connect() again. Not thread-safe.
class database {
 public:
  explicit database(table_options options);
  ~database();
  database(const database&) = delete;
  database& operator=(const database&) = delete;

  std::string connect();
  // Check the columns of the table. A missing table is not an error, because the pipeline creates it: exists = false.
  std::string check(bool& exists);

  // The state of a query, from which the next query starts.
  struct mark {
    std::string transaction;  // the oldest transaction that was open then; empty: no query yet
  };
  // Return the numbers of rows measured at `from_us` or later that became visible after `since`, and update `since`.
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

// Polls the database in its own thread, and records when each message became visible.
class watcher {
 public:
  watcher(const table_options& options, ledger& messages);
  ~watcher();
  watcher(const watcher&) = delete;
  watcher& operator=(const watcher&) = delete;

  std::string start();
  void stop();
  // Return the time between two queries, which is the resolution of the latencies.
  [[nodiscard]] latency resolution() const;
  // Return the error of the last query; empty if it succeeded.
  [[nodiscard]] std::string error() const;

 private:
  void run(const std::stop_token& stop);
  std::string poll(std::int64_t now);
  void note(std::string error);

  table_options options_;
  ledger& ledger_;
  database database_;
  database::mark near_, far_;
  std::int64_t last_far_us_ = 0;
  bool exists_ = false;
  mutable std::mutex lock_;
  histogram gaps_;
  std::string error_;
  std::jthread thread_;
};

}  // namespace pl::load
