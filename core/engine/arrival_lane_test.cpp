// SPDX-License-Identifier: Apache-2.0
// Tests of the arrival clocks in a running pipeline: from a source's reports to a transform's readings, and through
// snapshots to the next start.
#include "config/load.hpp"
#include "engine/pipeline.hpp"
#include "engine/testing/test_components.hpp"

#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view stream = "a/0";

pl::timestamp now() { return std::chrono::system_clock::now(); }

// What the test and the components below share. Any thread.
struct arrivals_of_test {
  std::mutex mutex;
  std::deque<pl::timestamp> log;  // the arrival of each record
  std::uint64_t settled = 0;
  bool observing = true;  // report the end of the log at each poll
  std::string why_not;    // the source cannot receive records
  std::atomic<bool> wanted{false};

  std::optional<pl::arrival_reading> restored, ticked;
  std::vector<pl::timestamp> rows;  // arrival of each row, as the transform saw it

  void arrive(std::chrono::nanoseconds ago = 0ns) {
    std::scoped_lock lock(mutex);  // held while the time is taken, as the end is observed
    log.push_back(now() - ago);
  }
  std::optional<pl::arrival_reading> reading() {
    std::scoped_lock lock(mutex);
    return ticked;
  }
  void set_why_not(std::string why) {
    std::scoped_lock lock(mutex);
    why_not = std::move(why);
  }
};
std::shared_ptr<arrivals_of_test> shared;

struct no_options {
  static pl::option_table<no_options> table() { return {}; }
};

// Reads the test's log.
class arriving : public pl::source {
 public:
  using options = no_options;
  static pl::description describe() {
    return {.name = "arriving", .doc = "Reads records.", .example = "plugin: arriving", .abilities = PL_REPLAYABLE};
  }
  arriving(options, pl::context ctx)
      : ctx_(ctx), live_(ctx.liveness()), test_(shared), schema_(ctx.schema({"value"})) {}
  pl::result<void> start() override {
    const auto from = ctx_.assigned(stream, test_->settled);
    if (!from.ok()) return from.why();
    next_ = *from;
    return {};
  }
  pl::result<void> stop() override {
    live_.disconnected("stopped");
    (void)ctx_.revoked(stream);
    return {};
  }
  pl::result<pl::batch> poll(const pl::poll_request& request) override {
    std::scoped_lock lock(test_->mutex);
    test_->wanted = live_.wanted();
    test_->why_not.empty() ? live_.connected() : live_.disconnected(test_->why_not);
    const std::uint64_t end = test_->log.size();
    if (test_->observing && test_->why_not.empty()) live_.observed_end(stream, end, now());
    if (request.max_rows == 0 || next_ == end) return pl::nothing_yet();
    auto b = ctx_.build(schema_, 1);
    b.make_column(0)[0] = pl::bytes_cell(b.copy("record"));
    auto position = b.allocate<std::uint64_t>(1);
    position[0] = next_;
    b.set_positions(position);
    auto arrival = b.allocate<std::int64_t>(1);
    arrival[0] = test_->log[next_].time_since_epoch().count();
    b.set_arrivals(arrival);
    auto range = b.allocate<pl_range>(1);
    range[0] = pl::range_of(pl::borrow(b.copy(stream)), next_, next_ + 1, end);
    b.set_ranges(range);
    ++next_;
    return std::move(b).finish();
  }
  void settle(std::span<const pl_range> ranges) override {
    std::scoped_lock lock(test_->mutex);
    for (const auto& r : ranges) test_->settled = r.next;
  }

 private:
  pl::context ctx_;
  pl::liveness live_;
  std::shared_ptr<arrivals_of_test> test_;
  const pl_schema* schema_;
  std::uint64_t next_ = 0;
};

// The same, with a log that records while no host reads.
class recording final : public arriving {
 public:
  static pl::description describe() {
    auto d = arriving::describe();
    d.name = "recording";
    d.abilities |= PL_RECORDS_UNREAD;
    return d;
  }
  using arriving::arriving;
};

// Keeps the readings for the test.
class reading final : public pl::transform, public pl::stateful {
 public:
  using options = no_options;
  static pl::description describe() {
    return {.name = "reading", .doc = "Reads the clock.", .example = "plugin: reading\nfrom: a\n"};
  }
  reading(options, pl::context ctx) : clocks_(ctx.arrival_clocks()), test_(shared) {}
  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override {
    {
      std::scoped_lock lock(test_->mutex);
      for (const auto row : in.selection()) test_->rows.push_back(*in.arrival(row));
    }
    out.pass(in);
    return {};
  }
  pl::result<void> tick(pl::timestamp, pl::emitter&) override {
    std::scoped_lock lock(test_->mutex);
    test_->ticked = clocks_.read(stream);
    return {};
  }
  pl::result<void> restore(std::string_view, std::string_view, std::string_view) override { return {}; }
  pl::result<void> restored(std::string_view of, bool) override {
    std::scoped_lock lock(test_->mutex);
    test_->restored = clocks_.read(of);
    return {};
  }
  pl::result<void> snapshot(std::string_view) override { return {}; }

 private:
  pl::arrival_clocks clocks_;
  std::shared_ptr<arrivals_of_test> test_;
};

const pl_plugin& arrival_plugin() {
  static const pl_plugin plugin = pl::detail::make_plugin<arriving, recording, reading>("1.0.0");
  return plugin;
}

// A process with one pipeline, from the log through the transform to a sink.
class host {
 public:
  explicit host(const std::string& source, const std::string& transform = "reading") {
    plugins_.add_linked(test_plugin());
    plugins_.add_linked(arrival_plugin());
    const auto stage = transform == "reading" ? "" : ", stage: s";
    const std::string yaml = "name: t\nhttp: {listen: off}\nstate_dir: '" + state.path().string() +
                             "'\nsources:\n  in: {plugin: " + source + "}\ntransforms:\n  mid: {plugin: " + transform +
                             ", from: in" + stage +
                             "}\nsinks:\n  out: {plugin: test_sink, from: mid, stage: s, queue: {max_bytes: 4KiB}, "
                             "batch: {delay: 5ms}, retry: "
                             "{initial: 1ms, max: 5ms}}\ndead_letters: {plugin: test_dead, stage: s}\n";
    const std::vector<config::file_arg> files{{"test.yaml", yaml}};
    auto loaded = config::load(files, {}, config::process_environment());
    if (!loaded.pipelines.empty())
      pipeline_ = pipeline::build(loaded.pipelines.front(), {log_, metrics_, schemas_}, plugins_, loaded.problems);
    REQUIRE_MESSAGE(pipeline_, loaded.problems.render());
    pipeline_->start();
  }
  ~host() {
    pipeline_->stop();
    pipeline_->join();
    CHECK(pipeline_->failure().empty());
  }
  std::string waiting() {
    std::vector<telemetry::not_ready> all;
    pipeline_->waiting(all);
    return all.empty() ? "" : all.front().node + ": " + all.front().reason;
  }

  static inline pl::testing::temp_dir state;

 private:
  telemetry::logger log_{{.level = telemetry::log_level::error}};
  telemetry::metrics metrics_;
  schema_pool schemas_;
  loader::registry plugins_{{}};
  std::unique_ptr<pipeline> pipeline_;
};

bool eventually(const std::function<bool()>& true_soon) {
  const auto until = std::chrono::steady_clock::now() + 2min;
  while (!true_soon()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

// Begin a test: no records, no stored state.
std::shared_ptr<arrivals_of_test> begin() {
  (void)new_stage("s");
  std::filesystem::remove_all(host::state.path());
  return shared = std::make_shared<arrivals_of_test>();
}

// Return whether the clock reaches a time that is later than this moment.
bool moves(arrivals_of_test& t) {
  const auto from = now();
  return eventually([&] { return t.reading() && t.reading()->wall(t.reading()->now) > from; });
}

}  // namespace

TEST_CASE("arrival clocks in a lane: without a transform that uses them, arrivals are not wanted and not replaced") {
  auto t = begin();
  auto s = new_stage("s");
  t->arrive();
  host h("arriving", "test_transform");
  CHECK(eventually([&] { return s->rows_stored().size() == 1; }));
  CHECK_FALSE(t->wanted);
  CHECK_FALSE(t->reading().has_value());
}

TEST_CASE("arrival clocks in a lane: an idle stream moves, and rows have the reading at their arrival") {
  auto t = begin();
  host h("recording");
  CHECK(moves(*t));
  CHECK(t->wanted);
  const auto before = t->reading()->now;
  t->arrive(1h);  // a time before the clock: it arrived at the clock
  CHECK(moves(*t));
  std::scoped_lock lock(t->mutex);
  REQUIRE(t->rows.size() == 1);
  CHECK(t->rows.front() >= before);
  CHECK(t->rows.front() <= t->ticked->now);
}

TEST_CASE(
    "arrival clocks in a lane: while a sink blocks the lane, the clock stands still; then it follows the backlog") {
  auto t = begin();
  auto s = new_stage("s");
  std::atomic<bool> blocked{true};
  s->on_write = [&](auto) { return blocked ? pl::retry("the table is locked") : pl::result<void>(); };
  host h("recording");
  CHECK(moves(*t));
  for (int i = 0; i < 200; ++i) t->arrive();
  const auto arrived = now();
  CHECK(eventually([&] { return s->writes > 20; }));
  std::this_thread::sleep_for(300ms);
  const auto stuck = t->reading()->now;
  std::this_thread::sleep_for(300ms);
  CHECK(t->reading()->now == stuck);
  CHECK(stuck <= now() - 300ms);
  blocked = false;
  CHECK(moves(*t));
  std::scoped_lock lock(t->mutex);
  REQUIRE(t->rows.size() == 200);
  for (std::size_t i = 0; i < 200; ++i) CHECK(t->rows[i] == std::max(t->log[i], i == 0 ? t->rows[0] : t->rows[i - 1]));
  CHECK(t->rows.back() <= std::max(arrived, stuck));  // not when they were read
  CHECK(t->ticked->behind == 0ns);
}

TEST_CASE("arrival clocks in a lane: a source that cannot receive records is not ready, and the time is a gap") {
  auto t = begin();
  host h("arriving");
  CHECK(moves(*t));
  t->set_why_not("the broker closed the connection");
  CHECK(eventually([&] { return h.waiting() == "in: the broker closed the connection"; }));
  CHECK(eventually([&] {  // the clock stands still
    const auto before = t->reading()->now;
    std::this_thread::sleep_for(300ms);
    return t->reading()->now == before;
  }));
  t->set_why_not({});
  CHECK(eventually([&] { return h.waiting().empty(); }));
  CHECK(moves(*t));
  CHECK(t->reading()->behind >= 200ms);
  REQUIRE(t->reading()->connected.has_value());
}

TEST_CASE("arrival clocks in a lane: a clean stop stores the clock; the next start continues it without any record") {
  for (const std::string source : {"recording", "arriving"}) {
    auto t = begin();
    {
      host h(source);
      CHECK(moves(*t));
    }
    const auto last = t->reading()->now, stopped = now();
    t->ticked.reset();
    std::this_thread::sleep_for(400ms);
    {
      host h(source);
      CHECK(moves(*t));
    }
    REQUIRE(t->restored.has_value());
    CHECK(t->restored->now >= last);
    CHECK(t->restored->now <= stopped);
    if (source == "recording")
      CHECK(t->ticked->behind == 0ns);  // the downtime counts
    else
      CHECK(t->ticked->behind >= 300ms);
  }
}
