// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics.hpp"

#include "telemetry/engine_metrics.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <limits>
#include <thread>
#include <vector>

namespace pl::telemetry {
namespace {

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

const std::array<label, 2> store{{{"pipeline", "iot"}, {"node", "store"}}};
const std::array<label, 2> notify{{{"pipeline", "iot"}, {"node", "notify"}}};

TEST_CASE("counters, gauges and histograms are rendered") {
  metrics all;
  auto sent = all.counter("sent_total", "Messages sent", store);
  REQUIRE(sent);
  sent->add();
  sent->add(41);
  all.gauge("depth", "Depth", store)->set(-2.5);
  all.histogram("took_seconds", "Time", store)->observe(0.003);

  const auto text = all.render();
  CHECK(contains(text, "# HELP pipeline_sent_total Messages sent\n# TYPE pipeline_sent_total counter\n"));
  CHECK(contains(text, "pipeline_sent_total{node=\"store\",pipeline=\"iot\"} 42\n"));
  CHECK(contains(text, "pipeline_depth{node=\"store\",pipeline=\"iot\"} -2.5\n"));
  CHECK(contains(text, "pipeline_took_seconds_count{node=\"store\",pipeline=\"iot\"} 1\n"));
  CHECK(contains(text, "pipeline_took_seconds_bucket{node=\"store\",pipeline=\"iot\",le=\"0.0025\"} 0\n"));
  CHECK(contains(text, "pipeline_took_seconds_bucket{node=\"store\",pipeline=\"iot\",le=\"0.005\"} 1\n"));
  CHECK(contains(text, "pipeline_took_seconds_bucket{node=\"store\",pipeline=\"iot\",le=\"+Inf\"} 1\n"));
}

TEST_CASE("equal labels in any order return the same metric") {
  metrics all;
  all.counter("sent_total", "A", store)->add(1);
  const std::array<label, 2> turned{{{"node", "store"}, {"pipeline", "iot"}}};
  all.counter("pipeline_sent_total", "B", turned)->add(2);
  CHECK(all.counter("sent_total", "", store)->value() == 3);
  CHECK(all.counter("sent_total", "", notify)->value() == 0);
}

TEST_CASE("another kind of the same name is an error") {
  metrics all;
  REQUIRE(all.counter("sent_total", "", store));
  const auto gauge = all.gauge("sent_total", "", store);
  REQUIRE_FALSE(gauge);
  CHECK(gauge.why().message ==
        "metric 'sent_total' is already a counter and cannot also be a gauge; choose another name");
  CHECK_FALSE(all.gauge("records_in_total", "", store));  // an engine metric
  CHECK_FALSE(all.counter("write_seconds_count", "", store));
  REQUIRE(all.counter("mine_sum", "", store));
  CHECK_FALSE(all.histogram("mine", "", store));
  CHECK_FALSE(all.metric(static_cast<metric_kind>(7), "seven", "", store));
}

TEST_CASE("invalid names are rejected with advice") {
  metrics all;
  const auto message = [&](std::string_view name) { return all.counter(name, "", store).why().message; };
  CHECK(message("sent-total") ==
        "metric name 'sent-total' is not valid: use letters, digits and '_', no digit first, at most 200 characters; "
        "try 'sent_total'");
  CHECK(contains(message("1st"), "try '_1st'"));
  CHECK(contains(message(""), "empty"));
  CHECK(contains(message("a\xFF\n"), "try 'a__'"));
  CHECK_FALSE(all.counter(std::string(201, 'a'), "", store));
  const auto with = [&](label one) { return all.histogram("ok", "", std::span(&one, 1)); };
  CHECK_FALSE(with({"le", "1"}));
  CHECK_FALSE(with({"__name__", "x"}));
  CHECK_FALSE(with({"a-b", "x"}));
  CHECK(with({"fine", "x"}));
  const std::array<label, 2> twice{{{"a", "1"}, {"a", "2"}}};
  CHECK(contains(all.counter("ok_total", "", twice).why().message, "specified twice"));
}

TEST_CASE("label values and docs may be any text") {
  metrics all;
  const std::array<label, 1> odd{{{"topic", "a\"b\\c\nd\xFF"}}};
  all.counter("odd_total", "two\nlines \\ here", odd)->add();
  const auto text = all.render();
  CHECK(contains(text, "# HELP pipeline_odd_total two\\nlines \\\\ here\n"));
  CHECK(contains(text, "pipeline_odd_total{topic=\"a\\\"b\\\\c\\nd\uFFFD\"} 1\n"));
  all.remove("", "");
  CHECK(all.counter("odd_total", "", odd)->value() == 1);
}

TEST_CASE("values that would corrupt a sum are ignored") {
  metrics all;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  auto sent = *all.counter("sent_total", "", store);
  for (const double bad : {-1.0, nan, std::numeric_limits<double>::infinity()}) sent.add(bad);
  CHECK(sent.value() == 0);
  all.histogram("took_seconds", "", store)->observe(nan);
  CHECK(contains(all.render(), "pipeline_took_seconds_count{node=\"store\",pipeline=\"iot\"} 0\n"));
}

TEST_CASE("a kind known at run time: record adds, sets, observes") {
  metrics all;
  const auto make = [&](metric_kind kind, std::string_view name) { return *all.metric(kind, name, "", store); };
  const auto count = make(metric_kind::counter, "c_total");
  const auto level = make(metric_kind::gauge, "g");
  const auto time = make(metric_kind::histogram, "h_seconds");
  for (const auto* one : {&count, &level, &time}) {
    one->record(2);
    one->record(3);
  }
  const auto text = all.render();
  CHECK(contains(text, "pipeline_c_total{node=\"store\",pipeline=\"iot\"} 5\n"));
  CHECK(contains(text, "pipeline_g{node=\"store\",pipeline=\"iot\"} 3\n"));
  CHECK(contains(text, "pipeline_h_seconds_sum{node=\"store\",pipeline=\"iot\"} 5\n"));
  instrument().record(1);  // does nothing
  counter().add(1);
  gauge().set(1);
  histogram().observe(1);
}

TEST_CASE("removal by pipeline, node, stream; handles stay valid") {
  metrics all;
  auto old = *all.counter("sent_total", "", store);
  old.add(5);
  all.counter("sent_total", "", notify)->add(6);
  all.get(engine_metrics::lag_records, "iot", "store", "t/0").set(1);
  all.get(engine_metrics::lag_records, "iot", "store", "t/1").set(1);
  all.get(engine_metrics::records_in_total, "other", "store").add(1);

  all.remove("iot", "store", {"stream", "t/0"});
  CHECK_FALSE(contains(all.render(), "t/0"));
  CHECK(contains(all.render(), "t/1"));

  all.remove("iot", "store");
  CHECK_FALSE(contains(all.render(), "t/1"));
  CHECK(contains(all.render(), "pipeline_sent_total{node=\"notify\",pipeline=\"iot\"} 6\n"));
  old.add(1);
  CHECK(old.value() == 6);
  CHECK(all.counter("sent_total", "", store)->value() == 0);

  all.remove("iot");
  CHECK_FALSE(contains(all.render(), "pipeline=\"iot\""));
  CHECK(contains(all.render(), "pipeline=\"other\""));
}

TEST_CASE("handles outlive the metrics") {
  counter handle;
  {
    metrics all;
    handle = *all.counter("sent_total", "", store);
  }
  handle.add(2);
  CHECK(handle.value() == 2);
}

TEST_CASE("series are bounded for each node") {
  metrics all;
  for (std::size_t i = 0; i < metrics::max_series; ++i) {
    all.get(engine_metrics::lag_records, "iot", "store", std::to_string(i));
  }
  const std::array<label, 3> more{{{"pipeline", "iot"}, {"node", "store"}, {"stream", "more"}}};
  CHECK_FALSE(all.gauge("lag_records", "", more));
  all.get(engine_metrics::lag_records, "iot", "store", "more").set(1);  // does nothing
  all.get(engine_metrics::lag_records, "iot", "other", "shown").set(1);
  CHECK(contains(all.render(), "stream=\"shown\""));
  CHECK_FALSE(contains(all.render(), "stream=\"more\""));
  CHECK(contains(all.render(), "pipeline_metric_series_rejected_total{metric=\"lag_records\"} 2\n"));
  all.remove("iot", "store");
  CHECK(all.gauge("lag_records", "", more));
}

TEST_CASE("series of all metrics together are bounded, and long label values are cut") {
  metrics all;
  for (std::size_t i = 0; i < metrics::max_total_series; ++i)
    all.get(engine_metrics::lag_records, "iot", std::to_string(i / metrics::max_series), std::to_string(i));
  const std::array<label, 1> one{{{"node", "new"}}};
  CHECK_FALSE(all.counter("sent_total", "", one));
  CHECK(contains(all.render(), "pipeline_metric_series_rejected_total{metric=\"sent_total\"} 1\n"));
  all.remove("iot", "0");
  CHECK(all.counter("sent_total", "", one));

  const std::string text(metrics::max_label_bytes + 10, 'x');
  const std::array<label, 2> cut{{{"node", "n"}, {"topic", text}}};
  CHECK(all.counter("cut_total", "", cut));
  CHECK(contains(all.render(), "topic=\"" + text.substr(10) + "\"}"));
  CHECK_FALSE(contains(all.render(), text));
}

TEST_CASE("collectors run before rendering, until their registration is destroyed") {
  metrics all;
  int runs = 0;
  {
    const auto registration = all.before_render([&] {
      ++runs;
      all.get(engine_metrics::memory_bytes, "iot").set(runs);
    });
    CHECK(contains(all.render(), "pipeline_memory_bytes{pipeline=\"iot\"} 1\n"));
    CHECK(contains(all.render(), "pipeline_memory_bytes{pipeline=\"iot\"} 2\n"));
  }
  CHECK(contains(all.render(), "pipeline_memory_bytes{pipeline=\"iot\"} 2\n"));
}

TEST_CASE("concurrent counting, rendering and removing") {
  metrics all;
  std::atomic<bool> done = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      const auto mine = all.get(engine_metrics::records_in_total, "iot", "parsed");
      for (int i = 0; i < 2'000; ++i) {
        mine.add(1);
        all.get(engine_metrics::write_seconds, "iot", "store").observe(0.001);
      }
    });
  }
  std::thread scraper([&] {
    while (!done) {
      all.render();
      all.remove("iot", "store");
    }
  });
  for (auto& thread : threads) thread.join();
  done = true;
  scraper.join();
  CHECK(all.get(engine_metrics::records_in_total, "iot", "parsed").value() == 6'000);
}

}  // namespace
}  // namespace pl::telemetry
