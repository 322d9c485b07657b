// SPDX-License-Identifier: Apache-2.0
#include "sql_error.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace timescale {

// Appendix A of the PostgreSQL manual lists the codes.
reaction reaction_to(const sql_error& error) {
  const std::string_view code = error.sqlstate;
  if (code.size() != 5) return reaction::reconnect;
  const auto cls = code.substr(0, 2);
  // The binary format does not match: the type of a column has changed.
  if (code == "22P03" || code == "22P04" || code == "08P01") return reaction::recheck_table;
  // Two rows of one statement have different keys that the index compares as equal. Separate statements can write
  // them.
  if (code == "21000") return reaction::reject_row;
  if (code == "53200" || code == "57014") return reaction::retry_in_parts;
  // A value for an identity column, an invalid statement.
  if (code == "428C9" || code == "42601") return reaction::give_up;
  if (cls == "22" || cls == "23" || cls == "44" || cls == "54" || cls == "P0") return reaction::reject_row;
  if (code == "25006") return reaction::reconnect;  // read-only: another server may be the primary now
  if (code == "42501") return reaction::retry;
  if (cls == "42" || cls == "3F" || code == "0A000") return reaction::recheck_table;
  if (cls == "08" || cls == "57") return reaction::reconnect;
  return reaction::retry;
}

bool is_statement_pooling(const sql_error& error) {
  return error.message.find("statement pooling mode") != std::string::npos;
}

namespace {

constexpr std::size_t longest_detail = 300;  // a detail may quote a whole row

std::string one_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  for (auto& c : text)
    if (c == '\n' || c == '\t') c = ' ';
  return text;
}

std::string shortened(const std::string& text) {
  auto end = std::min(text.size(), longest_detail);
  while (end < text.size() && end > 0 && (text[end] & '\xC0') == '\x80') --end;  // not inside a character
  return text.substr(0, end) + (end < text.size() ? "..." : "");
}

}  // namespace

std::string described(const sql_error& error) {
  auto text = one_line(error.message);
  if (!error.sqlstate.empty()) text += " (SQLSTATE " + error.sqlstate + ")";
  if (!error.detail.empty()) text += ": " + one_line(shortened(error.detail));
  if (!error.hint.empty()) text += ". HINT: " + one_line(shortened(error.hint));
  return text;
}

std::string_view advice(std::string_view sqlstate) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 21> known{{
      {"0A000", "the table, or one of its chunks, does not support COPY"},
      {"25006", "the server is read-only: a standby, or a primary whose disk is full; point 'url' at the primary"},
      {"25P03", "this host stalled within a transaction for longer than 'stall_timeout'"},
      {"40001", "the transaction conflicted with another transaction"},
      {"40P01", "the transaction conflicted with another transaction"},
      {"428C9", "the database computes this column (GENERATED ALWAYS): remove it from 'columns', or alter the column"},
      {"42601", "the statement does not fit this server's version, or 'create' contains invalid SQL"},
      {"42501", "grant the user of 'url' INSERT on the table and USAGE on its schema"},
      {"42703", "the table no longer has a column; add it again or change 'columns'"},
      {"42P01", "the table no longer exists; create it or change 'table'"},
      {"53100", "the server's disk is full: free some space there"},
      {"53200", "the server is out of memory; a smaller 'batch.max_rows' needs less"},
      {"53300", "the server has no free connections: raise max_connections, or use PgBouncer"},
      {"53400", "a limit of the server's configuration is reached"},
      {"55P03", "another session holds a lock on the table (for example ALTER TABLE); see pg_locks"},
      {"54000", "a limit of the server is exceeded; a smaller 'batch.max_rows' may help"},
      {"54001", "a limit of the server is exceeded; a smaller 'batch.max_rows' may help"},
      {"57014",
       "the statement took longer than 'statement_timeout', or it was cancelled; raise 'statement_timeout', or set a "
       "smaller 'batch.max_rows'"},
      {"57P01", "the server is shutting down, or an administrator ended this connection"},
      {"57P03", "the server is starting up"},
      {"XX000", "see the server's log"},
  }};
  for (const auto& [code, text] : known)
    if (code == sqlstate) return text;
  return {};
}

namespace {

// Return advice on an error for which libpq has a message but no code, or only the general code of a pooler.
std::string_view advice_on_connecting(std::string_view message) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 16> known{{
      {"query_wait_timeout",
       "the connection pooler had no free connection to the database in time: raise default_pool_size in PgBouncer, or "
       "end the sessions that hold its connections"},
      {"password authentication failed", "check the user and the password in 'url'"},
      {"SASL authentication failed", "check the user and the password in 'url'"},
      {"no password supplied", "the server requires a password: add it to 'url'"},
      {"certificate authentication failed", "the name in the certificate of 'sslcert' must be the user name"},
      {"certificate verify failed",
       "check that 'sslrootcert' in 'url' is the authority that signed the server's certificate, and that the "
       "certificate has not expired"},
      {"does not match host name", "the server's certificate is for another host than the one in 'url'"},
      {"valid client certificate", "the server requires a certificate: set 'sslcert' and 'sslkey' in 'url'"},
      {"alert certificate required", "the server requires a certificate: set 'sslcert' and 'sslkey' in 'url'"},
      {"alert unknown ca", "the server does not trust the certificate of 'sslcert'"},
      {"alert bad certificate", "the server does not trust the certificate of 'sslcert'"},
      {"alert handshake failure", "the server requires a certificate: set 'sslcert' and 'sslkey' in 'url'"},
      {"no encryption", "the server requires TLS: set 'sslmode=verify-full' and 'sslrootcert' in 'url'"},
      {"SSL required", "the server requires TLS: set 'sslmode=verify-full' and 'sslrootcert' in 'url'"},
      {"statement pooling mode",
       "the connection pooler ends transactions after each statement: set pool_mode = transaction in PgBouncer"},
      {"does not support SSL", "the server does not support TLS, which 'sslmode' in 'url' requires"},
  }};
  for (const auto& [words, text] : known)
    if (message.find(words) != std::string_view::npos) return text;
  return {};
}

}  // namespace

std::string_view advice(const sql_error& error) {
  const auto by_code = advice(error.sqlstate);
  return by_code.empty() ? advice_on_connecting(error.message) : by_code;
}

std::string described_with_advice(const sql_error& error) {
  const auto hint = error.hint.empty() ? advice(error) : std::string_view();
  return described(error) + (hint.empty() ? "" : ": ") + std::string(hint);
}

std::size_t copy_line(const sql_error& error, std::string_view table) {
  // The context is "COPY raw_telemetry, line 17, column temperature", after the lines of a trigger's functions, if any.
  const auto start = error.context.rfind("COPY " + std::string(table) + ",");
  if (start == std::string::npos) return 0;
  const auto digits = error.context.find_first_of("0123456789\n", start + 6 + table.size());
  if (digits == std::string::npos) return 0;
  std::size_t line = 0;
  std::from_chars(error.context.data() + digits, error.context.data() + error.context.size(), line);
  return line;
}

}  // namespace timescale
