// SPDX-License-Identifier: Apache-2.0
// Pipelines whose sinks are down while their queues are on disk: hosts are killed, replaced by others, reloaded and
// stopped, files are damaged, and the disk is full.
#include "engine/testing/queue_files.hpp"
#include "engine/testing/test_host.hpp"

#include <pipeline/testing/temp_dir.hpp>

#include <disk_faults.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <map>
#include <random>
#include <set>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;
using namespace std::chrono_literals;

namespace {

// A place in a queue's file that the first write does not take, whose size batch.max_bytes limits: a writer may begin it at
// any time, and what it took is no longer read from the file.
constexpr std::uint64_t beyond_first_write = 100'000;

// A world whose database is down while the sinks' queues grow on disk.
class outage_of_sinks {
 public:
  explicit outage_of_sinks(std::uint64_t streams = 3) : streams_(streams) {
    w->database.away = [this](std::uint64_t) { return away.load(); };
  }
  [[nodiscard]] std::string yaml(const std::string& note = "", const std::string& more = "",
                                 const std::string& top = "") const {
    const auto sink = ", world: disk, note: '" + note +
                      "', queue: {max_bytes: 4KiB, disk: 64MiB}, batch: {rows: 50, "
                      "delay: 2ms, max_bytes: 16KiB}, retry: {initial: 1ms, max: 3ms}" +
                      more + "}\n";
    return "name: t\nhttp: {listen: off}\ndelivery: exactly_once\nshutdown_timeout: 1s\nstate_dir: '" +
           dir.path().string() + "'\n" + top +
           "sources:\n  in: {plugin: exact_source, world: disk}\n"
           "transforms:\n  tenth: {plugin: every_tenth, from: in, world: disk}\n"
           "sinks:\n  store: {plugin: exact_sink, from: in" +
           sink + "  tenths: {plugin: exact_sink, from: tenth" + sink +
           "dead_letters: {plugin: exact_dead, world: disk, batch: {delay: 2ms}}\n";
  }
  std::unique_ptr<pipeline> build(const std::string& yaml, const pipeline* previous = nullptr) {
    auto p = h.build(yaml, previous);
    REQUIRE_MESSAGE(p, h.problems);
    return p;
  }
  void extend_to(std::uint64_t each) {
    each_ = each;
    std::scoped_lock lock(w->broker.mutex);
    for (std::uint64_t s = 0; s < streams_; ++s) w->broker.partitions["t/" + std::to_string(s)].end = each;
  }
  bool all_settled() {
    std::scoped_lock lock(w->broker.mutex);
    return std::ranges::all_of(w->broker.partitions, [](const auto& entry) {
      const auto& p = entry.second;
      return p.has_committed && p.marked && p.committed == p.end;
    });
  }
  std::uint64_t members() {
    std::scoped_lock lock(w->broker.mutex);
    return w->broker.members;
  }
  // Return whether hosts that started since have read everything.
  bool all_read_since(std::uint64_t members) {
    std::scoped_lock lock(w->broker.mutex);
    return std::ranges::all_of(w->broker.partitions, [&](const auto& entry) {
      const auto& p = entry.second;
      return p.owner > members && p.read == p.end;
    });
  }
  void check_exact() {
    CHECK(w->database.distinct("store") == streams_ * each_);
    CHECK(w->database.most("store") == 1);
    for (std::uint64_t s = 0; s < streams_; ++s)
      for (std::uint64_t i = 0; i < each_; ++i) {
        const auto stream = "t/" + std::to_string(s);
        if (w->database.times("tenths", stream, i) != (i % 10 == 9 ? 1 : 0))
          FAIL_CHECK(stream << " " << i << " is " << w->database.times("tenths", stream, i) << " times in tenths");
      }
    // The dead letters of `tenth`: at least once.
    std::scoped_lock lock(w->mutex);
    CHECK(w->dead_letters[""].size() == streams_ * each_ / 10);
  }
  void check_no_files() const { CHECK(queue_files(dir.path()).empty()); }
  double metric(const std::string& name, const std::string& node) {
    const auto text = h.metrics().render();
    const auto at = text.find("pipeline_" + name + "{");
    for (auto line = at; line != std::string::npos; line = text.find("pipeline_" + name + "{", line + 1)) {
      const auto end = text.find('\n', line);
      const auto whole = text.substr(line, end - line);
      if (whole.find("node=\"" + node + "\"") != std::string::npos) return std::stod(whole.substr(whole.rfind(' ')));
    }
    return -1;
  }
  void finish(std::unique_ptr<pipeline>& p) {
    CHECK(eventually([&] { return all_settled(); }));
    p->stop();
    p->join();
    CHECK(p->failure().empty());
    p.reset();
  }

  const pl::testing::temp_dir dir;
  std::shared_ptr<world> w = new_world("disk");
  std::atomic<bool> away{true};
  test_host h;

 private:
  std::uint64_t streams_, each_ = 0;
};

}  // namespace

TEST_CASE("while a sink is down the source is read to its end, and everything is stored once afterwards") {
  outage_of_sinks o;
  o.extend_to(2000);
  auto p = o.build(o.yaml("", "", "lanes: 2\n"));
  p->start();
  CHECK(eventually([&] { return p->progress().records_in == 6000; }));
  CHECK(p->progress().lag == 6000);  // nothing is settled
  CHECK(p->progress().disk_bytes > 0);
  CHECK(o.metric("queue_disk_bytes", "store") > 0);
  CHECK(o.metric("queue_disk_batches", "store") > 100);
  CHECK(o.metric("queue_disk_limit_bytes", "store") == 64 << 20);
  CHECK(o.metric("queue_bytes", "store") < 1 << 20);
  CHECK(eventually([&] { return p->progress().memory_bytes < 2 << 20; }));  // dead letters are written meanwhile
  CHECK_FALSE(queue_files(o.dir.path()).empty());
  o.away = false;
  CHECK(eventually([&] { return o.all_settled(); }));
  CHECK(eventually([&] { return p->progress().lag == 0; }));
  CHECK(eventually([&] { return queue_files(o.dir.path()).empty(); }));
  for (const std::string name : {"queue_disk_bytes", "queue_disk_batches", "queue_bytes"})
    CHECK_MESSAGE(eventually([&] { return o.metric(name, "store") == 0; }), name);
  CHECK(eventually([&] { return p->progress().memory_bytes == 0; }));
  CHECK(o.w->database.fenced == 0);
  CHECK(o.w->broker.members == 2);  // the lanes' sources started once
  o.finish(p);
  o.check_exact();
}

TEST_CASE("hosts are killed and replaced while their queues are on disk") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  outage_of_sinks o;
  o.extend_to(1000);
  o.w->database.lose_reply = [n = std::uint64_t{0}](std::uint64_t) mutable { return ++n % 11 == 0; };
  std::vector<std::unique_ptr<pipeline>> zombies;
  for (int round = 0; round < 24; ++round) {
    o.away = random() % 2 == 0;
    auto p = o.build(o.yaml("", "", round % 2 == 0 ? "lanes: 2\n" : ""));
    const auto reads = random() % 1500;
    const auto before = o.members();
    p->start();
    // A claim needs no write: a host reads although the database refuses writes, also beside its predecessors.
    CHECK(eventually([&] { return p->progress().records_in >= reads || o.all_read_since(before); }));
    o.away = random() % 2 == 0;
    if (random() % 2 == 0) {
      p->abandon();
      p->stop();
      p->join();
      zombies.clear();
    } else {
      zombies.push_back(std::move(p));  // it continues beside its successor, which is assigned its partitions
      if (zombies.size() > 2) zombies.erase(zombies.begin());
    }
  }
  o.away = false;
  zombies.clear();
  auto p = o.build(o.yaml());
  p->start();
  o.finish(p);
  o.check_exact();
  o.check_no_files();
}

TEST_CASE("a changed sink takes over what its predecessor has on disk") {
  outage_of_sinks o;
  o.extend_to(1000);
  auto p = o.build(o.yaml("old"));
  p->start();
  CHECK(eventually([&] { return p->progress().records_in == 3000; }));
  auto changed = o.build(o.yaml("new"), p.get());
  REQUIRE(p->quiesce(1min, *changed));
  changed->replace(*p);
  p = std::move(changed);
  CHECK(o.h.log().find("reload: takes over ") != std::string::npos);
  CHECK(p->progress().disk_bytes > 0);
  CHECK(o.metric("queue_disk_batches", "store") > 50);
  o.extend_to(1500);
  CHECK(eventually([&] { return p->progress().records_in == 4500; }));
  o.away = false;
  CHECK(eventually([&] { return o.all_settled(); }));
  CHECK(o.w->database.fenced == 0);
  CHECK(o.w->broker.members == 1);  // nothing was read again
  CHECK(eventually([&] { return queue_files(o.dir.path()).empty(); }));
  CHECK(eventually([&] { return o.metric("queue_disk_bytes", "store") == 0; }));
  o.finish(p);
  o.check_exact();
}

TEST_CASE("a changed sink without a part on disk, or with other writers, stores everything once, too") {
  for (const bool writers : {false, true}) {
    CAPTURE(writers);
    outage_of_sinks o;
    o.extend_to(1000);
    auto p = o.build(o.yaml());
    p->start();
    CHECK(eventually([&] { return p->progress().records_in == 3000; }));
    auto text = o.yaml("", writers ? ", writers: 3" : "");
    for (const std::string disk = ", disk: 64MiB"; !writers && text.find(disk) != std::string::npos;)
      text.erase(text.find(disk), disk.size());
    auto changed = o.build(text, p.get());
    REQUIRE(p->quiesce(1min, *changed));
    changed->replace(*p);
    p = std::move(changed);
    CHECK((o.h.log().find("that could not be written are read again") != std::string::npos) == writers);
    o.away = false;
    o.finish(p);
    o.check_exact();
    o.check_no_files();
  }
}

TEST_CASE("records that are damaged on disk are read again, and stored once and in order") {
  for (const std::string damage : {"first", "every"}) {
    CAPTURE(damage);
    outage_of_sinks o;
    o.extend_to(2000);
    auto p = o.build(o.yaml("", "", "lanes: 2\n"));
    p->start();
    CHECK(eventually([&] { return p->progress().records_in == 6000; }));
    const auto files = queue_files(o.dir.path());
    REQUIRE_FALSE(files.empty());
    for (const auto& file : files) {
      flip_bit(file, beyond_first_write);
      if (damage == "every")
        for (std::uint64_t at = 0; at < 100'000; at += 500) write_byte(file, at, '!');
    }
    o.away = false;
    CHECK(eventually([&] { return o.all_settled(); }));
    CHECK(o.h.log().find("is damaged: the checksum of ") != std::string::npos);
    CHECK(eventually([&] { return queue_files(o.dir.path()).empty(); }));
    CHECK(o.h.log().find("the queue of a sink is damaged on disk; the source starts again") != std::string::npos);
    o.finish(p);
    o.check_exact();
    o.check_no_files();
  }
}

TEST_CASE("after damage, a sink without positions receives no record before those that are read again") {
  const pl::testing::temp_dir dir;
  auto s = new_stage("disk");
  s->streams = 3;
  s->rows = 3000;
  std::atomic<bool> away{true};
  s->on_write = [&](std::uint64_t) -> result<void> {
    return away ? result<void>(retry("the sink is down")) : result<void>();
  };
  test_host h;
  auto p = h.build("name: t\nhttp: {listen: off}\nstate_dir: '" + dir.path().string() +
                   "'\nsources:\n  in: {plugin: test_source, stage: disk}\n"
                   "sinks:\n  out: {plugin: test_sink, from: in, stage: disk, queue: {max_bytes: 4KiB, disk: 64MiB}, "
                   "batch: {rows: 50, delay: 2ms, max_bytes: 16KiB}, retry: {initial: 1ms, max: 3ms}}\n"
                   "dead_letters: {plugin: test_dead, stage: disk, batch: {delay: 5ms}}\n");
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  CHECK(eventually([&] { return p->progress().records_in == 9000; }));
  const auto files = queue_files(dir.path());
  REQUIRE_FALSE(files.empty());
  for (const auto& file : files) flip_bit(file, beyond_first_write);
  away = false;
  CHECK(eventually(
      [&] { return s->settled_of("s/0") == 3000 && s->settled_of("s/1") == 3000 && s->settled_of("s/2") == 3000; }));
  p->stop();
  p->join();
  std::map<std::string, std::uint64_t> next;
  std::uint64_t again = 0;
  for (const auto& row : s->rows_stored()) {
    if (row.position > next[row.stream]) FAIL_CHECK(row.stream << " " << row.position << " is too early");
    again += row.position < next[row.stream] ? 1 : 0;
    next[row.stream] = std::max(next[row.stream], row.position + 1);
  }
  for (const auto* stream : {"s/0", "s/1", "s/2"}) CHECK(next[stream] == 3000);
  CHECK(again < 9000);
  CHECK(queue_files(dir.path()).empty());
}

TEST_CASE("after damage, the lane reads again at once, although another sink is down and still holds the records") {
  const pl::testing::temp_dir dir;
  auto s = new_stage("disk"), w = new_stage("hook"), a = new_stage("alerts");
  s->rows = 3000;
  std::atomic<bool> away{true}, hook_away{true};
  s->on_write = [&](std::uint64_t) { return away ? result<void>(retry("the sink is down")) : result<void>(); };
  w->on_write = [&](std::uint64_t) { return hook_away ? result<void>(retry("no response")) : result<void>(); };
  test_host h;
  const std::string queue =
      "queue: {max_bytes: 4KiB, disk: 64MiB}, batch: {rows: 50, delay: 2ms, max_bytes: 16KiB}, retry: ";
  auto p = h.build("name: t\nhttp: {listen: off}\nstate_dir: '" + dir.path().string() +
                   "'\nsources:\n  in: {plugin: test_source, stage: disk}\nsinks:\n"
                   "  out: {plugin: test_sink, from: in, stage: disk, " +
                   queue + "{initial: 1ms, max: 3ms}}\n  hook: {plugin: test_sink, from: in, stage: hook, " + queue +
                   "{initial: 1h, max: 1h}}\n  alerts: {plugin: test_sink, from: in, stage: alerts}\n"
                   "dead_letters: {plugin: test_dead, stage: disk, batch: {delay: 5ms}}\n");
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  CHECK(eventually([&] { return p->progress().records_in == 3000; }));
  CHECK(eventually([&] { return w->writes == 1; }));  // its next attempt is due in an hour
  for (const auto& file : queue_files(dir.path()))
    if (file.find("t.out.") != std::string::npos) flip_bit(file, beyond_first_write);
  away = false;
  const auto has_all = [](stage& of) {
    std::set<std::uint64_t> positions;
    for (const auto& row : of.rows_stored()) positions.insert(row.position);
    return positions.size() == 3000;
  };
  CHECK(eventually([&] { return has_all(*s); }));  // also those that were damaged, while the hook is still down
  CHECK(h.log().find("the queue of a sink is damaged on disk; the source starts again") != std::string::npos);
  CHECK(w->rows_stored().empty());
  CHECK(s->settled_of("s/0") == 0);
  CHECK(eventually([&] { return has_all(*a); }));
  p->abandon();
  p->stop();
  p->join();
}

TEST_CASE("a lane that was fenced claims its streams again at once, although another sink is down") {
  outage_of_sinks o(1);
  o.away = false;
  auto w = new_stage("hook");
  std::atomic<bool> hook_away{true};
  w->on_write = [&](std::uint64_t) { return hook_away ? result<void>(retry("no response")) : result<void>(); };
  o.extend_to(500);
  auto text = o.yaml("", ", delivery: exactly_once");
  text.erase(text.find("delivery: exactly_once\n"), std::string("delivery: exactly_once\n").size());
  text.insert(text.find("dead_letters:"),
              "  hook: {plugin: test_sink, from: in, stage: hook, queue: {max_bytes: 4KiB, disk: 64MiB}, batch: {rows: "
              "50, delay: 2ms}, retry: {initial: 20ms, max: 20ms}}\n");
  auto p = o.build(text);
  p->start();
  CHECK(eventually([&] { return o.w->database.distinct("store") == 500 && w->writes != 0; }));
  {
    std::scoped_lock lock(o.w->database.mutex);  // as if another host had claimed the stream
    ++o.w->database.positions[{"store", "in", "t/0"}].epoch;
  }
  o.extend_to(1000);
  CHECK(eventually([&] { return o.w->database.distinct("store") == 1000; }));  // the hook is still down
  CHECK(o.w->database.fenced > 0);
  CHECK(o.h.log().find("another host has claimed a stream of this lane; the source starts again") != std::string::npos);
  CHECK(w->rows_stored().empty());
  hook_away = false;
  o.finish(p);
  o.check_exact();
  std::uint64_t next = 0;
  for (const auto& row : w->rows_stored()) {
    if (row.position > next) FAIL_CHECK(row.position << " is too early");
    next = std::max(next, row.position + 1);
  }
  CHECK(next == 1000);
}

TEST_CASE("a queue that drops its oldest rows keeps those on disk while the disk fails, and drops from memory") {
  const pl::testing::disk_faults faults;
  const pl::testing::temp_dir dir;
  auto s = new_stage("disk"), w = new_stage("hook");
  s->rows = 60'000;
  std::atomic<bool> away{true};
  w->on_write = [&](std::uint64_t) { return away ? result<void>(retry("no response")) : result<void>(); };
  test_host h;
  auto p =
      h.build("name: t\nhttp: {listen: off}\nstate_dir: '" + dir.path().string() +
              "'\nsources:\n  in: {plugin: test_source, stage: disk}\ntransforms:\n"
              "  same: {plugin: test_transform, from: in, stage: disk}\nsinks:\n"
              "  hook: {plugin: test_sink, from: same, stage: hook, when_full: drop_oldest, queue: {max_bytes: 64KiB, "
              "disk: 64MiB}, batch: {rows: 50, delay: 2ms, max_bytes: 64KiB}, retry: {initial: 1ms, max: 3ms}}\n"
              "  out: {plugin: test_sink, from: same, stage: disk, batch: {rows: 50, delay: 2ms}}\n"
              "dead_letters: {plugin: test_dead, stage: disk, batch: {delay: 5ms}}\n");
  REQUIRE_MESSAGE(p, h.problems);
  s->on_apply = [&](std::uint64_t batch) {  // of 100 rows each
    // What the first write takes from memory makes room there for later rows, which are not on disk.
    if (batch == 50) CHECK(eventually([&] { return w->writes != 0; }));
    if (batch == 300) faults.set("pwritev EIO -1 .queue\n");
    return result<void>();
  };
  p->start();
  REQUIRE(eventually([&] { return s->rows_stored().size() == s->rows; }));  // the hook is passed each row before
  CHECK(h.log().find("the queue continues in memory alone, and its oldest rows are dropped when that is full") !=
        std::string::npos);
  const auto dropped = p->progress().dropped;
  CHECK(dropped > 25'000);
  CHECK(dropped < 32'000);
  CHECK(eventually([&] { return p->progress().memory_bytes < 4U << 20U; }));
  faults.clear();
  away = false;
  REQUIRE(eventually([&] {
    p->supervise();
    return p->ended();
  }));
  p->join();
  CHECK(p->failure().empty());
  const auto rows = w->rows_stored();
  CHECK(rows.size() + dropped == s->rows);
  std::set<std::uint64_t> positions;
  for (const auto& row : rows) positions.insert(row.position);
  CHECK(positions.size() == rows.size());
  // Those before were in memory.
  CHECK(std::distance(positions.lower_bound(10'000), positions.lower_bound(25'000)) == 15'000);
  CHECK(std::ranges::is_sorted(rows, {}, &stage::stored_row::position));
  CHECK(rows.back().position == s->rows - 1);
  CHECK(s->settled_of("s/0") == s->rows);
}

TEST_CASE("with a full disk the source pauses, and continues when there is room again") {
  const pl::testing::disk_faults faults;
  faults.set("open ENOSPC -1 .queue\n");
  outage_of_sinks o;
  o.extend_to(2000);
  auto p = o.build(o.yaml());
  p->start();
  CHECK(eventually([&] { return o.h.log().find("the queue continues in memory alone") != std::string::npos; }));
  std::this_thread::sleep_for(100ms);
  CHECK(p->progress().records_in < 1000);
  faults.clear();
  CHECK(eventually([&] { return p->progress().records_in == 6000; }));
  CHECK(o.h.log().find("the queue can be extended on disk again after") != std::string::npos);
  o.away = false;
  CHECK(o.w->database.fenced == 0);
  o.finish(p);
  o.check_exact();
  o.check_no_files();
}

TEST_CASE("a host that is stopped while a sink is down discards what is on disk, and the next one reads it again") {
  outage_of_sinks o;
  o.extend_to(1000);
  auto p = o.build(o.yaml());
  p->start();
  CHECK(eventually([&] { return p->progress().records_in == 3000; }));
  p->stop();
  std::this_thread::sleep_for(50ms);
  CHECK_FALSE(p->ended());
  const auto began = std::chrono::steady_clock::now();
  p->abandon();  // at the end of shutdown_timeout
  p->join();
  CHECK(std::chrono::steady_clock::now() - began < 20s);
  p.reset();
  o.check_no_files();
  CHECK(o.w->database.distinct("store") == 0);
  for (const auto& [name, partition] : o.w->broker.partitions) CHECK(partition.committed == 0);
  std::ofstream(o.dir / "t.store.0.99.queue") << "left by a host that was killed";
  o.away = false;
  p = o.build(o.yaml());
  p->start();
  o.finish(p);
  CHECK(o.h.log().find("removed 1 file (30 B) of queues on disk") != std::string::npos);
  o.check_exact();
  o.check_no_files();
}
