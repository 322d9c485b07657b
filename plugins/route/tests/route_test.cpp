// SPDX-License-Identifier: Apache-2.0
#include <pipeline/context.hpp>
#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

using namespace pl::testing;
using pl::row_index;

namespace {

const pl_component& component() {
  const auto* directory = std::getenv("PIPELINE_PLUGIN_DIR");
  REQUIRE(directory != nullptr);
  std::string error;
  const auto* plugin = load_plugin(std::string(directory) + "/route.so", error);
  REQUIRE_MESSAGE(plugin != nullptr, error);
  for (const auto& problem : check_plugin(*plugin)) FAIL_CHECK(problem);
  return *plugin->components[0];
}

using by_port = std::map<std::string, std::vector<row_index>>;

const config_fields temperatures{{"routes", object({{"hot", "t > 30"}, {"cold", "t < 5"}, {"frost", "t < 0"}})}};

config_fields with_match(const char* match) {
  auto options = temperatures;
  options.emplace_back("match", match);
  return options;
}

by_port run(const config_fields& options, std::vector<pl::cell> values) {
  fake_host host;
  instance i(host, component(), options);
  REQUIRE(i.create() == PL_OK);
  const auto names = ask_ports(component(), i.self());
  const auto b = host.make_batch({{"t", std::move(values)}});
  REQUIRE(i.apply(b.get()) == PL_OK);
  by_port found;
  for (const auto& e : i.output())
    for (const auto row : e.data.get().selection()) found[names.at(e.port)].push_back(row);
  i.output().clear();
  return found;
}

}  // namespace

TEST_CASE("the component passes the lifecycle checks") {
  const config_fields options{{"routes", object({{"big", "value > 30"}, {"json", "topic == '{}'"}})}};
  for (const auto& problem : check_life(component(), options, {"value", "topic"})) FAIL_CHECK(problem);
}

TEST_CASE("the ports are the routes in the order of the file, and otherwise") {
  fake_host host;
  instance i(host, component(), temperatures);
  REQUIRE(i.create() == PL_OK);
  CHECK(ask_ports(component(), i.self()) == std::vector<std::string>{"hot", "cold", "frost", "otherwise"});
}

TEST_CASE("the columns of all conditions are used, and the others are passed on") {
  fake_host host;
  instance i(host, component(), {{"routes", object({{"big", "value > 30"}, {"json", "topic == '{}'"}})}});
  REQUIRE(i.create() == PL_OK);
  CHECK(ask_used_columns(component(), i.self()) == std::vector<std::string>{"value", "topic", "*"});
}

TEST_CASE("first: a row leaves on the port of the first route that it matches") {
  const std::vector<pl::cell> t{pl::real_cell(-5), pl::real_cell(20), pl::real_cell(40), pl::null_cell(),
                                pl::real_cell(1)};
  CHECK(run(temperatures, t) == by_port{{"hot", {2}}, {"cold", {0, 4}}, {"otherwise", {1, 3}}});
}

TEST_CASE("all: a row leaves on the port of each route that it matches") {
  const std::vector<pl::cell> t{pl::real_cell(-5), pl::real_cell(20), pl::real_cell(40), pl::null_cell(),
                                pl::real_cell(1)};
  CHECK(run(with_match("all"), t) == by_port{{"hot", {2}}, {"cold", {0, 4}}, {"frost", {0}}, {"otherwise", {1, 3}}});
}

TEST_CASE("a batch of which every row takes one port passes unchanged") {
  fake_host host;
  instance i(host, component(), temperatures);
  REQUIRE(i.create() == PL_OK);
  const auto b = host.make_batch({{"t", {pl::real_cell(31), pl::real_cell(32)}}});
  REQUIRE(i.apply(b.get()) == PL_OK);
  REQUIRE(i.output().size() == 1);
  CHECK(i.output()[0].data.get().raw() == b.get().raw());
  i.output().clear();
}

TEST_CASE("invalid routes are reported together, each with its place") {
  fake_host host;
  instance i(host, component(),
             {{"routes", object({{"a b", "t > 1"}, {"otherwise", "true"}, {"x", "t >"}, {"y", "1 + 1"}})}});
  CHECK(i.create() == PL_FATAL);
  const auto text = host.error_text();
  for (const auto* part : {"routes.a b: 'a b' is not a valid route name", "routes.otherwise: 'otherwise' is the port",
                           "routes.x@", "routes.y@"})
    CHECK_MESSAGE(text.find(part) != std::string::npos, text);
}

TEST_CASE("a route that names an unknown column is an error with the nearest name") {
  fake_host host;
  instance i(host, component(), {{"routes", object({{"hot", "temp > 30"}})}});
  REQUIRE(i.create() == PL_OK);
  const auto* in = pl::context(&host.raw()).schema({"temperature"});
  pl::column_set out;
  CHECK(ask_columns(component(), i.self(), {in, {PL_F64}}, 0, out) == PL_FATAL);
  CHECK(host.error_text().find("routes.hot@0: ") != std::string::npos);
}
