// SPDX-License-Identifier: Apache-2.0
// Tests of columns and kinds on their way through the graph: each node gets what its inputs declare.
#include "config/load.hpp"
#include "engine/pipeline.hpp"

#include <pipeline/plugin.hpp>

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace pl;
using namespace pl::engine;

namespace {

// What each node was asked, as "a:text b:float"; "?" if the columns were unknown.
std::map<std::string, std::multiset<std::string>> asked;
std::vector<std::map<std::string, std::uint32_t>> dead_letters_written;  // kind of each cell

std::string shown(const column_set& in) {
  if (in.schema == nullptr) return "?";
  std::string text;
  for (column_index c = 0; c < in.schema->ncols; ++c)
    text += (c == 0 ? "" : " ") + std::string(view(in.schema->names[c])) + ":" + std::string(kind_name(in.kind(c)));
  return text;
}

struct columns_option {
  std::vector<std::string> columns;
  std::string kind = "declared";
  static option_table<columns_option> table() {
    return {option(&columns_option::columns, "columns", "Columns, as name=kind; empty: unknown."),
            option(&columns_option::kind, "kind", "Anything else that the test varies.")};
  }
};

column_set declared(const columns_option& o, context ctx) {
  std::vector<std::string_view> names;
  std::vector<std::uint32_t> kinds;
  for (const std::string_view c : o.columns) {
    const auto at = c.find('=');
    names.push_back(c.substr(0, at));
    std::uint32_t kind = PL_NULL;
    while (kind_name(kind) != c.substr(at + 1)) ++kind;
    kinds.push_back(kind);
  }
  return names.empty() ? column_set{} : column_set{ctx.schema(names), kinds};
}

class flow_source final : public source, public columns_aware {
 public:
  using options = columns_option;
  static description describe() {
    return {.name = "flow_source", .doc = "Declares columns.", .example = "plugin: flow_source\n"};
  }
  flow_source(const options& o, context ctx) : ctx_(ctx), columns_(declared(o, ctx)), odd_(o.kind == "odd") {}
  result<const pl_schema*> columns(const pl_schema*, std::uint32_t) override { return columns_.schema; }
  result<column_set> typed_columns(const column_set&, std::uint32_t) override { return columns_; }
  result<void> start() override {
    auto next = ctx_.assigned("s", 0);
    return next.ok() ? result<void>{} : next.why();
  }
  // One row. odd: with a value, a topic and headers of unusual kinds.
  result<batch> poll(const poll_request& request) override {
    if (request.max_rows == 0) return nothing_yet();
    if (std::exchange(done_, true)) return end_of_stream();
    auto b = ctx_.build(ctx_.schema({"value", "key", "topic", "headers", "time"}), 1);
    const cell odd[] = {json_cell("[1]"), text_cell("k"), int_cell(7), text_cell("h"), text_cell("t")};
    const cell usual[] = {bytes_cell("v"), bytes_cell("k"), text_cell("t"), json_cell("[]"), time_cell(1)};
    for (column_index c = 0; c < 5; ++c) b.make_column(c)[0] = odd_ ? odd[c] : usual[c];
    auto position = b.allocate<std::uint64_t>(1);
    position[0] = 0;
    b.set_positions(position);
    auto range = b.allocate<pl_range>(1);
    range[0] = range_of(borrow(b.copy("s")), 0, 1);
    b.set_ranges(range);
    return std::move(b).finish();
  }

 private:
  const context ctx_;
  const column_set columns_;
  const bool odd_;
  bool done_ = false;
};

class flow_transform final : public transform, public columns_aware {
 public:
  using options = columns_option;
  static description describe() {
    return {.name = "flow_transform",
            .doc = "Passes columns on, or declares others.",
            .example = "plugin: flow_transform\nfrom: a\n",
            .ports = {"out", "other"}};
  }
  flow_transform(const options& o, context ctx) : ctx_(ctx), columns_(declared(o, ctx)) {}
  result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override { return in; }
  result<column_set> typed_columns(const column_set& in, std::uint32_t port) override {
    if (port == 0) asked[std::string(ctx_.node())].insert(shown(in));
    return port == 0 && columns_.schema != nullptr ? columns_ : in;
  }
  result<void> apply(batch_view in, emitter&) override {
    for (const auto row : in.selection()) ctx_.reject(in, row, std::string_view("why\0not", 7));
    return {};
  }

 private:
  const context ctx_;
  const column_set columns_;
};

class flow_sink final : public sink, public columns_aware {
 public:
  using options = columns_option;
  static description describe() {
    return {.name = "flow_sink", .doc = "Notes its inputs.", .example = "plugin: flow_sink\nfrom: a\n"};
  }
  flow_sink(const options& o, context ctx) : ctx_(ctx), option_(o) {}
  result<const pl_schema*> columns(const pl_schema*, std::uint32_t) override { return nullptr; }
  result<column_set> typed_columns(const column_set& in, std::uint32_t) override {
    asked[std::string(ctx_.node())].insert(shown(in));
    if (auto why = wrong_kind(in, "kind", option_.kind, {PL_I64, PL_F64})) return *std::move(why);
    return column_set{};
  }
  result<void> write(const batch_list& batches) override {
    for (const auto b : batches)
      for (const auto row : b.selection()) {
        auto& kinds = dead_letters_written.emplace_back();
        for (column_index c = 0; c < b.columns(); ++c) {
          kinds[std::string(b.name(c))] = b.at(c, row).kind;
          if (b.name(c) == "reason") CHECK(bytes_of(b.at(c, row)) == "why\xEF\xBF\xBDnot");
        }
      }
    return {};
  }

 private:
  const context ctx_;
  const options option_;
};

const pl_plugin& flow_plugin() {
  static const auto plugin = detail::make_plugin<flow_source, flow_transform, flow_sink>("1");
  return plugin;
}

const std::string dead_letter_columns =
    "time:time pipeline:text node:text reason:text stream:text position:int topic:text key:bytes value:bytes "
    "headers:json record_time:time record:json";

class host {
 public:
  host() {
    asked.clear();
    dead_letters_written.clear();
    plugins_.add_linked(flow_plugin());
  }
  std::unique_ptr<pipeline> build(const std::string& nodes) {
    const std::vector<config::file_arg> files{
        {"test.yaml", "name: t\nhttp: {listen: off}\n" + nodes + "dead_letters: {plugin: flow_sink}\n"}};
    auto loaded = config::load(files, {}, config::process_environment());
    auto built = loaded.pipelines.empty()
                     ? nullptr
                     : pipeline::build(loaded.pipelines.front(), {log_, metrics_, schemas_}, plugins_, loaded.problems);
    problems = loaded.problems.render();
    return built;
  }
  std::string problems;

 private:
  telemetry::logger log_{{.level = telemetry::log_level::error}};
  telemetry::metrics metrics_;
  schema_pool schemas_;
  loader::registry plugins_{{}};
};

using texts = std::multiset<std::string>;

}  // namespace

TEST_CASE("kinds travel from node to node and over ports; dead letters have the host's kinds") {
  host h;
  REQUIRE_MESSAGE(h.build("sources: {in: {plugin: flow_source, columns: [a=text, b=null]}}\n"
                          "transforms:\n"
                          "  same: {plugin: flow_transform, from: in}\n"
                          "  made: {plugin: flow_transform, from: same, columns: [c=int]}\n"
                          "sinks:\n"
                          "  one: {plugin: flow_sink, from: made, writers: 2}\n"
                          "  two: {plugin: flow_sink, from: made.other}\n"),
                  h.problems);
  CHECK(asked["same"] == texts{"a:text b:null"});
  CHECK(asked["made"] == texts{"a:text b:null"});
  CHECK(asked["one"] == texts{"c:int", "c:int"});  // each writer
  CHECK(asked["two"] == texts{"a:text b:null"});
  CHECK(asked["dead_letters"] == texts{dead_letter_columns});
}

TEST_CASE("several inputs: a transform gets what they have in common, a sink gets each of them") {
  host h;
  REQUIRE_MESSAGE(h.build("sources:\n"
                          "  x: {plugin: flow_source, columns: [a=text, b=int]}\n"
                          "  y: {plugin: flow_source, columns: [a=text, b=float]}\n"
                          "  z: {plugin: flow_source, columns: [c=bool]}\n"
                          "  w: {plugin: flow_source}\n"
                          "transforms:\n"
                          "  alike: {plugin: flow_transform, from: [x, y]}\n"
                          "  unlike: {plugin: flow_transform, from: [x, z]}\n"
                          "sinks:\n"
                          "  a: {plugin: flow_sink, from: alike}\n"
                          "  b: {plugin: flow_sink, from: [x, z, w, unlike]}\n"),
                  h.problems);
  CHECK(asked["alike"] == texts{"a:text b:null", "a:text b:null"});  // one instance for each source
  CHECK(asked["unlike"] == texts{"?", "?"});
  CHECK(asked["a"] == texts{"a:text b:null"});
  CHECK(asked["b"] == texts{"a:text b:int", "c:bool", "?", "?"});
}

TEST_CASE("a kind that a node can never use is an error, with the input that has it") {
  host h;
  const std::string sources =
      "sources: {x: {plugin: flow_source, columns: [v=int]}, y: {plugin: flow_source, columns: [v=text]}}\n";
  CHECK_FALSE(h.build(sources + "sinks: {out: {plugin: flow_sink, from: [x, y], kind: v}}\n"));
  CHECK(h.problems.find("the column 'v' has the kind text; this option needs int or float") != std::string::npos);
  CHECK(h.problems.find("the rows of 'y' have these columns") != std::string::npos);
  CHECK_MESSAGE(h.build(sources + "sinks: {out: {plugin: flow_sink, from: x, kind: v}, other: {plugin: flow_sink, "
                                  "from: y}}\n"),
                h.problems);
}

TEST_CASE("the cells of dead letters have the declared kinds, whatever kinds a source has") {
  for (const std::string kind : {"usual", "odd"}) {
    host h;
    auto p = h.build("sources: {in: {plugin: flow_source, kind: " + kind +
                     "}}\ntransforms: {bad: {plugin: flow_transform, from: in}}\n"
                     "sinks: {out: {plugin: flow_sink, from: bad}}\n");
    REQUIRE_MESSAGE(p, h.problems);
    p->start();
    p->join();
    REQUIRE(dead_letters_written.size() == 1);
    std::string got;
    auto& kinds = dead_letters_written.front();
    CHECK(kinds["value"] == PL_BYTES);
    CHECK(kinds["key"] == PL_BYTES);
    CHECK(kinds["topic"] == PL_TEXT);
    CHECK(kinds["headers"] == PL_JSON);
    CHECK(kinds["record_time"] == (kind == "usual" ? PL_TIME_NS : PL_NULL));
    CHECK(kinds["position"] == PL_I64);
    CHECK(kinds["record"] == PL_NULL);
  }
}
