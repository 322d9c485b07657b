// SPDX-License-Identifier: Apache-2.0
#include "mock_topic.hpp"

#include <pipeline/context.hpp>

using pl::testing::object;

namespace {

std::string complaints(const pl::testing::config_fields& options) {
  pl::testing::fake_host host;
  pl::testing::instance i(host, kafka::test::component(), options);
  const auto status = i.create();
  CHECK((status == PL_OK) == host.errors().empty());
  return host.error_text();
}

}  // namespace

TEST_CASE("options: the least that is needed") { CHECK(complaints({{"brokers", "a:9092"}, {"topic", "t"}}).empty()); }

TEST_CASE("options: all mistakes at once, each at its place") {
  const auto said = complaints({{"brokers", "a:0"},
                                {"topic", "a b"},
                                {"key", "{device"},
                                {"headers", object({{"h", "}"}})},
                                {"properties", object({{"linger", 5}, {"compression.type", "lz4"}})}});
  for (const auto* part :
       {"brokers: the port of 'a:0' is no number between 1 and 65535", "topic: 'a b' can't be a topic",
        "key: '{' at character 1 is not closed", "headers.h: '}' at character 1 has no '{' before it",
        "properties.compression.type: 'compression.type' is not yours to set: use the option 'compression'",
        "has no property 'linger'; did you mean 'linger.ms'?"})
    CHECK_MESSAGE(said.find(part) != std::string::npos, part, " is missing in ", said);
}

TEST_CASE("options: columns are known before data flows") {
  pl::testing::fake_host host;
  pl::testing::instance i(host, kafka::test::component(),
                          {{"brokers", "a"}, {"topic", "t"}, {"key", "{user_id}/{devce_id}"}});
  REQUIRE(i.create() == PL_OK);
  const auto* table = static_cast<const pl_ext_columns*>(i.component().extension(i.self(), pl::borrow(PL_EXT_COLUMNS)));
  REQUIRE(table != nullptr);
  const auto* schema = pl::context(&host.raw()).schema({"user_id", "device_id"});
  const pl_schema* out = nullptr;
  CHECK(table->columns(i.self(), schema, 0, &out) == PL_FATAL);
  CHECK(host.error_text() == "key: no column 'devce_id' comes in; there are 'user_id', 'device_id'");
  CHECK(table->columns(i.self(), nullptr, 0, &out) == PL_OK);
}
