// SPDX-License-Identifier: Apache-2.0
// Wraps SQLite's C interface: owning handles and pl::result.
#pragma once

#include <pipeline/result.hpp>

#include <sqlite3.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sqlite {

struct column_info {
  std::string name;
  bool needs_value;           // NOT NULL, no default, and not the rowid
  std::string enforced_type;  // in upper case; empty: values of any type are stored, as usual in SQLite
};

// Return the name as a quoted SQL identifier.
std::string quote_name(std::string_view name);

class statement {
 public:
  statement() = default;
  explicit statement(sqlite3_stmt* raw) : raw_(raw) {}
  [[nodiscard]] sqlite3_stmt* get() const noexcept { return raw_.get(); }
  explicit operator bool() const noexcept { return raw_ != nullptr; }

 private:
  struct finalize {
    void operator()(sqlite3_stmt* s) const noexcept { sqlite3_finalize(s); }
  };
  std::unique_ptr<sqlite3_stmt, finalize> raw_;
};

class database {
 public:
  enum class access { read_only, create };

  // Open the file. Failures name the file. They are `retry` for transient errors (busy, disk full), else `fatal`.
  pl::result<void> open(const std::string& path, access how, std::chrono::milliseconds busy_timeout);
  void close() noexcept { raw_.reset(); }
  [[nodiscard]] bool is_open() const noexcept { return raw_ != nullptr; }

  pl::result<void> run(const std::string& sql);
  pl::result<statement> prepare(const std::string& sql);
  // Return the columns of the table; empty if the table does not exist.
  pl::result<std::vector<column_info>> columns_of(const std::string& table);

  [[nodiscard]] pl::failure problem(std::string_view what) const {
    return problem(what, sqlite3_extended_errcode(raw_.get()));
  }
  [[nodiscard]] pl::failure problem(std::string_view what, int code) const;
  [[nodiscard]] std::string message() const { return sqlite3_errmsg(raw_.get()); }
  [[nodiscard]] bool is_constraint_failure() const { return (sqlite3_errcode(raw_.get()) & 0xFF) == SQLITE_CONSTRAINT; }
  [[nodiscard]] bool in_transaction() const noexcept {
    return raw_ != nullptr && sqlite3_get_autocommit(raw_.get()) == 0;
  }

 private:
  struct closer {
    void operator()(sqlite3* d) const noexcept { sqlite3_close_v2(d); }
  };
  std::unique_ptr<sqlite3, closer> raw_;
  std::string path_;
};

}  // namespace sqlite
