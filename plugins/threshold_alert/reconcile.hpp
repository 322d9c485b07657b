// SPDX-License-Identifier: Apache-2.0
// After a crash, the records since the last snapshot are read again, under the current rules, and the output of those that
// were delivered before is discarded. If the rules have changed, this does not give the events that were published.
// Therefore the alerts of a key are stored with each event (published_record), and take precedence once the records are
// read: what was published stays open until the current rules resolve it, and what was discarded is published.
#pragma once

#include "event_log.hpp"
#include "key_store.hpp"
#include "records.hpp"
#include "restore.hpp"
#include "rule.hpp"

#include <vector>

namespace threshold_alert {

class reconciler {
 public:
  reconciler(rule_set& rules, key_store& keys, const event_log& events) : rules_(rules), keys_(keys), events_(events) {}

  // Reconcile the alerts of a key with those that were published. discarded: the output of its records so far was
  // discarded. Return whether anything changed.
  bool key(const stream_state& s, key_node& n, const alerts_record& published, bool discarded);
  // Let alerts of rules that did not exist before be published, because their output was discarded.
  bool withdraw_new(const stream_state& s, key_node& n);

 private:
  bool keep(key_restorer& restorer, key_node& n, const alerts_record::entry& e, bool discarded);
  void reopen(key_node& n, std::uint32_t rule) const;
  bool withdraw(const stream_state& s, key_node& n, rule_state& state) const;

  rule_set& rules_;
  key_store& keys_;
  const event_log& events_;
};

}  // namespace threshold_alert
