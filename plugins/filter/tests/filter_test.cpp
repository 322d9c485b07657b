// SPDX-License-Identifier: Apache-2.0
#include <pipeline/context.hpp>
#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

using namespace pl::testing;
using pl::row_index;

namespace {

const pl_component& component() {
  const auto* directory = std::getenv("PIPELINE_PLUGIN_DIR");
  REQUIRE(directory != nullptr);
  std::string error;
  const auto* plugin = load_plugin(std::string(directory) + "/filter.so", error);
  REQUIRE_MESSAGE(plugin != nullptr, error);
  for (const auto& problem : check_plugin(*plugin)) FAIL_CHECK(problem);
  return *plugin->components[0];
}

using indexes = std::vector<row_index>;

// The rows that left on each port.
struct split {
  indexes out, rest;
  std::size_t batches = 0;
};

split run(instance& i, pl::batch_view in) {
  REQUIRE(i.apply(in) == PL_OK);
  split found;
  for (const auto& e : i.output()) {
    auto& to = e.port == 0 ? found.out : found.rest;
    for (const auto row : e.data.get().selection()) to.push_back(row);
    ++found.batches;
  }
  i.output().clear();
  return found;
}

}  // namespace

TEST_CASE("the component passes the lifecycle checks") {
  for (const auto& problem : check_life(component(), {{"where", "value > 30"}}, {"value", "topic"}))
    FAIL_CHECK(problem);
}

TEST_CASE("rows that match leave on `out`, all others on `rest`, and failures are counted") {
  fake_host host;
  instance i(host, component(), {{"where", "t > 30 || name == 'x'"}});
  REQUIRE(i.create() == PL_OK);
  const auto b = host.make_batch(
      {{"t", {pl::real_cell(20), pl::real_cell(40), pl::null_cell(), pl::int_cell(31), pl::null_cell()}},
       {"name", {pl::text_cell("a"), pl::text_cell("b"), pl::text_cell("x"), pl::null_cell(), pl::text_cell("c")}}});
  const auto found = run(i, b.get());
  CHECK(found.out == indexes{1, 2, 3});
  CHECK(found.rest == indexes{0, 4});
  CHECK(host.sum("expression_failures_total{option=where}") == 1);  // row 4; row 2 is decided by the name
  CHECK(host.rejects().empty());
}

TEST_CASE("a batch that goes to one port passes unchanged") {
  fake_host host;
  instance i(host, component(), {{"where", "t > 0"}});
  REQUIRE(i.create() == PL_OK);
  const auto all = host.make_batch({{"t", {pl::real_cell(1), pl::real_cell(2)}}});
  REQUIRE(i.apply(all.get()) == PL_OK);
  REQUIRE(i.output().size() == 1);
  CHECK(i.output()[0].port == 0);
  CHECK(i.output()[0].data.get().raw() == all.get().raw());
  i.output().clear();
  const auto none = host.make_batch({{"t", {pl::real_cell(-1)}}});
  const auto found = run(i, none.get());
  CHECK(found.rest == indexes{0});
  CHECK(found.batches == 1);
}

TEST_CASE("the columns of the condition are used, and all of them if it reads the whole row") {
  const auto used = [](const char* where) {
    fake_host host;
    instance i(host, component(), {{"where", where}});
    REQUIRE(i.create() == PL_OK);
    return ask_used_columns(component(), i.self());
  };
  CHECK(used("value > 30 && (has(row.unit) || extra.battery < 3)") ==
        std::vector<std::string>{"value", "unit", "extra", "*"});
  CHECK(used("size(row) > 3") == std::vector<std::string>{"all columns", "*"});
}

TEST_CASE("only selected rows leave, with their positions") {
  fake_host host;
  instance i(host, component(), {{"where", "t > 1"}});
  REQUIRE(i.create() == PL_OK);
  const auto b =
      host.make_batch({{"t", {pl::real_cell(5), pl::real_cell(6), pl::real_cell(0), pl::real_cell(7)}}}, "test/0", 100);
  const pl::context ctx(&host.raw());
  const auto some = ctx.derive_rows(b.get(), indexes{1, 2, 3});
  REQUIRE(i.apply(some.peek()) == PL_OK);
  REQUIRE(i.output().size() == 2);
  const auto out = i.output()[0].data.get();
  CHECK(out.selected() == 2);
  CHECK(out.position(out.selection()[0]) == 101);
  CHECK(out.position(out.selection()[1]) == 103);
  CHECK(i.output()[1].data.get().position(i.output()[1].data.get().selection()[0]) == 102);
  i.output().clear();
}

TEST_CASE("mistakes are found before records arrive, with their place in the expression") {
  fake_host host;
  {
    instance i(host, component(), {{"where", "t > "}});
    CHECK(i.create() == PL_FATAL);
    CHECK(host.error_text().find("where@") == 0);
  }
  instance i(host, component(), {{"where", "temprature > 30"}});
  REQUIRE(i.create() == PL_OK);
  const auto* in = pl::context(&host.raw()).schema({"temperature", "name"});
  pl::column_set out;
  CHECK(ask_columns(component(), i.self(), {in, {PL_F64, PL_TEXT}}, 0, out) == PL_FATAL);
  CHECK(host.error_text().find("where@0: ") != std::string::npos);
  CHECK(host.error_text().find("temperature") != std::string::npos);
}

TEST_CASE("the kinds of the input pass, and the declared kind decides how a number compares") {
  fake_host host;
  instance i(host, component(), {{"where", "t / 2 == 1.5"}});
  REQUIRE(i.create() == PL_OK);
  const auto b = host.make_batch({{"t", {pl::int_cell(3)}}});
  CHECK(run(i, b.get()).rest == indexes{0});  // unknown kind: a division of integers
  pl::column_set out;
  REQUIRE(ask_columns(component(), i.self(), {&b.get().schema(), {PL_F64}}, 0, out) == PL_OK);
  CHECK(out.schema == &b.get().schema());
  CHECK(out.kinds == std::vector<std::uint32_t>{PL_F64});
  CHECK(run(i, b.get()).out == indexes{0});  // a metric is a double, whatever number a device sent
}
