// SPDX-License-Identifier: Apache-2.0
// Tests of replacing a running pipeline: transforms with state, and instances that cannot be created.
#include "engine/testing/test_host.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;
using namespace std::chrono_literals;

namespace {

const std::string quick = ", batch: {rows: 50, delay: 2ms}, retry: {initial: 1ms, max: 3ms}}\n";

// A directory for the state of transforms.
class state_folder {
 public:
  ~state_folder() { std::filesystem::remove_all(path_); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::string setting() const { return "state_dir: '" + path_.string() + "'\n"; }

 private:
  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("reload." + std::to_string(std::random_device{}()));
};

// One source; transform `tenth` counts the records of each stream and passes every tenth.
std::string counting(const std::string& delivery, const std::string& top, const std::string& tenth,
                     const std::string& more_sinks = "") {
  return "name: t\nhttp: {listen: off}\ndelivery: " + delivery + "\n" + top +
         "sources:\n  in: {plugin: exact_source, world: w}\n"
         "transforms:\n" +
         tenth + "sinks:\n  store: {plugin: exact_sink, from: in, world: w" + quick + more_sinks +
         "dead_letters: {plugin: exact_dead, world: w, batch: {delay: 2ms}}\n";
}
std::string tenth(const std::string& note, const std::string& name = "tenth") {
  return "  " + name + ": {plugin: every_tenth, from: in, world: w, note: '" + note + "'}\n";
}
std::string tenths(const std::string& from = "tenth") {
  return "  tenths: {plugin: exact_sink, from: " + from + ", world: w" + quick;
}

void extend(world& w, std::uint64_t streams, std::uint64_t each) {
  std::scoped_lock lock(w.broker.mutex);
  for (std::uint64_t s = 0; s < streams; ++s) w.broker.partitions["t/" + std::to_string(s)].end = each;
}

// Return whether a source has started, and so has looked for partitions.
bool started(world& w) {
  std::scoped_lock lock(w.broker.mutex);
  return w.broker.members != 0;
}

bool all_settled(world& w) {
  std::scoped_lock lock(w.broker.mutex);
  for (const auto& [name, p] : w.broker.partitions)
    if (!p.has_committed || !p.marked || p.committed != p.end) return false;
  return true;
}

void reload(test_host& h, std::unique_ptr<pipeline>& p, const std::string& yaml) {
  auto changed = h.build(yaml, p.get());
  REQUIRE_MESSAGE(changed, h.problems);
  REQUIRE(p->quiesce(1min, *changed));
  changed->replace(*p);
  p = std::move(changed);
}

void end(std::unique_ptr<pipeline>& p) {
  p->stop();
  p->join();
  CHECK(p->failure().empty());
  p.reset();
}

}  // namespace

TEST_CASE("partitions that are created after the source has started are read, also after a reload") {
  for (const std::string delivery : {"exactly_once", "at_least_once"}) {
    CAPTURE(delivery);
    auto w = new_world("w");
    const state_folder state;
    test_host h;
    auto p = h.build(counting(delivery, state.setting(), tenth("0"), tenths()));
    REQUIRE_MESSAGE(p, h.problems);
    p->start();
    CHECK(eventually([&] { return started(*w); }));
    extend(*w, 1, 20);
    CHECK(eventually([&] { return all_settled(*w); }));
    reload(h, p, counting(delivery, state.setting(), tenth("1"), tenths()));
    extend(*w, 2, 40);
    CHECK(eventually([&] { return all_settled(*w); }));
    end(p);
    CHECK(w->broker.members == 1);
    CHECK(w->database.distinct("store") == 2 * 40);
    CHECK(w->database.distinct("tenths") == 2 * 4);
    CHECK(w->database.most("tenths") == 1);
  }
}

TEST_CASE("a changed transform continues with the state of the one that it replaces") {
  for (const std::string delivery : {"exactly_once", "at_least_once"}) {
    CAPTURE(delivery);
    auto w = new_world("w");
    const state_folder state;
    test_host h;
    auto p = h.build(counting(delivery, state.setting(), tenth("0"), tenths()));
    REQUIRE_MESSAGE(p, h.problems);
    p->start();
    std::uint64_t each = 0;
    for (int round = 1; round <= 6; ++round) {
      extend(*w, 3, each += 43);  // no multiple of ten: the count must continue
      if (round % 2 == 0) CHECK(eventually([&] { return all_settled(*w); }));
      reload(h, p, counting(delivery, state.setting(), tenth(std::to_string(round)), tenths()));
    }
    CHECK(eventually([&] { return all_settled(*w); }));
    end(p);
    CHECK_MESSAGE(h.log().find("the source starts again") == std::string::npos, h.log());
    CHECK(w->broker.members == 1);  // the source was not restarted: it kept its streams
    CHECK(w->database.distinct("store") == 3 * each);
    CHECK(w->database.most("store") == 1);
    for (std::uint64_t i = 0; i < each; ++i)
      for (const auto* stream : {"t/0", "t/1", "t/2"})
        if (w->database.times("tenths", stream, i) != (i % 10 == 9 ? 1 : 0))
          FAIL_CHECK(stream << " " << i << " is " << w->database.times("tenths", stream, i) << " times in tenths");
  }
}

TEST_CASE("a transform that is changed during an outage continues with the state of the records in flight") {
  for (const std::string delivery : {"exactly_once", "at_least_once"}) {
    CAPTURE(delivery);
    auto w = new_world("w");
    const state_folder state;
    test_host h;
    std::atomic<bool> down{false};
    std::atomic<int> failed{0};
    w->database.away = [&](std::uint64_t) { return down && ++failed > 0; };
    auto p = h.build(counting(delivery, state.setting(), tenth("0"), tenths()));
    REQUIRE_MESSAGE(p, h.problems);
    p->start();
    extend(*w, 3, 43);
    CHECK(eventually([&] { return all_settled(*w); }));
    down = true;
    extend(*w, 3, 86);
    CHECK(eventually([&] { return failed > 3 && p->progress().records_in == 3 * 86; }));
    reload(h, p, counting(delivery, state.setting(), tenth("1"), tenths()));
    // Under this configuration, the records in flight would give another state if they were read again.
    reload(h, p, counting(delivery, state.setting(), tenth("counts twice"), tenths()));
    down = false;
    CHECK(eventually([&] { return all_settled(*w); }));
    extend(*w, 3, 129);
    CHECK(eventually([&] { return all_settled(*w); }));
    end(p);
    CHECK(w->database.distinct("store") == 3 * 129);
    CHECK(w->database.most("store") == 1);  // no record was read again
    for (std::uint64_t i = 0; i < 129; ++i)
      for (const auto* stream : {"t/0", "t/1", "t/2"})
        if (w->database.times("tenths", stream, i) != ((i < 86 ? i % 10 == 9 : i % 5 == 2) ? 1 : 0))
          FAIL_CHECK(stream << " " << i << " is " << w->database.times("tenths", stream, i) << " times in tenths");
  }
}

TEST_CASE("after a reload the state is kept as before: a killed host continues with it") {
  auto w = new_world("w");
  const state_folder state;
  test_host h;
  auto p = h.build(counting("exactly_once", state.setting(), tenth("0"), tenths()));
  p->start();
  extend(*w, 2, 55);
  CHECK(eventually([&] { return all_settled(*w); }));
  reload(h, p, counting("exactly_once", state.setting(), tenth("1"), tenths()));
  extend(*w, 2, 88);
  CHECK(eventually([&] { return all_settled(*w); }));
  p->stop();
  p->abandon();
  p->join();
  p = h.build(counting("exactly_once", state.setting(), tenth("1"), tenths()));
  p->start();
  extend(*w, 2, 100);
  CHECK(eventually([&] { return all_settled(*w); }));
  end(p);
  CHECK(w->database.distinct("tenths") == 20);
  CHECK(w->database.most("tenths") == 1);
  for (std::uint64_t i = 9; i < 100; i += 10) CHECK(w->database.times("tenths", "t/1", i) == 1);
}

TEST_CASE("a transform with state that is added by a reload counts from there, and its state survives a kill") {
  auto w = new_world("w");
  const state_folder state;
  test_host h;
  auto p = h.build(counting("exactly_once", state.setting(), "  {}\n"));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  extend(*w, 1, 25);
  CHECK(eventually([&] { return all_settled(*w); }));
  reload(h, p, counting("exactly_once", state.setting(), tenth("0"), tenths()));
  extend(*w, 1, 38);
  CHECK(eventually([&] { return all_settled(*w); }));
  p->stop();
  p->abandon();
  p->join();
  p = h.build(counting("exactly_once", state.setting(), tenth("0"), tenths()));
  p->start();
  extend(*w, 1, 50);
  CHECK(eventually([&] { return all_settled(*w); }));
  end(p);
  CHECK(w->database.distinct("store") == 50);
  CHECK(w->database.distinct("tenths") == 2);
  for (const auto i : {34, 44}) CHECK(w->database.times("tenths", "t/0", static_cast<std::uint64_t>(i)) == 1);
}

TEST_CASE(
    "state that is no longer used is reported at the reload and at a start; a renamed transform continues with it") {
  for (const std::string delivery : {"exactly_once", "at_least_once"}) {
    CAPTURE(delivery);
    auto w = new_world("w");
    const state_folder state;
    test_host h;
    const auto without = counting(delivery, state.setting(), "  {}\n");
    auto p = h.build(counting(delivery, state.setting(), tenth("0"), tenths()));
    p->start();
    extend(*w, 1, 25);
    CHECK(eventually([&] { return all_settled(*w); }));
    reload(h, p, without);
    CHECK(h.log().find("t/tenth: this transform is no longer configured") != std::string::npos);
    end(p);
    test_host next;
    p = next.build(without);
    p->start();
    CHECK(eventually([&] { return next.log().find("belong to 'tenth'") != std::string::npos; }));
    end(p);
    test_host renamed;
    p = renamed.build(counting(delivery, state.setting(), tenth("0", "tenth_2"), tenths("tenth_2")));
    p->start();
    extend(*w, 1, 50);
    CHECK(eventually([&] { return all_settled(*w); }));
    CHECK(renamed.log().find("t/tenth_2: continues with the stored state of 'tenth' (1 entry of t/0)") !=
          std::string::npos);
    reload(renamed, p, counting(delivery, state.setting(), tenth("0", "tenth_3"), tenths("tenth_3")));
    extend(*w, 1, 75);
    CHECK(eventually([&] { return all_settled(*w); }));
    end(p);
    test_host again;
    p = again.build(counting(delivery, state.setting(), tenth("0", "tenth_3"), tenths("tenth_3")));
    p->start();
    extend(*w, 1, 100);
    CHECK(eventually([&] { return all_settled(*w); }));
    end(p);
    CHECK(again.log().find("stored state") == std::string::npos);
    for (std::uint64_t i = 0; i < 100; ++i) {
      CAPTURE(i);
      CHECK(w->database.times("tenths", "t/0", i) == (i % 10 == 9 ? 1 : 0));
    }
  }
}

TEST_CASE("a reload creates each instance once, before anything is replaced, and reports one that cannot be created") {
  test_host h;
  auto s = new_stage("s");
  s->endless = true;
  const auto yaml = [](const std::string& note) {
    return "name: t\nhttp: {listen: off}\nsources:\n  in: {plugin: test_source, stage: s}\n"
           "transforms:\n  mid: {plugin: test_transform, from: in, stage: s, note: '" +
           note +
           "'}\n"
           "sinks:\n  out: {plugin: test_sink, from: mid, stage: s, batch: {rows: 50, delay: 5ms}}\n"
           "dead_letters: {plugin: test_dead, stage: s}\n";
  };
  auto p = h.build(yaml("0"));
  REQUIRE_MESSAGE(p, h.problems);
  CHECK(s->creates == 3);
  p->start();
  auto changed = h.build(yaml("1"), p.get());
  REQUIRE_MESSAGE(changed, h.problems);
  CHECK(s->creates == 6);
  s->on_create = [] { return pl::fatal("cannot be created now"); };
  REQUIRE(p->quiesce(1min, *changed));
  changed->replace(*p);
  p = std::move(changed);
  const auto at = s->rows_stored().size();
  CHECK(eventually([&] { return s->rows_stored().size() > at + 300; }));
  CHECK(s->creates == 6);
  CHECK(h.build(yaml("2"), p.get()) == nullptr);
  CHECK(h.problems.find("cannot be created now") != std::string::npos);
  end(p);
}

// ------------------------------------------------------------------------------------------- a sink that is down ---

namespace {

std::string plain(const std::string& sinks, const std::string& mid = "") {
  return "name: t\nhttp: {listen: off}\n"
         "sources:\n  in: {plugin: test_source, stage: s}\n"
         "transforms:\n  mid: {plugin: test_transform, from: in, stage: s" +
         mid + "}\nsinks:\n" + sinks + "dead_letters: {plugin: test_dead, stage: s, batch: {delay: 5ms}}\n";
}
std::string out(const std::string& more = "", const std::string& name = "out") {
  return "  " + name +
         ": {plugin: test_sink, from: mid, stage: s, batch: {rows: 50, delay: 5ms}, retry: {initial: 1ms, max: 5ms}, "
         "queue: {max_bytes: 64KiB}" +
         more + "}\n";
}

// Check that each position of the stream is stored once and in order, up to what is settled.
void check_exact(stage& s) {
  std::uint64_t next = 0;
  for (const auto& r : s.rows_stored()) CHECK(r.position == next++);
  CHECK(next == s.settled_of("s/0"));
}

// A stage whose sink rejects the old password.
std::shared_ptr<stage> locked_out(std::atomic<bool>& down) {
  auto s = new_stage("s");
  s->endless = true;
  s->on_write = [&](std::uint64_t) -> result<void> { return down ? result<void>(retry("no")) : result<void>(); };
  return s;
}

double metric(test_host& h, const std::string& series) {
  const auto text = h.metrics().render();
  const auto at = text.find("\n" + series + " ");
  return at == std::string::npos ? -1 : std::stod(text.substr(at + series.size() + 2));
}

}  // namespace

TEST_CASE("a changed sink takes over what its predecessor could not write, once and in order") {
  for (const std::string more : {", note: new password", ", writers: 3", ", batch: {rows: 7}"}) {
    CAPTURE(more);
    std::atomic<bool> down{true};
    auto s = locked_out(down);
    test_host h;
    auto p = h.build(plain(out()));
    REQUIRE_MESSAGE(p, h.problems);
    p->start();
    CHECK(eventually([&] { return s->writes > 3 && p->progress().records_in > 200; }));
    const auto starts = s->starts.load();
    auto changed = h.build(
        plain(more.starts_with(", batch") ? out().replace(out().find("rows: 50"), 8, "rows: 7") : out(more)), p.get());
    REQUIRE_MESSAGE(changed, h.problems);
    REQUIRE(p->quiesce(1min, *changed));
    down = false;  // only the changed sink can write
    changed->replace(*p);
    p = std::move(changed);
    CHECK(eventually([&] { return s->rows_stored().size() > 3000; }));
    end(p);
    check_exact(*s);
    CHECK(s->starts == starts + (more == ", writers: 3" ? 3 : 1));  // the source continues
    CHECK(h.log().find("reload: takes over") != std::string::npos);
  }
}

TEST_CASE("a reload during an outage leaves the queue to a sink that does not change") {
  std::atomic<bool> down{true};
  auto s = locked_out(down);
  test_host h;
  auto p = h.build(plain(out()));
  p->start();
  CHECK(eventually([&] { return s->writes > 3; }));
  for (int i = 0; i < 3; ++i) reload(h, p, plain(out(), ", note: '" + std::to_string(i) + "'"));
  CHECK(s->rows_stored().empty());
  down = false;
  CHECK(eventually([&] { return s->rows_stored().size() > 3000; }));
  end(p);
  check_exact(*s);
  CHECK(s->stops > 0);
}

TEST_CASE("what a removed or renamed sink could not write is read again") {
  std::atomic<bool> down{true};
  auto s = locked_out(down);
  test_host h;
  auto p = h.build(plain(out()));
  p->start();
  CHECK(eventually([&] { return s->writes > 3; }));
  auto changed = h.build(plain(out("", "renamed")), p.get());
  REQUIRE_MESSAGE(changed, h.problems);
  REQUIRE(p->quiesce(1min, *changed));
  changed->replace(*p);
  p = std::move(changed);
  down = false;
  CHECK(eventually([&] { return s->rows_stored().size() > 3000; }));
  end(p);
  check_exact(*s);
}

TEST_CASE("after a reload that was given up, a held sink continues") {
  std::atomic<bool> down{true};
  auto s = locked_out(down);
  test_host h;
  auto p = h.build(plain(out()));
  p->start();
  CHECK(eventually([&] { return s->writes > 3; }));
  for (int i = 0; i < 20; ++i) {
    auto changed = h.build(plain(out(", note: n")), p.get());
    (void)p->quiesce(std::chrono::milliseconds(i), *changed);
    p->resume();
  }
  down = false;
  CHECK(eventually([&] { return s->rows_stored().size() > 3000; }));
  end(p);
  check_exact(*s);
}

TEST_CASE("exactly once: a changed sink takes over positions and state; a changed transform gets its state") {
  auto w = new_world("w");
  const state_folder state;
  std::atomic<bool> away{false};
  w->database.away = [&](std::uint64_t) { return away.load(); };
  test_host h;
  const auto yaml = [&](const std::string& note, const std::string& of_sink) {
    auto sinks = tenths();
    sinks.insert(sinks.find("world: w"), "note: '" + of_sink + "', ");
    return counting("exactly_once", state.setting(), tenth(note), sinks);
  };
  auto p = h.build(yaml("0", "0"));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  std::uint64_t each = 0;
  for (int round = 1; round <= 8; ++round) {
    const auto n = std::to_string(round);
    extend(*w, 2, each += 37);
    if (round % 3 != 0) CHECK(eventually([&] { return all_settled(*w); }));
    away = true;
    extend(*w, 2, each += 37);
    const auto writes = w->database.writes;
    CHECK(eventually([&] { return w->database.writes > writes + 5; }));
    auto changed = h.build(round % 2 == 0 ? yaml("0", n) : yaml(n, "0"), p.get());
    REQUIRE_MESSAGE(changed, h.problems);
    REQUIRE(p->quiesce(1min, *changed));
    changed->replace(*p);
    p = std::move(changed);
    away = false;
  }
  CHECK(eventually([&] { return all_settled(*w); }));
  end(p);
  CHECK(w->database.distinct("store") == 2 * each);
  CHECK(w->database.most("store") == 1);
  for (std::uint64_t i = 0; i < each; ++i)
    for (const auto* stream : {"t/0", "t/1"})
      if (w->database.times("tenths", stream, i) != (i % 10 == 9 ? 1 : 0))
        FAIL_CHECK(stream << " " << i << " is " << w->database.times("tenths", stream, i) << " times in tenths");
}

TEST_CASE("a reload and a stop do not wait for a sink that cannot start and has nothing to write") {
  test_host h;
  auto s = new_stage("s");
  s->on_start = [] { return pl::result<void>(pl::retry("later")); };
  s->on_sink_start = [] { return pl::result<void>(pl::retry("no route to host")); };
  auto p = h.build(plain(out(", retry: {initial: 1h, max: 1h}")));
  p->start();
  CHECK(eventually([&] { return h.log().find("no route to host; attempt 2") != std::string::npos; }));
  reload(h, p, plain(out(", retry: {initial: 2h, max: 2h}")));
  CHECK(eventually(
      [&] { return h.log().find("no route to host; attempt 2") != h.log().rfind("no route to host; attempt 2"); }));
  end(p);
}

TEST_CASE("a node that a reload starts does not stop the pipeline: it is retried until the next reload corrects it") {
  test_host h;
  auto s = new_stage("s");
  s->endless = true;
  std::atomic<bool> wrong{false};
  s->on_sink_start =
      s->on_transform_start = [&] { return wrong ? pl::result<void>(pl::fatal("refused")) : pl::result<void>(); };
  auto p = h.build(plain(out()));
  p->start();
  CHECK(eventually([&] { return s->rows_stored().size() > 300; }));
  wrong = true;
  for (const auto& [sink, mid] : {std::pair{", note: wrong", ""}, std::pair{"", ", note: wrong"}}) {
    reload(h, p, plain(out(sink), mid));
    const auto node = std::string(mid).empty() ? "out" : "mid";
    CHECK(eventually([&] {
      std::vector<telemetry::not_ready> waiting;
      p->waiting(waiting);
      return std::ranges::any_of(waiting,
                                 [&](const auto& n) { return n.node == node && n.reason == "retrying: refused"; });
    }));
  }
  wrong = false;
  const auto at = s->rows_stored().size();
  reload(h, p, plain(out(", note: right")));
  CHECK(eventually([&] { return s->rows_stored().size() > at + 300; }));
  end(p);
  check_exact(*s);
}

TEST_CASE("a dead-letter sink that is down is replaced while another sink waits for it") {
  test_host h;
  auto s = new_stage("s");
  s->endless = true;
  std::atomic<bool> down{true};
  s->reject_by_name = [](std::string_view text) { return text.ends_with("7"); };
  s->on_dead = [&](std::uint64_t) -> result<void> { return down ? result<void>(retry("no")) : result<void>(); };
  const auto yaml = [](const std::string& note) {
    auto text = plain(out());
    return text.insert(text.rfind(", batch: {delay"), ", note: '" + note + "', retry: {initial: 1ms, max: 5ms}");
  };
  auto p = h.build(yaml("0"));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  const auto waits_for_letters = [&] {
    std::vector<telemetry::not_ready> waiting;
    p->waiting(waiting);
    return std::ranges::any_of(waiting, [](const auto& n) { return n.reason == "waiting for the dead letters"; });
  };
  CHECK(eventually(waits_for_letters));
  auto changed = h.build(yaml("1"), p.get());
  REQUIRE_MESSAGE(changed, h.problems);
  REQUIRE(p->quiesce(1min, *changed));
  changed->replace(*p);
  p = std::move(changed);
  down = false;
  CHECK(eventually([&] { return s->dead_stored().size() > 30; }));
  end(p);
  CHECK(s->rows_stored().size() + s->dead_stored().size() == s->settled_of("s/0"));
}

TEST_CASE("a node whose secret or certificate changed is replaced, with the same configuration") {
  const state_folder folder;
  std::filesystem::create_directories(folder.path());
  const auto file = (folder.path() / "secret").string();
  const auto write = [&](const std::string& text) { std::ofstream(file) << text; };
  for (const auto& [option, reason] : {std::pair{", file: '" + file + "'", "files: file"},
                                       std::pair{", note: '${file:" + file + "}'", "options: note"}}) {
    CAPTURE(option);
    write("old");
    std::atomic<bool> down{true};
    auto s = locked_out(down);
    test_host h;
    const auto yaml = plain(out(option));
    auto p = h.build(yaml);
    REQUIRE_MESSAGE(p, h.problems);
    CHECK(h.build(yaml, p.get())->same_as(*p));
    CHECK_FALSE(p->settings_with_changed_files().has_value());
    p->start();
    CHECK(eventually([&] { return s->writes > 3; }));
    write("new and longer");
    const auto again = p->settings_with_changed_files();
    REQUIRE(again.has_value());
    const auto changed = h.build(yaml, p.get());
    REQUIRE_MESSAGE(changed, h.problems);
    CHECK(changed->plan_replacing(*p).lines() ==
          std::vector<std::string>{std::string("sink out: replace (") + reason + ")"});
    auto refreshed = h.build(*again, p.get());
    REQUIRE_MESSAGE(refreshed, h.problems);
    CHECK(refreshed->same_as(*changed));
    REQUIRE(p->quiesce(1min, *refreshed));
    down = false;
    refreshed->replace(*p);
    p = std::move(refreshed);
    CHECK_FALSE(p->settings_with_changed_files().has_value());
    CHECK(eventually([&] { return s->rows_stored().size() > 3000; }));
    end(p);
    check_exact(*s);
  }
}

// ------------------------------------------------------------------------------------------------- what is shown ---

TEST_CASE("gauges describe what is not settled, also while a sink is down and after a reload") {
  std::atomic<bool> down{true};
  auto s = locked_out(down);
  s->endless = false;
  s->rows = 20000;
  test_host h;
  auto p = h.build(plain(out()));
  p->start();
  const std::string node = "{node=\"out\",pipeline=\"t\"}";
  const auto queued = [&] { return metric(h, "pipeline_queue_bytes" + node); };
  const auto lag = [&] { return metric(h, "pipeline_lag_records{node=\"in\",pipeline=\"t\",stream=\"s/0\"}"); };
  CHECK(eventually([&] { return queued() > 64 * 1024; }));
  CHECK(lag() == 20000);
  CHECK(p->progress().lag == 20000);
  CHECK(metric(h, "pipeline_in_flight_batches{node=\"in\",pipeline=\"t\"}") > 0);
  const auto before = queued();
  reload(h, p, plain(out(", note: 1")));
  CHECK(queued() >= before);  // the lane may have filled it further
  CHECK(lag() == 20000);
  down = false;
  CHECK(eventually([&] { return p->ended(); }));
  CHECK(queued() == 0);
  CHECK(lag() == -1);  // the stream is no longer assigned
  CHECK(metric(h, "pipeline_in_flight_batches{node=\"in\",pipeline=\"t\"}") == 0);
  end(p);
}

TEST_CASE("totals continue after a reload that replaces every node") {
  test_host h;
  auto s = new_stage("s");
  s->endless = true;
  const auto yaml = [](const std::string& delay) {
    auto text = plain(out("", "out"));
    text.insert(text.find("sources:"), delay);
    return text;
  };
  const state_folder other;
  auto p = h.build(yaml(""));
  p->start();
  CHECK(eventually([&] { return s->rows_stored().size() > 300; }));
  const auto before = p->progress();
  reload(h, p, yaml(other.setting()));  // every instance depends on the state directory
  const auto after = p->progress();
  CHECK(after.records_in >= before.records_in);
  CHECK(after.records_stored >= before.records_stored);
  CHECK(after.uptime >= before.uptime);
  CHECK(eventually([&] { return p->progress().records_in > after.records_in + 300; }));
  end(p);
}

TEST_CASE("the end of an outage is logged once, with its length, the attempts and the records that waited") {
  std::atomic<bool> down{true};
  auto s = locked_out(down);
  test_host h;
  auto p = h.build(plain(out()));
  p->start();
  CHECK(eventually([&] { return s->writes > 5; }));
  CHECK(h.log().find("works again") == std::string::npos);
  down = false;
  CHECK(eventually([&] { return h.log().find("t/out: works again after ") != std::string::npos; }));
  CHECK(eventually([&] { return s->rows_stored().size() > 3000; }));
  end(p);
  const auto log = h.log();
  const auto line =
      log.substr(log.find("works again"), log.find('\n', log.find("works again")) - log.find("works again"));
  CAPTURE(line);
  CHECK(line.find(" failed attempts; ") != std::string::npos);
  CHECK(line.ends_with(" records were waiting"));
  CHECK(line.find("; 0 records") == std::string::npos);
  CHECK(log.find("works again", log.find("works again") + 1) == std::string::npos);
}

TEST_CASE("a write that is refused as a whole for one reason is an error; single refused rows are not") {
  const auto lines = [](bool all, const std::string& sink) {
    test_host h;
    auto s = new_stage("s");
    s->rows = 500;
    const auto refuse = [all](std::string_view text) { return all || text.ends_with("7"); };
    if (sink == "named")
      s->reject_by_name = refuse;
    else
      s->refuse = refuse;
    auto p = h.build(plain(out()));
    p->start();
    CHECK(eventually([&] { return p->ended(); }));
    end(p);
    CHECK(s->dead_stored().size() == (all ? 500 : 50));
    return h.log();
  };
  for (const std::string sink : {"named", "bisected"}) {
    CAPTURE(sink);
    const auto all = lines(true, sink);
    CHECK(all.find(" error t/out: every row of a write was refused for one reason, ") != std::string::npos);
    CHECK(lines(false, sink).find("every row of a write") == std::string::npos);
  }
}

TEST_CASE("a sink that reports a lost connection is not ready, until it is connected again") {
  test_host h;
  auto s = new_stage("s");
  s->endless = true;
  std::atomic<bool> lost{true};
  s->on_connection = [&](const pl::liveness& live) {
    lost ? live.disconnected("the broker closed the connection") : live.connected();
  };
  auto p = h.build(plain(out()));
  p->start();
  const auto reasons = [&] {
    std::vector<telemetry::not_ready> waiting;
    p->waiting(waiting);
    std::string all;
    for (const auto& n : waiting) all += n.node + ": " + n.reason + "\n";
    return all;
  };
  CHECK(eventually([&] { return reasons() == "out: the broker closed the connection\n"; }));
  std::vector<telemetry::not_ready> not_accepting;
  p->not_accepting(not_accepting);
  CHECK(not_accepting.empty());
  lost = false;
  CHECK(eventually([&] { return reasons().empty(); }));
  CHECK(eventually([&] { return h.log().find("t/out: connected again after ") != std::string::npos; }));
  end(p);
}
