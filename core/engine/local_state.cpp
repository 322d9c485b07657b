// SPDX-License-Identifier: Apache-2.0
#include "engine/local_state.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <cerrno>
#include <system_error>

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

failure local_state::problem(std::string_view what) const {
  return retry(fmt::format("the state of transforms cannot be {} {}: {}", what, file_.string(),
                           db_ ? sqlite3_errmsg(db_.get()) : "the file cannot be opened; is state_dir writable?"));
}

result<void> local_state::run(const char* sql) {
  if (sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) return problem("written to");
  return {};
}

result<void> local_state::prepare(const char* sql, statement& to) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v3(db_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr) != SQLITE_OK)
    return problem("read from");
  to.reset(raw);
  return {};
}

std::filesystem::path local_state::lock_file() const { return file_.string() + ".lock"; }

// Lock the lock file. On a file system without locks, do without.
result<void> local_state::lock(int how) {
  (void)make_folders(file_.parent_path());  // opening the lock file reports why the folder is missing
  if (!lock_) lock_ = descriptor(::open(lock_file().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, data_file_mode));
  if (!lock_) return problem("kept in");
  // SQLite syncs the folder of its files, but not the folder above.
  if (const auto error = sync_folder_of(file_.parent_path().string()); error)
    return retry(fmt::format("cannot sync the folder of {}: {}", file_.parent_path().string(), error.message()));
  while (::flock(lock_.get(), how) != 0) {
    if (errno == EWOULDBLOCK) return fatal(fmt::format("another host uses {}; stop it first", file_.string()));
    if (errno != EINTR) break;
  }
  return {};
}

bool local_state::exists() const {
  std::error_code ignored;
  return std::filesystem::exists(file_, ignored);
}

result<void> local_state::forget() {
  if (auto locked = lock(LOCK_EX | LOCK_NB); !locked.ok()) return locked;
  for (const auto* suffix : {"", "-wal", "-shm"}) {
    std::error_code error;
    std::filesystem::remove(file_.string() + suffix, error);
    if (error) return fatal(fmt::format("cannot delete {}{}: {}", file_.string(), suffix, error.message()));
  }
  lock_.reset();
  return {};
}

result<void> local_state::open() {
  if (db_) return {};
  if (auto locked = lock(LOCK_SH); !locked.ok()) return locked;
  const descriptor created(::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, data_file_mode));  // SQLite: 0644
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
      run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"  // sync at each commit
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

result<std::vector<std::string>> local_state::streams(std::string_view source) {
  if (auto opened = open(); !opened.ok()) return opened.why();
  statement select;
  if (auto ready = prepare("SELECT DISTINCT stream FROM state WHERE source = ?1", select); !ready.ok())
    return ready.why();
  bind_text(select.get(), 1, source);
  std::vector<std::string> all;
  int code = SQLITE_ROW;
  while ((code = sqlite3_step(select.get())) == SQLITE_ROW) all.emplace_back(column(select.get(), 0));
  if (code != SQLITE_DONE) return problem("read from");
  return all;
}

result<void> local_state::load(std::string_view source, std::string_view stream, const position_stores::entry& each) {
  if (auto opened = open(); !opened.ok()) return opened;
  auto* s = select_.get();
  bind_text(s, 1, source);
  bind_text(s, 2, stream);
  result<void> refused;
  int code = SQLITE_ROW;
  while (refused.ok() && (code = sqlite3_step(s)) == SQLITE_ROW)
    refused = each(column(s, 0), column(s, 1), column(s, 2));
  result<void> read;
  if (refused.ok() && code != SQLITE_DONE) read = problem("read from");
  sqlite3_reset(s);
  return refused.ok() ? read : refused;
}

result<void> local_state::write(std::string_view source, const std::vector<state_change>& changes) {
  if (auto opened = open(); !opened.ok()) return opened;
  if (auto begun = run("BEGIN IMMEDIATE"); !begun.ok()) return begun;
  for (const auto& c : changes) {
    auto* s = c.erase ? erase_.get() : put_.get();
    bind_text(s, 1, source);
    bind_text(s, 2, c.stream);
    bind_text(s, 3, c.node);
    bind_bytes(s, 4, c.key);
    if (!c.erase) bind_bytes(s, 5, c.value);
    result<void> done;
    if (sqlite3_step(s) != SQLITE_DONE) done = problem("written to");
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
