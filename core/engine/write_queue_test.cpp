// SPDX-License-Identifier: Apache-2.0
// Tests of what one write takes from the queue of a writer.
#include "engine/write_queue.hpp"

#include "engine/memory.hpp"
#include "engine/schema_pool.hpp"

#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

using namespace pl;
using namespace pl::engine;
using namespace std::chrono_literals;

namespace {

class fixture {
 public:
  explicit fixture(std::uint64_t memory = 1U << 30U) : memory_(memory) {}
  // A group of one batch, whose source keeps `pinned` bytes in memory for it, and has no positions.
  write_queue::batches group(std::uint32_t rows, std::size_t pinned, const char* column = "n") {
    const auto name = borrow(column);
    batch_ref b(new record_batch(memory_.pool, nullptr, schemas_.intern(&name, 1), rows));
    auto* cells = static_cast<cell*>(b->alloc(rows * sizeof(cell), alignof(cell)));
    std::fill_n(cells, rows, int_cell(1));
    b->cols[0] = cells;
    b->pin(nullptr, pinned, [](void*) {});
    write_queue::batches all;
    all.push_back(std::move(b));
    return all;
  }
  // A group that has positions alone, of such a source batch.
  write_queue::batches positions(std::size_t pinned) {
    const auto rows = group(1, pinned);
    write_queue::batches all;
    all.push_back(select_rows(memory_.pool, *rows.front(), {}));
    return all;
  }
  [[nodiscard]] const memory_budget& budget() const noexcept { return memory_.budget; }
  [[nodiscard]] block_pool& pool() noexcept { return memory_.pool; }
  std::unique_ptr<write_queue> queue(const config::batch_settings& settings, std::uint64_t disk_bytes = 0,
                                     std::uint64_t remove_at = UINT64_MAX) {
    auto disk = std::make_unique<disk_queue>(disk_queue_settings{dir_.path().string(), "p", "store", 0, disk_bytes},
                                             std::make_shared<disk_usage>(telemetry::gauge()), memory_.pool,
                                             [](telemetry::log_level, std::string_view) {});
    return std::make_unique<write_queue>(settings, write_queue::limits{64U << 20U, remove_at}, write_queue::gauges{},
                                         memory_.pool, std::move(disk));
  }

 private:
  const pl::testing::temp_dir dir_;
  pipeline_memory memory_;
  schema_pool schemas_;
};

config::batch_settings settings(std::uint64_t rows, std::uint64_t max_bytes, std::uint64_t max_rows = 1'000'000) {
  return {rows, 1h, max_bytes, max_rows};
}

// For pushes that remove nothing.
void kept(const queued_group&) { FAIL_CHECK("a group was removed"); }

std::uint64_t rows_of(const write_queue::batches& taken) {
  std::uint64_t rows = 0;
  for (const auto& b : taken) rows += b->nsel;
  return rows;
}

}  // namespace

TEST_CASE("max_bytes limits the size of the write, not the memory that sources hold for it") {
  fixture f;
  const auto q = f.queue(settings(1000, 1U << 20U));  // 65,536 cells
  for (int i = 0; i < 5; ++i) q->push(f.group(4096, 2U << 20U), kept);
  CHECK(rows_of(q->take()) == 5 * 4096);
  q->taken_is_done({});
  for (int i = 0; i < 20; ++i) q->push(f.group(4096, 0), kept);
  CHECK(rows_of(q->take()) == 16 * 4096);
  q->taken_is_done({});
  CHECK(q->unwritten().rows == 4 * 4096);
}

TEST_CASE("a write takes at most a quarter of the queue's memory") {
  fixture f;
  const auto q = f.queue(settings(1000, 1U << 20U));
  for (int i = 0; i < 12; ++i) q->push(f.group(100, 4U << 20U), kept);
  CHECK(rows_of(q->take()) == 3 * 100);  // 12 MiB and some more; four groups would exceed 16 MiB
  q->taken_is_done({});
  CHECK(q->unwritten().rows == 9 * 100);
}

TEST_CASE("max_bytes of memory alone make no write due") {
  fixture f;
  const auto q = f.queue({1000, 50ms, 1U << 20U, 1'000'000});
  const auto began = std::chrono::steady_clock::now();
  q->push(f.group(10, 8U << 20U), kept);
  CHECK(rows_of(q->take()) == 10);
  CHECK(std::chrono::steady_clock::now() - began >= 50ms);  // batch.delay
}

TEST_CASE("a write is due at once when more would wait than one write may take of the memory") {
  fixture f;
  const auto q = f.queue(settings(1000, 1U << 20U));  // the delay is an hour
  for (int i = 0; i < 4; ++i) q->push(f.group(10, 5U << 20U), kept);
  CHECK(rows_of(q->take()) == 3 * 10);  // of 16 MiB
  q->taken_is_done({});
}

TEST_CASE("a write is due at max_bytes of memory while memory is scarce") {
  fixture f(16U << 20U);
  const auto q = f.queue(settings(1000, 1U << 20U));  // the delay is an hour
  const auto held = f.group(1, 12U << 20U);
  q->push(f.group(10, 1U << 20U), kept);
  CHECK(rows_of(q->take()) == 10);
  q->taken_is_done({});
}

TEST_CASE("a full queue is due, also if a write may take more") {
  fixture f(8U << 20U);
  const auto q = f.queue(settings(1'000'000, 32U << 20U));  // the delay is an hour
  for (int i = 0; i < 3; ++i) q->push(f.group(10, 3U << 20U), kept);
  CHECK(rows_of(q->take()) == 3 * 10);
  q->taken_is_done({});
}

TEST_CASE("a full queue is due, also if its disk part has no room") {
  fixture f(64U << 20U);
  const auto q = f.queue(settings(1'000'000, 60U << 20U), 1);  // the delay is an hour; a byte on disk
  for (int i = 0; i < 2; ++i) q->push(f.group(10, 17U << 20U), kept);
  CHECK(q->full());  // at half of the memory
  CHECK(rows_of(q->take()) == 2 * 10);
  q->taken_is_done({});
}

TEST_CASE("a queue whose groups cannot be stored on disk is full at max_bytes") {
  for (const bool storable : {true, false}) {
    CAPTURE(storable);
    fixture f;
    const auto q = f.queue(settings(1000, 1U << 20U), 64U << 20U);
    for (int i = 0; i < 2; ++i) q->push(f.group(10, 33U << 20U, storable ? "n" : "value"), kept);
    CHECK(q->full() == !storable);
    CHECK((q->disk_bytes() != 0) == storable);
  }
}

TEST_CASE("what is read again is released at once, in memory and on disk, and the others stay") {
  fixture f;
  settlement_inbox inbox;
  auto again = std::make_shared<stream_state>("s/0", 0, 0), other = std::make_shared<stream_state>("s/1", 0, 0);
  const auto q = f.queue(settings(1000, 1U << 20U), 64U << 20U);
  for (const auto& stream : {again, other, again, again}) {
    auto group = f.group(10, 40U << 20U);
    group.front()->track(std::make_shared<settlement>(inbox, std::vector<flight>{{stream, stream->begin(10)}}));
    q->push(std::move(group), kept);
  }
  CHECK(q->disk_bytes() != 0);
  again->mark_lost();
  q->release_lost();
  CHECK(q->unwritten().rows == 10);
  const auto reports = inbox.take();
  REQUIRE(reports.size() == 3);
  for (const auto& r : reports) CHECK((r.flights.front().stream == again && !r.delivered));
  other->mark_lost();
  q->release_lost();
  CHECK(q->unwritten().rows == 0);
  CHECK(q->disk_bytes() == 0);  // the file is gone, too
}

TEST_CASE("a queue is half empty only when its part on disk is, too") {
  fixture f;
  const auto q = f.queue(settings(1, 1U << 16U), 1U << 20U);
  q->push(f.group(10, 40U << 20U), kept);
  CHECK_FALSE(q->half_empty());
  while (q->disk_bytes() != 1U << 20U) q->push(f.group(4096, 33U << 20U), kept);
  CHECK(rows_of(q->take()) == 10);
  q->taken_is_done({});
  CHECK(q->unwritten().bytes == 0);  // the others are on disk
  CHECK_FALSE(q->half_empty());
  while (q->unwritten().rows != 0) {
    CHECK(rows_of(q->take()) == 4096);
    q->taken_is_done({});
  }
  CHECK(q->half_empty());
}

TEST_CASE("groups that have positions alone count the source batch that they keep in memory, and go to disk") {
  fixture f(64U << 20U);
  const auto q = f.queue(settings(1000, 1U << 20U), 64U << 20U);
  for (int i = 0; i < 20; ++i) q->push(f.positions(6U << 20U), kept);
  CHECK(q->disk_bytes() != 0);
  CHECK(q->unwritten().groups == 20);
  CHECK(q->unwritten().rows == 0);
  CHECK(q->unwritten().bytes > 12U << 20U);  // of two
  CHECK(f.budget().used() < 13U << 20U);
  CHECK_FALSE(q->full());
  std::size_t taken = 0;
  q->close();
  for (auto batches = q->take(); !batches.empty(); batches = q->take()) {
    taken += batches.size();
    batches.clear();
    q->taken_is_done({});
  }
  CHECK(taken == 20);
  CHECK(f.budget().used() == 0);
}

TEST_CASE("a queue that drops groups also drops those on disk, before their entries fill the memory") {
  for (const auto policy : {config::full_policy::drop_oldest, config::full_policy::drop_newest}) {
    const bool oldest = policy == config::full_policy::drop_oldest;
    CAPTURE(oldest);
    fixture f(1U << 20U);
    const auto q = f.queue(settings(1000, 1U << 20U), 64U << 20U, 256U << 10U);
    q->when_full(policy);
    std::uint64_t removed = 0, rows = 0;
    for (std::uint32_t i = 1; i <= 4000; ++i)
      q->push(f.group(i % 100 + 1, 0), [&](queued_group g) {
        ++removed;
        rows += g.size.rows;
        g.settle();
      });
    CHECK(f.budget().used() < (1U << 20U) / 4 * 3);
    CHECK(removed > 1000);
    CHECK(removed < 3900);
    CHECK(q->unwritten().groups == 4000 - removed);
    CHECK(q->disk_bytes() != 0);
    std::uint64_t left = 0;
    q->close();
    for (auto batches = q->take(); !batches.empty(); batches = q->take()) {
      for (const auto& b : batches) left += b->nsel;
      batches.clear();
      q->taken_is_done({});
    }
    std::uint64_t all = 0;
    for (std::uint32_t i = 1; i <= 4000; ++i) all += i % 100 + 1;
    CHECK(left + rows == all);
  }
}

TEST_CASE("a full queue of a sink that was given up makes few dead letters at once, however large its files are") {
  fixture f(8U << 20U);
  const auto q = f.queue(settings(1000, 1U << 20U), 1U << 20U, 64U << 10U);
  q->when_full(config::full_policy::drop_oldest);
  std::uint64_t most = 0, removed = 0;
  for (int i = 0; i < 2000; ++i) {
    std::uint64_t bytes = 0;
    q->push(f.group(900, 0), [&](queued_group g) {
      bytes += g.size.bytes;
      ++removed;
      g.settle();
    });
    most = std::max(most, bytes);
  }
  CHECK(removed > 500);
  CHECK(most < (8U << 20U) / 4);  // an eighth, and what has no room in memory
  CHECK(q->unwritten().groups == 2000 - removed);
  CHECK(f.budget().used() < (8U << 20U) / 4 * 3);
}

TEST_CASE("a writer that waits for batch.delay continues to wait when all that waits is released") {
  fixture f;
  settlement_inbox inbox;
  auto again = std::make_shared<stream_state>("s/0", 0, 0);
  const auto q = f.queue({1000, 50ms, 1U << 20U, 1'000'000});
  auto group = f.group(10, 0);
  group.front()->track(std::make_shared<settlement>(inbox, std::vector<flight>{{again, again->begin(10)}}));
  q->push(std::move(group), kept);
  auto taken = std::async(std::launch::async, [&] { return rows_of(q->take()); });
  again->mark_lost();
  q->release_lost();
  CHECK(taken.wait_for(150ms) == std::future_status::timeout);
  q->push(f.group(1000, 0), kept);
  const bool woken = taken.wait_for(60s) == std::future_status::ready;
  q->close();
  REQUIRE(woken);
  CHECK(taken.get() == 1000);
  q->taken_is_done({});
}

TEST_CASE("a waiting writer is woken at once by what makes a write due") {
  using wake = std::function<void(write_queue&, fixture&)>;
  const std::pair<const char*, wake> wakes[] = {
      {"the last row of a write", [](auto& q, auto& f) { q.push(f.group(990, 0), kept); }},
      {"more memory than one write takes", [](auto& q, auto& f) { q.push(f.group(100, 20U << 20U), kept); }},
      {"a flush", [](auto& q, auto&) { q.flush(true); }},
      {"the end", [](auto& q, auto&) { q.close(); }},
  };
  for (const auto& w : wakes) {
    CAPTURE(w.first);
    fixture f;
    const auto q = f.queue(settings(1000, 1U << 20U));  // the delay is an hour
    auto taken = std::async(std::launch::async, [&] { return rows_of(q->take()); });
    q->push(f.group(10, 0), kept);
    CHECK(taken.wait_for(20ms) == std::future_status::timeout);
    w.second(*q, f);
    const bool woken = taken.wait_for(60s) == std::future_status::ready;
    q->close();
    REQUIRE(woken);
    CHECK(taken.get() >= 10);
    q->taken_is_done({});
  }
}

TEST_CASE("a waiting writer is woken at once by a hold, and by a group of another queue") {
  fixture f;
  const auto q = f.queue(settings(10, 1U << 20U));
  auto taken = std::async(std::launch::async, [&] { return rows_of(q->take()); });
  q->adopt(queued_group(f.group(10, 0)));
  REQUIRE(taken.wait_for(60s) == std::future_status::ready);
  CHECK(taken.get() == 10);
  q->taken_is_done({});
  q->push(f.group(1, 0), kept);
  taken = std::async(std::launch::async, [&] { return rows_of(q->take()); });
  q->hold();
  REQUIRE(taken.wait_for(60s) == std::future_status::ready);
  CHECK(taken.get() == 0);
  CHECK(q->unwritten().rows == 1);
}

// Otherwise two writers fill the queue with half as many rows, and write them in transactions half as large.
TEST_CASE("the parts of a batch for several writers count its memory once") {
  fixture f;
  constexpr std::size_t pinned = 16U << 20U;
  const auto whole = f.group(4, pinned);
  auto& batch = *whole.front();
  auto* ranges = static_cast<pl_range*>(batch.alloc(2 * sizeof(pl_range), alignof(pl_range)));
  auto* origin = static_cast<std::uint32_t*>(batch.alloc(4 * sizeof(std::uint32_t), alignof(std::uint32_t)));
  REQUIRE((ranges != nullptr && origin != nullptr));
  ranges[0] = ranges[1] = {};
  std::fill_n(origin, 4, 0);
  origin[3] = 1;
  batch.ranges = ranges;
  batch.nranges = 2;
  batch.origin = origin;
  const auto part = [&](bool first, bool second) {
    auto made = select_ranges(f.pool(), batch, {first, second});
    REQUIRE(made);
    CHECK(made->footprint() > pinned);  // alone, it keeps the whole batch
    made->share_parent();
    return made;
  };
  const auto large = part(true, false), small = part(false, true);
  CHECK(large->footprint() >= 3 * pinned / 4);
  CHECK(small->footprint() >= pinned / 4);
  CHECK(large->footprint() + small->footprint() < pinned + (1U << 20U));
}

TEST_CASE("a write that is due takes whole groups up to max_rows") {
  fixture f;
  const auto q = f.queue(settings(10'000, 4U << 20U, 10'000));
  for (int i = 0; i < 5; ++i) q->push(f.group(4096, 0), kept);
  CHECK(rows_of(q->take()) == 2 * 4096);
  q->taken_is_done({});
  CHECK(rows_of(q->take()) == 2 * 4096);
}

TEST_CASE("the next write counts as waiting when rows are removed, until it begins") {
  for (const auto policy : {config::full_policy::drop_oldest, config::full_policy::drop_newest}) {
    fixture f;
    const auto q = f.queue(settings(10, 64U << 20U, 10), 0, 16U << 20U);  // a write has one group
    q->when_full(policy);
    std::uint64_t removed = 0;
    const auto push = [&] { q->push(f.group(10, 6U << 20U), [&](const queued_group& g) { removed += g.size.rows; }); };
    push();
    CHECK(rows_of(q->take()) == 10);
    push();
    auto following = q->take_next();
    REQUIRE(following.size() == 1);
    for (int i = 0; i < 4; ++i) push();
    CHECK(q->unwritten().rows == 10 + (policy == config::full_policy::drop_oldest ? 20 : 30));
    CHECK(removed == (policy == config::full_policy::drop_oldest ? 30 : 20));
    q->taken_is_done({});
    CHECK(rows_of(q->load(std::move(following))) == 10);
    push();  // there is room for one
    CHECK(removed == (policy == config::full_policy::drop_oldest ? 30 : 20));
  }
}
