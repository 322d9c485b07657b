// SPDX-License-Identifier: Apache-2.0
// Deadlines: silence (missing_for), repeated notices and keys that expire. Owned by an evaluator and used on its lane's
// thread.
//
// In a stream with an arrival clock, a key is silent when the clock has advanced by missing_for since its last record
// arrived. Timers process the deadlines of all keys; a record processes only those of its own key. In a stream without
// one, silence is measured in the records' own time, and each record that advances it processes all deadlines.
#pragma once

#include "event_log.hpp"
#include "key_store.hpp"
#include "rule.hpp"

#include <cstdint>

namespace threshold_alert {

class silence_rules {
 public:
  silence_rules(const rule_set& rules, key_store& keys, event_log& events);

  // Return false if no deadline can exist.
  [[nodiscard]] bool any() const noexcept { return any_; }
  // Set the wall clock, which applies to streams without an arrival clock that are read to their end.
  void set_wall(std::int64_t now) noexcept { wall_ = now; }

  // Process a record that arrived, in a stream with an arrival clock.
  void arrive(stream_state& s, key_node& n, const batch_columns& columns, const record& r);
  // Process a record by its own time. May remove the key: false. first: the key's first record since its state was
  // created.
  bool run(stream_state& s, key_node& n, const batch_columns& columns, const record& r, bool first);
  // Process all deadlines before the stream's current time, in order of time.
  void expire(stream_state& s, const record& cause);
  void schedule(stream_state& s, key_node& n) { s.deadlines.set(n, next_deadline(s, n)); }
  // Evaluate the key's open alerts of rules that have changed. They may end, because a device is silent for a shorter
  // time than the rule requires now.
  void reevaluate(stream_state& s, key_node& n);

 private:
  [[nodiscard]] std::int64_t clock(const stream_state& s) const noexcept;
  [[nodiscard]] std::int64_t last_due(const stream_state& s) const noexcept;
  [[nodiscard]] std::int64_t last_seen(const rule& r, const key_node& n) const noexcept;
  [[nodiscard]] std::int64_t level_deadline(const stream_state& s, const rule& r, std::size_t level,
                                            std::int64_t seen) const noexcept;
  [[nodiscard]] std::int64_t poll_interval(const rule& r, const open_alert& a) const noexcept;
  [[nodiscard]] std::int64_t silence_deadline(const stream_state& s, std::uint32_t rule, key_node& n) const noexcept;
  [[nodiscard]] std::int64_t forget_deadline(const stream_state& s, const key_node& n) const noexcept;
  [[nodiscard]] std::int64_t next_deadline(const stream_state& s, key_node& n) const noexcept;
  void arrive_at_rules(stream_state& s, key_node& n, const batch_columns& columns, const record& r, std::int64_t now);
  bool raise_missed(stream_state& s, key_node& n, std::uint32_t rule, const record& r);
  bool end_silence(stream_state& s, key_node& n, std::uint32_t rule, std::int64_t now, std::int64_t seen,
                   const record& r);
  void expire_key(stream_state& s, key_node& n, std::int64_t due, std::int64_t limit, const record& cause);
  void expire_silence(stream_state& s, key_node& n, std::uint32_t rule, std::int64_t due, std::int64_t limit,
                      const record& cause);

  const rule_set& rules_;
  key_store& keys_;
  event_log& events_;
  bool any_;
  std::int64_t wall_ = never;  // time of the last tick
};

}  // namespace threshold_alert
