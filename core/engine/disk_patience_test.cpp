// SPDX-License-Identifier: Apache-2.0
// Whether lanes wait for a sink or use the disk of its queue.
#include "engine/disk_patience.hpp"

#include "engine/testing/test_host.hpp"
#include "engine/write_queue.hpp"

#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t mib = 1U << 20U;

// A queue whose memory was used up at `t`.
struct used_up {
  const disk_patience::time t = std::chrono::steady_clock::now();
  disk_patience p{500ms};
  used_up() {
    p.end_write(0, t - 1s);
    p.queued(t, true);
  }
  // A write that begins at `t` plus `begin`.
  void write(std::uint64_t bytes, std::chrono::milliseconds begin, std::chrono::milliseconds took) {
    p.begin_write(t + begin);
    p.end_write(bytes, t + begin + took);
  }
};

}  // namespace

TEST_CASE("lanes wait while memory is used up and writes succeed, and as long as one may take") {
  used_up q;
  CHECK(q.p.waits(q.t + 499ms, false));
  CHECK_FALSE(q.p.waits(q.t + 500ms, false));
  q.p.queued(q.t + 501ms, true);  // on disk
  CHECK_FALSE(q.p.waits(q.t + 502ms, false));
  q.write(10 * mib, 550ms, 50ms);
  CHECK(q.p.waits(q.t + 1099ms, false));
  CHECK_FALSE(q.p.waits(q.t + 1100ms, false));
  q.p.queued(q.t + 1200ms, false);  // there is room
  CHECK_FALSE(q.p.waits(q.t + 1200ms, false));
  q.p.queued(q.t + 2000ms, true);
  CHECK(q.p.waits(q.t + 2499ms, false));
}

TEST_CASE("lanes wait less for a sink that has not written anything so far") {
  disk_patience p(500ms);
  const disk_patience::time t = std::chrono::steady_clock::now();
  p.queued(t, true);
  CHECK(p.waits(t + 124ms, false));
  CHECK_FALSE(p.waits(t + 125ms, false));
}

TEST_CASE("lanes do not wait for a sink that is slow, as far as large writes show it") {
  used_up q;
  q.write(mib / 2, 0ms, 400ms);
  CHECK(q.p.waits(q.t + 400ms, false));
  q.write(mib, 400ms, 63ms);  // less than 16 MiB a second
  CHECK_FALSE(q.p.waits(q.t + 470ms, false));
  q.write(mib / 2, 470ms, 1ms);
  CHECK_FALSE(q.p.waits(q.t + 480ms, false));
  q.write(mib, 480ms, 62ms);
  CHECK(q.p.waits(q.t + 550ms, false));
}

TEST_CASE("lanes that wait store less on disk than is written meanwhile") {
  used_up q;
  q.p.stored(10, false);  // what was stored during an outage does not count
  q.p.stored(10, false);
  CHECK(q.p.waits(q.t, true));
  q.write(19, 0ms, 1ms);
  CHECK(q.p.waits(q.t, true));
  q.write(1, 1ms, 1ms);
  CHECK_FALSE(q.p.waits(q.t, true));
  CHECK(q.p.waits(q.t, false));
  q.p.stored(10, false);
  q.p.stored(10, true);  // by another lane, which had begun to read before
  q.write(39, 2ms, 1ms);
  CHECK(q.p.waits(q.t, true));
  q.write(1, 3ms, 1ms);
  CHECK_FALSE(q.p.waits(q.t, true));
}

TEST_CASE("without a wait, the disk is used at once") {
  disk_patience p(0ms);
  const disk_patience::time t = std::chrono::steady_clock::now();
  p.queued(t, true);
  CHECK_FALSE(p.waits(t, false));
  CHECK_FALSE(p.any());
}

namespace {

// A queue with memory for two or three batches, and with a disk.
class small_queue {
 public:
  static constexpr std::uint64_t bytes = 2 * block_pool::small_block;
  static constexpr config::batch_settings one_row = [] {
    config::batch_settings each;
    each.rows = each.max_rows = 1;
    return each;
  }();

  explicit small_queue(std::chrono::nanoseconds wait) : wait_(wait) {}
  void push() {
    const auto* name = "a";
    const auto column = borrow(name);
    batch_ref batch(new record_batch(memory.pool, nullptr, schemas.intern(&column, 1), 1));
    auto* cells = static_cast<pl_cell*>(batch->alloc(sizeof(pl_cell), alignof(pl_cell)));
    auto* position = static_cast<std::uint64_t*>(batch->alloc(sizeof(std::uint64_t), alignof(std::uint64_t)));
    auto* range = static_cast<pl_range*>(batch->alloc(sizeof(pl_range), alignof(pl_range)));
    cells[0] = int_cell(7);
    *position = next_;
    *range = {borrow(stream->name()), next_, next_ + 1, PL_UNKNOWN, borrow("in"), 1};
    batch->cols[0] = cells;
    batch->pos = position;
    batch->ranges = range;
    batch->nranges = batch->nsel = 1;
    ++next_;
    batch->track(std::make_shared<settlement>(inbox, std::vector<flight>{{stream, stream->begin(next_)}}));
    batch_refs group;
    group.push_back(std::move(batch));
    queue.push(std::move(group), [](const queued_group&) { FAIL("a group was removed"); });
  }
  // Fill the memory.
  std::size_t push_until_full() {
    std::size_t pushed = 0;
    for (; !queue.full(); ++pushed) push();
    return pushed;
  }

 private:
  const std::chrono::nanoseconds wait_;
  const pl::testing::temp_dir dir_;
  std::uint64_t next_ = 0;

 public:
  pipeline_memory memory{1U << 26U};
  schema_pool schemas;
  settlement_inbox inbox;
  std::shared_ptr<stream_state> stream = std::make_shared<stream_state>("s", 0, 0);
  write_queue queue{one_row,
                    {bytes, UINT64_MAX, wait_},
                    {},
                    memory.pool,
                    std::make_unique<disk_queue>(disk_queue_settings{dir_.path().string(), "p", "queue", 0, 1U << 22U},
                                                 std::make_shared<disk_usage>(telemetry::gauge{}), memory.pool,
                                                 [](telemetry::log_level, std::string_view) {})};
};

}  // namespace

TEST_CASE("a queue whose sink works is full when its memory is used up, and stores nothing on disk") {
  small_queue q(1h);
  CHECK(q.push_until_full() == 3);
  for (int i = 0; i < 20; ++i) {
    CHECK(q.queue.full());
    CHECK(q.queue.take().size() == 1);
    CHECK_FALSE(q.queue.full());  // what is taken does not count
    CHECK(q.push_until_full() == 1);
    q.queue.taken_is_done({});
    CHECK(q.queue.full());
  }
  q.push();  // by a lane that had found room before
  CHECK(q.queue.disk_bytes() == 0);
  for (int i = 0; i < 4; ++i) q.push();  // not by lanes: the memory is limited
  CHECK(q.queue.disk_bytes() > 0);
}

TEST_CASE("after a while without a write, batches go to disk, until the sink works again") {
  small_queue q(50ms);
  while (q.queue.disk_bytes() == 0) {
    if (q.queue.full()) CHECK(eventually([&] { return !q.queue.full(); }));
    q.push();
  }
  const auto stored = q.queue.unwritten().groups;
  for (int i = 0; i < 3; ++i) {
    CHECK_FALSE(q.queue.full());
    q.push();
  }
  CHECK(q.queue.unwritten().groups == stored + 3);
  while (q.queue.unwritten().groups != 0) {
    CHECK(q.queue.take().size() == 1);
    q.queue.taken_is_done({});
  }
  CHECK_FALSE(q.queue.full());
}
