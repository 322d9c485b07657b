// SPDX-License-Identifier: Apache-2.0
// Explores every state of the delivery protocol within bounds, in three parts: the protocol of the code, which must
// have all properties; weaker forms, each of which must violate one; and known limitations of the code.
//
// usage: model [all|protocol|weak|open] [--large] [--only <part of a name>] [--traces]
#include "checker.hpp"
#include "kafka_store.hpp"
#include "one_stream.hpp"
#include "two_streams.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace model;

constexpr std::size_t most_states = 40'000'000;

enum class kind { protocol, weak, open };

struct experiment {
  kind of;
  std::string name;
  std::string violation;  // the violation that must be found; empty: none
  std::function<findings()> run;
};

struct settings {
  std::optional<kind> which;
  bool large = false, traces = false;
  std::string_view only;
};

// Bounds of the experiments.
constexpr bounds one_sink{.records = 2, .rebalances = 2, .resets = 1};
constexpr bounds two_sinks{.records = 2, .sinks = 2, .window = 1, .rebalances = 1, .resets = 1, .lost = 0};
constexpr bounds with_mqtt{.records = 2, .mqtt = true, .rebalances = 1, .first_commit = 0};
constexpr bounds without_offset{.records = 2, .mqtt = true, .rebalances = 1, .first_commit = nothing};
constexpr bounds with_state{.records = 3, .state = true, .kills = 2, .rebalances = 0, .first_commit = 0};
constexpr bounds state_and_two{
    .records = 2, .sinks = 2, .state = true, .kills = 2, .rebalances = 0, .lost = 0, .first_commit = 0};
constexpr bounds with_timer{
    .records = 1, .state = true, .timer = true, .window = 1, .rebalances = 1, .first_commit = 0};

constexpr bounds in_batches{.records = 3, .batch = 2, .rebalances = 1};
constexpr bounds batches_and_mqtt{
    .records = 3, .mqtt = true, .batch = 2, .rebalances = 1, .lost = 0, .first_commit = 0};
constexpr bounds batches_and_state{
    .records = 3, .state = true, .batch = 2, .kills = 2, .rebalances = 0, .lost = 0, .first_commit = 0};
constexpr bounds unplaced_rows = [] {
  auto b = batches_and_state;
  b.unplaced = true;
  return b;
}();

// A host may die, and be fenced, while records are in a queue on disk: `kills` and `rebalances`.
constexpr bounds queue_on_disk{.records = 3, .rebalances = 1, .damages = 1};
constexpr bounds disk_and_mqtt{.records = 2, .mqtt = true, .rebalances = 1, .lost = 0, .first_commit = 0, .damages = 1};
constexpr bounds disk_and_state{
    .records = 3, .state = true, .kills = 1, .rebalances = 0, .first_commit = 0, .damages = 1};
constexpr bounds sent_early{.records = 3, .window = 3, .rebalances = 1, .early = true};
constexpr bounds queue_taken_over{.records = 2, .rebalances = 1, .damages = 0, .reloads = 1};

constexpr rules as_coded{};

constexpr bounds state_and_reset{
    .records = 2, .state = true, .kills = 2, .rebalances = 0, .resets = 1, .first_commit = 0};
constexpr bounds two_and_reset{
    .records = 3, .sinks = 2, .state = true, .kills = 2, .rebalances = 0, .resets = 1, .lost = 0, .first_commit = 0};
constexpr bounds later_sink{
    .records = 4, .sinks = 2, .state = true, .kills = 1, .rebalances = 0, .lost = 0, .new_sink = true};
constexpr bounds topic_anew{.records = 2, .window = 1, .kills = 0, .rebalances = 2, .lost = 0, .new_topic = true};

template <class T, class Change>
constexpr T changed(T with, Change&& change) {
  change(with);
  return with;
}

class list {
 public:
  explicit list(bool large) : large_(large) { protocol(), weak(), open(); }
  [[nodiscard]] const std::vector<experiment>& all() const { return all_; }

 private:
  void add(kind of, std::string name, bounds b, rules r, std::string violation) {
    all_.push_back({of, std::move(name), std::move(violation),
                    [=] { return search<one_stream>(one_stream(b, r), most_states).run(); }});
  }
  void add(kind of, std::string name, stream_bounds b, all_or_nothing how, std::string violation) {
    all_.push_back({of, std::move(name), std::move(violation),
                    [=] { return search<two_streams>(two_streams(b, how), most_states).run(); }});
  }
  void add(kind of, std::string name, kafka_bounds b, kafka_rules r, std::string violation) {
    all_.push_back({of, std::move(name), std::move(violation),
                    [=] { return search<kafka_store>(kafka_store(b, r), most_states).run(); }});
  }
  [[nodiscard]] bounds larger(bounds b, byte records, byte rebalances, byte lost) const {
    if (large_) b.records = records, b.rebalances = rebalances, b.lost = lost;
    return b;
  }

  // The protocol of the code.
  void protocol() {
    const auto holds = [&](const std::string& name, bounds b) { add(kind::protocol, name, b, as_coded, {}); };
    holds("one sink: zombies, kills, lost replies, an offset reset", larger(one_sink, 3, 2, 1));
    holds("two sinks: successive claims, an offset reset", larger(two_sinks, 2, 1, 1));
    holds("two sinks: lost replies of either",
          larger({.records = 1, .sinks = 2, .kills = 1, .rebalances = 1, .lost = 1}, 2, 1, 1));
    holds("a branch without positions gets each message", larger(with_mqtt, 3, 1, 1));
    holds("a branch without positions, and an offset reset",
          larger(changed(with_mqtt, [](bounds& b) { b.resets = 1, b.lost = 0; }), 2, 1, 1));
    holds("state: the transform emits the rows of an uninterrupted run", larger(with_state, 3, 0, 2));
    holds("state: rebalances at any moment",
          larger(changed(with_state, [](bounds& b) { b.records = 2, b.kills = 0, b.rebalances = 1; }), 2, 2, 1));
    holds("state: the rows reach a branch without positions",
          larger(changed(with_state, [](bounds& b) { b.mqtt = true, b.lost = 0; }), 3, 0, 1));
    holds("a group without an offset, and MQTT is behind", without_offset);
    holds("a timer's row, and a transaction that commits late", with_timer);
    holds("state, an offset reset, and a crash after it", state_and_reset);
    holds("state, two sinks: a snapshot reached one of them", state_and_two);
    holds("state, two sinks: an offset reset reached one of them", two_and_reset);
    holds("state, and a sink that was added later", later_sink);
    holds("a write ends inside a source batch: zombies, kills, lost replies", larger(in_batches, 3, 2, 1));
    holds("a write ends inside a source batch, and a branch without positions", larger(batches_and_mqtt, 3, 1, 1));
    holds("a write ends inside a source batch, and state", larger(batches_and_state, 3, 0, 1));
    holds("two sinks cut a source batch in different places",
          changed(in_batches, [](bounds& b) { b.records = 2, b.sinks = 2, b.lost = 0; }));
    holds("the topic is created anew, with fewer records", topic_anew);
    holds("a queue on disk: damage, kills, zombies, lost replies", larger(queue_on_disk, 3, 2, 1));
    holds("a queue on disk, two sinks",
          changed(queue_on_disk, [](bounds& b) { b.records = 2, b.sinks = 2, b.window = 1, b.lost = 0; }));
    holds("a queue on disk, and a branch without positions", larger(disk_and_mqtt, 3, 1, 1));
    holds("a queue on disk, and state", disk_and_state);
    holds("rows are sent before the reply to the write before them", larger(sent_early, 4, 1, 1));
    holds("rows are sent early, and a write ends inside a source batch",
          changed(sent_early, [](bounds& b) { b.batch = 2, b.rebalances = 0; }));
    holds("rows are sent early, and state", changed(with_state, [](bounds& b) { b.kills = 1, b.early = true; }));
    holds("rows are sent early, and a reload hands over the queue of a sink",
          changed(sent_early, [](bounds& b) { b.records = 2, b.rebalances = 0, b.reloads = 1; }));
    holds("a reload hands over the queue of a sink", larger(queue_taken_over, 3, 2, 1));
    add(kind::protocol, "two streams in one write: all or nothing",
        large_ ? stream_bounds{.records = 3, .rebalances = 1} : stream_bounds{.rebalances = 1}, all_or_nothing::checked,
        {});
    add(kind::protocol, "into Kafka: zombies, kills, lost responses, other producers' transactions",
        large_ ? kafka_bounds{} : kafka_bounds{.rebalances = 1}, kafka_rules{}, {});
    add(kind::protocol, "not weak: a separate epoch for each sink", two_sinks,
        changed(as_coded, [](rules& r) { r.one_epoch = false; }), {});
  }

  void weak() {
    const std::string twice = "a record is stored more often than expected";
    const std::string lacks = "the run has finished, but a sink lacks a record";
    const auto found = [&](std::string name, bounds b, auto&& how, std::string violation) {
      add(kind::weak, std::move(name), b, changed(as_coded, how), std::move(violation));
    };
    found(
        "claim without comparing", one_sink, [](rules& r) { r.claim = claim_check::none; }, twice);
    found(
        "claim compares the epoch only, and only with an offset reset", one_sink,
        [](rules& r) { r.claim = claim_check::epoch_with_reset; }, twice);
    found(
        "claim compares only the position", one_sink, [](rules& r) { r.claim = claim_check::next_alone; }, lacks);
    found(
        "write without comparing the epoch", one_sink, [](rules& r) { r.epoch_in_write = false; }, twice);
    found(
        "write without comparing the position", one_sink, [](rules& r) { r.next_in_write = r.serial_in_write = false; },
        twice);
    found(
        "an offset reset is not marked before the first record", one_sink,
        [](rules& r) { r.reset_marked_first = false; }, twice);
    found(
        "a lost reply is assumed to mean 'committed'", one_sink,
        [](rules& r) { r.reply = lost_reply::taken_for_committed; }, lacks);
    found(
        "a lost reply is assumed to mean 'not committed'", one_sink,
        [](rules& r) { r.reply = lost_reply::taken_for_not_committed; }, "the run can no longer finish");
    found(
        "offsets are committed before the sinks have the records", with_mqtt, [](rules& r) { r.commit_first = true; },
        "the group's offset has passed a message that MQTT did not get");
    found(
        "reading begins at the sinks' positions only", with_mqtt, [](rules& r) { r.read_from_group = false; },
        "the group's offset has passed a message that MQTT did not get");
    found(
        "no state watermark with the first records", with_state,
        [](rules& r) { r.first_watermark = r.state_in_one = r.begins_at_state = false; },
        "the transform emitted a row that an uninterrupted run does not emit");
    found(
        "a snapshot is written before its records are settled", changed(with_state, [](bounds& b) { b.mqtt = true; }),
        [](rules& r) { r.snapshot_settled = false; }, "the group's offset has passed a message that MQTT did not get");
    found(
        "the start of a group without an offset is not marked first", without_offset,
        [](rules& r) { r.start_marked_first = false; },
        "the group's offset has passed a message that MQTT did not get");
    found(
        "a write that moves no position is not compared with the one before", with_timer,
        [](rules& r) { r.serial_in_write = false; }, "the row of the timer is stored twice");
    found(
        "a claim does not store where transforms begin, and each key keeps its own position", state_and_reset,
        [](rules& r) { r.state_in_one = r.begins_at_state = false; },
        "after an offset reset, the transform emitted a row that an uninterrupted run does not emit");
    found(
        "each sink keeps separate state", state_and_two, [](rules& r) { r.state_in_one = r.begins_at_state = false; },
        "the rows of the transform differ between the sinks");
    found(
        "a sink that is added later begins at the group's offset", later_sink,
        [](rules& r) { r.new_sink_at_lowest = r.state_in_one = r.begins_at_state = false; },
        "the transform emitted a row that an uninterrupted run does not emit");
    found(
        "positions that start again are claimed without comparing the epoch", topic_anew,
        [](rules& r) { r.back_under_claim = false; }, twice);
    found(
        "a source batch is settled when its first part is written", batches_and_mqtt,
        [](rules& r) { r.settled_whole = false; }, "the group's offset has passed a message that MQTT did not get");
    found(
        "records that are damaged in a queue count as delivered", disk_and_mqtt,
        [](rules& r) { r.damage_reread = false; }, "the group's offset has passed a message that MQTT did not get");
    found(
        "a reload assumes that the last write of the replaced sink was committed", queue_taken_over,
        [](rules& r) { r.reload_rewrites = false; }, lacks);
    found(
        "rows that were sent early are committed as those of another write", sent_early,
        [](rules& r) { r.early_matched = false; }, twice);
    const auto found_in_kafka = [&](std::string name, auto&& how, std::string violation) {
      add(kind::weak, "into Kafka: " + std::move(name), kafka_bounds{}, changed(kafka_rules{}, how),
          std::move(violation));
    };
    found_in_kafka(
        "a claim does not look again after taking over", [](kafka_rules& r) { r.claim_looks = false; }, twice);
    found_in_kafka(
        "a look does not wait for other producers' transactions", [](kafka_rules& r) { r.look_waits = false; }, twice);
    found_in_kafka(
        "the first write does not look", [](kafka_rules& r) { r.writer_looks = false; }, twice);
    found_in_kafka(
        "an unknown outcome is assumed to mean 'not committed'", [](kafka_rules& r) { r.outcome_looked_up = false; },
        twice);
    found_in_kafka(
        "an unknown outcome is assumed to mean 'committed'",
        [](kafka_rules& r) { r.outcome_looked_up = false, r.assumed = true; }, lacks);
    found_in_kafka(
        "a transactional id for each host", [](kafka_rules& r) { r.id_of_stream = false; }, twice);
    add(kind::weak, "one matching position is enough for the whole write", stream_bounds{.rebalances = 1},
        all_or_nothing::any_is_enough, twice);
  }

  // Known limitations of the code.
  void open() {
    add(kind::open, "a timer's row and two sinks: not solved", changed(with_timer, [](bounds& b) { b.sinks = 2; }),
        as_coded, "the row of the timer is stored twice");
    add(kind::open, "rows without positions, and records that are read again in other batches: not solved",
        unplaced_rows, as_coded, "the transform emitted a row that an uninterrupted run does not emit");
  }

  bool large_;
  std::vector<experiment> all_;
};

bool run(const experiment& e, const settings& how) {
  const auto began = std::chrono::steady_clock::now();
  const auto f = e.run();
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  const bool as_expected = !f.too_large && f.violation == e.violation && (!f.violation.empty() || f.finished != 0);
  std::printf("%s %s: %zu states, %.1f s: ", as_expected ? "ok  " : "FAIL", e.name.c_str(), f.states, seconds);
  if (f.too_large)
    std::printf("more than can be explored\n");
  else if (f.violation.empty())
    std::printf("no state violates a property, and each can finish (%zu have)\n", f.finished);
  else
    std::printf("after %zu steps: %s\n", f.trace.size(), f.violation.c_str());
  if (how.traces || !as_expected || e.of != kind::protocol)
    for (const auto& step : f.trace) std::printf("       %s\n", step.c_str());
  if (!as_expected && !e.violation.empty()) std::printf("       expected: %s\n", e.violation.c_str());
  std::fflush(stdout);
  return as_expected;
}

int usage() {
  std::fprintf(stderr, "usage: model [all|protocol|weak|open] [--large] [--only <part of a name>] [--traces]\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  settings how;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "protocol")
      how.which = kind::protocol;
    else if (arg == "weak")
      how.which = kind::weak;
    else if (arg == "open")
      how.which = kind::open;
    else if (arg == "--large")
      how.large = true;
    else if (arg == "--traces")
      how.traces = true;
    else if (arg == "--only" && i + 1 < argc)
      how.only = argv[++i];
    else if (arg != "all")
      return usage();
  }
  std::size_t done = 0, failed = 0;
  const list experiments(how.large);
  for (const auto& e : experiments.all()) {
    if ((how.which && e.of != *how.which) || e.name.find(how.only) == std::string::npos) continue;
    ++done;
    if (!run(e, how)) ++failed;
  }
  std::printf("%zu of %zu as expected\n", done - failed, done);
  return failed == 0 && done != 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
