// SPDX-License-Identifier: Apache-2.0
#include "../layout.hpp"

#include <pipeline/context.hpp>
#include <pipeline/json.hpp>
#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

using namespace pl::testing;
using kinds = std::vector<std::uint32_t>;

namespace {

const pl_component& component() {
  const auto* directory = std::getenv("PIPELINE_PLUGIN_DIR");
  REQUIRE(directory != nullptr);
  std::string error;
  const auto* plugin = load_plugin(std::string(directory) + "/map.so", error);
  REQUIRE_MESSAGE(plugin != nullptr, error);
  for (const auto& problem : check_plugin(*plugin)) FAIL_CHECK(problem);
  return *plugin->components[0];
}

// Return the selected rows as text, such as "0: a=1 b=null".
std::string shown(pl::batch_view b) {
  std::string text;
  for (const auto row : b.selection()) {
    text += (text.empty() ? "" : "; ") + std::to_string(b.position(row)) + ":";
    for (pl::column_index c = 0; c < b.columns(); ++c) {
      text.append(" ").append(b.name(c)).append("=");
      pl::append_json(text, b.at(c, row));
    }
  }
  return text;
}

struct weather {
  fake_host host;
  pl::batch batch = host.make_batch({{"t", {pl::real_cell(20), pl::null_cell(), pl::real_cell(-40)}},
                                     {"id", {pl::text_cell("a"), pl::text_cell("b"), pl::text_cell("c")}}},
                                    "test/0", 10);
  pl::column_set columns{&batch.get().schema(), {PL_F64, PL_TEXT}};

  // Return what the options make of the rows.
  std::string run(const config_fields& options, pl::column_set* out = nullptr) {
    instance i(host, component(), options);
    if (i.create() != PL_OK) return "create: " + host.error_text();
    pl::column_set stated;
    if (ask_columns(component(), i.self(), columns, 0, stated) != PL_OK) return "columns: " + host.error_text();
    REQUIRE(i.apply(batch.get()) == PL_OK);
    if (out != nullptr) *out = stated;
    if (i.output().empty()) return "nothing";
    const auto text = shown(i.output()[0].data.get());
    CHECK(stated.schema == &i.output()[0].data.get().schema());
    i.output().clear();
    return text;
  }
};

config_fields set(config_fields entries) { return {{"set", object(std::move(entries))}}; }

}  // namespace

TEST_CASE("the component passes the lifecycle checks") {
  const config_fields options{
      {"set", object({{"double", "value + value"}, {"topic", "1.5"}, {"late", "string(value)"}})},
      {"rename", object({{"double", "twice"}})},
      {"drop", list({"nothing"})}};
  for (const auto& problem : check_life(component(), options, {"value", "topic"})) FAIL_CHECK(problem);
  const config_fields rejecting{{"set", object({{"double", "value + value"}})}, {"errors", "reject"}};
  for (const auto& problem : check_life(component(), rejecting, {"value", "topic"})) FAIL_CHECK(problem);
}

TEST_CASE("columns are computed in the order of the file, and their kinds are known") {
  weather w;
  pl::column_set out;
  CHECK(w.run(set({{"f", "t * 9 / 5 + 32"}, {"warm", "has(row.f) && f > 50"}, {"id", "id + '!'"}}), &out) ==
        "10: t=20 id=\"a!\" f=68 warm=true; 11: t=null id=\"b!\" f=null warm=false; 12: t=-40 id=\"c!\" f=-40 "
        "warm=false");
  CHECK(out.kinds == kinds{PL_F64, PL_TEXT, PL_F64, PL_BOOL});
  CHECK(w.host.sum("expression_failures_total{option=set.f}") == 1);
}

TEST_CASE("a column may be set twice, and a later expression sees the later value and kind") {
  weather w;
  pl::column_set out;
  CHECK(w.run(set({{"t", "has(row.t) ? t + 1 : 0"}, {"n", "t"}, {"t", "string(t)"}}), &out) ==
        "10: t=\"21\" id=\"a\" n=21; 11: t=\"0\" id=\"b\" n=0; 12: t=\"-39\" id=\"c\" n=-39");
  CHECK(out.kinds == kinds{PL_TEXT, PL_TEXT, PL_F64});
}

TEST_CASE("rename, keep and drop run after set, in this order") {
  weather w;
  CHECK(w.run({{"rename", object({{"t", "celsius"}})}}) ==
        "10: celsius=20 id=\"a\"; 11: celsius=null id=\"b\"; 12: celsius=-40 id=\"c\"");
  CHECK(w.run({{"rename", object({{"t", "id"}, {"id", "t"}})}, {"keep", list({"t", "id"})}}) ==
        "10: t=\"a\" id=20; 11: t=\"b\" id=null; 12: t=\"c\" id=-40");
  pl::column_set out;
  CHECK(w.run({{"set", object({{"k", "t + 273.15"}, {"x", "1"}})},
               {"rename", object({{"k", "kelvin"}})},
               {"keep", list({"kelvin", "id", "x"})},
               {"drop", list({"x"})}},
              &out)
            .find("10: kelvin=293.15 id=\"a\"; ") == 0);
  CHECK(out.kinds == kinds{PL_F64, PL_TEXT});
}

TEST_CASE("errors: reject sends a row to the dead letters once, with the reason") {
  weather w;
  auto options = set({{"f", "t * 2"}, {"g", "1.0 / (t - 20)"}, {"h", "t * 3"}});
  options.emplace_back("errors", "reject");
  CHECK(w.run(options).find("12: t=-40 id=\"c\" f=-80 g=") == 0);
  REQUIRE(w.host.rejects().size() == 2);
  CHECK(w.host.rejects()[0].row == 1);
  CHECK(w.host.rejects()[0].reason.find("'set.f': no such overload: null") == 0);
  CHECK(w.host.rejects()[1].row == 0);
  CHECK(w.host.rejects()[1].reason == "'set.g': no column holds the result Infinity");
}

TEST_CASE("if every row is rejected, nothing is emitted") {
  weather w;
  auto options = set({{"f", "1 / 0"}});
  options.emplace_back("errors", "reject");
  CHECK(w.run(options) == "nothing");
  CHECK(w.host.rejects().size() == 3);
}

TEST_CASE("mistakes are reported with their places and the nearest name") {
  const auto fault = [](const config_fields& options) { return weather().run(options); };
  CHECK(fault(set({{"f", "t *"}})).find("create: set.f@") == 0);
  CHECK(fault(set({{"f", "ids + 'x'"}})).find("columns: set.f@0: ") == 0);
  CHECK(fault(set({{"f", "g"}, {"g", "t"}})).find("columns: set.f@0: ") == 0);  // g is set later
  CHECK(fault({{"keep", list({"id", "tt"})}}) == "columns: keep[1]: there is no column 'tt' here");
  CHECK(fault({{"drop", list({"idd"})}}) == "columns: drop[0]: there is no column 'idd' here; did you mean 'id'?");
  CHECK(fault({{"rename", object({{"t", "id"}})}}).find("columns: rename: two columns would have the name 'id'") == 0);
  CHECK(fault({}).find("create: ") == 0);
  CHECK(fault(set({{"f", "duration('1s')"}})).find("create: set.f") == 0);
}

TEST_CASE("used columns: those that expressions, rename and keep name; others only if they are passed on") {
  const auto used = [](const config_fields& options) {
    fake_host host;
    instance i(host, component(), options);
    REQUIRE(i.create() == PL_OK);
    return ask_used_columns(component(), i.self());
  };
  auto options = set({{"f", "t * 2"}});
  options.emplace_back("rename", object({{"id", "device"}}));
  CHECK(used(options) == std::vector<std::string>{"id", "t", "*"});
  options.emplace_back("keep", list({"device", "f", "time"}));
  CHECK(used(options) == std::vector<std::string>{"device", "f", "time", "id", "t"});
}

TEST_CASE("only selected rows are computed, and no row leaves that was not selected") {
  weather w;
  const pl::context ctx(&w.host.raw());
  const auto some = ctx.derive_rows(w.batch.get(), std::vector<pl::row_index>{0, 2});
  instance i(w.host, component(), set({{"f", "t * 2"}}));
  REQUIRE(i.create() == PL_OK);
  REQUIRE(i.apply(some.peek()) == PL_OK);
  CHECK(shown(i.output()[0].data.get()) == "10: t=20 id=\"a\" f=40; 12: t=-40 id=\"c\" f=-80");
  i.output().clear();
}

TEST_CASE("an input whose columns are not known beforehand: a conflict of names rejects its rows") {
  weather w;
  instance i(w.host, component(), {{"rename", object({{"t", "id"}, {"never", "x"}})}});
  REQUIRE(i.create() == PL_OK);
  REQUIRE(i.apply(w.batch.get()) == PL_OK);
  CHECK(i.output().empty());
  CHECK(w.host.rejects().size() == 3);
  const auto other = w.host.make_batch({{"t", {pl::int_cell(1)}}});
  REQUIRE(i.apply(other.get()) == PL_OK);
  CHECK(shown(i.output()[0].data.get()) == "0: id=1");
  i.output().clear();
}
