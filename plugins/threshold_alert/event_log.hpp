// SPDX-License-Identifier: Apache-2.0
// The events of one batch or tick, the ids of new alerts, and the number of open alerts. Owned by an evaluator and used
// on its lane's thread.
#pragma once

#include "batch_columns.hpp"
#include "key_store.hpp"
#include "rule.hpp"
#include "step.hpp"

#include <pipeline/batch.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace threshold_alert {

// Key, value, threshold and stream are valid until the next batch or tick.
struct event {
  std::uint32_t row;  // row of the batch; no_row: caused by a timer
  std::uint32_t rule;
  notice what;
  pl::cell value, threshold;
  std::int64_t time;
  std::string_view stream;
  std::uint64_t position;
  std::string_view key;   // packed, see unpack_key
  bool breached = true;   // false: the alert holds, but this value does not breach its level
  bool foreign = false;   // the key belongs to another group_by, and has no state
  std::string text = {};  // message; empty: by the rule's template
};

class event_log {
 public:
  // pipeline, node: parts of the ids.
  event_log(const rule_set& rules, std::string_view pipeline, std::string_view node);

  void clear() noexcept;
  // Return all events that were raised since `clear`.
  [[nodiscard]] std::span<const event> finish() noexcept;

  // The time, value and position of an event, and the record or timer that caused it.
  struct occasion {
    std::int64_t time;
    pl::cell value;
    std::uint64_t position;
    const record& cause;
    bool breached = true;
    end_reason why_ended = end_reason::none;
    std::span<const bounds> limits = {};  // computed for this record, by level; empty: those of the rule
  };
  // When and why an alert of a retired rule ends, and the position of its key's last record.
  struct ending {
    std::int64_t time;
    std::uint64_t position;
    std::string text;
    bool foreign;
  };
  // Append an event. An alert that opens gets its id, in the event and in `state`.
  void raise(const stream_state& s, const key_node& n, std::uint32_t rule, alert_state& state, notice what,
             const occasion& at);

  // Append the notice that resolves an alert of a retired rule. key: the group_by columns of the notice.
  void raise_end(const stream_state& s, std::string_view key, std::uint32_t rule, const open_alert& a,
                 const ending& at);

  // Set the time before which events are too old to be published.
  void set_oldest(std::int64_t time) noexcept { oldest_ = time; }
  [[nodiscard]] std::int64_t oldest() const noexcept { return oldest_; }

  // Return the number of open alerts of the rules of this name.
  [[nodiscard]] std::int64_t open_alerts(std::string_view name) const noexcept;
  // Add (sign +1) or subtract (-1) the open alerts of a key that is restored or discarded.
  void count_alerts(const key_node& n, int sign);
  void count_alert(std::uint32_t rule, int sign);

  // Return an id for an alert of the key that was not published yet.
  [[nodiscard]] uuid make_id(const stream_state& s, const key_node& n, std::uint32_t rule, std::int64_t time,
                             std::uint64_t position) const;

 private:
  const rule_set& rules_;
  std::string id_prefix_;
  std::int64_t oldest_ = never;
  std::vector<std::int64_t> open_;
  std::vector<event> events_;
  std::string keys_;  // concatenated copies of the events' keys: a key may be removed before its event is read
  mutable std::vector<pl::cell> cells_;
};

}  // namespace threshold_alert
