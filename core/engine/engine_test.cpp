// SPDX-License-Identifier: Apache-2.0
#include "config/load.hpp"
#include "engine/pipeline.hpp"
#include "engine/testing/test_components.hpp"

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

// Check that each (stream, position) is stored once, and in order within its stream.
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

TEST_CASE("a write that fails temporarily is retried with the same rows") {
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

TEST_CASE("a row that a transform rejects becomes a dead letter with its original bytes, and is settled") {
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

TEST_CASE("without a dead_letters sink the component that declares itself as the default is used") {
  host h;
  auto s = new_stage("s");
  s->reject_in_apply = [](std::string_view text) { return text.ends_with("7"); };
  auto text = yaml();
  auto p = h.build(text.erase(text.find("dead_letters:")));
  REQUIRE_MESSAGE(p, h.problems);
  run_to_end(*p);
  CHECK(s->dead.size() == 100);
  CHECK(s->settled_of("s/0") == 1000);
}

TEST_CASE("a row that a sink rejects becomes a dead letter") {
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

TEST_CASE("a row that is rejected early is a dead letter, once, while the other rows of the write are retried") {
  host h;
  auto s = new_stage("s");
  s->reject_early = [](std::string_view text) { return text == "s/0:3" || text == "s/0:7"; };
  s->on_write = [&](std::uint64_t) -> result<void> {
    return s->dead_stored().size() < 2 ? result<void>(retry("the server is away")) : result<void>();
  };
  auto p = h.build(yaml());
  REQUIRE_MESSAGE(p, h.problems);
  run_to_end(*p);
  CHECK(s->stored.size() == 998);
  REQUIRE(s->dead.size() == 2);
  CHECK(s->dead[0].position == 3);
  CHECK(s->dead[1].position == 7);
  CHECK(s->reasons.front() == "the sink rejects it at once");
  CHECK(s->settled_of("s/0") == 1000);
  CHECK(p->progress().rejected == 2);
  CHECK(p->progress().records_stored == 998);
}

TEST_CASE("rows that are rejected early in a write that succeeds are stored nowhere else") {
  host h;
  auto s = new_stage("s");
  s->reject_early = [](std::string_view text) { return text.ends_with("5"); };
  auto p = h.build(yaml());
  run_to_end(*p);
  CHECK(s->stored.size() == 900);
  CHECK(s->dead.size() == 100);
  CHECK(s->settled_of("s/0") == 1000);
  CHECK(p->progress().records_stored == 900);
}

TEST_CASE("the back-off of a write begins anew after progress") {
  host h;
  auto s = new_stage("s");
  s->rows = 10;
  s->progress = true;
  s->on_write = [](std::uint64_t call) -> result<void> {
    return call < 8 ? result<void>(retry("the connection was lost")) : result<void>();
  };
  auto text = yaml();
  const std::string before = "retry: {initial: 1ms, max: 5ms}";
  text.replace(text.find(before), before.size(), "retry: {initial: 1ms, max: 60s, multiplier: 10}");
  auto p = h.build(text);
  REQUIRE_MESSAGE(p, h.problems);
  const auto began = std::chrono::steady_clock::now();
  run_to_end(*p);
  CHECK(std::chrono::steady_clock::now() - began < 60s);  // without progress the waits take more than 100 s
  check_exact(s->rows_stored(), 1, 10);
}

TEST_CASE("rows that a sink rejects without naming them are found by bisection; the rest is stored") {
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

TEST_CASE("a batch that a transform keeps stays unsettled, and so do the batches after it") {
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

TEST_CASE("a fatal status stops the pipeline with its reason and settles nothing of the batch") {
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

TEST_CASE("an exception in a plugin stops its pipeline with its text") {
  host h;
  auto s = new_stage("s");
  s->on_apply = [](std::uint64_t) -> result<void> { throw std::runtime_error("boom"); };
  auto p = h.build(yaml());
  run_to_end(*p);
  CHECK(p->failure() == "mid: boom");
  CHECK(s->settled_of("s/0") == 0);
}

TEST_CASE("an invalid status is reported with the plugin's name") {
  host h;
  auto s = new_stage("s");
  s->on_write = [](std::uint64_t) -> result<void> { return failure{static_cast<status>(77), {}, {}}; };
  auto p = h.build(yaml());
  run_to_end(*p);
  CHECK(
      p->failure() ==
      "out: plugin test_sink violates the plugin interface in write: it returned 77, which is not a status; nothing of "
      "this call was used: report it to the plugin's author");
}

TEST_CASE("a sink that is down makes the source pause within the limit of the queue, and no record is lost") {
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

TEST_CASE("a revoked stream is settled first, and reading continues from there when it is assigned again") {
  host h;
  auto s = new_stage("s");
  s->streams = 2;
  s->revoke_at = {3, 7, 8};
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

TEST_CASE("a reload keeps what did not change, and no record is left out or read twice") {
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
  REQUIRE(p->quiesce(1min, *changed));
  changed->replace(*p);
  p = std::move(changed);
  const auto at = s->rows_stored().size();
  CHECK(eventually([&] { return s->rows_stored().size() > at + 300; }));
  CHECK(eventually([&] { return s->starts >= before + 2; }));  // a writer may start while the other one works
  CHECK(s->starts == before + 2);                              // the two new writers; source and transform continue
  CHECK(p->progress().records_in >= at + 300);

  auto transformed = h.build(yaml(", writers: 2", "", ", note: changed"), p.get());
  REQUIRE_MESSAGE(transformed, h.problems);
  REQUIRE(p->quiesce(1min, *transformed));
  transformed->replace(*p);
  p = std::move(transformed);
  const auto then = s->rows_stored().size();
  CHECK(eventually([&] { return s->rows_stored().size() > then + 300; }));
  CHECK(eventually([&] { return s->starts >= before + 3; }));
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
    REQUIRE(p->quiesce(1min, *changed));
    changed->replace(*p);
    p = std::move(changed);
    const auto at = s->dead_stored().size();
    CHECK(eventually([&] { return s->dead_stored().size() > at + 30; }));
  }
  p->stop();
  p->join();
}

TEST_CASE("a source that cannot start is retried, and a reload does not wait for it") {
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
  REQUIRE(p->quiesce(1min, *changed));
  changed->replace(*p);
  p = std::move(changed);
  away = false;
  REQUIRE(eventually([&] { return p->ended(); }));
  p->join();
  check_exact(s->rows_stored(), 1, 1000);
}

TEST_CASE("a source cannot be replaced while a sink is down: the pipeline can be resumed") {
  host h;
  auto s = new_stage("s");
  s->endless = true;
  std::atomic<bool> down{true};
  s->on_write = [&](std::uint64_t) -> result<void> { return down ? result<void>(retry("down")) : result<void>(); };
  auto p = h.build(yaml());
  p->start();
  CHECK(eventually([&] { return s->writes > 0; }));
  auto changed = h.build(yaml("", "lanes: 2\n"), p.get());
  REQUIRE_MESSAGE(changed, h.problems);
  CHECK_FALSE(p->quiesce(100ms, *changed));
  const auto why = p->why_not_quiescent(*changed);
  CHECK(why.find("sink out has not written") != std::string::npos);
  CHECK(why.find("retrying: down") != std::string::npos);
  CHECK(why.find("source in changes") != std::string::npos);
  p->resume();
  changed.reset();
  down = false;
  CHECK(eventually([&] { return s->rows_stored().size() > 300; }));
  p->stop();
  p->join();
  check_exact(s->rows_stored(), 1, s->settled_of("s/0"));
}

// Resources that the process holds.
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
    ::malloc_trim(0);  // how much free memory malloc keeps depends on thread timing
    std::ifstream statm("/proc/self/statm");
    std::ptrdiff_t total = 0, resident = 0;
    statm >> total >> resident;
    return resident * ::sysconf(_SC_PAGESIZE) / 1024;
  }
};

// Run a pipeline to its end, or stop it while it works. Some of its records are rejected.
void start_and_stop(host& h, bool at_work) {
  auto s = new_stage("s");
  s->rows = 100;
  s->endless = at_work;
  s->reject_in_apply = [](std::string_view text) { return text.ends_with("77"); };  // too few to be collapsed
  const auto p = h.build(yaml(", writers: 2", "lanes: 2\n"));
  REQUIRE_MESSAGE(p, h.problems);
  if (at_work) {
    p->start();
    REQUIRE(eventually([&] { return s->writes > 2; }));
    p->stop();
    p->join();
  } else {
    run_to_end(*p);
    CHECK(s->stored.size() == 99);
  }
  CHECK(p->failure().empty());
  CHECK(p->progress().memory_bytes == 0);
  CHECK(s->settled_of("s/0") == s->stored.size() + s->dead.size());
}

TEST_CASE("a thousand starts and stops in one process leak nothing") {
  // By default, malloc keeps up to 64 MiB of free memory at the end of each arena, depending on what was freed before. The
  // allocators of sanitizers refuse this.
  (void)::mallopt(M_TRIM_THRESHOLD, 128 * 1024);
  host h;
  std::optional<footprint> warm;
  for (int i = 0; i < 1000; ++i) {
    start_and_stop(h, i % 2 == 0);  // the last run before each measurement always stores the same rows
    if (i == 199) warm.emplace();   // by now, allocators and pools have reached their size
  }
  const footprint now;
  CHECK(now.files == warm->files);
  CHECK(now.threads == warm->threads);
  MESSAGE("used, resident: ", warm->used, ", ", warm->resident, " KiB after 200; ", now.used, ", ", now.resident,
          " KiB after 1000");
  // Sanitizers allocate memory of their own, and keep freed memory for a while. The address sanitizer reports leaks.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  CHECK(now.used - warm->used < 64);
  CHECK(now.resident - warm->resident < 8 * 1024);  // at most 1 MiB was seen
#endif
}
