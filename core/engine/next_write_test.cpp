// SPDX-License-Identifier: Apache-2.0
// Tests of "next_write/1": a sink sees the next write while the current one is in progress, and the host confirms it only
// if its batches are then written unchanged.
#include "config/bind.hpp"
#include "engine/testing/test_host.hpp"
#include "engine/writer.hpp"

#include <pipeline/next_write.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <tuple>

using namespace pl::engine;
using namespace pl::engine::test;
namespace config = pl::config;
namespace telemetry = pl::telemetry;

namespace {

struct seen_row {
  std::string stream;
  std::uint64_t position;
  auto operator<=>(const seen_row&) const = default;
};
using rows = std::vector<seen_row>;

// What the sink of this file did. One pipeline at a time.
struct record {
  std::mutex mutex;
  std::vector<rows> writes;                // that succeeded
  std::uint64_t confirmed = 0, wrong = 0;  // wrong: confirmed, but not the batches that were seen
  std::uint64_t peeked = 0, dropped = 0;   // dropped: seen, but other batches were written first
  std::function<pl::result<void>(std::uint64_t call, const rows& now)> on_write;
  std::uint64_t calls = 0;
  bool started = false;
};
record* now = nullptr;

rows rows_in(const pl::batch_list& batches) {
  rows all;
  for (const auto b : batches)
    for (const auto row : b.selection()) all.push_back({std::string(b.stream(row)), b.position(row)});
  return all;
}

struct no_options {
  static pl::option_table<no_options> table() { return {}; }
};

class looking_sink final : public pl::sink {
 public:
  using options = no_options;
  static pl::description describe() {
    return {.name = "looking_sink", .doc = "Looks at the next write.", .example = "plugin: looking_sink"};
  }
  looking_sink(const options&, pl::context ctx) : next_(ctx.raw()) {}

  pl::result<void> write(const pl::batch_list& batches) override {
    std::scoped_lock lock(now->mutex);
    // The first write waits until several others are due, so that there is a next write to look at.
    if (!std::exchange(now->started, true)) CHECK(eventually([] { return stage_named("s")->polls > 50; }));
    const auto written = rows_in(batches);
    const bool confirmed = next_.peeked();
    if (confirmed) {
      ++now->confirmed;
      now->wrong += written != seen_ ? 1 : 0;
    } else if (!seen_.empty()) {
      ++now->dropped;
    }
    seen_.clear();
    const auto upcoming = next_.peek();
    if (upcoming.size() != 0) ++now->peeked;
    if (now->on_write)
      if (auto r = now->on_write(now->calls++, written); !r.ok()) return r;
    seen_ = rows_in(upcoming);
    now->writes.push_back(written);
    return {};
  }

 private:
  pl::next_write next_;
  rows seen_;
};

const pl_plugin& looking_plugin() {
  static const pl_plugin plugin = pl::detail::make_plugin<looking_sink>("1.0.0");
  return plugin;
}

std::string yaml(const std::string& batch) {
  return "name: t\nhttp: {listen: off}\n"
         "sources:\n  in: {plugin: test_source, stage: s}\n"
         "sinks:\n  out: {plugin: looking_sink, from: in, batch: " +
         batch +
         ", retry: {initial: 1ms, max: 2ms}}\n"
         "dead_letters: {plugin: test_dead, stage: s}\n";
}

struct fixture {
  fixture() {
    now = &found;
    h.add(looking_plugin());
    s->streams = 2;
    s->rows = 5'000;
  }
  void run(const std::string& batch = "{rows: 50, delay: 1ms, max_rows: 300}") {
    auto p = h.build(yaml(batch));
    REQUIRE_MESSAGE(p, h.problems);
    p->start();
    CHECK(eventually([&] { return s->settled_of("s/0") == s->rows && s->settled_of("s/1") == s->rows; }));
    p->stop();
    p->join();
    CHECK(p->failure().empty());
  }
  // Each record once, and those of a stream in order.
  void check_rows(std::uint64_t missing = 0) {
    std::map<std::string, std::uint64_t> last;
    std::uint64_t all = 0;
    for (const auto& w : found.writes)
      for (const auto& r : w) {
        ++all;
        const auto at = last.try_emplace(r.stream, 0).first;
        if (r.position + 1 <= at->second) FAIL_CHECK(r.stream << " " << r.position << " after " << at->second - 1);
        at->second = r.position + 1;
      }
    CHECK(all == 2 * s->rows - missing);
    CHECK(found.wrong == 0);
  }
  std::shared_ptr<stage> s = new_stage("s");
  test_host h;
  record found;
};

}  // namespace

TEST_CASE("next_write: a sink sees the next write, and the host confirms it") {
  fixture f;
  f.run();
  f.check_rows();
  CHECK(f.found.confirmed > 0);
  CHECK(f.found.confirmed <= f.found.peeked);
}

TEST_CASE("next_write: writes that fail are repeated first, and are not confirmed") {
  fixture f;
  f.found.on_write = [](std::uint64_t call, const rows&) {
    return call % 3 == 1 ? pl::result<void>(pl::retry("the test's server is down")) : pl::result<void>();
  };
  f.run();
  f.check_rows();
  CHECK(f.found.confirmed > 0);
}

TEST_CASE("next_write: while a write is bisected, the next one is not confirmed") {
  fixture f;
  f.found.on_write = [](std::uint64_t, const rows& of) {
    const bool bad = std::ranges::any_of(of, [](const auto& r) { return r.position % 500 == 7; });
    return bad ? pl::result<void>(pl::rejected("a row does not fit")) : pl::result<void>();
  };
  f.run();
  f.check_rows(20);
  CHECK(eventually([&] { return f.s->dead_stored().size() == 20; }));
}

TEST_CASE("next_write: batches that are cut are not confirmed") {
  fixture f;
  f.run("{rows: 50, delay: 1ms, max_rows: 7}");
  f.check_rows();
  CHECK(f.found.confirmed == 0);
  CHECK(std::ranges::all_of(f.found.writes, [](const auto& w) { return w.size() <= 7; }));
}

namespace {

// The sink of this file with its writer, without a pipeline, so that a test can lose a stream at a given moment. A write has
// at most one row, but for a group of several.
class lone_writer final : pipeline_events {
 public:
  lone_writer() {
    now = &found;
    link_.connect(*this);
    auto unit = std::make_unique<instance>(component_, options_, services{log_, metrics_, schemas_}, memory_.pool,
                                           instance::place{"t", "out", dir_.path().string(), 0, 1});
    REQUIRE(unit->create().ok());
    writer_ = std::make_unique<writer>(std::move(unit), settings_,
                                       std::make_shared<node_meters>(metrics_, "t", "out", config::role::sink),
                                       memory_.pool, UINT64_MAX);
  }
  ~lone_writer() {
    if (!started_) return;
    writer_->queue().close();
    writer_->join();
  }
  // Queue a group of rows of a stream.
  void push(stream_state& of, std::uint32_t count) {
    const auto name = pl::borrow("n");
    const auto first = of.position();
    batch_ref b(new record_batch(memory_.pool, nullptr, schemas_.intern(&name, 1), count));
    auto* cells = static_cast<pl::cell*>(b->alloc(count * sizeof(pl::cell), alignof(pl::cell)));
    auto* positions = static_cast<std::uint64_t*>(b->alloc(count * sizeof(std::uint64_t), alignof(std::uint64_t)));
    for (std::uint32_t i = 0; i < count; ++i) cells[i] = pl::int_cell(i), positions[i] = first + i;
    auto* range = static_cast<pl_range*>(b->alloc(sizeof(pl_range), alignof(pl_range)));
    *range = {pl::borrow(of.name()), first, first + count, PL_UNKNOWN, {}, 0};
    b->cols[0] = cells;
    b->pos = positions;
    b->ranges = range;
    b->nranges = 1;
    auto& shared = &of == again.get() ? again : other;
    b->track(std::make_shared<settlement>(inbox_, std::vector<flight>{{shared, of.begin(first + count)}}));
    write_queue::batches group;
    group.push_back(std::move(b));
    writer_->push(std::move(group), link_);
  }
  void start() {
    started_ = true;
    writer_->start(link_, false);
  }
  // Return what the sink has written once there are this many writes.
  std::vector<rows> after(std::size_t writes) {
    CHECK(eventually([&] {
      const std::scoped_lock lock(found.mutex);
      return found.writes.size() >= writes;
    }));
    std::scoped_lock lock(found.mutex);
    return found.writes;
  }

  record found;
  const std::shared_ptr<stream_state> again = std::make_shared<stream_state>("s/0", 0, 0),
                                      other = std::make_shared<stream_state>("s/1", 0, 0);

 private:
  void node_failed(std::string_view, std::string_view why) override { FAIL_CHECK(why); }
  void rows_rejected(const std::vector<rejection>&, std::string_view) override {}
  [[nodiscard]] bool dead_letters_full() const override { return false; }
  std::unique_ptr<pending_dead_letters> rows_rejected_urgently(std::vector<rejection>, std::string_view) override {
    return nullptr;
  }
  [[nodiscard]] bool failed() const override { return false; }

  static config::node sink_settings() {
    config::node n;
    n.role = config::role::sink;
    n.name = "out";
    n.batch = {1, std::chrono::hours(1), 1U << 20U, 1};
    n.options.type = config::value::kind::map;
    return n;
  }
  const pl::testing::temp_dir dir_;
  telemetry::logger log_{{.level = telemetry::log_level::error}};
  telemetry::metrics metrics_;
  schema_pool schemas_;
  pipeline_memory memory_{64U << 20U};
  settlement_inbox inbox_;
  events_link link_;
  const pl_component& component_ = *looking_plugin().components[0];
  const config::node settings_ = sink_settings();
  config::diagnostics problems_;
  const std::shared_ptr<const config::bound_options> options_ =
      std::make_shared<const config::bound_options>(config::bind(settings_, component_, problems_));
  std::unique_ptr<writer> writer_;
  bool started_ = false;
};

}  // namespace

TEST_CASE("next_write: if the next write is lost, the sink is called without batches before the writer waits") {
  lone_writer w;
  w.found.on_write = [&](std::uint64_t call, const rows&) {
    if (call == 0) w.again->mark_lost();  // before this write succeeds
    return pl::result<void>();
  };
  w.push(*w.other, 1);
  w.push(*w.again, 1);
  w.start();
  CHECK(w.after(2) == std::vector<rows>{{{"s/1", 0}}, {}});
  {
    std::scoped_lock lock(w.found.mutex);
    CHECK(w.found.peeked == 1);
    CHECK(w.found.dropped == 1);
  }
  w.push(*w.other, 1);
  CHECK(w.after(3) == std::vector<rows>{{{"s/1", 0}}, {}, {{"s/1", 1}}});
  std::scoped_lock lock(w.found.mutex);
  CHECK(w.found.confirmed == 0);
}

TEST_CASE("next_write: a write that follows a lost one, which the sink has not seen, is not confirmed") {
  lone_writer w;
  w.found.on_write = [&](std::uint64_t call, const rows&) {
    if (call == 0) w.again->mark_lost();
    return pl::result<void>();
  };
  w.push(*w.other, 1);
  w.push(*w.again, 3);  // will be divided, so the sink does not see it
  w.push(*w.other, 1);
  w.start();
  CHECK(w.after(2) == std::vector<rows>{{{"s/1", 0}}, {{"s/1", 1}}});
  std::scoped_lock lock(w.found.mutex);
  CHECK(w.found.peeked == 0);
  CHECK(w.found.confirmed == 0);
}
