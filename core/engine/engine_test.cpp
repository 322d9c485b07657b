// SPDX-License-Identifier: Apache-2.0
#include "config/load.hpp"
#include "engine/pipeline.hpp"
#include "engine/test_components.hpp"

#include <doctest/doctest.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <set>
#include <thread>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;
using namespace std::chrono_literals;

namespace {

// One process with one pipeline in it.
class host {
 public:
  host() { plugins_.add_linked(test_plugin()); }

  std::unique_ptr<pipeline> build(const std::string& yaml, const pipeline* previous = nullptr) {
    const std::vector<config::file_arg> files{{"test.yaml", yaml}};
    auto loaded = config::load(files, {}, config::process_environment());
    auto built = loaded.pipelines.empty() ? nullptr
                                          : pipeline::build(loaded.pipelines.front(), {log_, metrics_, schemas_},
                                                            plugins_, loaded.problems, previous);
    problems = loaded.problems.render();
    return built;
  }
  telemetry::metrics& metrics() { return metrics_; }
  std::string problems;

 private:
  telemetry::logger log_{{.level = telemetry::log_level::error}};
  telemetry::metrics metrics_;
  schema_pool schemas_;
  loader::registry plugins_{{}};
};

std::string yaml(const std::string& more_sink = "", const std::string& more_top = "", const std::string& note = "") {
  return "name: t\nhttp: {listen: off}\n" + more_top +
         "sources:\n  in: {plugin: test_source, stage: s}\n"
         "transforms:\n  mid: {plugin: test_transform, from: in, stage: s" +
         note +
         "}\n"
         "sinks:\n  out: {plugin: test_sink, from: mid, stage: s, batch: {rows: 50, delay: 5ms}, retry: {initial: 1ms, "
         "max: 5ms}" +
         more_sink +
         "}\n"
         "dead_letters: {plugin: test_dead, stage: s, batch: {delay: 5ms}}\n";
}

bool eventually(const std::function<bool()>& true_soon, std::chrono::milliseconds patience = 2min) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!true_soon()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

void run_to_end(pipeline& p) {
  p.start();
  REQUIRE(eventually([&] {
    p.supervise();
    return p.ended();
  }));
  p.join();
}

// Each (stream, position) once, and in order within its stream.
void check_exact(const std::vector<stage::stored_row>& rows, std::uint64_t streams, std::uint64_t each) {
  std::map<std::string, std::uint64_t> next;
  for (const auto& r : rows) {
    CHECK(r.position == next[r.stream]);
    CHECK(r.text == r.stream + ":" + std::to_string(r.position));
    next[r.stream] = r.position + 1;
  }
  CHECK(next.size() == streams);
  for (const auto& [stream, end] : next) CHECK(end == each);
}

}  // namespace

TEST_CASE("every record goes through once, in order, and is settled") {
  host h;
  auto s = new_stage("s");
  s->streams = 3;
  auto p = h.build(yaml());
  REQUIRE_MESSAGE(p, h.problems);
  run_to_end(*p);
  CHECK(p->failure().empty());
  check_exact(s->rows_stored(), 3, 1000);
  for (const auto* stream : {"s/0", "s/1", "s/2"}) CHECK(s->settled_of(stream) == 1000);
  CHECK(p->progress().records_in == 3000);
  CHECK(p->progress().records_stored == 3000);
  CHECK(p->progress().lag == 0);
  CHECK(p->progress().memory_bytes == 0);
}

TEST_CASE("a write that fails for now is made again with the same rows") {
  host h;
  auto s = new_stage("s");
  s->on_write = [](std::uint64_t call) -> result<void> {
    return call % 3 != 2 ? result<void>(retry("the database is away")) : result<void>();
  };
  auto p = h.build(yaml());
  REQUIRE_MESSAGE(p, h.problems);
  run_to_end(*p);
  check_exact(s->rows_stored(), 1, 1000);
  CHECK(h.metrics().render().find("pipeline_retries_total{") != std::string::npos);
}

TEST_CASE("what a transform rejects is a dead letter with its original bytes, and is settled") {
  host h;
  auto s = new_stage("s");
  s->reject_in_apply = [](std::string_view text) { return text.ends_with("7"); };
  auto p = h.build(yaml());
  REQUIRE_MESSAGE(p, h.problems);
  run_to_end(*p);
  CHECK(s->stored.size() == 900);
  REQUIRE(s->dead.size() == 100);
  for (const auto& d : s->dead) CHECK(d.text == "s/0:" + std::to_string(d.position));
  CHECK(s->reasons.front() == "the test rejects it");
  CHECK(s->settled_of("s/0") == 1000);
}

TEST_CASE("what a sink rejects is a dead letter") {
  host h;
  auto s = new_stage("s");
  s->reject_in_write = [](std::string_view text) { return text == "s/0:500"; };
  auto p = h.build(yaml());
  run_to_end(*p);
  CHECK(s->stored.size() == 999);
  REQUIRE(s->dead.size() == 1);
  CHECK(s->dead.front().text == "s/0:500");
  CHECK(s->reasons.front() == "the sink rejects it");
}

TEST_CASE("rows that a sink refuses are found by halving; the rest lands") {
  host h;
  auto s = new_stage("s");
  s->refuse = [](std::string_view text) { return text == "s/0:0" || text == "s/0:333" || text == "s/0:999"; };
  auto p = h.build(yaml());
  run_to_end(*p);
  CHECK(s->stored.size() == 997);
  REQUIRE(s->dead.size() == 3);
  CHECK(s->dead[1].position == 333);
  CHECK(s->settled_of("s/0") == 1000);
}

TEST_CASE("a batch that a transform keeps stays unsettled, and so does what follows it") {
  host h;
  auto s = new_stage("s");
  s->keep = [](std::string_view text) { return text == "s/0:300"; };  // the fourth batch of a hundred
  auto p = h.build(yaml());
  p->start();
  CHECK(eventually([&] { return s->rows_stored().size() == 900; }));
  CHECK(eventually([&] { return s->settled_of("s/0") == 300; }));
  p->stop();
  p->abandon();
  p->join();
  CHECK(s->settled_of("s/0") == 300);
}

TEST_CASE("a fatal status stops the pipeline, says why, and settles nothing of it") {
  host h;
  auto s = new_stage("s");
  s->endless = true;
  s->on_write = [](std::uint64_t call) -> result<void> {
    return call < 2 ? result<void>() : result<void>(fatal("the table is gone; create it"));
  };
  auto p = h.build(yaml());
  run_to_end(*p);
  CHECK(p->failure() == "out: the table is gone; create it");
  CHECK(s->settled_of("s/0") == s->rows_stored().size());
}

TEST_CASE("an exception in a plugin stops its pipeline with its words") {
  host h;
  auto s = new_stage("s");
  s->on_apply = [](std::uint64_t) -> result<void> { throw std::runtime_error("boom"); };
  auto p = h.build(yaml());
  run_to_end(*p);
  CHECK(p->failure() == "mid: boom");
  CHECK(s->settled_of("s/0") == 0);
}

TEST_CASE("a status that is none is reported with the plugin's name") {
  host h;
  auto s = new_stage("s");
  s->on_write = [](std::uint64_t) -> result<void> { return failure{static_cast<status>(77), {}, {}}; };
  auto p = h.build(yaml());
  run_to_end(*p);
  CHECK(p->failure() ==
        "out: plugin test_sink answered 77 to write, which is no status: it is broken, or built for another host");
}

TEST_CASE("a sink that stands still makes the source pause, within the queue's limit, and nothing is lost") {
  host h;
  auto s = new_stage("s");
  s->endless = true;
  std::atomic<bool> down{true};
  s->on_write = [&](std::uint64_t) -> result<void> { return down ? result<void>(retry("down")) : result<void>(); };
  auto p = h.build(yaml(", queue: {max_bytes: 1MiB}"));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  CHECK(eventually([&] { return s->keep_alives > 5; }));
  const auto read = p->progress().records_in;
  CHECK(p->progress().memory_bytes < 3U << 20U);
  down = false;
  CHECK(eventually([&] { return p->progress().records_stored > 2 * read; }));
  p->stop();
  p->join();
  check_exact(s->rows_stored(), 1, s->settled_of("s/0"));
}

TEST_CASE("memory_limit bounds what is in flight") {
  host h;
  auto s = new_stage("s");
  s->endless = true;
  s->on_write = [&](std::uint64_t) -> result<void> { return retry("down"); };
  auto p = h.build(yaml("", "memory_limit: 4MiB\n"));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  CHECK(eventually([&] { return s->keep_alives > 5; }));
  CHECK(p->progress().memory_bytes < 4U << 20U);
  p->stop();
  p->abandon();
  p->join();
  CHECK(s->settled_of("s/0") == 0);
}

TEST_CASE("a stop finishes what is in flight") {
  host h;
  auto s = new_stage("s");
  s->endless = true;
  auto p = h.build(yaml());
  p->start();
  CHECK(eventually([&] { return s->rows_stored().size() > 500; }));
  p->stop();
  p->join();
  check_exact(s->rows_stored(), 1, s->settled_of("s/0"));
  CHECK(s->stops == 3);
}

TEST_CASE("a stream that is lost is settled first, and goes on where it was settled") {
  host h;
  auto s = new_stage("s");
  s->streams = 2;
  s->lose_at = {3, 7, 8};
  auto p = h.build(yaml());
  run_to_end(*p);
  CHECK(p->failure().empty());
  check_exact(s->rows_stored(), 2, 1000);
}

TEST_CASE("several lanes and writers keep the order within a stream") {
  host h;
  auto s = new_stage("s");
  s->streams = 8;
  auto p = h.build(yaml(", writers: 3", "lanes: 2\n"));
  REQUIRE_MESSAGE(p, h.problems);
  run_to_end(*p);
  check_exact(s->rows_stored(), 8, 1000);
  for (int i = 0; i < 8; ++i) CHECK(s->settled_of("s/" + std::to_string(i)) == 1000);
}

TEST_CASE("a reload keeps what did not change, and leaves no gap and no double") {
  host h;
  auto s = new_stage("s");
  s->endless = true;
  auto p = h.build(yaml());
  p->start();
  CHECK(eventually([&] { return s->rows_stored().size() > 300; }));
  const auto before = s->starts.load();

  auto changed = h.build(yaml(", writers: 2"), p.get());
  REQUIRE_MESSAGE(changed, h.problems);
  CHECK_FALSE(changed->same_as(*p));
  REQUIRE(p->come_to_rest(1min));
  changed->replace(*p);
  p = std::move(changed);
  const auto at = s->rows_stored().size();
  CHECK(eventually([&] { return s->rows_stored().size() > at + 300; }));
  CHECK(s->starts == before + 2);  // the two new writers; source and transform run on

  auto transformed = h.build(yaml(", writers: 2", "", ", note: changed"), p.get());
  REQUIRE_MESSAGE(transformed, h.problems);
  REQUIRE(p->come_to_rest(1min));
  transformed->replace(*p);
  p = std::move(transformed);
  const auto then = s->rows_stored().size();
  CHECK(eventually([&] { return s->rows_stored().size() > then + 300; }));
  CHECK(s->starts == before + 3);
  CHECK(h.build(yaml(", writers: 2", "", ", note: changed"), p.get())->same_as(*p));
  p->stop();
  p->join();
  check_exact(s->rows_stored(), 1, s->settled_of("s/0"));
}

TEST_CASE("after a reload that leaves the dead letters alone, dead letters are still written") {
  host h;
  auto s = new_stage("s");
  s->endless = true;
  s->reject_in_apply = [](std::string_view text) { return text.ends_with("7"); };
  auto p = h.build(yaml());
  p->start();
  CHECK(eventually([&] { return s->dead_stored().size() > 30; }));
  for (const auto* change : {", writers: 2", ""}) {
    auto changed = h.build(yaml(change), p.get());
    REQUIRE_MESSAGE(changed, h.problems);
    REQUIRE(p->come_to_rest(1min));
    changed->replace(*p);
    p = std::move(changed);
    const auto at = s->dead_stored().size();
    CHECK(eventually([&] { return s->dead_stored().size() > at + 30; }));
  }
  p->stop();
  p->join();
}

TEST_CASE("a source that can't start is tried again, and a reload needn't wait for it") {
  host h;
  auto s = new_stage("s");
  std::atomic<bool> away{true};
  s->on_start = [&]() -> result<void> { return away ? result<void>(retry("no broker")) : result<void>(); };
  auto p = h.build(yaml());
  p->start();
  CHECK(eventually([&] {
    std::vector<telemetry::not_ready> waiting;
    p->waiting(waiting);
    return waiting.size() == 1 && waiting.front().node == "in";
  }));
  auto changed = h.build(yaml(", writers: 2"), p.get());
  REQUIRE_MESSAGE(changed, h.problems);
  REQUIRE(p->come_to_rest(1min));
  changed->replace(*p);
  p = std::move(changed);
  away = false;
  REQUIRE(eventually([&] { return p->ended(); }));
  p->join();
  check_exact(s->rows_stored(), 1, 1000);
}

TEST_CASE("what can't come to rest, because a sink is down, runs on") {
  host h;
  auto s = new_stage("s");
  s->endless = true;
  std::atomic<bool> down{true};
  s->on_write = [&](std::uint64_t) -> result<void> { return down ? result<void>(retry("down")) : result<void>(); };
  auto p = h.build(yaml());
  p->start();
  CHECK(eventually([&] { return s->writes > 0; }));
  auto changed = h.build(yaml(", writers: 2"), p.get());
  CHECK_FALSE(p->come_to_rest(100ms));
  p->go_on();
  changed.reset();
  down = false;
  CHECK(eventually([&] { return s->rows_stored().size() > 300; }));
  p->stop();
  p->join();
  check_exact(s->rows_stored(), 1, s->settled_of("s/0"));
}

// What the process holds.
struct footprint {
  std::ptrdiff_t files = entries("/proc/self/fd"), threads = entries("/proc/self/task");
  std::ptrdiff_t used = used_kib(), resident = resident_kib();

 private:
  static std::ptrdiff_t entries(const char* directory) {
    return std::distance(std::filesystem::directory_iterator(directory), {});
  }
  static std::ptrdiff_t used_kib() {
    const auto heap = ::mallinfo2();
    return static_cast<std::ptrdiff_t>((heap.uordblks + heap.hblkhd) / 1024);
  }
  static std::ptrdiff_t resident_kib() {
    ::malloc_trim(0);  // what is free but kept depends on how the threads ran
    std::ifstream statm("/proc/self/statm");
    std::ptrdiff_t total = 0, resident = 0;
    statm >> total >> resident;
    return resident * ::sysconf(_SC_PAGESIZE) / 1024;
  }
};

// Runs a pipeline to its end, or stops it at work; some of its records are rejected.
void start_and_stop(host& h, bool at_work) {
  auto s = new_stage("s");
  s->rows = 100;
  s->endless = at_work;
  s->reject_in_apply = [](std::string_view text) { return text.ends_with("7"); };
  const auto p = h.build(yaml(", writers: 2", "lanes: 2\n"));
  REQUIRE_MESSAGE(p, h.problems);
  if (at_work) {
    p->start();
    REQUIRE(eventually([&] { return s->writes > 2; }));
    p->stop();
    p->join();
  } else {
    run_to_end(*p);
    CHECK(s->stored.size() == 90);
  }
  CHECK(p->failure().empty());
  CHECK(p->progress().memory_bytes == 0);
  CHECK(s->settled_of("s/0") == s->stored.size() + s->dead.size());
}

TEST_CASE("a thousand starts and stops in one process leave nothing behind") {
  host h;
  std::optional<footprint> warm;
  for (int i = 0; i < 1000; ++i) {
    start_and_stop(h, i % 2 == 0);  // the last one before we look stores always the same
    if (i == 199) warm.emplace();   // by now allocators and pools have what they keep
  }
  const footprint now;
  CHECK(now.files == warm->files);
  CHECK(now.threads == warm->threads);
  MESSAGE("used, resident: ", warm->used, ", ", warm->resident, " KiB after 200; ", now.used, ", ", now.resident,
          " KiB after 1000");
  // Sanitizers keep books of their own, and what was freed for a while; the address sanitizer reports what never was.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  CHECK(now.used - warm->used < 64);
  CHECK(now.resident - warm->resident < 16 * 1024);
#endif
}
