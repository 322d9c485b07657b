// SPDX-License-Identifier: Apache-2.0
// Runs the rules on batches and ticks: checks each record's time, key and order, then evaluates the rules. Owns the
// state of streams and devices. There is one evaluator for each lane, used on that lane's thread.
#pragma once

#include "batch_columns.hpp"
#include "event_log.hpp"
#include "key_store.hpp"
#include "restore.hpp"
#include "rule.hpp"
#include "silence_rules.hpp"
#include "tally.hpp"
#include "value_rules.hpp"

#include <pipeline/arrival.hpp>
#include <pipeline/batch.hpp>

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace threshold_alert {

class evaluator {
 public:
  // rules: may grow by retired rules. pipeline, node: parts of the alert ids. clocks: the streams' arrival clocks.
  evaluator(rule_set& rules, std::string_view pipeline, std::string_view node, pl::arrival_clocks clocks = {});
  evaluator(const evaluator&) = delete;
  evaluator& operator=(const evaluator&) = delete;

  // Return the events of this batch, or of the timers due at this time. The events are valid until the next call of
  // either function. computed: the cells of each expression of the rules.
  [[nodiscard]] std::span<const event> apply(pl::batch_view in, const column_places& at,
                                             std::span<const std::vector<pl::cell>> computed = {});
  [[nodiscard]] std::span<const event> tick(std::int64_t wall);
  void drop(std::string_view stream);
  // Set the wall clock, which max_age and max_ahead need before the first tick.
  void set_wall(std::int64_t now) noexcept;

  [[nodiscard]] tally take_tally() noexcept { return std::exchange(tally_, {}); }
  // Return whether alerts were opened or closed without an event since the last call.
  [[nodiscard]] bool take_reconciled() noexcept { return std::exchange(reconciled_, false); }
  [[nodiscard]] std::int64_t open_alerts(std::string_view rule) const noexcept { return events_.open_alerts(rule); }
  [[nodiscard]] std::size_t keys() const noexcept { return keys_.keys(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return keys_.bytes(); }

  // Call visit(stream, key, rule state) for each open alert, ordered by stream only.
  template <class Visit>
  void each_alert(Visit&& visit) const {
    keys_.each_stream([&](const stream_state& s) {
      s.keys.for_each([&](const key_node& n) {
        if (n.states == nullptr) return;
        for (const auto& state : *n.states)
          if (state.alerts.alert) visit(s, n, state);
      });
    });
  }

  // Access to the keys of a stream, to store and restore their state. See restore.hpp and memory.hpp.
  void track_changes() noexcept { keys_.track_changes(); }
  [[nodiscard]] key_store& store() noexcept { return keys_; }
  [[nodiscard]] stream_state& stream(std::string_view name) { return keys_.stream(name); }
  // Return the key's node; create it if it does not exist. Call `restored` after restoring its contents.
  [[nodiscard]] key_node& node(stream_state& s, std::string_view key, std::uint32_t page = no_page) {
    return keys_.find_or_insert(s, key, page);
  }
  void restored(stream_state& s, key_node& n);
  // Set the stream's clock, before its keys are restored.
  void restoring(stream_state& s) { (void)read_clock(s); }
  // All keys of the stream are restored, and its published alerts are in stream_state::reread. end: the output of the
  // records below is discarded. PL_UNKNOWN: none is discarded, and all records that follow are newer than the alerts.
  void restored(stream_state& s, std::uint64_t end);
  // The records whose output is discarded are read: the published alerts apply.
  void end_reread(stream_state& s);
  // Let the next tick resolve the open alerts of a key under another group_by.
  void restored(stream_state& s, foreign_key key);

 private:
  void enter(pl::batch_view in, const column_places& at, std::span<const std::vector<pl::cell>> computed);
  void leave(pl::batch_view in);
  void run_rows(pl::batch_view in, std::span<const std::uint32_t> rows);
  void run_row(pl::batch_view in, std::uint32_t row, std::uint32_t hash);
  void run_by_arrival(stream_state& s, record& r, std::uint32_t hash);
  void run_by_time(stream_state& s, const record& r, std::uint32_t hash);
  [[nodiscard]] bool usable_time(const pl::cell& c, std::int64_t now);
  [[nodiscard]] bool in_order(key_node& n, std::int64_t time, std::int64_t now);
  [[nodiscard]] bool has_key(std::uint32_t row) const noexcept;
  [[nodiscard]] bool read_clock(stream_state& s);
  void adopt_clock(const stream_state& s, key_node& n) const;
  void apply_later(stream_state& s, key_node& n, const record& r, bool is_read);
  void replace_by_timer(stream_state& s, key_node& n);
  void apply_published(stream_state& s, key_node& n, const record& r, bool is_read);
  void apply_published_below(stream_state& s, std::uint64_t position);
  void reconcile(stream_state& s, key_node& n, const alerts_record& published, bool discarded);
  [[nodiscard]] bool needs_settling(const key_node& n) const;
  void settle(stream_state& s, bool clock_is_known);
  void end_retired(stream_state& s, key_node& n);
  void end_foreign(stream_state& s);

  rule_set& rules_;
  pl::arrival_clocks clocks_;
  tally tally_;
  key_store keys_;
  event_log events_;
  value_rules values_;
  silence_rules silences_;
  std::int64_t wall_ = never;
  bool reconciled_ = false;

  // Data of the current batch; kept to reuse the memory.
  batch_columns columns_;
  std::vector<stream_state*> origins_;
  std::vector<pl::cell> cells_;
};

}  // namespace threshold_alert
