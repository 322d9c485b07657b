// SPDX-License-Identifier: Apache-2.0
// Applies stored records to keys under the current rules. A rule is the same rule if its name is the same: its alert
// continues under its id. State that does not fit the current rules is adapted, discarded, or, if it contains an open
// alert, attached to a retired rule.
#pragma once

#include "key_store.hpp"
#include "records.hpp"
#include "rule.hpp"

namespace threshold_alert {

class key_restorer {
 public:
  // stored: the rules under which the state was stored. All arguments must outlive this object.
  key_restorer(rule_set& rules, key_store& keys, const rules_record& stored)
      : rules_(rules), keys_(keys), stored_(stored) {}

  // Restore the records of a snapshot into a new node.
  void snapshot(const trace_record& trace, const alerts_record& alerts, key_node& n);
  // Replace what timers change by the records that a timer stored.
  void timers(const trace_record& trace, const alerts_record& alerts, key_node& n);
  // Restore the alerts of one rule.
  void restore_alert(alerts_record::entry e, key_node& n);
  // Return the reason if the current rules do not cover a stored alert.
  [[nodiscard]] end_reason why_retired(const alerts_record::entry& e, const key_node& n) const;
  [[nodiscard]] const rules_record& stored() const noexcept { return stored_; }
  // Return the level of a rule that the receivers of a stored alert know.
  [[nodiscard]] static std::int32_t published_level(const rule& r, const alerts_record::entry& e);

 private:
  void restore_readings(const trace_record& trace, key_node& n);
  void restore_silence(const trace_record& trace, key_node& n);
  void restore_runs(const trace_record::progress& p, key_node& n);
  [[nodiscard]] const trace_record::slot* slot_of(const trace_record& trace, const rule& r) const;

  rule_set& rules_;
  key_store& keys_;
  const rules_record& stored_;
};

}  // namespace threshold_alert
