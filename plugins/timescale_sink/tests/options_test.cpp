// SPDX-License-Identifier: Apache-2.0
// What the constructor refuses: all of it at once, each with its option, no secret in any of it.
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

TEST_CASE("all mistakes are told, each with its option") {
  const auto text = errors({{"url", "postgresql://iot:s3cret@db:port/x"},
                            {"table", "a.b.c"},
                            {"statement_timeout", std::chrono::nanoseconds(2min)},
                            {"create", object({{"columns", object({{"x", "text; DROP TABLE y"}})}})}});
  CHECK(text.find("table: 'a.b.c' is no name of a table") != std::string::npos);
  CHECK(text.find("url: the port is no number from 1 to 65535") != std::string::npos);
  CHECK(text.find("stall_timeout: must be longer") != std::string::npos);
  CHECK(text.find("create.columns.x: has a ';' in it") != std::string::npos);
  CHECK(text.find("s3cret") == std::string::npos);
}

TEST_CASE("a field that doesn't come in is told before anything is connected") {
  fake_host host;
  instance i(host, timescale_test::component(),
             {{"url", "postgresql://192.0.2.1/x"}, {"columns", object({{"temp", "temprature"}, {"ts", "time"}})}});
  REQUIRE(i.create() == PL_OK);
  const auto* table = static_cast<const pl_ext_columns*>(i.component().extension(i.self(), pl::borrow(PL_EXT_COLUMNS)));
  REQUIRE(table != nullptr);
  const auto batch = host.make_batch({{"time", {}}, {"temperature", {}}});
  const pl_schema* out = nullptr;
  CHECK(table->columns(i.self(), &batch.get().schema(), 0, &out) == PL_FATAL);
  CHECK(
      host.error_text() ==
      "columns.temp: no field 'temprature' comes in; did you mean 'temperature'? What comes in: 'time', 'temperature'");
  CHECK(table->columns(i.self(), nullptr, 0, &out) == PL_OK);
}

TEST_CASE("a server that isn't there is a reason to try again, told without the password") {
  fake_host host;
  instance i(host, timescale_test::component(), {{"url", "postgresql://iot:s3cret@127.0.0.1:1/x"}});
  REQUIRE(i.create() == PL_OK);
  CHECK(i.check() == PL_RETRY);
  CHECK(i.start() == PL_RETRY);
  CHECK(host.error_text().find("table 'raw_telemetry' at iot@127.0.0.1:1/x: ") != std::string::npos);
  CHECK(host.error_text().find("s3cret") == std::string::npos);
}

TEST_CASE("what to do about conflicts needs a key, and the other way round") {
  const config_fields at{{"url", "postgresql://192.0.2.1/x"}};
  const auto with = [&](config_fields more) {
    more.insert(more.end(), at.begin(), at.end());
    return errors(more);
  };
  using pl::testing::list;
  CHECK(with({{"conflict", "update"}}) ==
        "key: 'conflict' needs to know by which columns rows are told apart: key: [device_id, time]");
  CHECK(with({{"key", list({"a"})}}) ==
        "key: is for 'conflict: ignore' and 'conflict: update' only: without them every row is added");
  CHECK(with({{"conflict", "ignore"}, {"key", list({"a", "b", "a"})}}) == "key[2]: names 'a' a second time");
  CHECK(with({{"conflict", "ignore"}, {"key", list({"a", "b"})}, {"columns", object({{"a", "x"}})}}) ==
        "key[1]: nothing is written to column 'b': 'columns' doesn't name it");
}
