// SPDX-License-Identifier: Apache-2.0
#include "telemetry/engine_metrics.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <set>
#include <sstream>

namespace pl::telemetry {
namespace {

template <class Check>
void for_each_metric(Check check) {
  std::apply([&](const auto&... def) { (check(def), ...); }, engine_metrics::all);
}

TEST_CASE("README.md contains the generated reference table") {
  std::ifstream file(TELEMETRY_DIR "/README.md");
  std::stringstream readme;
  readme << file.rdbuf();
  const auto table = engine_metrics::to_markdown();
  CAPTURE(table);
  CHECK(readme.str().find(table) != std::string::npos);
}

TEST_CASE("names are unique and follow the Prometheus conventions") {
  std::set<std::string_view> names;
  for_each_metric([&](const auto& def) {
    CAPTURE(std::string(def.name));
    CHECK(names.insert(def.name).second);
    CHECK(def.name.ends_with("_total") == (def.kind == metric_kind::counter));
    CHECK_FALSE(def.doc.empty());
  });
  CHECK(names.size() == std::tuple_size_v<decltype(engine_metrics::all)>);
}

TEST_CASE("each metric is rendered with its name and labels") {
  metrics all;
  all.get(engine_metrics::batch_rows, "iot", "parsed").observe(700);
  all.get(engine_metrics::settled_position, "iot", "telemetry", "iot-stream/0").set(99);
  all.get(engine_metrics::config_reloads_total, "ok").add();
  all.get(engine_metrics::build_info, "0.1.0").set(1);
  const auto text = all.render();
  for (const auto* line :
       {"pipeline_batch_rows_bucket{node=\"parsed\",pipeline=\"iot\",le=\"500\"} 0\n",
        "pipeline_batch_rows_bucket{node=\"parsed\",pipeline=\"iot\",le=\"1000\"} 1\n",
        "pipeline_settled_position{node=\"telemetry\",pipeline=\"iot\",stream=\"iot-stream/0\"} 99\n",
        "pipeline_config_reloads_total{result=\"ok\"} 1\n", "pipeline_build_info{version=\"0.1.0\"} 1\n"}) {
    CAPTURE(text);
    CHECK(text.find(line) != std::string::npos);
  }
}

}  // namespace
}  // namespace pl::telemetry
