// SPDX-License-Identifier: Apache-2.0
// The local state of transforms on disks that fail: the library disk_faults replaces the functions of the C library.
#include "engine/local_state.hpp"

#include "engine/testing/test_host.hpp"

#include <pipeline/plugin.hpp>

#include <disk_faults.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;
using namespace std::chrono_literals;

namespace {

std::atomic<std::uint64_t> rows_seen{0};
constexpr std::size_t value_size = 1000;

// Stores a large entry for each record, and passes the records on.
class hoarder final : public pl::transform, public pl::stateful {
 public:
  struct options {
    std::string world;
    static pl::option_table<options> table() { return {pl::option(&options::world, "world", "Not used.")}; }
  };
  static pl::description describe() {
    return {.name = "hoarder",
            .doc = "Stores an entry for each record.",
            .example = "plugin: hoarder",
            .abilities = PL_DETERMINISTIC};
  }
  hoarder(const options&, pl::context ctx) : ctx_(ctx) {}

  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override {
    std::vector<std::uint32_t> rows;
    for (const auto row : in.selection()) {
      ctx_.put(in.stream(row), std::to_string(in.position(row)), std::string(value_size, 'v'));
      rows.push_back(row);
      ++rows_seen;
    }
    auto b = ctx_.derive(in, &in.schema(), in.rows());
    b.share_column(0, in.column(0));
    auto selected = b.allocate<std::uint32_t>(rows.size());
    std::copy(rows.begin(), rows.end(), selected.begin());
    b.select(selected);
    out.emit(std::move(b));
    return {};
  }
  void revoked(std::string_view) override {}
  pl::result<void> restore(std::string_view, std::string_view, std::string_view) override { return {}; }
  pl::result<void> snapshot(std::string_view) override { return {}; }

 private:
  pl::context ctx_;
};

const pl_plugin& hoarder_plugin() {
  static const pl_plugin plugin = pl::detail::make_plugin<hoarder>("1.0.0");
  return plugin;
}

std::vector<state_change> entries(std::uint64_t from, std::uint64_t until) {
  std::vector<state_change> all;
  for (auto i = from; i < until; ++i) all.push_back({"node", "stream", std::to_string(i), "value", false});
  return all;
}

std::size_t count(local_state& in, std::string_view source, std::string_view stream, std::string_view node) {
  std::size_t n = 0;
  const auto loaded = in.load(source, stream, [&](std::string_view of, std::string_view, std::string_view) {
    n += of == node ? 1 : 0;
    return result<void>();
  });
  REQUIRE_MESSAGE(loaded.ok(), loaded.why().message);
  return n;
}

}  // namespace

TEST_CASE("a write is synced when it returns, and one that cannot be synced is not in the database") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  local_state state(dir / "t.state.db");
  REQUIRE(state.write("in", entries(0, 1)).ok());
  faults.record();
  for (int i = 1; i < 4; ++i) {
    const auto before = faults.recorded().size();
    REQUIRE(state.write("in", entries(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(i) + 1)).ok());
    const auto calls = faults.recorded();
    CHECK(std::any_of(calls.begin() + static_cast<std::ptrdiff_t>(before), calls.end(), [](const auto& c) {
      return (c.starts_with("fdatasync ") || c.starts_with("fsync ")) && c.ends_with("-wal");
    }));
  }
  faults.set("fdatasync EIO -1 -wal\nfsync EIO -1 -wal\n");
  const auto refused = state.write("in", entries(4, 6));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.why().message.find("t.state.db") != std::string::npos);
  faults.clear();
  CHECK(count(state, "in", "stream", "node") == 4);
  REQUIRE(state.write("in", entries(5, 7)).ok());
  local_state reopened(dir / "t.state.db");
  CHECK(count(reopened, "in", "stream", "node") == 6);
}

TEST_CASE("while the state cannot be written, a bounded number of changes waits, and nothing is lost") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  constexpr std::uint64_t records = 30'000;  // 30 MB of state
  rows_seen = 0;
  auto w = new_world("disk");
  const auto extend_to = [&](std::uint64_t end) {
    const std::scoped_lock lock(w->broker.mutex);
    w->broker.partitions["t/0"].end = end;
  };
  test_host h;
  h.add(hoarder_plugin());
  auto p = h.build("name: t\nhttp: {listen: off}\nstate_dir: '" + dir.path().string() +
                   "'\nsources:\n  in: {plugin: exact_source, world: disk}\n"
                   "transforms:\n  keep: {plugin: hoarder, from: in, world: disk}\n"
                   "sinks:\n  store: {plugin: exact_sink, from: keep, world: disk, batch: {rows: 50, delay: 2ms}}\n"
                   "dead_letters: {plugin: exact_dead, world: disk, batch: {delay: 2ms}}\n");
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  extend_to(100);
  CHECK(eventually([&] { return rows_seen == 100; }));
  const auto reason = [&] {
    std::vector<telemetry::not_ready> all;
    p->waiting(all);
    for (const auto& r : all)
      if (r.reason.find("state of transforms cannot be written") != std::string::npos) return r.node;
    return std::string();
  };
  CHECK(reason().empty());

  faults.set("fdatasync EIO -1 -wal\nfsync EIO -1 -wal\n");
  extend_to(records);
  CHECK(eventually([&] { return reason() == "in"; }));
  // Reading stops when 8 MiB wait.
  CHECK(eventually([&] { return rows_seen > 7'000; }));
  std::uint64_t before = 0;
  CHECK(eventually([&] {
    std::this_thread::sleep_for(300ms);
    return std::exchange(before, rows_seen) == rows_seen;
  }));
  CHECK(rows_seen < 9'000);

  faults.clear();
  CHECK(eventually([&] { return rows_seen == records; }));
  CHECK(eventually([&] { return reason().empty(); }));
  CHECK(h.log().find("stores the state of transforms again after") != std::string::npos);
  p->stop();
  p->join();
  CHECK(w->database.distinct("store") == records);
  p.reset();
  local_state stored(dir / "t.state.db");
  CHECK(count(stored, "in", "t/0", "keep") == records);
}
