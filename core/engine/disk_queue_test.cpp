// SPDX-License-Identifier: Apache-2.0
// The part of a queue that is on disk: what it returns, with damage at every byte and on full disks.
#include "engine/disk_queue.hpp"

#include "engine/dead_letter_batch.hpp"
#include "engine/testing/queue_files.hpp"
#include "engine/testing/test_host.hpp"

#include <pipeline/testing/temp_dir.hpp>

#include <disk_faults.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <optional>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;
using namespace std::chrono_literals;

namespace {

// A queue on disk, and source batches for it.
class fixture {
 public:
  explicit fixture(std::uint64_t limit = 1U << 20U) {
    queue = std::make_unique<disk_queue>(
        disk_queue_settings{dir.path().string(), "p", "store", 0, limit}, usage, memory.pool,
        [this](telemetry::log_level, std::string_view text) { log += std::string(text) + "\n"; });
  }
  // A group as a position store receives it: rows of a transform, and a position-only batch with a state change.
  batch_refs group(std::uint64_t first, std::uint32_t rows) {
    auto root = make(nullptr, {"value", "key", "headers"}, rows);
    std::fill_n(cells(*root, 2), rows, null_cell());
    auto* pos = array<std::uint64_t>(*root, rows);
    for (std::uint32_t i = 0; i < rows; ++i) {
      pos[i] = first + i;
      cells(*root, 0)[i] = bytes_cell(copied(*root, "original " + std::to_string(pos[i])));
      cells(*root, 1)[i] = i % 2 == 0 ? null_cell() : text_cell("same key");
    }
    root->pos = pos;
    auto* range = array<pl_range>(*root, 1);
    range[0] = {borrow("t/0"), first, first + rows, 900, borrow("in"), 7};
    root->ranges = range;
    root->nranges = 1;
    stream = std::make_shared<stream_state>("t/0", first, first);
    root->track(std::make_shared<settlement>(inbox, std::vector<flight>{{stream, stream->begin(first + rows)}}));

    auto parsed = make(root.get(), {"device", "n", "x", "at", "ok", "labels"}, rows);
    auto* arrival = array<std::int64_t>(*parsed, rows);
    auto* selected = array<std::uint32_t>(*parsed, rows);
    std::uint32_t n = 0;
    for (std::uint32_t i = 0; i < rows; ++i) {
      cells(*parsed, 0)[i] = text_cell(i % 3 == 0 ? std::string_view("") : std::string_view("d\0é", 4));
      cells(*parsed, 1)[i] = int_cell(i % 2 == 0 ? INT64_MIN : INT64_MAX);
      cells(*parsed, 2)[i] = real_cell(i == 0 ? -0.0 : 1.0 / i);
      cells(*parsed, 3)[i] = time_cell(-5);
      cells(*parsed, 4)[i] = bool_cell(true);
      cells(*parsed, 5)[i] = i % 2 == 0 ? json_cell("{\"a\":1}") : null_cell();
      arrival[i] = 1000 + i;
      if (i != 1) selected[n++] = i;
    }
    parsed->arrival = arrival;
    parsed->sel = selected;
    parsed->nsel = n;
    auto positions = select_rows(memory.pool, *root, {});
    CHECK(set_changes(*positions, std::array{pl_state_change{0, 0, borrow("node"), borrow("key"), borrow("value")}}));
    batch_refs all;
    all.push_back(std::move(parsed));
    all.push_back(std::move(positions));
    return all;
  }
  // Return whether the range was delivered; nothing: it is in flight.
  std::optional<bool> report() {
    auto reports = inbox.take();
    if (reports.empty()) return std::nullopt;
    damaged = inbox.take_loss() == settlement_inbox::loss::damaged;
    return reports.front().delivered;
  }

  const pl::testing::temp_dir dir;
  pipeline_memory memory{1U << 26U};
  schema_pool schemas;
  settlement_inbox inbox;
  std::shared_ptr<disk_usage> usage = std::make_shared<disk_usage>(telemetry::gauge());
  std::string log;
  std::unique_ptr<disk_queue> queue;
  std::shared_ptr<stream_state> stream;
  bool damaged = false;

 private:
  batch_ref make(record_batch* parent, std::initializer_list<const char*> names, std::uint32_t rows) {
    std::vector<pl_str> raw;
    for (const auto* name : names) raw.push_back(borrow(name));
    batch_ref b(new record_batch(memory.pool, parent,
                                 schemas.intern(raw.data(), static_cast<std::uint32_t>(raw.size())), rows));
    for (std::size_t c = 0; c < raw.size(); ++c) b->cols[c] = array<pl_cell>(*b, rows);
    return b;
  }
  template <class T>
  static T* array(record_batch& of, std::uint32_t n) {
    return static_cast<T*>(of.alloc(sizeof(T) * n, alignof(T)));
  }
  static pl_cell* cells(record_batch& of, column_index c) { return const_cast<pl_cell*>(of.cols[c]); }
  static std::string_view copied(record_batch& of, const std::string& text) {
    auto* p = static_cast<char*>(of.alloc(text.size(), 1));
    std::ranges::copy(text, p);
    return {p, text.size()};
  }
};

void check_equal(record_batch& a, record_batch& b) {
  REQUIRE(a.schema == b.schema);
  REQUIRE(a.nsel == b.nsel);
  const auto va = a.view(), vb = b.view();
  for (std::uint32_t i = 0; i < a.nsel; ++i) {
    const auto ra = va.selection()[i], rb = vb.selection()[i];
    CHECK(va.position(ra) == vb.position(rb));
    CHECK(va.stream(ra) == vb.stream(rb));
    CHECK(va.arrival(ra) == vb.arrival(rb));
    for (column_index c = 0; c < a.schema->ncols; ++c) {
      CHECK(va.at(c, ra).kind == vb.at(c, rb).kind);
      CHECK(bytes_of(va.at(c, ra)) == bytes_of(vb.at(c, rb)));
      if (!has_bytes(va.at(c, ra))) CHECK(va.at(c, ra).as.i == vb.at(c, rb).as.i);
    }
  }
  REQUIRE(a.nranges == b.nranges);
  for (std::uint32_t i = 0; i < a.nranges; ++i) {
    CHECK(pl::view(a.ranges[i].stream) == pl::view(b.ranges[i].stream));
    CHECK(pl::view(a.ranges[i].source) == pl::view(b.ranges[i].source));
    CHECK(a.ranges[i].first == b.ranges[i].first);
    CHECK(a.ranges[i].next == b.ranges[i].next);
    CHECK(a.ranges[i].end == b.ranges[i].end);
    CHECK(a.ranges[i].epoch == b.ranges[i].epoch);
  }
  REQUIRE(a.nstate_changes == b.nstate_changes);
  for (std::uint32_t i = 0; i < a.nstate_changes; ++i) {
    CHECK(a.state_changes[i].range == b.state_changes[i].range);
    CHECK(a.state_changes[i].erase == b.state_changes[i].erase);
    CHECK(pl::view(a.state_changes[i].node) == pl::view(b.state_changes[i].node));
    CHECK(pl::view(a.state_changes[i].key) == pl::view(b.state_changes[i].key));
    CHECK(pl::view(a.state_changes[i].value) == pl::view(b.state_changes[i].value));
  }
}

}  // namespace

// ------------------------------------------------------------------------------------------------------- the files ---

TEST_CASE("a group that was on disk has the same rows, positions, ranges and state changes, and settles once") {
  fixture f;
  const auto expected = f.group(100, 9);
  (void)f.report();
  auto group = f.group(100, 9);
  auto stored = f.queue->store(group);
  REQUIRE(stored);
  CHECK(group.empty());
  CHECK_FALSE(f.report());  // in flight, although no batch is left
  CHECK(queue_files(f.dir.path()).size() == 1);
  {
    auto loaded = stored->load(f.memory.pool);
    REQUIRE_MESSAGE(loaded.ok(), loaded.why().message);
    CHECK_FALSE(static_cast<bool>(*stored));
    REQUIRE(loaded->size() == 2);
    for (std::size_t i = 0; i < 2; ++i) check_equal(*expected[i], *(*loaded)[i]);
    CHECK(&(*loaded)[0]->root() == &(*loaded)[1]->root());
    CHECK_FALSE(f.report());
  }
  CHECK(f.report() == true);
  f.queue->drained();
  CHECK(queue_files(f.dir.path()).empty());
  CHECK(f.usage->bytes() == 0);
}

TEST_CASE("a row that a sink rejects after it was on disk has its original record in its dead letter") {
  fixture f;
  auto group = f.group(100, 9);
  auto loaded = f.queue->store(group)->load(f.memory.pool);
  REQUIRE(loaded.ok());
  telemetry::metrics metrics;
  telemetry::logger log{{.level = telemetry::log_level::error}};
  const dead_letter_format format({log, metrics, f.schemas}, f.memory.pool, "p");
  std::vector<rejection> rejected;
  rejected.push_back({batch_ref::share(*loaded->front()), 4, "why"});
  const auto letters = format.batches(rejected, "store", refused_at::sink);
  const auto view = letters.front()->view();
  CHECK(bytes_of(view.at(*view.find("value"), 0)) == "original 105");  // row 1 was not selected
  CHECK(bytes_of(view.at(*view.find("key"), 0)) == "same key");
  CHECK(bytes_of(view.at(*view.find("record"), 0)).find("\"n\":9223372036854775807") != std::string_view::npos);
  CHECK(view.at(*view.find("position"), 0).as.i == 105);
}

TEST_CASE("a column that the source makes on demand is in the dead letter of a row that was on disk") {
  fixture f;
  auto group = f.group(100, 9);
  auto& root = group.front()->root();
  root.cols[2] = nullptr;
  root.make_later(2, nullptr, [](void*, std::uint32_t row, void* to, pl_put_cell put) -> pl_status {
    if (row == 0) return PL_OK;  // null
    const auto text = "[[\"n\",\"" + std::to_string(row) + "\"]]";
    put(to, json_cell(text));
    return PL_OK;
  });
  auto loaded = f.queue->store(group)->load(f.memory.pool);
  REQUIRE(loaded.ok());
  telemetry::metrics metrics;
  telemetry::logger log{{.level = telemetry::log_level::error}};
  const dead_letter_format format({log, metrics, f.schemas}, f.memory.pool, "p");
  std::vector<rejection> rejected;
  for (const std::uint32_t row : {0U, 4U}) rejected.push_back({batch_ref::share(*loaded->front()), row, "why"});
  const auto letters = format.batches(rejected, "store", refused_at::sink);
  REQUIRE(letters.front()->nsel == 2);
  const auto view = letters.front()->view();
  CHECK(is_null(view.at(*view.find("headers"), 0)));
  CHECK(bytes_of(view.at(*view.find("value"), 1)) == "original 105");
  CHECK(bytes_of(view.at(*view.find("headers"), 1)) == R"([["n","5"]])");
}

TEST_CASE(
    "a group whose column cannot be made for lack of memory stays in memory, and the queue has no room for a while") {
  fixture f;
  auto group = f.group(100, 9);
  auto& root = group.front()->root();
  root.cols[2] = nullptr;
  static std::atomic<bool> memory;
  memory = false;
  root.make_later(2, nullptr,
                  [](void*, std::uint32_t, void*, pl_put_cell) -> pl_status { return memory ? PL_OK : PL_FATAL; });
  CHECK_FALSE(f.queue->store(group));
  CHECK(group.size() == 2);
  CHECK_FALSE(f.queue->has_room());
  CHECK_FALSE(f.queue->at_limit());
  CHECK(f.log.find("out of memory while records were prepared for the disk; the queue continues in memory alone") !=
        std::string::npos);
  memory = true;
  CHECK(eventually([&] { return f.queue->has_room(); }));
  auto stored = f.queue->store(group);
  REQUIRE(stored);
  CHECK(stored->load(f.memory.pool).ok());
}

TEST_CASE("a file that is changed or cut at any byte is found to be damaged, and its records are read again") {
  fixture probe;
  auto sample = probe.group(5, 3);
  const auto bytes = probe.queue->store(sample)->bytes();
  for (std::uint32_t at = 0; at < bytes; ++at)
    for (const bool cut : {false, true}) {
      fixture f;
      auto group = f.group(5, 3);
      auto stored = f.queue->store(group);
      REQUIRE(stored);
      const auto file = queue_files(f.dir.path()).at(0);
      if (cut)
        std::filesystem::resize_file(file, at);
      else
        flip_bit(file, at, at % 8);
      const auto loaded = stored->load(f.memory.pool);
      REQUIRE_FALSE(loaded.ok());
      CHECK(loaded.why().message.find(file) != std::string::npos);
      CHECK(f.report() == false);
      CHECK(f.damaged);
      CHECK(f.stream->lost());
    }
}

TEST_CASE("bytes that do not make a group are refused, without a checksum, too") {
  fixture f;
  schema_numbers numbers;
  std::string bytes;
  const auto group = f.group(5, 3);
  const auto settles = encode(group, numbers, bytes);
  REQUIRE(decode(bytes, numbers, settles, f.memory.pool));
  for (std::size_t n = 0; n < bytes.size(); ++n)
    CHECK_FALSE(decode(std::string_view(bytes).substr(0, n), numbers, settles, f.memory.pool));
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    auto changed = bytes;
    changed[n] = static_cast<char>(changed[n] ^ 0xFF);
    (void)decode(changed, numbers, settles, f.memory.pool);  // any result, but no access outside
  }
}

TEST_CASE("on a full disk groups stay in memory; room is reported when there is some again") {
  for (const std::string rule : {"open ENOSPC -1 .queue\n", "pwritev ENOSPC -1 .queue\n", "pwritev EIO -1 .queue\n"}) {
    CAPTURE(rule);
    const pl::testing::disk_faults faults;
    fixture f;
    faults.set(rule);
    auto group = f.group(0, 5);
    CHECK_FALSE(f.queue->store(group));
    CHECK(group.size() == 2);  // they are still here
    CHECK_FALSE(f.queue->has_room());
    CHECK_FALSE(f.queue->store(group));
    CHECK(f.log.find("the queue continues in memory alone") != std::string::npos);
    CHECK(f.log.find('\n') == f.log.rfind('\n'));  // once
    faults.clear();
    CHECK(eventually([&] { return f.queue->has_room(); }));
    CHECK(f.log.find("the queue can be extended on disk again after") != std::string::npos);
    CHECK(f.log.find("again after") == f.log.rfind("again after"));
    auto stored = f.queue->store(group);
    REQUIRE(stored);
    CHECK(stored->load(f.memory.pool).ok());
    CHECK(f.report() == true);
  }
}

TEST_CASE("a write that is cut short is continued") {
  const pl::testing::disk_faults faults;
  fixture f;
  faults.set("pwritev short 3 .queue\n");
  auto group = f.group(0, 50);
  auto stored = f.queue->store(group);
  REQUIRE(stored);
  CHECK(stored->load(f.memory.pool).ok());
}

TEST_CASE("the files take no more than the limit, and are freed one after the other") {
  fixture f(1U << 20U);
  std::vector<stored_group> all;
  std::uint64_t first = 0, most = 0;
  while (true) {
    auto group = f.group(first, 200);
    first += 200;
    auto stored = f.queue->store(group);
    if (!stored) break;
    all.push_back(*std::move(stored));
    most = std::max(most, f.usage->bytes());
  }
  CHECK(most == 1U << 20U);
  CHECK(queue_files(f.dir.path()).size() == 4);
  CHECK(f.log.find("the queue is full on disk, too (queue.disk: 1.0 MiB)") != std::string::npos);
  CHECK_FALSE(f.queue->has_room());
  std::size_t done = 0;
  while (f.usage->bytes() == 1U << 20U) REQUIRE(all.at(done++).load(f.memory.pool).ok());
  CHECK(done > 1);
  CHECK(queue_files(f.dir.path()).size() == 3);
  CHECK(eventually([&] { return f.queue->has_room(); }));
  for (; done < all.size(); ++done) REQUIRE(all[done].load(f.memory.pool).ok());
  f.queue->drained();
  CHECK(f.log.find("the queue on disk is empty again") != std::string::npos);
  CHECK(f.usage->bytes() == 0);
  CHECK(f.memory.budget.used() == 0);
}

TEST_CASE(
    "a file stays in use while it contains a group that its queue did not count, and is removed with that group") {
  fixture f;
  for (const bool next : {true, false}) {
    CAPTURE(next);
    auto first = f.group(0, 5), second = f.group(5, 5);
    auto stored = f.queue->store(first);
    REQUIRE(stored);
    f.queue->drained();  // as if the writer had taken all others before a lane queued this one
    if (next) {
      auto other = f.queue->store(second);
      REQUIRE(other);
      CHECK(queue_files(f.dir.path()).size() == 1);
      CHECK(&other->file() == &stored->file());
      CHECK(stored->load(f.memory.pool).ok());
      CHECK(other->load(f.memory.pool).ok());
      f.queue->drained();
    } else {
      CHECK(stored->load(f.memory.pool).ok());
    }
    CHECK(queue_files(f.dir.path()).empty());
    CHECK(f.usage->bytes() == 0);
  }
}

TEST_CASE("after damage nothing is stored on disk for a while, and longer if that happens again") {
  fixture f;
  const auto damage = [&] {
    auto group = f.group(0, 5);
    auto stored = f.queue->store(group);
    REQUIRE(stored);
    const auto file = queue_files(f.dir.path()).back();
    flip_bit(file, 3);
    const auto loaded = stored->load(f.memory.pool);
    REQUIRE_FALSE(loaded.ok());
    f.queue->report_damage(loaded.why(), 5);
    f.queue->report_damage(loaded.why(), 5);  // found together
    f.queue->drained();
    auto again = f.group(5, 5);
    CHECK_FALSE(f.queue->store(again));
    CHECK(again.size() == 2);
    CHECK_FALSE(f.queue->has_room());
    CHECK_FALSE(f.queue->at_limit());
  };
  damage();
  CHECK(f.log.find("nothing is stored on disk for 1 s") != std::string::npos);
  CHECK(eventually([&] { return f.queue->has_room(); }));
  CHECK(f.log.find("for 2 s") == std::string::npos);
  damage();
  CHECK(f.log.find("nothing is stored on disk for 2 s") != std::string::npos);
  CHECK(eventually([&] { return f.queue->has_room(); }));
}

TEST_CASE("a queue has at most 64 files, and a small one has four") {
  constexpr std::uint64_t mebibyte = 1U << 20U;
  CHECK(segment_bytes(mebibyte) == mebibyte / 4);
  CHECK(segment_bytes(64 * mebibyte) == 16 * mebibyte);
  CHECK(segment_bytes(1024 * mebibyte) == 16 * mebibyte);
  CHECK(segment_bytes(10240 * mebibyte) == 160 * mebibyte);
}

TEST_CASE("after a group that is larger than the disk part of the queue, others are stored on disk again") {
  fixture f(1U << 16U);
  auto large = f.group(0, 5000);
  CHECK_FALSE(f.queue->store(large));
  CHECK(large.size() == 2);
  CHECK_FALSE(f.queue->has_room());
  auto small = f.group(5000, 5);
  REQUIRE(f.queue->store(small));
  CHECK(small.empty());
  CHECK(f.queue->has_room());
}

TEST_CASE("what is on disk counts as memory as far as it takes memory, and is undelivered if it is dropped") {
  fixture f;
  auto group = f.group(0, 500);
  const auto before = f.memory.budget.used();
  auto stored = f.queue->store(group);
  REQUIRE(stored);
  CHECK(f.memory.budget.used() > 0);
  CHECK(f.memory.budget.used() < 1000);
  CHECK(before > 30'000);
  stored.reset();
  CHECK(f.memory.budget.used() == 0);
  CHECK(f.report() == false);
  CHECK_FALSE(f.damaged);
}

TEST_CASE(
    "files of killed hosts are removed, whatever their pipeline, and those of running hosts and other files stay") {
  fixture f;
  auto group = f.group(0, 5);
  const auto stored = f.queue->store(group);
  const auto before = f.dir / "q.store.0.0.queue", old = f.dir / "p.store.0.7.queue";
  const auto a = f.dir / "my.queue", b = f.dir / "p.store.0.x.queue", c = f.dir / "0.7.queue";
  for (const auto& file : {before, old, a, b, c}) std::ofstream(file) << "123456";
  const auto removed = remove_old_segments(f.dir.path().string());
  CHECK(removed.files == 2);
  CHECK(removed.bytes == 12);
  CHECK(queue_files(f.dir.path()) == std::vector{c, a, f.dir / "p.store.0.0.queue", b});
  CHECK(remove_old_segments(f.dir / "none").files == 0);
}
