// SPDX-License-Identifier: Apache-2.0
#include "config/bind.hpp"

#include "config/test_support.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <utility>

using namespace pl::config;
using namespace pl::config::test;

namespace {

constexpr auto every_kind =
    table(option(PL_OPT_TEXT, "text", "").defaults("a b"), option(PL_OPT_BOOL, "bool", "").defaults("true"),
          option(PL_OPT_INT, "int", "").defaults("7"), option(PL_OPT_FLOAT, "float", "").defaults("0.5"),
          option(PL_OPT_DURATION, "duration", "").defaults("1m30s"), option(PL_OPT_SIZE, "size", "").defaults("64KiB"),
          option(PL_OPT_CHOICE, "choice", "").choices("one|two").defaults("two"),
          option(PL_OPT_LIST, "list", "").of(PL_OPT_INT).defaults("[1, 2, 3]"),
          option(PL_OPT_MAP, "map", "").of(PL_OPT_ANY).defaults("{a: 1, b: text}"),
          option(PL_OPT_OBJECT, "object", "").with_fields(pool_fields).defaults("{size: 3}"),
          option(PL_OPT_ANY, "any", "").defaults("1.5"), option(PL_OPT_TEXT, "nothing", ""),
          option(PL_OPT_LIST, "texts", "").of(PL_OPT_TEXT),
          option(PL_OPT_LIST, "rules", "").of(PL_OPT_OBJECT).with_fields(rule_fields),
          option(PL_OPT_LIST, "anys", "").of(PL_OPT_ANY), option(PL_OPT_CHOICE, "errors", "").choices("null|reject"));
enum at {
  text,
  boolean,
  integer,
  floating,
  duration,
  size,
  choice,
  list,
  map,
  object,
  any,
  nothing,
  texts,
  rules,
  anys,
  errors
};

std::string_view text_of(const pl_cell& c) { return {c.as.p, c.len}; }

// Loads and binds `options` (YAML, flow style) of one sink. Fails if the configuration has errors.
struct bound {
  explicit bound(const std::string& options) {
    loaded = load(
        std::vector<file_arg>{
            {"c.yaml", "name: n\nsources: {s: {plugin: any}}\nsinks:\n  k:\n    plugin: any\n    from: s\n" + options}},
        {}, world());
    REQUIRE_MESSAGE(loaded.ok(), loaded.problems.render());
    sink = component("any", PL_SINK, every_kind);
    result = bind(loaded.pipelines.front().sinks.front(), sink, loaded.problems);
  }
  const pl_cell& operator[](at i) const { return result.cells()[i]; }

  load_result loaded;
  pl_component sink{};
  bound_options result;
};

}  // namespace

TEST_CASE("a choice may contain the word null, which YAML reads as no value") {
  CHECK(text_of(bound("    errors: null")[errors]) == "null");
  CHECK(text_of(bound("    errors: 'null'")[errors]) == "null");
  CHECK(text_of(bound("    errors: reject")[errors]) == "reject");
}

TEST_CASE("defaults") {
  const bound b("");
  REQUIRE(b.loaded.problems.empty());
  CHECK(b.result.size() == every_kind.size());
  CHECK(text_of(b[text]) == "a b");
  CHECK(b[boolean].kind == PL_BOOL);
  CHECK(b[boolean].as.i == 1);
  CHECK(b[integer].kind == PL_I64);
  CHECK(b[integer].as.i == 7);
  CHECK(b[floating].kind == PL_F64);
  CHECK(b[floating].as.f == doctest::Approx(0.5));
  CHECK(b[duration].as.i == 90'000'000'000);
  CHECK(b[size].as.i == 65536);
  CHECK(b[choice].kind == PL_TEXT);
  CHECK(text_of(b[choice]) == "two");
  REQUIRE(b[list].kind == PL_LIST);
  REQUIRE(b[list].len == 3);
  CHECK(b[list].as.items[2].as.i == 3);
  REQUIRE(b[map].kind == PL_MAP);
  REQUIRE(b[map].len == 2);
  CHECK(text_of(b[map].as.items[0]) == "a");
  CHECK(b[map].as.items[1].kind == PL_I64);
  CHECK(text_of(b[map].as.items[3]) == "text");
  REQUIRE(b[object].kind == PL_OBJECT);
  REQUIRE(b[object].len == 2);
  CHECK(b[object].as.items[0].as.i == 3);
  CHECK(b[object].as.items[1].as.i == 5'000'000'000);
  CHECK(b[any].kind == PL_F64);
  CHECK(b[nothing].kind == PL_NULL);
}

TEST_CASE("specified values") {
  const bound b(
      "    text: 123\n    bool: false\n    int: \"${PORT}\"\n    float: 3\n    duration: 0\n    size: 10MB\n    "
      "choice: one\n"
      "    list: []\n    map: {}\n    object: {timeout: 1s}\n    any: true\n    texts: single\n");
  REQUIRE_MESSAGE(b.loaded.problems.empty(), b.loaded.problems.render());
  CHECK(text_of(b[text]) == "123");
  CHECK(b[boolean].as.i == 0);
  CHECK(b[integer].as.i == 5432);
  CHECK(b[floating].kind == PL_F64);
  CHECK(b[floating].as.f == doctest::Approx(3));
  CHECK(b[duration].as.i == 0);
  CHECK(b[size].as.i == 10'000'000);
  CHECK(b[list].kind == PL_LIST);
  CHECK(b[list].len == 0);
  CHECK(b[map].kind == PL_MAP);
  CHECK(b[map].len == 0);
  CHECK(b[object].as.items[0].as.i == 2);
  CHECK(b[object].as.items[1].as.i == 1'000'000'000);
  CHECK(b[any].kind == PL_BOOL);
  REQUIRE(b[texts].len == 1);
  CHECK(text_of(b[texts].as.items[0]) == "single");
}

TEST_CASE("any: the type follows from the value after interpolation; quotes make text") {
  const bound b("    anys: [1, -2.5, true, ~, null, text, \"1\", 'true', \"${PORT}\", 0x10, 1e3]\n    any: ${PORT}\n");
  REQUIRE_MESSAGE(b.loaded.problems.empty(), b.loaded.problems.render());
  constexpr std::uint32_t kinds[] = {PL_I64,  PL_F64,  PL_BOOL, PL_NULL, PL_NULL, PL_TEXT,
                                     PL_TEXT, PL_TEXT, PL_TEXT, PL_TEXT, PL_F64};
  REQUIRE(b[anys].len == std::size(kinds));
  for (std::size_t i = 0; i < std::size(kinds); ++i) {
    CAPTURE(i);
    CHECK(b[anys].as.items[i].kind == kinds[i]);
  }
  CHECK(b[any].kind == PL_I64);
}

TEST_CASE("lists of objects") {
  const bound b(
      "    rules:\n      - name: hot\n        metric: temperature\n        above: 80\n        for: 10s\n        tags: "
      "[a, b]\n"
      "      - {name: cold, metric: temperature, severity: critical}\n");
  REQUIRE_MESSAGE(b.loaded.problems.empty(), b.loaded.problems.render());
  REQUIRE(b[rules].len == 2);
  const auto* hot = b[rules].as.items[0].as.items;
  const auto* cold = b[rules].as.items[1].as.items;
  CHECK(b[rules].as.items[0].len == rule_fields.size());
  CHECK(text_of(hot[0]) == "hot");
  CHECK(hot[2].as.f == doctest::Approx(80));
  CHECK(hot[3].as.i == 10'000'000'000);
  CHECK(text_of(hot[4]) == "warning");
  CHECK(text_of(hot[5].as.items[1]) == "b");
  CHECK(text_of(cold[0]) == "cold");
  CHECK(cold[2].kind == PL_NULL);
  CHECK(cold[3].as.i == 0);
  CHECK(text_of(cold[4]) == "critical");
  CHECK(cold[5].kind == PL_NULL);

  CHECK(b.result.position_of("rules[0].above").to_string() == "c.yaml:10:16");
  CHECK(b.result.position_of("rules[1].severity").to_string() == "c.yaml:13:53");
  CHECK(b.result.position_of("rules[1].for").to_string() == "c.yaml:13:9");  // not specified: the position of its rule
  CHECK(b.result.position_of("rules[0].tags[1]").to_string() == "c.yaml:12:19");
  CHECK(b.result.position_of("rules[0].tags[9]").to_string() == "c.yaml:12:15");
  CHECK(b.result.position_of("rules[7].for").to_string() == "c.yaml:7:5");
  CHECK(b.result.position_of("int").to_string() == "c.yaml:4:3");  // the position of the node
  CHECK(b.result.position_of("").to_string() == "c.yaml:4:3");
  CHECK(b.result.position_of("no.such[1].thing").to_string() == "c.yaml:4:3");
}

TEST_CASE("a position inside an option's text is found as it is written in the file") {
  const bound b(
      "    text: a > bc && d\n"
      "    nothing: 'it''s > x'\n"
      "    list: [\"a\\tb > c\", plain]\n"
      "    choice: |\n"
      "      first &&\n"
      "      second\n"
      "    any: two\n"
      "      lines\n");
  const auto at = [&](const char* path) { return b.result.position_of(path).to_string(); };
  CHECK(at("text@0") == "c.yaml:7:11");
  CHECK(at("text@4") == "c.yaml:7:15");
  CHECK(at("text@99") == "c.yaml:7:21");  // the end
  CHECK(at("text@") == "c.yaml:4:3");     // not an offset
  CHECK(at("nothing@0") == "c.yaml:8:15");
  CHECK(at("nothing@5") == "c.yaml:8:21");
  CHECK(at("list[0]@2") == "c.yaml:9:16");
  CHECK(at("list[1]@1") == "c.yaml:9:25");
  CHECK(at("choice@0") == "c.yaml:11:7");
  CHECK(at("choice@9") == "c.yaml:12:7");
  CHECK(at("choice@11") == "c.yaml:12:9");
  CHECK(at("any@4") == "c.yaml:14:7");
  CHECK(at("none.such@4") == "c.yaml:4:3");
}

TEST_CASE("cells keep their addresses when the options are moved") {
  bound b("    text: moved\n    list: [5]\n");
  const auto* cells = b.result.cells();
  auto moved = std::move(b.result);
  CHECK(moved.cells() == cells);
  CHECK(text_of(moved.cells()[text]) == "moved");
  bound_options assigned;
  CHECK(assigned.cells() != nullptr);
  CHECK(assigned.size() == 0);
  assigned = std::move(moved);
  CHECK(assigned.cells() == cells);
  CHECK(assigned.cells()[list].as.items[0].as.i == 5);
}

TEST_CASE("equal compares values, not how they are written") {
  const bound a("    duration: 90s\n    texts: [x]\n    rules: [{name: a, metric: b}]\n    map: {a: 1}\n");
  const bound b("    # a comment\n    map: {a: 1}\n    texts: x\n    rules:\n      - name: a\n        metric: \"b\"\n");
  CHECK(equal(a.result, b.result));
  CHECK(equal(a.result, a.result));
  for (const auto* other :
       {"    texts: [x, y]\n", "    texts: y\n", "    any: 2\n", "    any: \"1.5\"\n", "    int: 8\n",
        "    rules: [{name: a, metric: c}]\n", "    map: {a: 2}\n", "    map: {b: 1}\n", "    float: 0.25\n"}) {
    CAPTURE(other);
    CHECK_FALSE(equal(bound("").result, bound(other).result));
  }
}

TEST_CASE("secret values are never shown") {
  const auto shown = [](const std::string& options) {
    return messages(
        "name: n\nsources: {s: {plugin: kafka_source, brokers: b, topic: t}}\nsinks:\n  k: {plugin: timescale_sink, "
        "from: s, " +
        options + "}\n");
  };
  for (const auto* options :
       {"url: hunter2, port: x", "url: [hunter2]", "url: {a: hunter2}", "uri: hunter2", "ulr: \"hunter2\", port: x",
        "completely_different: hunter2", "url: \"${NOPE:-hunter2}\", port: x", "url: \"${DSN}\", port: \"${DSN}\"",
        "port: \"${file:/run/secrets/db}\", url: x", "url: x, table: {${file:/run/secrets/db}: 5}",
        "url: 'hunter2', tls: hunter"}) {
    CAPTURE(options);
    const auto text = shown(options);
    CHECK(text.find("error") != std::string::npos);
    CHECK(text.find("hunter2") == std::string::npos);
  }
  CHECK(shown("port: \"${file:/run/secrets/db}\", url: x") ==
        "c.yaml:4:46: error: 'port' must be a whole number, got <secret> from ${file:/run/secrets/db}\n"
        "    4 |   k: {plugin: timescale_sink, from: s, port: <secret>, url: <secret>}\n"
        "      |                                              ^~~~~~~~\n"
        "1 error\n");
  SUBCASE("in block scalars") {
    const auto text = messages(
        "name: n\nsources: {s: {plugin: kafka_source, brokers: b, topic: t}}\nsinks:\n  k:\n    plugin: "
        "timescale_sink\n"
        "    from: s\n    url: |\n      hunter2\n      hunter2\n    tabel: x\n");
    CHECK(text.find("tabel") != std::string::npos);
    CHECK(text.find("hunter2") == std::string::npos);
  }
  SUBCASE("on the command line") {
    const auto text = messages(
        "name: n\nsources: {s: {plugin: kafka_source, brokers: b, topic: t}}\nsinks:\n  k: {plugin: timescale_sink, "
        "from: s}\n",
        {"sinks.k.url=[hunter2]", "sinks.k.uri=hunter2"});
    CHECK(text ==
          "--set sinks.k.uri=<secret>: error: unknown option 'uri' for timescale_sink; did you mean 'url'?\n"
          "--set sinks.k.url=[<secret>]: error: 'url' must be text, got a list; for example 'url: "
          "postgresql://db/iot'\n"
          "2 errors\n");
  }
}

TEST_CASE("the values of secrets are collected for the messages of the component") {
  diagnostics problems;
  const catalogue components;
  const auto bound_to_store = [&](const std::string& options) {
    const std::vector<file_arg> files{
        {"c.yaml",
         "name: n\nsources: {s: {plugin: kafka_source, brokers: b, topic: t}}\nsinks:\n  k: {plugin: "
         "timescale_sink, from: s, " +
             options + "}\n"}};
    const auto loaded = load(files, {}, world());
    return bind(loaded.pipelines.front().sinks.front(), *find_component(components.all(), "timescale_sink"), problems);
  };
  const auto url = bound_to_store("url: \"postgresql://u:p@ssw/ord@db.example/x\"");
  CHECK(url.secrets().masked("p@ssw/ord, no host ssw/ord@db.example") == "<secret>, no host <secret>@db.example");
  const auto file = bound_to_store("url: x, table: \"${file:/run/secrets/db}\"");
  CHECK(file.secrets().masked("no table hunter2") == "no table <secret>");
  // A server may repeat only the part that came from the file.
  const auto part = bound_to_store("url: \"http://api.example/x?id=${file:/run/secrets/db}&z=1\"");
  CHECK(part.secrets().masked("id=hunter2 of api.example") == "id=<secret> of api.example");
  const auto inner = bound_to_store("url: x, table: \"a-${file:/run/secrets/db}.b\"");
  CHECK(inner.secrets().masked("no table hunter2") == "no table <secret>");
}

TEST_CASE("ports") {
  const catalogue components;
  const auto of_json = port_names(components.get("json_telemetry"));
  CHECK(port_index(of_json, "") == 0);
  CHECK(port_index(of_json, "invalid") == 1);
  CHECK_FALSE(port_index(of_json, "x").has_value());
  CHECK(port_index(port_names(components.get("kafka_source")), "out") == 0);
}
