// SPDX-License-Identifier: Apache-2.0
#include "sql_error.hpp"

#include <doctest/doctest.h>

using namespace timescale;

namespace {

sql_error with_code(const char* code) { return {code, "message", {}, {}, 0}; }

}  // namespace

TEST_CASE("what follows from an error") {
  for (const auto* code :
       {"22003", "22021", "22P02", "22P05", "23502", "23503", "23505", "23514", "44000", "54000", "P0001"})
    CHECK_MESSAGE(reaction_to(with_code(code)) == reaction::reject_row, code);
  for (const auto* code : {"42P01", "42703", "42804", "3F000", "22P03", "22P04", "08P01", "0A000", "428C9"})
    CHECK_MESSAGE(reaction_to(with_code(code)) == reaction::recheck_table, code);
  for (const auto* code : {"", "08006", "57P01", "57P02", "57P03", "25006"})
    CHECK_MESSAGE(reaction_to(with_code(code)) == reaction::reconnect, code);
  for (const auto* code : {"40001", "40P01", "53100", "53200", "53300", "55P03", "57014", "42501", "XX000", "25P03"})
    CHECK_MESSAGE(reaction_to(with_code(code)) == reaction::try_again, code);
}

TEST_CASE("an error in one line") {
  CHECK(described({"53100", "could not extend file\n\"base/1\"\n", {}, {}, 0}) ==
        "could not extend file \"base/1\" (SQLSTATE 53100)");
  CHECK(described({"", "the connection broke", {}, {}, 0}) == "the connection broke");
}

TEST_CASE("the row that an error of COPY names, in any language") {
  const auto line = [](std::string context, const char* table) {
    return copy_line({"22003", "m", {}, std::move(context), 0}, table);
  };
  CHECK(line("COPY raw_telemetry, line 17, column temperature: \"x\"", "raw_telemetry") == 17);
  CHECK(line("COPY sensor1, line 5", "sensor1") == 5);
  CHECK(line("COPY t, Zeile 12, Spalte 3", "t") == 12);
  CHECK(line("PL/pgSQL function check_it() line 3 at RAISE\nCOPY t, line 9", "t") == 9);
  CHECK(line("COPY t, line 1: \"COPY t, no\"", "t") == 0);  // misled, but only ever a hint
  CHECK(line("PL/pgSQL function check_it() line 3 at RAISE", "t") == 0);
  CHECK(line("COPY other, line 9", "t") == 0);
  CHECK(line("", "t") == 0);
}

TEST_CASE("a connection that does not come about, and what to do") {
  const auto said = [](const char* message) { return described_with_advice({{}, message, {}, {}, 0}); };
  CHECK(said("FATAL:  password authentication failed for user \"iot\"\n") ==
        "FATAL:  password authentication failed for user \"iot\": check the user and the password in 'url'");
  CHECK(said("SSL error: certificate verify failed").find("is 'sslrootcert' in 'url' the authority") !=
        std::string::npos);
  CHECK(said("Connection refused") == "Connection refused");
  CHECK(described_with_advice(with_code("53100")) ==
        "message (SQLSTATE 53100): the server's disk is full: make room there");
}
