// SPDX-License-Identifier: Apache-2.0
#include "config/load.hpp"

#include "config/file_text.hpp"
#include "config/test_support.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

using namespace pl::config;
using namespace pl::config::test;
using namespace std::chrono_literals;

namespace {

// A directory that the destructor removes.
class temporary_directory {
 public:
  temporary_directory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "pl_config_XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~temporary_directory() { std::filesystem::remove_all(path_); }
  temporary_directory(const temporary_directory&) = delete;
  temporary_directory& operator=(const temporary_directory&) = delete;

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name) << text;
    return (path_ / name).string();
  }
  [[nodiscard]] std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

constexpr const char* small = "name: n\nsources: {s: {plugin: a}}\nsinks: {k: {plugin: b, from: s}}\n";

load_result load_one(const std::string& text, const std::vector<std::string>& sets = {}) {
  return load(std::vector<file_arg>{{"c.yaml", text}}, sets, world());
}

// Returns the text of an option of the sink after loading.
std::string text_after(const std::string& written) {
  const auto r = load_one(
      "name: n\nsources: {s: {plugin: a}}\nsinks:\n  k:\n    plugin: b\n    from: s\n    x: " + written + "\n");
  REQUIRE_MESSAGE(r.ok(), r.problems.render());
  return r.pipelines.front().sinks.front().options.find("x")->text;
}

}  // namespace

TEST_CASE("a whole pipeline") {
  const auto r = load_one(R"(
name: iot.v-1_x
delivery: exactly_once
memory_limit: 1GiB
lanes: 3
shutdown_timeout: 1m30s
state_dir: /var/lib/pipeline
http: {listen: "[::1]:9000"}
log: {level: debug, format: json}
x-anything: ignored
sources:
  telemetry: {plugin: kafka_source, topic: iot-stream}
  slow: {plugin: kafka_source, topic: x, lanes: 1}
transforms:
  alerts: {plugin: threshold_alert, from: parsed.out}
  parsed: {plugin: json_telemetry, from: [telemetry, slow]}
sinks:
  store:
    plugin: timescale_sink
    from: parsed
    url: "postgres://x"
    writers: 2
    batch: {rows: 500, delay: 1s, max_bytes: 1MiB}
    retry: {initial: 1s, max: 1m, multiplier: 1.5, jitter: 0, give_up_after: 1h}
    queue: {max_bytes: 16MiB}
  notify: {plugin: mqtt_sink, from: [alerts, parsed.invalid], delivery: at_least_once, retry: {give_up_after: 1m}, on_failure: dead_letters, when_full: drop_oldest}
dead_letters: {plugin: file_sink, path: d, batch: {rows: 1}}
)");
  REQUIRE_MESSAGE(r.problems.empty(), r.problems.render());
  REQUIRE(r.pipelines.size() == 1);
  const auto& p = r.pipelines.front();
  CHECK(p.name == "iot.v-1_x");
  CHECK(p.where.to_string() == "c.yaml:2:7");
  CHECK(p.delivery == delivery::exactly_once);
  CHECK(p.memory_limit == 1U << 30U);
  CHECK(p.lanes == 3);
  CHECK(p.shutdown_timeout == 90s);
  CHECK(p.state_dir == "/var/lib/pipeline");
  CHECK(p.http == http_settings{true, "::1", 9000, true});
  CHECK(p.log == log_settings{PL_LOG_DEBUG, log_format::json});
  REQUIRE(p.sources.size() == 2);
  CHECK(p.sources[0].lanes == 3);
  CHECK(p.sources[1].lanes == 1);
  CHECK(p.sources[0].plugin == "kafka_source");
  CHECK(p.sources[0].where.to_string() == "c.yaml:12:3");
  CHECK(p.sources[0].plugin_where.to_string() == "c.yaml:12:23");
  REQUIRE(p.sources[0].options.children.size() == 1);
  CHECK(p.sources[0].options.find("topic")->text == "iot-stream");
  REQUIRE(p.transforms[0].from.size() == 1);
  CHECK(p.transforms[0].from[0].node == "parsed");
  CHECK(p.transforms[0].from[0].port == "out");
  CHECK(p.transforms[0].from[0].where.to_string() == "c.yaml:15:43");
  const auto& store = p.sinks[0];
  CHECK(store.writers == 2);
  CHECK(store.batch == batch_settings{500, 1s, 1U << 20U});
  CHECK(store.retry == retry_settings{1s, 60s, 1.5, 0, 1h});
  CHECK(store.queue == queue_settings{16U << 20U});
  CHECK(store.on_failure == failure_policy::stop);
  CHECK(store.when_full == full_policy::block);
  CHECK(p.sinks[1].on_failure == failure_policy::dead_letters);
  CHECK(p.sinks[1].when_full == full_policy::drop_oldest);
  REQUIRE(store.options.children.size() == 1);
  REQUIRE(p.dead_letters);
  CHECK(p.dead_letters->name == "dead_letters");
  CHECK(p.dead_letters->batch.rows == 1);
  CHECK(p.nodes().size() == 7);
  CHECK(p.find("dead_letters") == &*p.dead_letters);
  CHECK(p.find("nobody") == nullptr);
  const auto ordered = p.transforms_in_order();
  REQUIRE(ordered.size() == 2);
  CHECK(ordered[0]->name == "parsed");
  CHECK(ordered[1]->name == "alerts");
}

TEST_CASE("defaults of the host") {
  const auto r = load_one(small);
  REQUIRE_MESSAGE(r.problems.empty(), r.problems.render());
  const auto& p = r.pipelines.front();
  const pipeline expected;
  CHECK(p.memory_limit == expected.memory_limit);
  CHECK(p.memory_limit == 512U << 20U);
  CHECK(p.lanes == 1);
  CHECK(p.shutdown_timeout == 30s);
  CHECK(p.state_dir == "state");
  CHECK(p.delivery == delivery::at_least_once);
  CHECK(p.http == http_settings{});
  CHECK(p.log == log_settings{});
  CHECK(p.sinks[0].batch == batch_settings{});
  CHECK(p.sinks[0].retry == retry_settings{});
  CHECK(p.sinks[0].queue == queue_settings{});
  CHECK_FALSE(p.dead_letters);
}

TEST_CASE("listen address") {
  const auto http = [](const std::string& listen) {
    const auto r = load_one(std::string(small) + "http: {listen: \"" + listen + "\"}\n");
    REQUIRE_MESSAGE(r.ok(), r.problems.render());
    return r.pipelines.front().http;
  };
  CHECK_FALSE(http("off").enabled);
  CHECK(http("0.0.0.0:80") == http_settings{true, "0.0.0.0", 80, true});
  CHECK(http(":0") == http_settings{true, "0.0.0.0", 0, true});
  CHECK(http("localhost:65535") == http_settings{true, "localhost", 65535, true});
  for (const auto* bad : {"x", "x:", "x:y", "x:65536", "::1:80", "x:-1", "x:1 "}) {
    CAPTURE(bad);
    CHECK_FALSE(load_one(std::string(small) + "http: {listen: \"" + bad + "\"}\n").ok());
  }
}

TEST_CASE("equal_settings") {
  const auto sink = [](const std::string& more) {
    return load_one("name: n\nsources: {s: {plugin: a}}\nsinks: {k: {plugin: b, from: s" + more + "}}\n")
        .pipelines.front()
        .sinks.front();
  };
  CHECK(equal_settings(sink(""), sink(", batch: {rows: 1000}, own: option")));
  CHECK_FALSE(equal_settings(sink(""), sink(", batch: {rows: 1001}")));
  CHECK_FALSE(equal_settings(sink(""), sink(", writers: 2")));
  CHECK_FALSE(equal_settings(sink(""), sink(", retry: {give_up_after: 1h}")));
  CHECK_FALSE(equal_settings(sink(", retry: {give_up_after: 1h}"),
                             sink(", retry: {give_up_after: 1h}, on_failure: dead_letters")));
  CHECK_FALSE(equal_settings(sink(""), sink(", when_full: drop_newest")));
  CHECK(equal_settings(sink(""), sink(", when_full: block, on_failure: stop")));
}

TEST_CASE("references") {
  CHECK(text_after("${PORT}") == "5432");
  CHECK(text_after("a${PORT}b${WORD}c") == "a5432bmanyc");
  CHECK(text_after("\"${PORT}\"") == "5432");
  CHECK(text_after("'${PORT}'") == "5432");
  CHECK(text_after("|\n      ${PORT}\n      $$ $1 $x") == "5432\n$ $1 $x\n");
  CHECK(text_after("$${PORT}") == "${PORT}");
  CHECK(text_after("$$$${PORT}") == "$${PORT}");
  CHECK(text_after("cost $5 $") == "cost $5 $");
  CHECK(text_after("${NOPE:-default}") == "default");
  CHECK(text_after("${NOPE:-}").empty());
  CHECK(text_after("${EMPTY}").empty());
  CHECK(text_after("${EMPTY:-default}") == "default");
  CHECK(text_after("${PORT:-default}") == "5432");
  CHECK(text_after("${PORT:?needed}") == "5432");
  CHECK(text_after("${NOPE:-${NEITHER:-${PORT}}}") == "5432");
  CHECK(text_after("\"${NOPE:-users/{user_id}}\"") == "users/{user_id}");
  CHECK(text_after("${NOPE:-http://h:80}") == "http://h:80");
  CHECK(text_after("${file:/run/secrets/db}") == "hunter2");
  CHECK(text_after("x-${file:/run/secrets/db}") == "x-hunter2");
}

TEST_CASE("the value of a variable is not parsed as YAML") {
  const auto r = load_one(
      std::string("name: n\nsources: {s: {plugin: a}}\nsinks:\n  k:\n    plugin: b\n    from: s\n    x: ${YAML}\n"));
  REQUIRE(r.ok());
  const auto* x = r.pipelines.front().sinks.front().options.find("x");
  CHECK(x->is_scalar());
  CHECK(x->text == "a: {b: [c");
  CHECK(x->written == "${YAML}");
}

TEST_CASE("deeply nested references are rejected") {
  std::string nested = "x";
  for (int i = 0; i < 1000; ++i) nested = "${NOPE:-" + nested + "}";
  CHECK_FALSE(load_one("name: " + nested + "\n").ok());
}

TEST_CASE("anchors, aliases, merge keys") {
  const auto r = load_one(R"(
name: n
x-defaults:
  sink: &sink {plugin: b, from: s, batch: &batch {rows: 5}}
  more: &more {writers: 3, from: [s, t]}
sources: {s: {plugin: a}, t: {plugin: a}}
sinks:
  one: *sink
  two: {<<: *sink, batch: {rows: 7}, own: 1}
  three: {<<: [*more, *sink]}
  four: {plugin: b, from: s, batch: *batch}
)");
  REQUIRE_MESSAGE(r.problems.empty(), r.problems.render());
  const auto& sinks = r.pipelines.front().sinks;
  REQUIRE(sinks.size() == 4);
  CHECK(sinks[0].batch.rows == 5);
  CHECK(sinks[1].batch.rows == 7);
  CHECK(sinks[1].options.find("own")->text == "1");
  CHECK(sinks[1].options.children.size() == 1);
  CHECK(sinks[2].writers == 3);
  CHECK(sinks[2].from.size() == 2);
  CHECK(sinks[2].batch.rows == 5);
  CHECK(sinks[3].batch.rows == 5);
}

TEST_CASE("standard tags, and anchors that wait for their use") {
  const auto r = load_one(R"(
name: !!str n
x-limit: &limit 80
x-more: {deep: &deep text}
sources: {s: !!map {plugin: a, own: "!ok && x", other: '&x', flow: !!int 5}}
sinks: {one: &one {plugin: b, from: s, batch: {rows: &rows 5}}, two: {plugin: b, from: s, batch: {rows: *rows}}}
)");
  REQUIRE_MESSAGE(r.problems.empty(), r.problems.render());
  CHECK(r.pipelines.front().name == "n");
  CHECK(r.pipelines.front().sources[0].options.find("own")->text == "!ok && x");
  CHECK(r.pipelines.front().sources[0].options.find("flow")->text == "5");
  CHECK(r.pipelines.front().sinks[1].batch.rows == 5);
}

TEST_CASE("bombs are bounded") {
  const auto errors = [](const std::string& text) {
    const auto shown = load_one(text).problems.render();
    return shown.substr(0, shown.find('\n'));
  };
  SUBCASE("a billion laughs") {
    std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
    for (int i = 1; i < 20; ++i) {
      const auto alias = "*a" + std::to_string(i - 1);
      bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + alias;
      for (int j = 1; j < 10; ++j) bomb += ", " + alias;
      bomb += "]\n";
    }
    CHECK(errors(bomb) ==
          "c.yaml:5:45: error: too many values: more than 100000, counting an alias as what it stands for");
  }
  SUBCASE("merge keys") {
    std::string bomb = "a0: &a0 {x: 1}\n";
    for (int i = 1; i < 40; ++i) {
      const auto before = std::to_string(i - 1), now = std::to_string(i);
      bomb += "a" + now + ": &a" + now + " {<<: [*a" + before + ", *a" + before + "], k" + now + ": [*a" + before +
              ", *a" + before + "]}\n";
    }
    CHECK(errors(bomb).find("too many values") != std::string::npos);
  }
  SUBCASE("depth") {
    CHECK(errors("a: " + std::string(100'000, '[')).find("nested too deeply") != std::string::npos);
    CHECK(errors("a: " + std::string(100'000, '{')).find("nested too deeply") != std::string::npos);
    std::string block;
    for (int i = 0; i < 200; ++i) block += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
    CHECK(errors(block).find("nested too deeply") != std::string::npos);
    std::string chain = "a0: &a0 [x]\n";
    for (int i = 1; i < 200; ++i)
      chain += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) + "]\n";
    CHECK(errors(chain).find("nested too deeply") != std::string::npos);
  }
  SUBCASE("width") {
    std::string wide = "a: [";
    for (int i = 0; i < 120'000; ++i) wide += "1,";
    CHECK(errors(wide + "1]\n").find("too many values") != std::string::npos);
  }
  SUBCASE("150,000 keys are rejected, and 49,000 are accepted") {
    std::string keys;
    for (int i = 0; i < 49'000; ++i) keys += "x-" + std::to_string(i) + ": 1\n";
    CHECK(load_one(small + keys).ok());
    for (int i = 49'000; i < 150'000; ++i) keys += "x-" + std::to_string(i) + ": 1\n";
    CHECK(errors(small + keys).find("too many values") != std::string::npos);
  }
  SUBCASE("bytes") {
    CHECK(errors(small + std::string(max_file_bytes, '#')) == "c.yaml: error: the file is larger than 4 MiB");
  }
  SUBCASE("long scalars") {
    const std::string longest(1'000'000, 'x');
    CHECK(text_after(longest) == longest);
    CHECK(load_one("name: " + longest + "/\n").problems.render().size() < 3000);
  }
}

TEST_CASE("--set") {
  const auto set = [](const std::vector<std::string>& sets) {
    auto r = load_one(R"(
name: n
sources: {s: {plugin: a}}
sinks:
  k: {plugin: b, from: s, rules: [{name: a}, {name: b}], batch: {rows: 1}}
)",
                      sets);
    REQUIRE_MESSAGE(r.ok(), r.problems.render());
    return std::move(r.pipelines.front());
  };
  CHECK(set({"name=other"}).name == "other");
  CHECK(set({"sinks.k.batch.rows=500"}).sinks[0].batch.rows == 500);
  CHECK(set({"sinks.k.batch={rows: 7}"}).sinks[0].batch.rows == 7);
  CHECK(set({"sinks.k.queue.max_bytes=1MiB"}).sinks[0].queue.max_bytes == 1U << 20U);
  CHECK(set({"log.level=debug"}).log.level == PL_LOG_DEBUG);
  CHECK(set({"sinks.k.from=[s]"}).sinks[0].from[0].node == "s");
  CHECK(set({"sinks.new={plugin: c, from: s}"}).sinks.size() == 2);
  CHECK(set({"sinks.new.plugin=c", "sinks.new.from=s"}).sinks.size() == 2);
  CHECK(set({"lanes=2", "lanes=3"}).sources[0].lanes == 3);
  const auto options =
      set({"sinks.k.rules[1].name=x", "sinks.k.rules[2]={name: c}", "sinks.k.map[\"a.b\"].c=1", "sinks.k.url=a=b",
           "sinks.k.empty=", "sinks.k.port=${PORT}", "sinks.k.text=\"5\"", "sinks.k.secret=${file:/run/secrets/db}"})
          .sinks[0]
          .options;
  const auto& rules = options.find("rules")->children;
  REQUIRE(rules.size() == 3);
  CHECK(rules[0].find("name")->text == "a");
  CHECK(rules[1].find("name")->text == "x");
  CHECK(rules[2].find("name")->text == "c");
  CHECK(options.find("map")->find("a.b")->find("c")->text == "1");
  CHECK(options.find("url")->text == "a=b");
  CHECK(options.find("empty")->text.empty());
  CHECK(options.find("port")->text == "5432");
  CHECK(options.find("text")->quoted);
  CHECK(options.find("secret")->secret);
  CHECK(options.find("secret")->text == "hunter2");
}

TEST_CASE("--set applies to the pipelines that have the node, or to all pipelines") {
  const std::string two =
      "name: a\nsources: {s: {plugin: a}}\nsinks: {k: {plugin: b, from: s}}\n---\nname: b\nsources: {s: {plugin: "
      "a}}\nsinks: {l: {plugin: b, from: s}}\n";
  const auto r = load_one(two, {"sinks.l.writers=3", "lanes=2"});
  REQUIRE_MESSAGE(r.ok(), r.problems.render());
  REQUIRE(r.pipelines.size() == 2);
  CHECK(r.pipelines[0].sinks.size() == 1);
  CHECK(r.pipelines[0].sinks[0].writers == 1);
  CHECK(r.pipelines[1].sinks[0].writers == 3);
  CHECK(r.pipelines[0].lanes == 2);
  CHECK(r.pipelines[1].lanes == 2);
  CHECK(load_one(two, {"sinks.m.writers=3"}).problems.errors() == 1);
}

TEST_CASE("files and documents") {
  const temporary_directory dir;
  const auto one = dir.write("one.yaml", std::string("\xEF\xBB\xBF") + small);  // with a byte order mark
  const auto two =
      dir.write("two.yaml", "name: m\r\nsources: {s: {plugin: a}}\r\nsinks: {k: {plugin: b, from: s}}\r\n---\r\n");
  const auto load_files = [](std::vector<file_arg> files) { return load(files, {}, world()); };
  SUBCASE("several") {
    const auto r = load_files({{one, {}}, {two, {}}});
    REQUIRE_MESSAGE(r.problems.empty(), r.problems.render());
    REQUIRE(r.pipelines.size() == 2);
    CHECK(r.pipelines[0].name == "n");
    CHECK(r.pipelines[1].name == "m");
  }
  SUBCASE("duplicate name") {
    CHECK(load_files({{"a.yaml", small}, {"b.yaml", small}}).problems.render() ==
          "b.yaml:1:7: error: another pipeline is named 'n'; give each pipeline a unique name\n"
          "    1 | name: n\n"
          "      |       ^\n"
          "a.yaml:1:7: note: first used here\n"
          "    1 | name: n\n"
          "      |       ^\n"
          "1 error\n");
  }
  SUBCASE("unreadable files") {
    const auto shown =
        load_files({{dir / "oen.yaml", {}}, {dir / ".", {}}, {"/nowhere/at/all.yaml", {}}}).problems.render();
    CHECK(shown == (dir / "oen.yaml") + ": error: can't read the file: No such file or directory; did you mean '" +
                       one + "'?\n" + (dir / ".") + ": error: is a directory; name a file in it\n" +
                       "/nowhere/at/all.yaml: error: can't read the file: No such file or directory\n3 errors\n");
  }
  SUBCASE("binary files") {
    const std::string utf16("\xff\xfen\0a\0", 6), binary(
                                                      "\x7f"
                                                      "ELF\0\0",
                                                      6);
    CHECK(load_files({{"a", utf16}, {"b", binary}}).problems.render() ==
          "a: error: the file is UTF-16; save it as UTF-8\n"
          "b: error: the file is not text: it contains NUL bytes\n"
          "2 errors\n");
  }
  SUBCASE("one broken file does not hide the errors of the next") {
    const auto r = load_files({{"a", "name: [\n"}, {"b", "name: 1\nsourcess: 1\n"}, {one, {}}});
    CHECK(r.pipelines.size() == 2);
    CHECK(r.problems.errors() == 4);
  }
  SUBCASE("no file") {
    const auto r = load_files({});
    CHECK(r.ok());
    CHECK(r.pipelines.empty());
  }
}

TEST_CASE("the environment of the process") {
  const temporary_directory dir;
  const auto secret = dir.write("secret", "s3cret\n\n");
  setenv("PL_CONFIG_TEST", "value", 1);
  const auto env = process_environment();
  std::string why;
  CHECK(env.variable("PL_CONFIG_TEST") == "value");
  CHECK_FALSE(env.variable("PL_CONFIG_TEST_NOT").has_value());
  CHECK(env.read_file(secret, why) == "s3cret\n\n");
  CHECK_FALSE(env.read_file(dir / "nothing", why).has_value());
  CHECK(why == "No such file or directory");
}

TEST_CASE("--set x=@file sets the content of the file, as a secret") {
  const auto result = [](const std::string& set) {
    const std::vector<file_arg> files{
        {"c.yaml", "name: n\nsources: {s: {plugin: a}}\nsinks: {k: {plugin: b, from: s}}\n"}};
    return load(files, std::vector<std::string>{set}, world());
  };
  auto loaded = result("sinks.k.password=@/run/secrets/db");
  REQUIRE_MESSAGE(loaded.ok(), loaded.problems.render());
  const auto* password = loaded.pipelines.front().sinks.front().options.find("password");
  REQUIRE(password != nullptr);
  CHECK(password->text == "hunter2");
  CHECK(password->secret);
  CHECK(result("sinks.k.password=\"@text\"").pipelines.front().sinks.front().options.find("password")->text == "@text");
  for (const auto* set : {"sinks.k.password=@", "sinks.k.password=@/no/such/file", "sinks.k.password=@/a{b}"})
    CHECK_MESSAGE(!result(set).ok(), set);
}

TEST_CASE("a FIFO as a file: what a program writes is read, and without a writer there is an error, not a wait") {
  const temporary_directory dir;
  const auto path = dir / "fifo";
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  std::string why;
  const auto begin = std::chrono::steady_clock::now();
  CHECK_FALSE(read_file_text(path, 100, why, std::chrono::milliseconds(50)));
  CHECK(why == "nothing was written to this FIFO in time");
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
  std::thread writer([&] { std::ofstream(path) << "name: n\n"; });
  CHECK(read_file_text(path, 100, why) == "name: n\n");
  writer.join();
  CHECK_FALSE(read_file_text(dir / "missing", 100, why));
  CHECK(why == "No such file or directory");
  CHECK_FALSE(read_file_text(dir / ".", 100, why));
  CHECK(why == "is a directory");
  CHECK(read_file_text("/dev/null", 100, why) == "");
  CHECK(read_file_text("/dev/zero", 100, why) == std::string(100, '\0'));
}

TEST_CASE("secrets are read from their files again; an unreadable file leaves the value as it is") {
  const temporary_directory dir;
  const auto file = dir.write("password", "old\n");
  auto loaded =
      load(std::vector<file_arg>{{"c.yaml",
                                  "name: n\nsources: {s: {plugin: a}}\nsinks:\n  k:\n    plugin: b\n    from: s\n"
                                  "    url: \"u:${file:" +
                                      file + "}@db\"\n    deep: {list: [\"${file:" + file + "}\"]}\n"}},
           {}, process_environment());
  REQUIRE_MESSAGE(loaded.ok(), loaded.problems.render());
  auto& p = loaded.pipelines.front();
  const auto text = [&](const char* option) { return p.sinks.front().options.find(option)->text; };
  CHECK(text("url") == "u:old@db");
  CHECK_FALSE(read_secrets_again(p, process_environment()));
  dir.write("password", "new\n");
  CHECK(read_secrets_again(p, process_environment()));
  CHECK(text("url") == "u:new@db");
  CHECK(p.sinks.front().options.find("deep")->children.front().children.front().text == "new");
  CHECK(p.sinks.front().options.find("url")->secret);
  CHECK_FALSE(read_secrets_again(p, process_environment()));
  std::filesystem::remove(file);
  CHECK_FALSE(read_secrets_again(p, process_environment()));
  CHECK(text("url") == "u:new@db");
}
