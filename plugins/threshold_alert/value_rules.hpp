// SPDX-License-Identifier: Apache-2.0
// Rules on the values of records: thresholds, equality and rates of change. Owned by an evaluator and used on its
// lane's thread.
#pragma once

#include "event_log.hpp"
#include "key_store.hpp"
#include "rule.hpp"
#include "step.hpp"
#include "tally.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace threshold_alert {

class value_rules {
 public:
  value_rules(const rule_set& rules, const key_store& keys, event_log& events, tally& counts);

  void run(const stream_state& s, key_node& n, const batch_columns& columns, const record& r);
  // Forget the readings that a device with a wrong clock sent. time: of its first reading with the right time.
  void restart(key_node& n, std::int64_t time) const;

 private:
  // The data of a rule that the inner loop reads.
  struct watch {
    double low = 0, high = 0;  // of the lowest level
    condition when = condition::above;
    bool rate = false;
    bool computed = false;  // a limit is computed for each record
  };
  // What a rule makes of a record.
  struct finding {
    pl::cell value;     // of the alert
    pl::cell identity;  // a second reading of the same time with the same identity is a copy
    verdict of;
    std::span<const bounds> limits = {};  // computed ones
  };

  void run_limits(const stream_state& s, key_node& n, std::uint32_t rule, const batch_columns& columns, double number,
                  const pl::cell& value, const record& r);
  void run_condition(const stream_state& s, key_node& n, std::uint32_t rule, const batch_columns& columns,
                     const record& r);
  void run_rule(const stream_state& s, key_node& n, std::uint32_t rule, const finding& found, const record& r);
  [[nodiscard]] bool take_rate(const rule& r, key_node& n, double& value, const record& now);

  const rule_set& rules_;
  const key_store& keys_;
  event_log& events_;
  tally& tally_;
  std::vector<watch> watches_;  // same indexes as the rules
  std::vector<bounds> limits_;  // of the current record and rule
};

}  // namespace threshold_alert
