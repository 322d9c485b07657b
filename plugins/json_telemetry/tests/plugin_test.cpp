// SPDX-License-Identifier: Apache-2.0
#include "harness.hpp"

#include <pipeline/context.hpp>

#include <doctest/doctest.h>

using namespace pl::testing;
using namespace json_telemetry::testing;

TEST_CASE("the plugin passes the conformance tests") {
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

TEST_CASE("columns are known before the first batch") {
  fake_host host;
  instance i(host, parser(), {{"metrics", list({"co2"})}, {"keep", list({"topic"})}});
  REQUIRE(i.create() == PL_OK);
  const auto* ext = static_cast<const pl_ext_columns*>(parser().extension(i.self(), pl::borrow(PL_EXT_COLUMNS)));
  REQUIRE(ext != nullptr);
  const auto columns = [&](const pl_schema* in) {
    const pl_schema* out = nullptr;
    host.forget();
    if (pl::testing::ask_columns(*ext, i.self(), in, 0, out) != PL_OK) return host.error_text();
    std::string names;
    for (std::uint32_t c = 0; c < out->ncols; ++c) names += (c ? "," : "") + std::string(pl::view(out->names[c]));
    return names;
  };
  const pl::context ctx(&host.raw());
  CHECK(columns(nullptr) == "time,user_id,device_id,co2,topic,extra");
  CHECK(columns(ctx.schema({"value", "topic"})) == "time,user_id,device_id,co2,topic,extra");
  CHECK(columns(ctx.schema({"data", "topic"})) ==
        "payload: the input has no column 'value'; its columns are: data, topic");
  CHECK(columns(ctx.schema({"value"})) == "keep[0]: the input has no column 'topic'; its columns are: value");
}

TEST_CASE("of the input, only the payload, the kept columns and what ids and times come from are used") {
  fake_host host;
  instance i(host, parser(), {{"payload", "data"}, {"keep", list({"message_id"})}});
  REQUIRE(i.create() == PL_OK);
  CHECK(ask_used_columns(parser(), i.self()) == std::vector<std::string>{"data", "topic", "key", "time", "message_id"});
}

TEST_CASE("kinds follow the types of the columns; those of kept columns are the input's") {
  fake_host host;
  instance i(host, parser(),
             {{"metrics", list({"co2", "state"})},
              {"columns",
               list({object({{"name", "state"}, {"type", "text"}}), object({{"name", "n"}, {"type", "int"}}),
                     object({{"name", "on"}, {"type", "bool"}}), object({{"name", "meta"}, {"type", "json"}}),
                     object({{"name", "since"}, {"type", "time"}}), object({{"name", "user_id"}, {"type", "int"}})})},
              {"keep", list({"partition"})}});
  REQUIRE(i.create() == PL_OK);
  const pl::context ctx(&host.raw());
  pl::column_set out;
  const auto ask = [&](std::vector<std::uint32_t> kinds) {
    return ask_columns(parser(), i.self(), {ctx.schema({"value", "partition"}), std::move(kinds)}, 0, out);
  };
  REQUIRE(ask({PL_BYTES, PL_I64}) == PL_OK);
  CHECK(out.schema ==
        ctx.schema({"time", "user_id", "device_id", "co2", "state", "n", "on", "meta", "since", "partition", "extra"}));
  CHECK(out.kinds == std::vector<std::uint32_t>{PL_TIME_NS, PL_I64, PL_TEXT, PL_F64, PL_TEXT, PL_I64, PL_BOOL, PL_JSON,
                                                PL_TIME_NS, PL_I64, PL_JSON});
  REQUIRE(ask({}) == PL_OK);
  CHECK(out.kind_of("partition") == PL_NULL);
  CHECK(ask({PL_F64, PL_I64}) == PL_FATAL);
  CHECK(host.error_text() == "payload: the column 'value' has the kind float; this option needs bytes or text or json");
}

TEST_CASE("all mistakes in the options are reported with their place") {
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
  has({{"time", object({{"from", list({"a..b"})}})}}, "time.from: 'a..b' is not a valid path");
  has({{"metrics", list({"user_id"})}}, "metrics[0]: there is a column 'user_id' already");
  has({{"metrics", list({""})}}, "metrics[0]: the column needs a name");
  has({{"keep", list({"time"})}}, "keep[0]: there is a column 'time' already");
  has({{"extra", "humidity"}}, "extra: there is a column 'humidity' already");
  has({{"extra", "off"}, {"invalid", "extra"}}, "invalid: ");
  has({{"readings", list({"a["})}}, "readings[0]: 'a[' is not a valid path");
  has({{"ids_from", object({{"topic", "users/{tenant}"}})}}, "ids_from.topic: 'tenant' is not a column of type text");
  has({{"ids_from", object({{"key", "{temperature}"}})}}, "ids_from.key: 'temperature' is not a column of type text");
  has({{"columns", list({object({{"name", "x"}, {"type", "int"}, {"default", "abc"}})})}},
      "columns[0].default: 'x' is the string \"abc\"");
  has({{"columns", list({object({{"name", "x"}, {"required", true}, {"default", 1}})})}},
      "columns[0].default: a required column");
  has({{"columns", list({object({{"name", "x"}, {"unit", object({{"from", list({"u"})}, {"accept", list({})}})}})})}},
      "columns[0].unit.accept");
  has({{"time", object({{"zone", "x"}})}, {"metrics", list({""})}}, "metrics[0]");
  has({{"time", object({{"zone", "x"}})}, {"metrics", list({""})}}, "time.zone");
}

TEST_CASE("a batch without the payload column fails with a clear message") {
  fake_host host;
  instance i(host, parser());
  REQUIRE(i.create() == PL_OK);
  auto b = host.make_batch({{"body", {pl::text_cell("{}")}}});
  CHECK(i.apply(b.get()) == PL_FATAL);
  CHECK(host.error_text() == "the input has no column 'value'; its columns are: body");
}

TEST_CASE("each row keeps the arrival time of its message, if messages are rejected or have several records") {
  fake_host host;
  instance i(host, parser(), {{"metrics", list({"co2"})}, {"time_window", object({{"past", 0}, {"future", 0}})}});
  REQUIRE(i.create() == PL_OK);
  const auto record = [](const char* co2) {
    return std::string(R"({"user_id": 1, "device_id": 2, "time": 1700000000000, "co2": )") + co2 + "}";
  };
  const auto two = "[" + record("2") + "," + record("3") + "]", four = record("4");
  const std::vector<pl::cell> payloads{pl::bytes_cell("not JSON"), pl::bytes_cell(two), pl::bytes_cell(four)};
  const auto in = host.make_batch({{"value", payloads}}, "t/0", 10, {100, 200, 300});
  REQUIRE(i.apply(in.get()) == PL_OK);
  const auto out = i.output().front().data.get();
  REQUIRE(out.rows() == 3);
  for (const auto row : {0U, 1U, 2U})
    CHECK(out.arrival(row) == pl::timestamp(std::chrono::nanoseconds(row == 2 ? 300 : 200)));

  const auto without = host.make_batch({{"value", payloads}});
  REQUIRE(i.apply(without.get()) == PL_OK);
  CHECK_FALSE(i.output().back().data.get().arrival(0).has_value());
}
