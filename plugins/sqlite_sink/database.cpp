// SPDX-License-Identifier: Apache-2.0
#include "database.hpp"

#include <pipeline/posix.hpp>

namespace sqlite {
namespace {

bool is_transient(int code) {
  switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
    case SQLITE_INTERRUPT:
    case SQLITE_PROTOCOL:
    case SQLITE_SCHEMA:
      return true;
    default:
      return false;
  }
}

std::string_view advice(int code) {
  switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "another program has locked the database; the write will be retried";
    case SQLITE_FULL:
      return "free some space on the disk of `path`; no row of this batch was stored, and the write will be retried";
    case SQLITE_IOERR:
      return "check the disk and the system log; the write will be retried";
    case SQLITE_CANTOPEN:
      return "check that the folder of `path` exists and that this user can write to it";
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return "give this user permission to write to the file and its folder";
    case SQLITE_NOTADB:
      return "the file is not an SQLite database; change `path`";
    case SQLITE_CORRUPT:
      return "the database is damaged; restore it, or move the file away";
    default:
      return "check `table` and `columns`";
  }
}

}  // namespace

std::string quote_name(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    if (c == '"') out.push_back('"');
    out.push_back(c);
  }
  out.push_back('"');
  return out;
}

pl::failure database::problem(std::string_view what, int code) const {
  const char* message = raw_ ? sqlite3_errmsg(raw_.get()) : sqlite3_errstr(code);
  auto text =
      std::string(what).append(" ").append(path_).append(": ").append(message).append("; ").append(advice(code));
  return is_transient(code) ? pl::retry(std::move(text)) : pl::fatal(std::move(text));
}

pl::result<void> database::open(const std::string& path, access how, std::chrono::milliseconds busy_timeout) {
  path_ = path;
  // SQLite creates files that all users may read. A name such as :memory: is not a file.
  pl::descriptor created;
  if (how == access::create && !path.starts_with(':'))
    created = pl::descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, pl::data_file_mode));
  sqlite3* fresh = nullptr;
  const int flags = how == access::create ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
  const int code = sqlite3_open_v2(path.c_str(), &fresh, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  raw_.reset(fresh);
  if (code != SQLITE_OK) {
    auto why = problem("cannot open", code);
    raw_.reset();
    return why;
  }
  sqlite3_extended_result_codes(fresh, 1);
  sqlite3_busy_timeout(fresh, static_cast<int>(busy_timeout.count()));
  return {};
}

pl::result<void> database::run(const std::string& sql) {
  if (sqlite3_exec(raw_.get(), sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return problem("'" + sql + "' failed in");
}

pl::result<statement> database::prepare(const std::string& sql) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v3(raw_.get(), sql.c_str(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &raw,
                         nullptr) != SQLITE_OK)
    return problem("cannot prepare '" + sql + "' in");
  return statement(raw);
}

pl::result<std::vector<column_info>> database::columns_of(const std::string& table) {
  // The types of a STRICT table are enforced, and so is that of the rowid, a single INTEGER PRIMARY KEY.
  auto s = prepare(
      "WITH t AS (SELECT coalesce(max(wr), 0) AS wr, coalesce(max(strict), 0) AS strict FROM pragma_table_list "
      "WHERE schema = 'main' AND lower(name) = lower(?1)), "
      "c AS (SELECT cid, name, \"notnull\" AS not_null, dflt_value, upper(type) AS type, upper(type) = 'INTEGER' AND "
      "pk = 1 AND NOT (SELECT wr FROM t) AND (SELECT max(pk) FROM pragma_table_info(?1)) = 1 AS is_rowid "
      "FROM pragma_table_info(?1)) "
      "SELECT name, not_null AND dflt_value IS NULL AND NOT is_rowid, "
      "CASE WHEN is_rowid OR (SELECT strict FROM t) THEN type ELSE '' END FROM c ORDER BY cid");
  if (!s.ok()) return s.why();
  sqlite3_bind_text(s->get(), 1, table.data(), static_cast<int>(table.size()), SQLITE_STATIC);
  std::vector<column_info> found;
  int code = SQLITE_ROW;
  while ((code = sqlite3_step(s->get())) == SQLITE_ROW) {
    const auto* name = reinterpret_cast<const char*>(sqlite3_column_text(s->get(), 0));
    const auto* type = reinterpret_cast<const char*>(sqlite3_column_text(s->get(), 2));
    found.push_back({name, sqlite3_column_int(s->get(), 1) != 0, type});
  }
  if (code != SQLITE_DONE) return problem("cannot inspect the table in");
  return found;
}

}  // namespace sqlite
