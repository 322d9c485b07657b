// SPDX-License-Identifier: Apache-2.0
#include "mock_topic.hpp"

#include <pipeline/context.hpp>

using pl::testing::object;

namespace {

std::string errors_of(const pl::testing::config_fields& options) {
  pl::testing::fake_host host;
  pl::testing::instance i(host, kafka::test::component(), options);
  const auto status = i.create();
  CHECK((status == PL_OK) == host.errors().empty());
  return host.error_text();
}

}  // namespace

TEST_CASE("options: the required options are sufficient") {
  CHECK(errors_of({{"brokers", "a:9092"}, {"topic", "t"}}).empty());
}

TEST_CASE("options: every error is reported under its option") {
  const auto errors = errors_of({{"brokers", "a:0"},
                                 {"topic", "a b"},
                                 {"key", "{device"},
                                 {"headers", object({{"h", "}"}})},
                                 {"properties", object({{"linger", 5}, {"compression.type", "lz4"}})}});
  for (const auto* part :
       {"brokers: the port of 'a:0' is not a number between 1 and 65535", "topic: 'a b' is not a valid topic name",
        "key: '{' at character 1 is not closed", "headers.h: '}' at character 1 has no '{' before it",
        "properties.compression.type: 'compression.type' cannot be set: use the option 'compression'",
        "has no property 'linger'; did you mean 'linger.ms'?"})
    CHECK_MESSAGE(errors.find(part) != std::string::npos, part, " is missing in ", errors);
}

TEST_CASE("options: missing columns are reported before data flows") {
  pl::testing::fake_host host;
  pl::testing::instance i(host, kafka::test::component(),
                          {{"brokers", "a"}, {"topic", "t"}, {"key", "{user_id}/{devce_id}"}});
  REQUIRE(i.create() == PL_OK);
  const auto* table = static_cast<const pl_ext_columns*>(i.component().extension(i.self(), pl::borrow(PL_EXT_COLUMNS)));
  REQUIRE(table != nullptr);
  const auto* schema = pl::context(&host.raw()).schema({"user_id", "device_id"});
  const pl_schema* out = nullptr;
  CHECK(pl::testing::ask_columns(*table, i.self(), schema, 0, out) == PL_FATAL);
  CHECK(host.error_text() == "key: the input has no column 'devce_id'; its columns are: 'user_id', 'device_id'");
  CHECK(pl::testing::ask_columns(*table, i.self(), nullptr, 0, out) == PL_OK);
}

TEST_CASE("options: a column without times cannot be the time of a record") {
  pl::testing::fake_host host;
  pl::testing::instance i(host, kafka::test::component(), {{"brokers", "a"}, {"topic", "t"}, {"time", "at"}});
  REQUIRE(i.create() == PL_OK);
  const auto* in = pl::context(&host.raw()).schema({"at"});
  pl::column_set out;
  const auto ask = [&](std::vector<std::uint32_t> kinds) {
    return pl::testing::ask_columns(i.component(), i.self(), {in, std::move(kinds)}, 0, out);
  };
  CHECK(ask({PL_TIME_NS}) == PL_OK);
  CHECK(ask({}) == PL_OK);
  CHECK(ask({PL_TEXT}) == PL_FATAL);
  CHECK(host.error_text() == "time: the column 'at' has the kind text; this option needs time");
}
