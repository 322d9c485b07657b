// SPDX-License-Identifier: Apache-2.0
// Explores every state of the delivery protocol within bounds: as the code does it, where nothing may break; in weak
// forms, each of which has to be found out; and where the code itself is weak.
//
// usage: model [all|protocol|weak|open] [--large] [--only <words>] [--traces]
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
  std::string promise;  // the one that breaks; empty: none does
  std::function<findings()> run;
};

struct settings {
  std::optional<kind> which;
  bool large = false, traces = false;
  std::string_view only;
};

// What the bounds are made of.
constexpr bounds one_sink{.records = 2, .rebalances = 2, .orders = 1};
constexpr bounds two_sinks{.records = 2, .sinks = 2, .window = 1, .rebalances = 1, .orders = 1, .lost = 0};
constexpr bounds with_mqtt{.records = 2, .mqtt = true, .rebalances = 1, .first_commit = 0};
constexpr bounds without_offset{.records = 2, .mqtt = true, .rebalances = 1, .first_commit = nothing};
constexpr bounds with_state{.records = 3, .state = true, .kills = 2, .rebalances = 0, .first_commit = 0};
constexpr bounds state_and_two{
    .records = 2, .sinks = 2, .state = true, .kills = 2, .rebalances = 0, .lost = 0, .first_commit = 0};
constexpr bounds with_timer{
    .records = 1, .state = true, .timer = true, .window = 1, .rebalances = 1, .first_commit = 0};

constexpr rules as_coded{};

constexpr bounds state_and_order{
    .records = 2, .state = true, .kills = 2, .rebalances = 0, .orders = 1, .first_commit = 0};
constexpr bounds two_and_order{
    .records = 3, .sinks = 2, .state = true, .kills = 2, .rebalances = 0, .orders = 1, .lost = 0, .first_commit = 0};
constexpr bounds later_sink{
    .records = 4, .sinks = 2, .state = true, .kills = 1, .rebalances = 0, .lost = 0, .new_sink = true};
constexpr bounds topic_anew{.records = 2, .window = 1, .kills = 0, .rebalances = 2, .lost = 0, .new_topic = true};

template <class T, class Change>
constexpr T but(T with, Change&& change) {
  change(with);
  return with;
}

class list {
 public:
  explicit list(bool large) : large_(large) { protocol(), weak(), open(); }
  [[nodiscard]] const std::vector<experiment>& all() const { return all_; }

 private:
  void add(kind of, std::string name, bounds b, rules r, std::string promise) {
    all_.push_back({of, std::move(name), std::move(promise),
                    [=] { return search<one_stream>(one_stream(b, r), most_states).run(); }});
  }
  void add(kind of, std::string name, stream_bounds b, all_or_nothing how, std::string promise) {
    all_.push_back({of, std::move(name), std::move(promise),
                    [=] { return search<two_streams>(two_streams(b, how), most_states).run(); }});
  }
  void add(kind of, std::string name, kafka_bounds b, kafka_rules r, std::string promise) {
    all_.push_back({of, std::move(name), std::move(promise),
                    [=] { return search<kafka_store>(kafka_store(b, r), most_states).run(); }});
  }
  [[nodiscard]] bounds larger(bounds b, byte records, byte rebalances, byte lost) const {
    if (large_) b.records = records, b.rebalances = rebalances, b.lost = lost;
    return b;
  }

  // As the code does it.
  void protocol() {
    const auto holds = [&](const std::string& name, bounds b) { add(kind::protocol, name, b, as_coded, {}); };
    holds("one sink: zombies, kills, lost replies, an order", larger(one_sink, 3, 2, 1));
    holds("two sinks: claims one after the other, an order", larger(two_sinks, 2, 1, 1));
    holds("two sinks: replies lost at either",
          larger({.records = 1, .sinks = 2, .kills = 1, .rebalances = 1, .lost = 1}, 2, 1, 1));
    holds("a branch without positions gets each message", larger(with_mqtt, 3, 1, 1));
    holds("a branch without positions, and an order",
          larger(but(with_mqtt, [](bounds& b) { b.orders = 1, b.lost = 0; }), 2, 1, 1));
    holds("state: what is given is what one uninterrupted run gives", larger(with_state, 3, 0, 2));
    holds("state: rebalances at any moment",
          larger(but(with_state, [](bounds& b) { b.records = 2, b.kills = 0, b.rebalances = 1; }), 2, 2, 1));
    holds("state: what is given reaches a branch without positions",
          larger(but(with_state, [](bounds& b) { b.mqtt = true, b.lost = 0; }), 3, 0, 1));
    holds("a group without an offset, and MQTT is behind", without_offset);
    holds("what a timer made, and a transaction that commits late", with_timer);
    holds("state, an order, and a crash after it", state_and_order);
    holds("state, two sinks: a snapshot reached one of them", state_and_two);
    holds("state, two sinks: an order reached one of them", two_and_order);
    holds("state, and a sink that was added later", later_sink);
    holds("the topic is created anew, with fewer records", topic_anew);
    add(kind::protocol, "two streams in one write: all or nothing",
        large_ ? stream_bounds{.records = 3, .rebalances = 1} : stream_bounds{.rebalances = 1}, all_or_nothing::checked,
        {});
    add(kind::protocol, "into Kafka: zombies, kills, lost answers, strangers' transactions",
        large_ ? kafka_bounds{} : kafka_bounds{.rebalances = 1},
        kafka_rules{}, {});
    add(kind::protocol, "not weak: an epoch of its own for each sink", two_sinks,
        but(as_coded, [](rules& r) { r.one_epoch = false; }), {});
  }

  void weak() {
    const std::string twice = "a record is stored more often than it was due";
    const std::string lacks = "a run is at its end, and a sink lacks a record";
    const auto found = [&](std::string name, bounds b, auto&& how, std::string promise) {
      add(kind::weak, std::move(name), b, but(as_coded, how), std::move(promise));
    };
    found(
        "claim without comparing", one_sink, [](rules& r) { r.claim = claim_check::none; }, twice);
    found(
        "claim compares the epoch only, and only with an order", one_sink,
        [](rules& r) { r.claim = claim_check::epoch_with_order; }, twice);
    found(
        "claim compares the position only", one_sink, [](rules& r) { r.claim = claim_check::next_alone; }, lacks);
    found(
        "write without comparing the epoch", one_sink, [](rules& r) { r.epoch_in_write = false; }, twice);
    found(
        "write without comparing the position", one_sink, [](rules& r) { r.next_in_write = r.serial_in_write = false; },
        twice);
    found(
        "an order is not marked before the first record", one_sink, [](rules& r) { r.order_marked_first = false; },
        twice);
    found(
        "a lost reply is taken for 'committed'", one_sink, [](rules& r) { r.reply = lost_reply::taken_for_committed; },
        lacks);
    found(
        "a lost reply is taken for 'not committed'", one_sink,
        [](rules& r) { r.reply = lost_reply::taken_for_not_committed; }, "it can't come to an end any more");
    found(
        "offsets are committed before the sinks have the records", with_mqtt, [](rules& r) { r.commit_first = true; },
        "the group's offset has passed a message that MQTT never got");
    found(
        "reading begins at the sinks' positions only", with_mqtt, [](rules& r) { r.read_from_group = false; },
        "the group's offset has passed a message that MQTT never got");
    found(
        "no marker with the very first records", with_state,
        [](rules& r) { r.first_marker = r.state_in_one = r.begins_at_state = false; },
        "the transform gave what one uninterrupted run does not");
    found(
        "a snapshot is written before it is settled", but(with_state, [](bounds& b) { b.mqtt = true; }),
        [](rules& r) { r.snapshot_settled = false; }, "the group's offset has passed a message that MQTT never got");
    found(
        "the start of a group without an offset is not marked first", without_offset,
        [](rules& r) { r.start_marked_first = false; }, "the group's offset has passed a message that MQTT never got");
    found(
        "a write that moves no position is not compared with the one before", with_timer,
        [](rules& r) { r.serial_in_write = false; }, "what the timer made is stored twice");
    found(
        "a claim does not note where transforms begin, and keys know what they have seen", state_and_order,
        [](rules& r) { r.state_in_one = r.begins_at_state = false; },
        "after an order, the transform gave what one uninterrupted run does not");
    found(
        "each sink keeps state of its own", state_and_two, [](rules& r) { r.state_in_one = r.begins_at_state = false; },
        "what the transform gave differs between the sinks");
    found(
        "a sink that is added later begins at the group's offset", later_sink,
        [](rules& r) { r.new_sink_at_lowest = r.state_in_one = r.begins_at_state = false; },
        "the transform gave what one uninterrupted run does not");
    found(
        "positions that begin again are claimed without comparing the epoch", topic_anew,
        [](rules& r) { r.back_under_claim = false; }, twice);
    const auto found_in_kafka = [&](std::string name, auto&& how, std::string promise) {
      add(kind::weak, "into Kafka: " + std::move(name), kafka_bounds{}, but(kafka_rules{}, how), std::move(promise));
    };
    found_in_kafka(
        "a claim does not look again once it has taken over", [](kafka_rules& r) { r.claim_looks = false; }, twice);
    found_in_kafka(
        "a look does not wait for strangers' transactions", [](kafka_rules& r) { r.look_waits = false; }, twice);
    found_in_kafka(
        "the first write does not look", [](kafka_rules& r) { r.writer_looks = false; }, twice);
    found_in_kafka(
        "an unknown outcome is taken for 'not committed'", [](kafka_rules& r) { r.outcome_looked_up = false; }, twice);
    found_in_kafka(
        "an unknown outcome is taken for 'committed'",
        [](kafka_rules& r) { r.outcome_looked_up = false, r.assumed = true; }, lacks);
    found_in_kafka(
        "a transactional id for each host", [](kafka_rules& r) { r.id_of_stream = false; }, twice);
    add(kind::weak, "one position that fits lets the whole write through", stream_bounds{.rebalances = 1},
        all_or_nothing::any_is_enough, twice);
  }

  // What the code does not do well yet.
  void open() {
    add(kind::open, "what a timer made, and two sinks: not solved", but(with_timer, [](bounds& b) { b.sinks = 2; }),
        as_coded, "what the timer made is stored twice");
  }

  bool large_;
  std::vector<experiment> all_;
};

bool run(const experiment& e, const settings& how) {
  const auto began = std::chrono::steady_clock::now();
  const auto f = e.run();
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  const bool as_expected = !f.too_many && f.broken == e.promise && (!f.broken.empty() || f.finished != 0);
  std::printf("%s %s: %zu states, %.1f s: ", as_expected ? "ok  " : "FAIL", e.name.c_str(), f.states, seconds);
  if (f.too_many)
    std::printf("more than can be explored\n");
  else if (f.broken.empty())
    std::printf("none breaks a promise, each can come to its end (%zu have)\n", f.finished);
  else
    std::printf("after %zu steps: %s\n", f.trace.size(), f.broken.c_str());
  if (how.traces || !as_expected || e.of != kind::protocol)
    for (const auto& step : f.trace) std::printf("       %s\n", step.c_str());
  if (!as_expected && !e.promise.empty()) std::printf("       expected: %s\n", e.promise.c_str());
  std::fflush(stdout);
  return as_expected;
}

int usage() {
  std::fprintf(stderr, "usage: model [all|protocol|weak|open] [--large] [--only <words of a name>] [--traces]\n");
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
