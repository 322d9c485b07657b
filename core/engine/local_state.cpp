// SPDX-License-Identifier: Apache-2.0
#include "engine/local_state.hpp"

#include <fmt/format.h>

namespace pl::engine {

namespace {

constexpr int busy_ms = 5000;

void bind_text(sqlite3_stmt* s, int at, std::string_view text) {
  sqlite3_bind_text(s, at, text.data() == nullptr ? "" : text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
}
void bind_bytes(sqlite3_stmt* s, int at, std::string_view bytes) {
  sqlite3_bind_blob(s, at, bytes.data() == nullptr ? "" : bytes.data(), static_cast<int>(bytes.size()), SQLITE_STATIC);
}
std::string_view column(sqlite3_stmt* s, int at) {
  return {static_cast<const char*>(sqlite3_column_blob(s, at)), static_cast<std::size_t>(sqlite3_column_bytes(s, at))};
}

}  // namespace

outcome local_state::problem(std::string_view what) const {
  return {PL_RETRY,
          {{fmt::format("the state of transforms can't be {} {}: {}", what, file_.string(),
                        db_ ? sqlite3_errmsg(db_.get()) : "the file can't be opened; may state_dir be written to?"),
            {}}}};
}

outcome local_state::run(const char* sql) {
  return sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK ? outcome() : problem("written to");
}

outcome local_state::prepare(const char* sql, statement& to) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v3(db_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr) != SQLITE_OK)
    return problem("read from");
  to.reset(raw);
  return {};
}

outcome local_state::open() {
  if (db_) return {};
  std::error_code ignored;
  std::filesystem::create_directories(file_.parent_path(), ignored);
  sqlite3* raw = nullptr;
  const int code =
      sqlite3_open_v2(file_.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  db_.reset(raw);
  if (code != SQLITE_OK) {
    db_.reset();
    return problem("kept in");
  }
  sqlite3_busy_timeout(raw, busy_ms);
  auto done =
      run("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
          "CREATE TABLE IF NOT EXISTS state (source TEXT, stream TEXT, node TEXT, key BLOB, value BLOB NOT NULL,"
          " PRIMARY KEY (source, stream, node, key)) WITHOUT ROWID");
  if (done.ok()) done = prepare("INSERT OR REPLACE INTO state VALUES (?1, ?2, ?3, ?4, ?5)", put_);
  if (done.ok())
    done = prepare("DELETE FROM state WHERE source = ?1 AND stream = ?2 AND node = ?3 AND key = ?4", erase_);
  if (done.ok()) done = prepare("SELECT node, key, value FROM state WHERE source = ?1 AND stream = ?2", select_);
  if (!done.ok()) {
    put_.reset(), erase_.reset(), select_.reset();
    db_.reset();
  }
  return done;
}

outcome local_state::load(std::string_view source, std::string_view stream, const ledger::entry& each) {
  if (auto opened = open(); !opened.ok()) return opened;
  auto* s = select_.get();
  bind_text(s, 1, source);
  bind_text(s, 2, stream);
  outcome refused;
  int code = SQLITE_ROW;
  while (refused.ok() && (code = sqlite3_step(s)) == SQLITE_ROW)
    refused = each(column(s, 0), column(s, 1), column(s, 2));
  const auto read = refused.ok() && code != SQLITE_DONE ? problem("read from") : outcome();
  sqlite3_reset(s);
  return refused.ok() ? read : refused;
}

outcome local_state::write(std::string_view source, const std::vector<state_change>& changes) {
  if (auto opened = open(); !opened.ok()) return opened;
  if (auto begun = run("BEGIN IMMEDIATE"); !begun.ok()) return begun;
  for (const auto& c : changes) {
    auto* s = c.erase ? erase_.get() : put_.get();
    bind_text(s, 1, source);
    bind_text(s, 2, c.stream);
    bind_text(s, 3, c.node);
    bind_bytes(s, 4, c.key);
    if (!c.erase) bind_bytes(s, 5, c.value);
    auto done = sqlite3_step(s) == SQLITE_DONE ? outcome() : problem("written to");
    sqlite3_reset(s);
    if (done.ok()) continue;
    (void)run("ROLLBACK");
    return done;
  }
  auto done = run("COMMIT");
  if (!done.ok()) (void)run("ROLLBACK");
  return done;
}

}  // namespace pl::engine
