// SPDX-License-Identifier: Apache-2.0
// A database schema for one test, and a sink that writes to it.
#pragma once

#include "../plugin.hpp"
#include "names.hpp"

#include <pipeline/context.hpp>

#include <doctest/doctest.h>
#include <pqxx/pqxx>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace timescale_test {

using namespace std::chrono_literals;
using pl::testing::config_fields;
using pl::testing::fake_host;
using pl::testing::list;
using pl::testing::object;
using strings = std::vector<std::string>;

inline std::string url() { return std::getenv("DATABASE_URL"); }
inline std::string direct_url() {
  const auto* direct = std::getenv("DATABASE_DIRECT_URL");
  return direct ? direct : url();
}

inline bool has(const std::string& text, std::string_view piece) { return text.find(piece) != std::string::npos; }

class database {
 public:
  database() : connection_(direct_url()), schema_(unique_name()) {
    run("SET client_min_messages = warning");
    run("CREATE SCHEMA " + timescale::quoted_identifier(schema_));
    run("SET search_path = " + timescale::quoted_identifier(schema_) + ", public");
  }
  database(const database&) = delete;
  database& operator=(const database&) = delete;
  ~database() {
    try {
      run("DROP SCHEMA " + timescale::quoted_identifier(schema_) + " CASCADE");
    } catch (const std::exception& e) {
      MESSAGE("dropping ", schema_, ": ", e.what());
    }
  }

  void run(const std::string& sql) {
    pqxx::nontransaction tx(connection_);
    tx.exec(sql);
  }
  // Return the rows as text: columns separated by '|', null as 'null'.
  strings rows(const std::string& sql) {
    pqxx::nontransaction tx(connection_);
    strings all;
    for (const auto& row : tx.exec(sql)) {
      std::string line;
      for (const auto& field : row) {
        if (field.num() != 0) line += "|";
        line += field.is_null() ? "null" : field.c_str();
      }
      all.push_back(line);
    }
    return all;
  }
  std::string one(const std::string& sql) {
    const auto all = rows(sql);
    REQUIRE(all.size() == 1);
    return all[0];
  }
  bool has_timescale() { return one("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'") == "1"; }

  // End the sink's connections, as an administrator or a restart would.
  void end_writers() {
    rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pipeline-host test/%' AND "
        "pid <> "
        "pg_backend_pid()");
  }

  [[nodiscard]] const std::string& schema() const { return schema_; }
  [[nodiscard]] std::string name(std::string_view table) const { return schema_ + "." + std::string(table); }

 private:
  static std::string unique_name() {
    static std::atomic<int> number{0};
    return "it_" + std::to_string(::getpid()) + "_" + std::to_string(++number);
  }
  pqxx::connection connection_;
  std::string schema_;
};

// One sink and its host.
class sink {
 public:
  sink(const std::string& table, config_fields options = {}, const std::string& at = url())
      : instance_(host, component(), with(std::move(options), table, at)) {}

  pl_status create() { return instance_.create(); }
  void start() {
    REQUIRE(instance_.create() == PL_OK);
    REQUIRE_MESSAGE(instance_.start() == PL_OK, host.error_text());
  }
  // Return the errors at start.
  std::string start_error(const pl_schema* in = nullptr) {
    REQUIRE(instance_.create() == PL_OK);
    REQUIRE(set_input(in) == PL_OK);
    return start_error_of_input();
  }
  std::string start_error(const pl::batch& like) {
    REQUIRE(instance_.create() == PL_OK);
    REQUIRE(set_input(like) == PL_OK);
    return start_error_of_input();
  }
  std::string start_error_of_input() {
    host.forget();
    CHECK(instance_.check() == PL_FATAL);
    const auto checked = host.error_text();
    host.forget();
    CHECK(instance_.start() == PL_FATAL);
    CHECK(host.error_text() == checked);
    return host.error_text();
  }
  pl_status set_input(const pl_schema* in, std::vector<std::uint32_t> kinds = {}) {
    pl::column_set out;
    return pl::testing::ask_columns(component(), instance_.self(), {in, std::move(kinds)}, 0, out);
  }
  // Declare the columns and kinds of a batch, as a transform does for its output.
  pl_status set_input(const pl::batch& like) {
    std::vector<std::uint32_t> kinds;
    for (pl::column_index c = 0; c < like.get().columns(); ++c) kinds.push_back(like.get().at(c, 0).kind);
    return set_input(&like.get().schema(), std::move(kinds));
  }
  pl_status write(const std::vector<pl::batch_view>& batches) {
    host.forget();
    return instance_.write(batches);
  }
  pl_status write(const pl::batch& b) { return write(std::vector{b.get()}); }
  void write_all(const pl::batch& b) { REQUIRE_MESSAGE(write(b) == PL_OK, host.error_text()); }
  // Retry the write as the host does. A pooler may return several ended connections one after the other, and may take
  // some time to detect them.
  void write_with_retries(const std::vector<pl::batch_view>& batches) {
    const auto patience = std::chrono::steady_clock::now() + 2min;
    for (auto status = write(batches); status != PL_OK; status = write(batches)) {
      REQUIRE_MESSAGE(status == PL_RETRY, host.error_text());
      CHECK(has(host.error_text(), " at "));
      REQUIRE_MESSAGE(std::chrono::steady_clock::now() < patience, "still no success: ", host.error_text());
      std::this_thread::sleep_for(5ms);
    }
  }

  fake_host host;

 private:
  static config_fields with(config_fields options, const std::string& table, const std::string& at) {
    options.emplace_back("url", at);
    options.emplace_back("table", table);
    return options;
  }

 public:
  pl::testing::instance instance_;
};

// Rows (n, v) with n = first, first + 1, ...
inline pl::batch numbered(fake_host& host, const std::vector<pl::cell>& values, std::int64_t first = 0) {
  std::vector<pl::cell> n;
  for (std::size_t i = 0; i < values.size(); ++i) n.push_back(pl::int_cell(first + static_cast<std::int64_t>(i)));
  return host.make_batch({{"n", n}, {"v", values}}, "test/0", static_cast<std::uint64_t>(first));
}

}  // namespace timescale_test
