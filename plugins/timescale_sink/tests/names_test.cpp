// SPDX-License-Identifier: Apache-2.0
#include "names.hpp"

#include <doctest/doctest.h>

using namespace timescale;

TEST_CASE("any name becomes a quoted identifier") {
  CHECK(quoted_identifier("temperature") == "\"temperature\"");
  CHECK(quoted_identifier("order") == "\"order\"");
  CHECK(quoted_identifier("a\"b") == "\"a\"\"b\"");
  CHECK(quoted_identifier("x\"; DROP TABLE y; --") == "\"x\"\"; DROP TABLE y; --\"");
}

TEST_CASE("a string constant is valid for any setting of standard_conforming_strings") {
  CHECK(quoted_literal("plain") == "E'plain'");
  CHECK(quoted_literal("it's a \\ backslash") == "E'it''s a \\\\ backslash'");
}

TEST_CASE("table names are case-sensitive and may contain any character") {
  const auto sql = [](std::string_view written) {
    auto name = parse_table_name(written);
    REQUIRE_MESSAGE(name.ok(), written);
    return name->sql();
  };
  CHECK(sql("raw_telemetry") == "\"raw_telemetry\"");
  CHECK(sql("Telemetry") == "\"Telemetry\"");
  CHECK(sql("metrics.raw") == "\"metrics\".\"raw\"");
  CHECK(sql("my table") == "\"my table\"");
  CHECK(sql("\"we.ird\".\"ta\"\"ble\"") == "\"we.ird\".\"ta\"\"ble\"");
  CHECK(sql("public.\"a.b\"") == "\"public\".\"a.b\"");
  CHECK(sql("select") == "\"select\"");
}

TEST_CASE("an invalid table name is rejected with the reason") {
  const auto why = [](std::string_view written) {
    const auto name = parse_table_name(written);
    REQUIRE_FALSE(name.ok());
    CHECK(name.why().option == "table");
    return name.why().message;
  };
  CHECK(why("") == "'' is not a valid table name: a part is empty; write table or schema.table");
  CHECK(why("a.").find("a part is empty") != std::string::npos);
  CHECK(why(".a").find("a part is empty") != std::string::npos);
  CHECK(why("\"a").find("a double quote is not closed") != std::string::npos);
  CHECK(why("\"a\"b").find("must be followed by a dot or the end of the name") != std::string::npos);
  CHECK(why("db.schema.table").find("specify the database in 'url'") != std::string::npos);
  CHECK(why(std::string(64, 'x')).find("63 bytes") != std::string::npos);
}

TEST_CASE("a similar name is suggested") {
  const std::vector<std::string> known{"time", "user_id", "device_id", "temperature", "humidity"};
  CHECK(did_you_mean("humidty", known) == "; did you mean 'humidity'?");
  CHECK(did_you_mean("pressure", known) == "");
  CHECK(did_you_mean("pressure", known, ".") == ".");
}
