// SPDX-License-Identifier: Apache-2.0
#include "names.hpp"

#include <doctest/doctest.h>

using namespace timescale;

TEST_CASE("an identifier is quoted whatever is in it") {
  CHECK(quoted_identifier("temperature") == "\"temperature\"");
  CHECK(quoted_identifier("order") == "\"order\"");
  CHECK(quoted_identifier("a\"b") == "\"a\"\"b\"");
  CHECK(quoted_identifier("x\"; DROP TABLE y; --") == "\"x\"\"; DROP TABLE y; --\"");
}

TEST_CASE("a string constant means the same whatever standard_conforming_strings is") {
  CHECK(quoted_literal("plain") == "E'plain'");
  CHECK(quoted_literal("it's a \\ backslash") == "E'it''s a \\\\ backslash'");
}

TEST_CASE("names of tables are taken literally") {
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

TEST_CASE("a name that is none is refused with the reason") {
  const auto why = [](std::string_view written) {
    const auto name = parse_table_name(written);
    REQUIRE_FALSE(name.ok());
    CHECK(name.why().option == "table");
    return name.why().message;
  };
  CHECK(why("") == "'' is no name of a table: a part of it is empty; write table or schema.table");
  CHECK(why("a.").find("a part of it is empty") != std::string::npos);
  CHECK(why(".a").find("a part of it is empty") != std::string::npos);
  CHECK(why("\"a").find("a double quote is not closed") != std::string::npos);
  CHECK(why("\"a\"b").find("comes a dot or nothing") != std::string::npos);
  CHECK(why("db.schema.table").find("the database belongs into 'url'") != std::string::npos);
  CHECK(why(std::string(64, 'x')).find("63 bytes") != std::string::npos);
}

TEST_CASE("the nearest name") {
  const std::vector<std::string> known{"time", "user_id", "device_id", "temperature", "humidity"};
  CHECK(nearest_name("temprature", known) == "temperature");
  CHECK(nearest_name("Temperature", known) == "temperature");
  CHECK(nearest_name("deviceid", known) == "device_id");
  CHECK(nearest_name("tmie", known) == "");  // two of four letters differ: a guess would mislead
  CHECK(nearest_name("tim", known) == "time");
  CHECK(nearest_name("pressure", known) == "");
  CHECK(nearest_name("x", {}) == "");
  CHECK(did_you_mean("humidty", known) == "; did you mean 'humidity'?");
  CHECK(did_you_mean("pressure", known) == "");
}
