// SPDX-License-Identifier: Apache-2.0
// Where the state of transforms is kept when no sink keeps positions: a SQLite database in the state directory. A write is
// durable when it returns. Used by one lane's thread; lanes and processes have files of their own.
#pragma once

#include "engine/instance.hpp"
#include "engine/ledger.hpp"

#include <sqlite3.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

class local_state {
 public:
  // Opened when it is first used.
  explicit local_state(std::filesystem::path file) : file_(std::move(file)) {}

  outcome load(std::string_view source, std::string_view stream, const ledger::entry& each);
  outcome write(std::string_view source, const std::vector<state_change>& changes);

 private:
  struct closer {
    void operator()(sqlite3* db) const noexcept { sqlite3_close(db); }
  };
  struct finalizer {
    void operator()(sqlite3_stmt* s) const noexcept { sqlite3_finalize(s); }
  };
  using statement = std::unique_ptr<sqlite3_stmt, finalizer>;

  outcome open();
  outcome run(const char* sql);
  outcome prepare(const char* sql, statement& to);
  [[nodiscard]] outcome problem(std::string_view what) const;

  std::filesystem::path file_;
  std::unique_ptr<sqlite3, closer> db_;
  statement put_, erase_, select_;  // behind db_: they must go first
};

}  // namespace pl::engine
