// SPDX-License-Identifier: Apache-2.0
// Groups on disk that are joined, so that an outage with many small batches needs little memory.
#include "engine/queued_group.hpp"
#include "engine/testing/queue_files.hpp"
#include "engine/testing/test_host.hpp"
#include "engine/write_queue.hpp"

#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <set>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;

namespace {

constexpr std::uint32_t rows_each = 5;

// A lane and a queue on disk. Each group has five records of one of three streams.
class fixture {
 public:
  fixture() {
    for (const auto* name : {"t/0", "t/1", "t/2"}) streams.push_back(std::make_shared<stream_state>(name, 0, 0));
  }
  // The next five records of a stream, whose settlement is then the last one.
  batch_refs group(const std::shared_ptr<stream_state>& stream, settlement_inbox& lane) {
    const auto first = stream->position();
    const auto* name = "text";
    const auto column = borrow(name);
    batch_ref root(new record_batch(memory.pool, nullptr, schemas.intern(&column, 1), rows_each));
    auto* cells = static_cast<pl_cell*>(root->alloc(sizeof(pl_cell) * rows_each, alignof(pl_cell)));
    auto* positions =
        static_cast<std::uint64_t*>(root->alloc(sizeof(std::uint64_t) * rows_each, alignof(std::uint64_t)));
    auto* range = static_cast<pl_range*>(root->alloc(sizeof(pl_range), alignof(pl_range)));
    for (std::uint32_t i = 0; i < rows_each; ++i) cells[i] = text_cell(stream->name()), positions[i] = first + i;
    range[0] = {borrow(stream->name()), first, first + rows_each, PL_UNKNOWN, borrow("in"), 1};
    root->cols[0] = cells;
    root->pos = positions;
    root->ranges = range;
    root->nranges = 1;
    root->nsel = rows_each;
    last = std::make_shared<settlement>(lane, std::vector<flight>{{stream, stream->begin(first + rows_each)}});
    root->track(last);
    batch_refs group;
    group.push_back(std::move(root));
    return group;
  }
  stored_group store(std::size_t s) {
    auto records = group(streams[s], inbox);
    auto stored = queue.store(records);
    REQUIRE(stored);
    return *std::move(stored);
  }
  std::vector<stored_group> store_many(std::size_t count) {
    std::vector<stored_group> all;
    for (std::size_t i = 0; i < count; ++i) all.push_back(store(i % streams.size()));
    last.reset();
    return all;
  }
  static stored_group joined(std::vector<stored_group>& all) {
    auto first = std::move(all.front());
    for (auto& later : std::span(all).subspan(1)) first.append(std::move(later));
    first.join_settlements();
    all.clear();
    return first;
  }
  // Process the reports, as a lane does. Return the number of batches that were reported.
  std::uint64_t settle() {
    std::uint64_t batches = 0;
    for (auto& r : inbox.take()) {
      batches += r.batches;
      for (auto& f : r.flights) f.stream->report(f.number, r.delivered);
    }
    return batches;
  }

  const pl::testing::temp_dir dir;
  pipeline_memory memory{1U << 26U};
  schema_pool schemas;
  settlement_inbox inbox;
  std::vector<std::shared_ptr<stream_state>> streams;
  std::shared_ptr<disk_usage> usage = std::make_shared<disk_usage>(telemetry::gauge());
  disk_queue queue{disk_queue_settings{dir.path().string(), "p", "store", 0, 1U << 22U}, usage, memory.pool,
                   [](telemetry::log_level, std::string_view) {}};
  std::shared_ptr<settlement> last;
};

}  // namespace

TEST_CASE("joined groups need little memory, are loaded in order, and settle together") {
  fixture f;
  auto all = f.store_many(300);
  const auto apart = f.usage->entries();
  const auto memory = f.memory.budget.used();
  auto one = fixture::joined(all);
  CHECK(f.usage->entries() * 5 < apart);
  CHECK(memory - f.memory.budget.used() == apart - f.usage->entries());
  CHECK(f.settle() == 0);
  auto loaded = one.load(f.memory.pool);
  REQUIRE(loaded.ok());
  CHECK(f.usage->entries() == 0);
  std::map<std::string, std::uint64_t> next;
  for (const auto& b : *loaded)
    for (std::uint32_t i = 0; i < b->nsel; ++i) {
      const auto view = b->view();
      CHECK(view.position(i) == next[std::string(view.stream(i))]++);
    }
  for (const auto& s : f.streams) CHECK(next[s->name()] == 500);
  loaded->resize(299);
  CHECK(f.settle() == 0);  // one batch is still in flight
  loaded->clear();
  CHECK(f.settle() == 300);
  for (const auto& s : f.streams) CHECK(s->settled() == 500);
  for (const auto& s : f.streams) CHECK(s->idle());
}

TEST_CASE("records that another sink holds settle on their own, and are joined once it has released them") {
  fixture f;
  std::vector<stored_group> all;
  std::vector<std::shared_ptr<settlement>> held;
  for (int i = 0; i < 9; ++i) {
    all.push_back(f.store(0));
    held.push_back(f.last);
  }
  f.last.reset();
  auto one = fixture::joined(all);
  auto loaded = one.load(f.memory.pool);
  REQUIRE(loaded.ok());
  loaded->clear();
  CHECK(f.settle() == 0);
  held.erase(held.begin(), held.begin() + 3);
  CHECK(f.settle() == 3);
  CHECK(f.streams[0]->settled() == 15);
  held.clear();
  CHECK(f.settle() == 6);

  for (int i = 0; i < 9; ++i) {
    all.push_back(f.store(0));
    held.push_back(f.last);
  }
  f.last.reset();
  one = fixture::joined(all);
  const auto before = f.usage->entries();
  held.erase(held.begin() + 4);
  one.join_settlements();
  CHECK(f.usage->entries() == before);  // its neighbours are held
  held.clear();
  one.join_settlements();
  CHECK(f.usage->entries() < before);
  one.drop();
  CHECK(f.settle() == 9);
  CHECK(f.streams[0]->settled() == 45);  // it was not delivered
}

TEST_CASE("if one part of a joined group is damaged, the whole group is undelivered and read again") {
  fixture f;
  auto all = f.store_many(30);
  auto one = fixture::joined(all);
  const auto files = queue_files(f.dir.path());
  REQUIRE(files.size() == 1);
  write_byte(files.front(), 1000, '!');
  CHECK_FALSE(one.load(f.memory.pool).ok());
  CHECK(f.inbox.take_loss() == settlement_inbox::loss::damaged);
  CHECK(f.settle() == 30);
  for (const auto& s : f.streams) {
    CHECK(s->lost());
    CHECK(s->settled() == 0);
  }
  CHECK(f.memory.budget.used() == f.memory.pool.budget().used());
  CHECK(f.usage->entries() == 0);
}

TEST_CASE("groups of another lane are known, unless one of their streams was revoked") {
  fixture f;
  settlement_inbox other;
  auto group = f.store(0);
  CHECK(group.is_of(f.inbox) == true);
  CHECK(group.is_of(other) == false);
  f.streams[1]->mark_revoked();
  CHECK(group.is_of(other) == false);
  f.streams[0]->mark_revoked();
  CHECK(group.is_of(other) == std::nullopt);
}

TEST_CASE("records of a revoked stream stay before those that another lane has read of it") {
  for (const bool revoked : {false, true}) {
    CAPTURE(revoked);
    fixture f;
    settlement_inbox other;
    auto before = std::make_shared<stream_state>("t/0", 0, 0), now = std::make_shared<stream_state>("t/0", 100, 100);
    write_queue queue(
        config::batch_settings{}, {1, UINT64_MAX}, {}, f.memory.pool,
        std::make_unique<disk_queue>(disk_queue_settings{f.dir.path().string(), "p", "queue", 0, 1U << 22U}, f.usage,
                                     f.memory.pool, [](telemetry::log_level, std::string_view) {}));
    const auto push = [&](const auto& stream, settlement_inbox& lane) {
      queue.push(f.group(stream, lane), [](const queued_group&) { FAIL("a group was removed"); });
      f.last.reset();
    };
    push(f.streams[1], f.inbox);
    push(before, other);
    if (revoked) before->mark_revoked();
    push(now, f.inbox);
    queue.join_stored(f.inbox);
    std::vector<std::uint64_t> order;
    for (const auto& b : queue.take()) order.push_back(b->view().position(0));
    queue.taken_is_done({});
    CHECK(order == (revoked ? std::vector<std::uint64_t>{0, 0, 100} : std::vector<std::uint64_t>{0, 100, 0}));
    CHECK(f.settle() == 2);
  }
}

TEST_CASE("joined ranges of a stream settle as they would apart") {
  std::mt19937 random(7);
  const auto chance = [&](unsigned percent) { return random() % 100 < percent; };
  for (int round = 0; round < 300; ++round) {
    stream_state joined("s", 0, 0), apart("s", 0, 0);
    std::vector<std::vector<std::uint64_t>> in_flight;  // numbers that are joined; the last one stands for all
    for (int step = 0; step < 400; ++step) {
      if (chance(45)) {
        const auto next = apart.position() + random() % 3;
        const auto number = apart.begin(next);
        CHECK(joined.begin(next) == number);
        in_flight.push_back({number});
      } else if (chance(60) && in_flight.size() > 1) {
        const auto i = random() % (in_flight.size() - 1);
        auto &first = in_flight[i], &later = in_flight[i + 1];
        const bool adjacent = first.back() + 1 == later.front();
        CHECK(joined.join(first.back(), later.back()) == adjacent);
        if (!adjacent) continue;
        later.insert(later.begin(), first.begin(), first.end());
        in_flight.erase(in_flight.begin() + static_cast<std::ptrdiff_t>(i));
      } else if (!in_flight.empty()) {
        const auto i = random() % in_flight.size();
        const bool delivered = chance(round % 2 == 0 ? 100 : 99);
        for (const auto number : in_flight[i]) apart.report(number, delivered);
        joined.report(in_flight[i].back(), delivered);
        in_flight.erase(in_flight.begin() + static_cast<std::ptrdiff_t>(i));
      }
      CHECK(joined.settled() == apart.settled());
      CHECK(joined.delivered() == apart.delivered());
      CHECK(joined.begun() == apart.begun());
      CHECK(joined.idle() == apart.idle());
    }
  }
}

TEST_CASE("during an outage, many small batches need little memory once the other sinks have them") {
  const pl::testing::temp_dir dir;
  auto s = new_stage("disk"), a = new_stage("alerts");
  s->streams = 2;
  s->rows = 10'000;
  s->rows_per_poll = 2;
  std::atomic<bool> away{true};
  s->on_write = [&](std::uint64_t) { return away ? result<void>(retry("the sink is down")) : result<void>(); };
  test_host h;
  auto p = h.build("name: t\nhttp: {listen: off}\nstate_dir: '" + dir.path().string() +
                   "'\nsources:\n  in: {plugin: test_source, stage: disk}\nsinks:\n"
                   "  out: {plugin: test_sink, from: in, stage: disk, queue: {max_bytes: 64KiB, disk: 64MiB}, batch: "
                   "{rows: 1000, delay: 2ms}, retry: {initial: 1ms, max: 3ms}}\n"
                   "  alerts: {plugin: test_sink, from: in, stage: alerts, batch: {delay: 1ms}}\n"
                   "dead_letters: {plugin: test_dead, stage: disk}\n");
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  CHECK(eventually([&] { return p->progress().records_in == 20'000; }));
  CHECK(eventually([&] { return a->rows_stored().size() == 20'000; }));
  // Apart, the entries of 10,000 batches would take more than 4 MB. What a write has taken is not of interest here.
  const auto metric = [&](const std::string& name) {
    const auto text = h.metrics().render();
    const auto at = text.find("pipeline_" + name);
    return std::stod(text.substr(text.find(' ', text.find('}', at))));
  };
  CHECK(eventually([&] { return metric("memory_bytes{") - metric("queue_bytes{node=\"out\"") < 1e6; }));
  CHECK(metric("queue_disk_batches{node=\"out\"") > 9'000);
  CHECK(metric("in_flight_batches{") == 10'000);
  CHECK(s->settled_of("s/0") == 0);
  away = false;
  CHECK(eventually([&] { return s->settled_of("s/0") == 10'000 && s->settled_of("s/1") == 10'000; }));
  p->stop();
  p->join();
  std::map<std::string, std::uint64_t> next;
  for (const auto& row : s->rows_stored()) CHECK(row.position == next[row.stream]++);
  for (const auto* stream : {"s/0", "s/1"}) CHECK(next[stream] == 10'000);
  CHECK(queue_files(dir.path()).empty());
}
