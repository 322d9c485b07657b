// SPDX-License-Identifier: Apache-2.0
// Tests of the constructor's errors: all are reported together, each with its option, and without secrets.
#include "plugin.hpp"

#include <doctest/doctest.h>

#include <chrono>

using namespace std::chrono_literals;
using pl::testing::config_fields;
using pl::testing::fake_host;
using pl::testing::instance;
using pl::testing::object;

namespace {

std::string errors(const config_fields& options) {
  fake_host host;
  instance i(host, timescale_test::component(), options);
  CHECK(i.create() == PL_FATAL);
  return host.error_text();
}

}  // namespace

TEST_CASE("a minimal configuration is accepted, without touching the network") {
  fake_host host;
  instance i(host, timescale_test::component(), {{"url", "postgresql://iot:s3cret@192.0.2.1/x"}});
  CHECK(i.create() == PL_OK);
}

TEST_CASE("all errors are reported, each with its option") {
  const auto text = errors({{"url", "postgresql://iot:s3cret@db:port/x"},
                            {"table", "a.b.c"},
                            {"statement_timeout", std::chrono::nanoseconds(2min)},
                            {"create", object({{"columns", object({{"x", "text; DROP TABLE y"}})}})}});
  CHECK(text.find("table: 'a.b.c' is not a valid table name") != std::string::npos);
  CHECK(text.find("url: the port is not a number from 1 to 65535") != std::string::npos);
  CHECK(text.find("stall_timeout: must be longer") != std::string::npos);
  CHECK(text.find("create.columns.x: contains a ';'") != std::string::npos);
  CHECK(text.find("s3cret") == std::string::npos);
}

TEST_CASE("a field that the input does not have is reported before connecting") {
  fake_host host;
  instance i(host, timescale_test::component(),
             {{"url", "postgresql://192.0.2.1/x"}, {"columns", object({{"temp", "temprature"}, {"ts", "time"}})}});
  REQUIRE(i.create() == PL_OK);
  const auto* table = static_cast<const pl_ext_columns*>(i.component().extension(i.self(), pl::borrow(PL_EXT_COLUMNS)));
  REQUIRE(table != nullptr);
  const auto batch = host.make_batch({{"time", {}}, {"temperature", {}}});
  const pl_schema* out = nullptr;
  CHECK(pl::testing::ask_columns(*table, i.self(), &batch.get().schema(), 0, out) == PL_FATAL);
  CHECK(host.error_text() ==
        "columns.temp: the input has no field 'temprature'; did you mean 'temperature'? Input fields: 'time', "
        "'temperature'");
  CHECK(pl::testing::ask_columns(*table, i.self(), nullptr, 0, out) == PL_OK);
}

TEST_CASE("an unreachable server is a retry, and the message does not contain the password") {
  fake_host host;
  instance i(host, timescale_test::component(), {{"url", "postgresql://iot:s3cret@127.0.0.1:1/x"}});
  REQUIRE(i.create() == PL_OK);
  CHECK(i.check() == PL_RETRY);
  CHECK(i.start() == PL_RETRY);
  CHECK(host.error_text().find("table 'raw_telemetry' at iot@127.0.0.1:1/x: ") != std::string::npos);
  CHECK(host.error_text().find("s3cret") == std::string::npos);
}

TEST_CASE("'conflict' needs 'key', and 'key' needs 'conflict'") {
  const config_fields at{{"url", "postgresql://192.0.2.1/x"}};
  const auto with = [&](config_fields more) {
    more.insert(more.end(), at.begin(), at.end());
    return errors(more);
  };
  using pl::testing::list;
  CHECK(with({{"conflict", "update"}}) ==
        "key: 'conflict' needs the columns that identify a row; add for example key: [device_id, time]");
  CHECK(with({{"key", list({"a"})}}) ==
        "key: applies only to 'conflict: ignore' and 'conflict: update'; set one of them, or remove 'key'");
  CHECK(with({{"conflict", "ignore"}, {"key", list({"a", "b", "a"})}}) ==
        "key[2]: 'a' is listed twice; remove one of them");
  CHECK(with({{"conflict", "ignore"}, {"key", list({"a", "b"})}, {"columns", object({{"a", "x"}})}}) ==
        "key[1]: no field is mapped to column 'b'; add it to 'columns'");
}
