// SPDX-License-Identifier: Apache-2.0
#include "harness.hpp"

#include <pipeline/context.hpp>

#include <doctest/doctest.h>

using namespace pl::testing;
using namespace json_telemetry::testing;

TEST_CASE("the plugin passes the conformance battery") {
  std::string error;
  const auto* plugin = load_plugin(plugin_file(), error);
  REQUIRE_MESSAGE(plugin != nullptr, error);
  for (const auto& problem : check_plugin(*plugin)) FAIL_CHECK(problem);
  const auto& component = *plugin->components[0];
  const std::vector<std::string> columns = {"value", "topic", "key", "time"};
  for (const auto& problem : check_life(component, {}, columns)) FAIL_CHECK(problem);
  const config_fields all = {{"ids_from", object({{"topic", "users/{user_id}"}, {"key", "{device_id}"}})},
                             {"time", object({{"missing", "message_time"}})},
                             {"keep", list({"topic", "key"})},
                             {"invalid", "extra"},
                             {"tombstones", "skip"},
                             {"nul", "strip"}};
  for (const auto& problem : check_life(component, all, columns)) FAIL_CHECK(problem);
}

TEST_CASE("columns are known before data comes") {
  fake_host host;
  instance i(host, parser(), {{"metrics", list({"co2"})}, {"keep", list({"topic"})}});
  REQUIRE(i.create() == PL_OK);
  const auto* ext = static_cast<const pl_ext_columns*>(parser().extension(i.self(), pl::borrow(PL_EXT_COLUMNS)));
  REQUIRE(ext != nullptr);
  const auto columns = [&](const pl_schema* in) {
    const pl_schema* out = nullptr;
    host.forget();
    if (ext->columns(i.self(), in, 0, &out) != PL_OK) return host.error_text();
    std::string names;
    for (std::uint32_t c = 0; c < out->ncols; ++c) names += (c ? "," : "") + std::string(pl::view(out->names[c]));
    return names;
  };
  const pl::context ctx(&host.raw());
  CHECK(columns(nullptr) == "time,user_id,device_id,co2,topic,extra");
  CHECK(columns(ctx.schema({"value", "topic"})) == "time,user_id,device_id,co2,topic,extra");
  CHECK(columns(ctx.schema({"data", "topic"})) == "payload: no column 'value' comes in; there are: data, topic");
  CHECK(columns(ctx.schema({"value"})) == "keep[0]: no column 'topic' comes in; there are: value");
}

TEST_CASE("mistakes in the options are reported with their place, all of them") {
  const auto mistakes = [](const config_fields& options) {
    fake_host host;
    instance i(host, parser(), options);
    return i.create() == PL_OK ? std::string("none") : host.error_text();
  };
  const auto has = [&](const config_fields& options, std::string_view part) {
    const auto text = mistakes(options);
    CHECK_MESSAGE(text.find(part) != std::string::npos, part << " not in: " << text);
  };
  CHECK(mistakes({}) == "none");
  has({{"time", object({{"zone", "Mars"}})}}, "time.zone: 'Mars' is neither utc nor reject");
  has({{"time", object({{"from", list({})}})}}, "time.from: without a path");
  has({{"time", object({{"from", list({"a..b"})}})}}, "time.from: 'a..b' is no path");
  has({{"metrics", list({"user_id"})}}, "metrics[0]: there is a column 'user_id' already");
  has({{"metrics", list({""})}}, "metrics[0]: the column needs a name");
  has({{"keep", list({"time"})}}, "keep[0]: there is a column 'time' already");
  has({{"extra", "humidity"}}, "extra: there is a column 'humidity' already");
  has({{"extra", "off"}, {"invalid", "extra"}}, "invalid: ");
  has({{"readings", list({"a["})}}, "readings[0]: 'a[' is no path");
  has({{"ids_from", object({{"topic", "users/{tenant}"}})}}, "ids_from.topic: 'tenant' is no column of type text");
  has({{"ids_from", object({{"key", "{temperature}"}})}}, "ids_from.key: 'temperature' is no column of type text");
  has({{"columns", list({object({{"name", "x"}, {"type", "int"}, {"default", "abc"}})})}},
      "columns[0].default: 'x' is the text \"abc\"");
  has({{"columns", list({object({{"name", "x"}, {"required", true}, {"default", 1}})})}},
      "columns[0].default: a required column");
  has({{"columns", list({object({{"name", "x"}, {"unit", object({{"from", list({"u"})}, {"accept", list({})}})}})})}},
      "columns[0].unit.accept");
  has({{"time", object({{"zone", "x"}})}, {"metrics", list({""})}}, "metrics[0]");
  has({{"time", object({{"zone", "x"}})}, {"metrics", list({""})}}, "time.zone");
}

TEST_CASE("a batch without the payload's column stops with a clear word") {
  fake_host host;
  instance i(host, parser());
  REQUIRE(i.create() == PL_OK);
  auto b = host.make_batch({{"body", {pl::text_cell("{}")}}});
  CHECK(i.apply(b.get()) == PL_FATAL);
  CHECK(host.error_text() == "no column 'value' comes in; there are: body");
}
