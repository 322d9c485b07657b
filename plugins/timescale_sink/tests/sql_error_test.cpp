// SPDX-License-Identifier: Apache-2.0
#include "sql_error.hpp"

#include <doctest/doctest.h>

using namespace timescale;

namespace {

sql_error with_code(const char* code) { return {code, "message", {}, {}, 0}; }

}  // namespace

TEST_CASE("the reaction follows from the SQLSTATE") {
  for (const auto* code :
       {"22003", "22021", "22P02", "22P05", "23502", "23503", "23505", "23514", "44000", "54000", "P0001"})
    CHECK_MESSAGE(reaction_to(with_code(code)) == reaction::reject_row, code);
  for (const auto* code : {"42P01", "42703", "42804", "3F000", "22P03", "22P04", "08P01", "0A000"})
    CHECK_MESSAGE(reaction_to(with_code(code)) == reaction::recheck_table, code);
  for (const auto* code : {"", "08006", "57P01", "57P02", "57P03", "25006"})
    CHECK_MESSAGE(reaction_to(with_code(code)) == reaction::reconnect, code);
  for (const auto* code : {"40001", "40P01", "53100", "53300", "55P03", "42501", "XX000", "25P03"})
    CHECK_MESSAGE(reaction_to(with_code(code)) == reaction::retry, code);
  for (const auto* code : {"53200", "57014"})
    CHECK_MESSAGE(reaction_to(with_code(code)) == reaction::retry_in_parts, code);
  for (const auto* code : {"428C9", "42601"}) CHECK_MESSAGE(reaction_to(with_code(code)) == reaction::give_up, code);
}

TEST_CASE("an error is described in one line") {
  CHECK(described({"53100", "could not extend file\n\"base/1\"\n", {}, {}, 0}) ==
        "could not extend file \"base/1\" (SQLSTATE 53100)");
  CHECK(described({"", "the connection broke", {}, {}, 0}) == "the connection broke");
  CHECK(described({"53200", "out of shared memory", "the\ndetail", {}, 0, "raise max_locks_per_transaction"}) ==
        "out of shared memory (SQLSTATE 53200): the detail. HINT: raise max_locks_per_transaction");
  const std::string long_detail(299, 'x');
  CHECK(described({"23505", "m", long_detail + "\xC3\xA9 and more", {}, 0}) ==
        "m (SQLSTATE 23505): " + long_detail + "...");
}

TEST_CASE("the row number in an error of COPY is found in any language") {
  const auto line = [](std::string context, const char* table) {
    return copy_line({"22003", "m", {}, std::move(context), 0}, table);
  };
  CHECK(line("COPY raw_telemetry, line 17, column temperature: \"x\"", "raw_telemetry") == 17);
  CHECK(line("COPY sensor1, line 5", "sensor1") == 5);
  CHECK(line("COPY t, Zeile 12, Spalte 3", "t") == 12);
  CHECK(line("PL/pgSQL function check_it() line 3 at RAISE\nCOPY t, line 9", "t") == 9);
  CHECK(line("COPY t, line 1: \"COPY t, no\"", "t") == 0);  // wrong, but the number is only a hint
  CHECK(line("PL/pgSQL function check_it() line 3 at RAISE", "t") == 0);
  CHECK(line("COPY other, line 9", "t") == 0);
  CHECK(line("", "t") == 0);
}

TEST_CASE("a failed connection attempt is described with advice") {
  const auto described_failure = [](const char* message) { return described_with_advice({{}, message, {}, {}, 0}); };
  CHECK(described_failure("FATAL:  password authentication failed for user \"iot\"\n") ==
        "FATAL:  password authentication failed for user \"iot\": check the user and the password in 'url'");
  CHECK(described_failure("SSL error: certificate verify failed").find("check that 'sslrootcert' in 'url' is the") !=
        std::string::npos);
  CHECK(described_failure("Connection refused") == "Connection refused");
  CHECK(is_statement_pooling({{}, "FATAL:  transaction blocks not allowed in statement pooling mode", {}, {}, 0}));
  CHECK(described_with_advice({"53200", "m", {}, {}, 0, "the server's hint"}) ==
        "m (SQLSTATE 53200). HINT: the server's hint");
  CHECK(described_with_advice(with_code("53100")) ==
        "message (SQLSTATE 53100): the server's disk is full: free some space there");
}
