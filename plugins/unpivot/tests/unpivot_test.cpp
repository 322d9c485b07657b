// SPDX-License-Identifier: Apache-2.0
#include "../json_list.hpp"

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
  const auto* plugin = load_plugin(std::string(directory) + "/unpivot.so", error);
  REQUIRE_MESSAGE(plugin != nullptr, error);
  for (const auto& problem : check_plugin(*plugin)) FAIL_CHECK(problem);
  return *plugin->components[0];
}

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

std::string run(fake_host& host, const config_fields& options, const pl::column_set& columns, pl::batch_view in,
                pl::column_set* out = nullptr) {
  instance i(host, component(), options);
  if (i.create() != PL_OK) return "create: " + host.error_text();
  pl::column_set stated;
  if (ask_columns(component(), i.self(), columns, 0, stated) != PL_OK) return "columns: " + host.error_text();
  REQUIRE(i.apply(in) == PL_OK);
  if (out != nullptr) *out = stated;
  if (i.output().empty()) return "nothing";
  REQUIRE(i.output().size() == 1);
  const auto made = i.output()[0].data.get();
  CHECK(stated.schema == &made.schema());
  const auto text = shown(made);
  i.output().clear();
  return text;
}

struct wide {
  fake_host host;
  pl::batch batch = host.make_batch({{"id", {pl::text_cell("a"), pl::text_cell("b"), pl::text_cell("c")}},
                                     {"t", {pl::real_cell(20), pl::null_cell(), pl::real_cell(-4)}},
                                     {"h", {pl::real_cell(50), pl::null_cell(), pl::null_cell()}},
                                     {"x", {pl::int_cell(1), pl::int_cell(2), pl::int_cell(3)}}},
                                    "test/0", 10);
  pl::column_set columns{&batch.get().schema(), {PL_TEXT, PL_F64, PL_F64, PL_I64}};
};

struct lists {
  fake_host host;
  pl::batch batch;
  pl::column_set columns;
  explicit lists(const std::vector<std::string>& documents) {
    std::vector<pl::cell> id, cells;
    for (std::size_t i = 0; i < documents.size(); ++i) {
      id.push_back(pl::int_cell(static_cast<std::int64_t>(i)));
      cells.push_back(pl::json_cell(documents[i]));
    }
    batch = host.make_batch({{"id", id}, {"r", cells}}, "test/0", 10);
    columns = {&batch.get().schema(), {PL_I64, PL_JSON}};
  }
};

}  // namespace

TEST_CASE("the component passes the lifecycle checks") {
  const config_fields narrow{{"columns", list({"value", "topic"})}};
  for (const auto& problem : check_life(component(), narrow, {"value", "topic", "key"})) FAIL_CHECK(problem);
  const config_fields explode{{"explode", "value"}, {"index", "n"}};
  for (const auto& problem : check_life(component(), explode, {"value", "topic"})) FAIL_CHECK(problem);
}

TEST_CASE("wide to narrow: a row for each column that is not null, at the position of its record") {
  wide w;
  pl::column_set out;
  CHECK(run(w.host, {{"columns", list({"t", "h"})}, {"keep", list({"id"})}}, w.columns, w.batch.get(), &out) ==
        "10: id=\"a\" metric=\"t\" value=20; 10: id=\"a\" metric=\"h\" value=50; 12: id=\"c\" metric=\"t\" value=-4");
  CHECK(out.kinds == kinds{PL_TEXT, PL_TEXT, PL_F64});
  CHECK(w.host.sum("unpivot_empty_rows_total") == 1);
}

TEST_CASE("used columns: those that are turned and kept; others only if they are passed on") {
  const auto used = [](const config_fields& options) {
    fake_host host;
    instance i(host, component(), options);
    REQUIRE(i.create() == PL_OK);
    return ask_used_columns(component(), i.self());
  };
  CHECK(used({{"columns", list({"t", "h"})}, {"keep", list({"id"})}}) == std::vector<std::string>{"t", "h", "id"});
  CHECK(used({{"explode", "r"}}) == std::vector<std::string>{"r", "*"});
}

TEST_CASE("without keep, every other column is repeated; integers beside floats are floats") {
  wide w;
  pl::column_set out;
  CHECK(run(w.host, {{"columns", list({"x", "t"})}, {"name", "n"}, {"value", "v"}}, w.columns, w.batch.get(), &out)
            .find("10: id=\"a\" h=50 n=\"x\" v=1; 10: id=\"a\" h=50 n=\"t\" v=20; 11: id=\"b\" h=null n=\"x\" v=2; ") ==
        0);
  CHECK(out.kinds == kinds{PL_TEXT, PL_F64, PL_TEXT, PL_F64});
}

TEST_CASE("as many rows out as in: each row still has the position of its own record") {
  fake_host host;
  const auto b = host.make_batch(
      {{"a", {pl::real_cell(1), pl::null_cell()}}, {"b", {pl::real_cell(2), pl::null_cell()}}}, "test/0", 5);
  CHECK(run(host, {{"columns", list({"a", "b"})}}, {&b.get().schema(), {}}, b.get()) ==
        "5: metric=\"a\" value=1; 5: metric=\"b\" value=2");
}

TEST_CASE("rows of several streams keep their stream and their arrival") {
  fake_host host;
  const pl::context ctx(&host.raw());
  const auto base =
      host.make_batch({{"a", {pl::real_cell(1), pl::real_cell(2)}}, {"b", {pl::null_cell(), pl::real_cell(3)}}});
  auto made = ctx.derive(base.get(), &base.get().schema(), 2);
  made.share_column(0, base.get().column(0));
  made.share_column(1, base.get().column(1));
  const pl_range ranges[] = {pl::range_of(pl::borrow("s/0"), 7, 8), pl::range_of(pl::borrow("s/1"), 90, 91)};
  const std::uint64_t positions[] = {7, 90};
  const std::uint32_t origins[] = {0, 1};
  const std::int64_t arrivals[] = {1000, 2000};
  made.set_ranges(ranges);
  made.set_positions(positions);
  made.set_origins(origins);
  made.set_arrivals(arrivals);
  instance i(host, component(), {{"columns", list({"a", "b"})}});
  REQUIRE(i.create() == PL_OK);
  REQUIRE(i.apply(made.peek()) == PL_OK);
  const auto out = i.output()[0].data.get();
  REQUIRE(out.rows() == 3);
  CHECK(out.stream(0) == "s/0");
  CHECK(out.stream(2) == "s/1");
  CHECK(out.position(2) == 90);
  CHECK(out.arrival(1)->time_since_epoch().count() == 2000);
  i.output().clear();
}

TEST_CASE("explode: a row for each element of the list") {
  lists l({R"([{"t": 1}, 2.5, "x", null])", "[]", " [ true ] ", R"({"t": 9})", "null"});
  pl::column_set out;
  CHECK(
      run(l.host, {{"explode", "r"}, {"index", "n"}}, l.columns, l.batch.get(), &out) ==
      "10: id=0 n=0 r={\"t\": 1}; 10: id=0 n=1 r=2.5; 10: id=0 n=2 r=\"x\"; 10: id=0 n=3 r=null; 12: id=2 n=0 r=true; "
      "13: id=3 n=0 r={\"t\": 9}");
  CHECK(out.kinds == kinds{PL_I64, PL_I64, PL_JSON});
  CHECK(l.host.sum("unpivot_empty_rows_total") == 2);
  CHECK(run(l.host, {{"explode", "r"}, {"value", "reading"}, {"keep", list({"id"})}}, l.columns, l.batch.get())
            .find("10: id=0 reading={\"t\": 1}; ") == 0);
}

TEST_CASE("explode: a list that is too long, or a column of another kind, rejects the record") {
  lists l({"[1, 2, 3]", "[1, 2]"});
  CHECK(run(l.host, {{"explode", "r"}, {"max_elements", 2}}, l.columns, l.batch.get()) == "11: id=1 r=1; 11: id=1 r=2");
  REQUIRE(l.host.rejects().size() == 1);
  CHECK(l.host.rejects()[0].row == 0);
  CHECK(l.host.rejects()[0].reason == "'r': the list has more than 2 elements (max_elements)");
  CHECK(run(l.host, {{"explode", "id"}}, {&l.batch.get().schema(), {}}, l.batch.get()) == "nothing");
  CHECK(l.host.rejects().back().reason == "'id' has the kind int; explode needs json");
}

TEST_CASE("elements of a JSON list") {
  const auto count = [](std::string_view text) {
    std::vector<pl::cell> cells;
    const auto read = unpivot::append_elements(text, 1000, cells);
    CHECK((read.ok() || cells.empty()));
    return read.ok() ? static_cast<int>(cells.size()) : -1;
  };
  CHECK(count("[]") == 0);
  CHECK(count("[[1,2],[3]]") == 2);
  CHECK(count(R"(["a,b]", "\"", {"k": [1,2]}])") == 3);
  CHECK(count("7") == 1);
  CHECK(count("null") == 0);
  CHECK(count("") == -1);
  CHECK(count("[1,]") == -1);
  CHECK(count("[1] 2") == -1);
  CHECK(count("[1") == -1);
}

TEST_CASE("mistakes are reported with their places and the nearest name") {
  const auto fault = [](const config_fields& options) {
    wide w;
    return run(w.host, options, w.columns, w.batch.get());
  };
  CHECK(fault({}).find("create: ") == 0);
  CHECK(fault({{"columns", list({"t"})}, {"explode", "h"}}).find("create: explode: 'columns' and 'explode'") == 0);
  CHECK(fault({{"columns", list({"t", "t"})}}).find("create: columns: ") == 0);
  CHECK(fault({{"columns", list({"t"})}, {"index", "n"}}).find("create: index: ") == 0);
  CHECK(fault({{"columns", list({"t", "hh"})}}) == "columns: columns[1]: the input has no column 'hh'");
  CHECK(fault({{"columns", list({"t"})}, {"name", "id"}}).find("columns: name: two output columns") == 0);
  CHECK(fault({{"explode", "t"}}) == "columns: explode: the column 't' has the kind float; this option needs json");
}
