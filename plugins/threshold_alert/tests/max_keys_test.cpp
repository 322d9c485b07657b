// SPDX-License-Identifier: Apache-2.0
// Limits of the devices whose state is kept: max_keys and the memory of the pipeline.
#include "codec.hpp"
#include "harness.hpp"

using namespace threshold_alert::testing;

namespace {

config_fields limited(std::int64_t keys, const char* when_full) {
  return {{"max_keys", keys},
          {"when_full", when_full},
          {"rules", list({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80}})})}};
}

// Return whether the stored state has the device: in a page, or with entries of its own.
bool knows(const harness::state& s, const std::string& device) {
  return std::ranges::any_of(s, [&](const auto& e) {
    if (e.first.second.front() != 'g') return e.first.second.find(device) != std::string::npos;
    const auto page = threshold_alert::decode_page(e.second);
    REQUIRE(page.ok());
    return std::ranges::any_of(*page, [&](const auto& k) { return k.key.find(device) != std::string::npos; });
  });
}

constexpr const char* not_evaluated = "alert_records_skipped_total{reason=max_keys}";
constexpr const char* evicted = "alert_devices_evicted_total";

// Feed a million ids, each once, with a record of d1 in each batch.
void feed_a_million(harness& h) {
  constexpr int batches = 100, rows = 10'000;
  for (int b = 0; b < batches; ++b) {
    std::vector<row> all{{static_cast<double>(b), real(90), "d1"}};
    for (int i = 0; i < rows; ++i)
      all.push_back({static_cast<double>(b), real(10), "random-" + std::to_string(b * rows + i)});
    h.arrive(all);
    h.snapshot();
  }
}

}  // namespace

TEST_CASE("reject: a device that is not known is not evaluated while max_keys are known") {
  harness h(limited(3, "reject"));
  h.feed({{0, real(10), "d1"}, {0, real(10), "d2"}, {0, real(10), "d3"}, {1, real(90), "d4"}, {2, real(90), "d2"}});
  CHECK(h.take() == lines{"firing warning 90 @2 d2"});
  CHECK(h.host.sum(not_evaluated) == 1);
  CHECK(h.host.last("alert_devices") == 3);
  h.feed({{3, real(10), "d2"}, {3, real(90), "d4"}});
  CHECK(h.take() == lines{"resolved warning 10 @3 d2"});
  CHECK(h.host.sum(not_evaluated) == 2);
}

TEST_CASE("max_keys applies to each stream") {
  harness h(limited(1, "reject"));
  h.feed({{0, real(90), "d1"}}, "telemetry/0");
  h.feed({{0, real(90), "d2"}}, "telemetry/1");
  CHECK(h.take() == lines{"firing warning 90 @0 d1", "firing warning 90 @0 d2"});
  CHECK(h.host.sum(not_evaluated) == 0);
}

TEST_CASE("evict_oldest: the device that was silent for longest goes, but not with an open alert") {
  for (const bool arrivals : {false, true}) {
    CAPTURE(arrivals);
    harness h(limited(3, "evict_oldest"));
    const auto send = [&](const std::vector<row>& rows) { arrivals ? h.arrive(rows) : h.feed(rows); };
    send({{0, real(90), "d1"}, {1, real(10), "d2"}, {2, real(10), "d3"}});
    h.snapshot();
    CHECK(knows(h.host.state(), "d2"));
    CHECK(h.take() == lines{"firing warning 90 @0 d1"});
    send({{3, real(90), "d4"}});
    CHECK(h.take() == lines{"firing warning 90 @3 d4"});
    CHECK(h.host.sum(evicted) == 1);
    CHECK(h.host.last("alert_devices") == 3);
    h.snapshot();
    CHECK_FALSE(knows(h.host.state(), "d2"));
    CHECK(knows(h.host.state(), "d1"));
    CHECK(knows(h.host.state(), "d3"));
    send({{4, real(10), "d1"}});
    CHECK(h.take() == lines{"resolved warning 10 @4 d1"});
  }
}

TEST_CASE("evict_oldest: if all devices have open alerts, no other is evaluated") {
  harness h(limited(2, "evict_oldest"));
  h.feed({{0, real(90), "d1"}, {0, real(90), "d2"}, {1, real(90), "d3"}});
  CHECK(h.take() == lines{"firing warning 90 @0 d1", "firing warning 90 @0 d2"});
  CHECK(h.host.sum(not_evaluated) == 1);
  CHECK(h.host.sum(evicted) == 0);
}

TEST_CASE("a lower max_keys after a restart: the restored devices stay until others come") {
  harness before(limited(100, "evict_oldest"));
  std::vector<row> rows;
  for (int i = 0; i < 100; ++i) rows.push_back({static_cast<double>(i), real(10), "d" + std::to_string(1000 + i)});
  before.feed(rows);
  harness h(limited(10, "evict_oldest"));
  h.restore(before.stop(), "telemetry/0", before.next());
  h.feed({{200, real(90), "new"}});
  CHECK(h.take() == lines{"firing warning 90 @200 new"});
  CHECK(h.host.last("alert_devices") <= 10);
  h.feed({{201, real(90), "d1099"}});  // the newest one stayed
  CHECK(h.take() == lines{"firing warning 90 @201 d1099"});
  CHECK(h.host.last("alert_devices") <= 10);
}

TEST_CASE("the memory of the state is reported, and limits it like max_keys") {
  for (const auto* policy : {"reject", "evict_oldest"}) {
    CAPTURE(policy);
    const bool evicts = policy == std::string("evict_oldest");
    harness h(limited(1'000'000, policy));
    std::vector<row> rows;
    for (int i = 0; i < 1000; ++i) rows.push_back({static_cast<double>(i), real(10), "d" + std::to_string(1000 + i)});
    h.feed(rows);
    h.snapshot();
    CHECK(h.host.state_bytes() > 80'000);
    CHECK(h.host.state_bytes() == static_cast<std::uint64_t>(h.host.last("alert_state_bytes")));
    h.host.limit_state(h.host.state_bytes() / 2);
    h.feed({{1000, real(10), "d1999"}});  // the limit is noticed after a batch
    h.feed({{1001, real(90), "d1999"}, {1002, real(90), "new 1"}, {1003, real(90), "new 2"}});
    auto events = lines{"firing warning 90 @1001 d1999"};
    if (evicts) events.insert(events.end(), {"firing warning 90 @1002 new 1", "firing warning 90 @1003 new 2"});
    CHECK(h.take() == events);
    CHECK(h.host.sum(not_evaluated) == (evicts ? 0 : 2));
    CHECK(h.host.last("alert_devices") == (evicts ? 1000 - 1000 / 16 + 2 : 1000));
    h.host.limit_state(UINT64_MAX);
    h.feed({{1004, real(10), "d1999"}});
    h.take();
    h.feed({{1005, real(90), "new 3"}});
    CHECK(h.take() == lines{"firing warning 90 @1005 new 3"});
  }
}

TEST_CASE("a million ids use the memory of max_keys devices, and do not affect a device that is known") {
  for (const auto* policy : {"reject", "evict_oldest"}) {
    CAPTURE(policy);
    harness h(limited(20'000, policy));
    feed_a_million(h);
    CHECK(h.take() == lines{"firing warning 90 @0 d1"});
    CHECK(h.host.last("alert_devices") <= 20'000);
    CHECK(h.host.state_bytes() < 20'000 * 500);
    CHECK(h.host.sum(policy == std::string("reject") ? not_evaluated : evicted) >= 1'000'001 - 20'000);
    CHECK(h.host.state().size() < 20'000 + 10);
    h.arrive({{200, real(10), "d1"}});
    CHECK(h.take() == lines{"resolved warning 10 @200 d1"});
  }
}
