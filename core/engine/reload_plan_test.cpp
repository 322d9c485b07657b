// SPDX-License-Identifier: Apache-2.0
#include "engine/reload_plan.hpp"

#include "config/load.hpp"
#include "engine/testing/test_components.hpp"

#include <doctest/doctest.h>

using namespace pl;
using namespace pl::engine;

namespace {

class binder {
 public:
  binder() { plugins_.add_linked(test::test_plugin()); }

  bound_pipeline bind(const std::string& yaml) {
    const std::vector<config::file_arg> files{{"test.yaml", yaml}};
    auto loaded = config::load(files, {}, config::process_environment());
    REQUIRE_MESSAGE(loaded.ok(), loaded.problems.render());
    auto bound = engine::bind(loaded.pipelines.front(), plugins_, loaded.problems);
    REQUIRE_MESSAGE(loaded.ok(), loaded.problems.render());
    return bound;
  }

 private:
  loader::registry plugins_{{}};
};

const std::string in = "sources:\n  in: {plugin: test_source, stage: s}\n";
const std::string mid = "transforms:\n  mid: {plugin: test_transform, from: in, stage: s}\n";
const std::string out = "sinks:\n  out: {plugin: test_sink, from: mid, stage: s, batch: {delay: 1s}}\n";

std::string yaml(const std::string& nodes, const std::string& top = "") {
  return "name: t\nhttp: {listen: off}\n" + top + nodes + "dead_letters: {plugin: test_dead, stage: s}\n";
}

using lines = std::vector<std::string>;

lines changes(const std::string& running, const std::string& wanted) {
  binder b;
  return plan_reload(b.bind(running), b.bind(wanted)).lines();
}

}  // namespace

TEST_CASE("a plan keeps a node whose configuration means the same, however it is written") {
  binder b;
  const auto running = b.bind(yaml(in + mid + out));
  const auto wanted = b.bind(yaml(
      in + mid + "sinks:\n  out: {stage: 's', from: mid, batch: {delay: 1000ms}, plugin: test_sink, writers: 1}\n"));
  const auto plan = plan_reload(running, wanted);
  CHECK(plan.changes_nothing());
  CHECK(plan.lines().empty());
  REQUIRE(plan.nodes.size() == 4);
  for (const auto* node : {"in", "mid", "out", "dead_letters"}) CHECK(plan.keeps(node));
  CHECK(plan.kept() == lines{"in", "mid", "out", "dead_letters"});
  CHECK_FALSE(plan.keeps("other"));
}

TEST_CASE("a plan replaces a node whose settings or options changed, and names them") {
  const auto running = yaml(in + mid + out);
  CHECK(changes(running, yaml(in + mid + "sinks:\n  out: {plugin: test_sink, from: mid, stage: s, writers: 2}\n")) ==
        lines{"sink out: replace (writers; batch)"});
  CHECK(changes(running, yaml(in + "transforms:\n  mid: {plugin: test_transform, from: in, stage: other, note: new}\n" +
                              out)) == lines{"transform mid: replace (options: stage, note)"});
  CHECK(
      changes(running, yaml(in + mid + "sinks:\n  out: {plugin: test_dead, from: in, stage: s, batch: {delay: 1s}}\n" +
                            "  more: {plugin: test_sink, from: mid, stage: s}\n")) ==
      lines{"sink out: replace (plugin: test_sink to test_dead; from)", "sink more: add"});
}

TEST_CASE("a plan adds and removes nodes by name") {
  const auto two = out + "  more: {plugin: test_sink, from: in, stage: s}\n";
  CHECK(changes(yaml(in + mid + out), yaml(in + mid + two)) == lines{"sink more: add"});
  CHECK(changes(yaml(in + mid + two), yaml(in + mid + out)) == lines{"sink more: remove"});
  const auto renamed =
      "transforms:\n  middle: {plugin: test_transform, from: in, stage: s}\n"
      "sinks:\n  out: {plugin: test_sink, from: middle, stage: s, batch: {delay: 1s}}\n";
  CHECK(changes(yaml(in + mid + out), yaml(in + renamed)) ==
        lines{"transform middle: add", "sink out: replace (from)", "transform mid: remove"});
}

TEST_CASE("a plan replaces every node where the state directory or the delivery changed") {
  binder b;
  const auto plan = plan_reload(b.bind(yaml(in + mid + out)), b.bind(yaml(in + mid + out, "state_dir: elsewhere\n")));
  for (const auto& n : plan.nodes) {
    CHECK(n.action == reload_action::replace);
    CHECK(n.reason == "state_dir");
  }
}

TEST_CASE("a plan lists settings of the whole pipeline separately from nodes") {
  CHECK(changes(yaml(in + mid + out), yaml(in + mid + out, "memory_limit: 64MiB\nshutdown_timeout: 5s\n")) ==
        lines{"memory_limit: changed", "shutdown_timeout: changed"});
}
