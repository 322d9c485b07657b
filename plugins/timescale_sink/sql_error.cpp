// SPDX-License-Identifier: Apache-2.0
#include "sql_error.hpp"

#include <array>
#include <charconv>
#include <utility>

namespace timescale {

// Names of the codes: PostgreSQL's manual, appendix A.
reaction reaction_to(const sql_error& error) {
  const std::string_view code = error.sqlstate;
  if (code.size() != 5) return reaction::reconnect;
  const auto cls = code.substr(0, 2);
  // Of a binary format that the database did not expect: a column has another type now.
  if (code == "22P03" || code == "22P04" || code == "08P01") return reaction::recheck_table;
  // Two rows of one key in one statement, told apart by us and not by the index: one at a time they go in.
  if (code == "21000") return reaction::reject_row;
  if (cls == "22" || cls == "23" || cls == "44" || cls == "54" || cls == "P0") return reaction::reject_row;
  if (code == "25006") return reaction::reconnect;  // read-only: the primary may be elsewhere by now
  if (code == "42501") return reaction::try_again;
  if (cls == "42" || cls == "3F" || code == "0A000") return reaction::recheck_table;
  if (cls == "08" || cls == "57") return code == "57014" ? reaction::try_again : reaction::reconnect;
  return reaction::try_again;
}

std::string described(const sql_error& error) {
  std::string text = error.message;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  for (auto& c : text)
    if (c == '\n' || c == '\t') c = ' ';
  if (!error.sqlstate.empty()) text += " (SQLSTATE " + error.sqlstate + ")";
  return text;
}

std::string_view advice(std::string_view sqlstate) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 17> known{{
      {"0A000", "the table, or one of its chunks, can't be written to with COPY"},
      {"25006", "the server is read-only: a standby, or a primary out of disk; point 'url' at the primary"},
      {"25P03", "we stood still in the middle of a transaction for longer than 'stall_timeout'"},
      {"40001", "another transaction was in the way"},
      {"40P01", "another transaction was in the way"},
      {"42501", "grant the user of 'url' INSERT on the table and USAGE on its schema"},
      {"42703", "a column is gone from the table; put it back or change 'columns'"},
      {"42P01", "the table is gone; create it or change 'table'"},
      {"53100", "the server's disk is full: make room there"},
      {"53200", "the server is out of memory"},
      {"53300", "the server has no connection left: raise max_connections, or use PgBouncer"},
      {"53400", "a limit of the server's configuration is reached"},
      {"55P03", "somebody holds a lock on the table (an ALTER TABLE?); see pg_locks"},
      {"57014", "the statement took longer than 'statement_timeout', or somebody cancelled it"},
      {"57P01", "the server shuts down or somebody ended this connection"},
      {"57P03", "the server is starting up"},
      {"XX000", "see the server's log"},
  }};
  for (const auto& [code, text] : known)
    if (code == sqlstate) return text;
  return {};
}

namespace {

// Of a connection that did not come about: libpq has words for it, and no code.
std::string_view advice_on_connecting(std::string_view message) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 14> known{{
      {"password authentication failed", "check the user and the password in 'url'"},
      {"SASL authentication failed", "check the user and the password in 'url'"},
      {"no password supplied", "the server wants a password: put it into 'url'"},
      {"certificate authentication failed", "the name in the certificate of 'sslcert' has to be the user's"},
      {"certificate verify failed",
       "is 'sslrootcert' in 'url' the authority that signed the server's certificate, and has that not expired?"},
      {"does not match host name", "the server's certificate is for another host than the one in 'url'"},
      {"valid client certificate", "the server wants a certificate: set 'sslcert' and 'sslkey' in 'url'"},
      {"alert certificate required", "the server wants a certificate: set 'sslcert' and 'sslkey' in 'url'"},
      {"alert unknown ca", "the server does not trust the certificate of 'sslcert'"},
      {"alert bad certificate", "the server does not trust the certificate of 'sslcert'"},
      {"alert handshake failure", "the server wants a certificate: set 'sslcert' and 'sslkey' in 'url'"},
      {"no encryption", "the server wants TLS: set 'sslmode=verify-full' and 'sslrootcert' in 'url'"},
      {"SSL required", "the server wants TLS: set 'sslmode=verify-full' and 'sslrootcert' in 'url'"},
      {"does not support SSL", "the server has no TLS, which 'sslmode' in 'url' asks for"},
  }};
  for (const auto& [words, text] : known)
    if (message.find(words) != std::string_view::npos) return text;
  return {};
}

}  // namespace

std::string_view advice(const sql_error& error) {
  return error.sqlstate.empty() ? advice_on_connecting(error.message) : advice(error.sqlstate);
}

std::string described_with_advice(const sql_error& error) {
  const auto hint = advice(error);
  return described(error) + (hint.empty() ? "" : ": ") + std::string(hint);
}

std::size_t copy_line(const sql_error& error, std::string_view table) {
  // "COPY raw_telemetry, line 17, column temperature", behind the lines of a trigger's functions, if any
  const auto start = error.context.rfind("COPY " + std::string(table) + ",");
  if (start == std::string::npos) return 0;
  const auto digits = error.context.find_first_of("0123456789\n", start + 6 + table.size());
  if (digits == std::string::npos) return 0;
  std::size_t line = 0;
  std::from_chars(error.context.data() + digits, error.context.data() + error.context.size(), line);
  return line;
}

}  // namespace timescale
