// SPDX-License-Identifier: Apache-2.0
// "alerts/1": lists the open alerts in memory as JSON objects, with the members of the rows that the component emits.
#include "threshold_alert.hpp"

#include <pipeline/json.hpp>

#include <map>
#include <string>
#include <tuple>

namespace threshold_alert {

namespace {

// Writes one JSON object. Members that are null are left out.
class object {
 public:
  void add(std::string_view name, const pl::cell& value) {
    if (pl::is_null(value)) return;
    text_ += text_.empty() ? "{" : ",";
    pl::append_json_string(text_, name);
    text_ += ':';
    pl::append_json(text_, value);
  }
  std::string_view finish() { return text_ += '}'; }

 private:
  std::string text_;
};

}  // namespace

// The oldest alert comes first; the order in memory depends on hashes.
pl::result<void> threshold_alert::open_alerts(const alert_entry& each) {
  std::map<std::tuple<std::int64_t, uuid>, std::string> ordered;
  std::vector<pl::cell> key;
  evaluator_.each_alert([&](const stream_state& s, const key_node& n, const rule_state& state) {
    const auto& rule = rules_.rules[state.rule];
    const auto& alert = *state.alerts.alert;
    object o;
    o.add("id", pl::text_cell(uuid_text(alert.id)));
    o.add("rule", pl::text_cell(rule.name));
    o.add("state", pl::text_cell(alert.flapping ? "flapping" : "firing"));
    o.add("severity", pl::text_cell(rule.levels[static_cast<std::size_t>(alert.level)].severity));
    if (!rule.metric.empty()) o.add("metric", pl::text_cell(rule.metric));
    if (alert.value) o.add("value", pl::real_cell(*alert.value));
    unpack_key(n.key(), key);
    for (std::size_t i = 0; i < key.size(); ++i) o.add(rules_.group_by[i], key[i]);
    if (!rule.labels.empty()) o.add("labels", pl::json_cell(rule.labels));
    o.add("since", pl::time_cell(alert.since));
    o.add("stream", pl::text_cell(s.name));
    ordered.emplace(std::tuple(alert.since, alert.id), o.finish());
  });
  for (const auto& [order, alert] : ordered) each(alert);
  return {};
}

}  // namespace threshold_alert
