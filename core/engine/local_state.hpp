// SPDX-License-Identifier: Apache-2.0
// Keeps the state of transforms where no sink keeps positions: a SQLite database in the state directory. Once a write
// has returned, it survives a crash and a power cut. Each lane has its own connection, used by its thread. A lock file
// beside it, which all users share and forget() needs alone, keeps a running host from losing its state.
#pragma once

#include "engine/instance.hpp"
#include "engine/position_stores.hpp"

#include <pipeline/posix.hpp>

#include <sqlite3.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

class local_state {
 public:
  // The file is opened on first use.
  explicit local_state(std::filesystem::path file) : file_(std::move(file)) {}

  [[nodiscard]] bool exists() const;  // the file
  // Delete the file. Fail if another process uses it.
  result<void> forget();
  // Return the streams of a source that have state.
  result<std::vector<std::string>> streams(std::string_view source);
  result<void> load(std::string_view source, std::string_view stream, const position_stores::entry& each);
  result<void> write(std::string_view source, const std::vector<state_change>& changes);

 private:
  struct closer {
    void operator()(sqlite3* db) const noexcept { sqlite3_close(db); }
  };
  struct finalizer {
    void operator()(sqlite3_stmt* s) const noexcept { sqlite3_finalize(s); }
  };
  using statement = std::unique_ptr<sqlite3_stmt, finalizer>;

  result<void> open();
  result<void> lock(int how);
  [[nodiscard]] std::filesystem::path lock_file() const;
  result<void> run(const char* sql);
  result<void> prepare(const char* sql, statement& to);
  [[nodiscard]] failure problem(std::string_view what) const;

  std::filesystem::path file_;
  descriptor lock_;  // not of the database: closing a descriptor of that file would release SQLite's locks
  std::unique_ptr<sqlite3, closer> db_;
  statement put_, erase_, select_;  // declared after db_: finalized before it closes
};

}  // namespace pl::engine
