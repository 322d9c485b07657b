// SPDX-License-Identifier: Apache-2.0
// Stores the state of devices through the host, as snapshots of the changed keys, and restores it when a stream is
// assigned to this lane: after a restart, and when a reload replaces this instance.
//
// A key has two records, trace and alerts (records.hpp), which belong to one position: they include the records up to it,
// and later records are read again after a restart. The traces of a page of keys are one entry (key_pages.hpp). Reading
// records again does not reproduce events of timers. What a timer changed is therefore stored immediately, under separate
// names, and its notices are stored until they are delivered (in_flight.hpp). The alerts of a key are stored with each of
// its events, until the next snapshot, because records may be read again under other rules (reconcile.hpp).
#pragma once

#include "codec.hpp"
#include "evaluator.hpp"
#include "in_flight.hpp"

#include <pipeline/context.hpp>
#include <pipeline/reread.hpp>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace threshold_alert {

class memory {
 public:
  memory(rule_set& rules, evaluator& of, pl::context ctx)
      : rules_(rules), evaluator_(of), ctx_(ctx), reread_(ctx.raw()) {
    if (ctx.keeps_state()) of.track_changes();
  }

  // Restore one stored record. Call `restored` after the last record of a stream.
  pl::result<void> restore(std::string_view stream, std::string_view name, std::string_view value);
  void restored_delivered(std::string_view stream);
  pl::result<void> restored(std::string_view stream, bool offset_reset);
  void drop(std::string_view stream);

  // Store the keys that have changed since the last snapshot.
  void snapshot(std::string_view stream);
  // Store a key immediately, after a timer has raised an event for it.
  void put_now(std::string_view stream, std::string_view key);
  // Store the alerts of a key immediately, after an event. position: of the record that caused it; PL_UNKNOWN: a timer.
  void put_published(std::string_view stream, std::string_view key, std::uint64_t position);
  // Erase the keys that were removed since the last snapshot, after a timer has resolved the alerts of one of them.
  void erase_removed_now(std::string_view stream);
  // Store the notices of a batch until they are delivered. keys: one for each row.
  void put_in_flight(std::string_view stream, pl::batch_view made, std::uint32_t port,
                     const std::vector<std::string_view>& keys);
  void put_in_flight(std::string_view stream, const stored_row& row);

  // The notices that may not have been delivered before the stream was assigned; they are to be emitted again.
  [[nodiscard]] bool any_in_flight() const noexcept { return !in_flight_.empty(); }
  // Take those of a key that were emitted before the record at this position was read.
  [[nodiscard]] std::vector<stored_row> take_in_flight(std::string_view stream, std::string_view key,
                                                       std::uint64_t position);
  using rows_by_stream = std::map<std::string, std::vector<stored_row>, std::less<>>;
  [[nodiscard]] rows_by_stream take_in_flight() noexcept { return std::exchange(in_flight_, {}); }

 private:
  // The first byte of a record's name; the key follows.
  enum class record : char {
    page = 'g',   // of traces; the number of the page follows
    trace = 't',  // of one key: earlier versions wrote it; a page with the key is newer
    alerts = 'a',
    timer_trace = 'T',
    timer_alerts = 'A',
    published = 'e',
    stream = 's',
    rules = 'r',
    in_flight = 'p'
  };
  struct found {
    std::string trace, alerts, timer_trace, timer_alerts, published;
    bool is_paged = false;  // no trace is stored alone
    [[nodiscard]] own_entries entries() const noexcept {
      return {!is_paged && !trace.empty(), !alerts.empty(), !published.empty(),
              !timer_trace.empty() || !timer_alerts.empty()};
    }
  };
  struct stored_stream {
    std::map<std::string, found> keys;
    std::map<std::uint32_t, std::string> pages;
    std::vector<stored_row> in_flight;
    std::vector<std::string> useless;  // names of entries that are erased with the next snapshot
    std::string rules;
  };
  // A key's decoded records. timer: what a timer stored.
  struct decoded {
    trace_record trace, timer_trace;
    alerts_record alerts, timer_alerts;
    published_record published;
    bool has_trace = false, has_alerts = false, has_timer = false, has_published = false;
    [[nodiscard]] std::uint32_t grouping() const noexcept {
      if (has_trace) return trace.grouping;
      return has_timer ? timer_trace.grouping : has_published ? published.alerts.grouping : alerts.grouping;
    }
  };
  struct foreign_count {
    std::size_t keys = 0, alerts = 0;
  };

  void put(std::string_view stream, record what, std::string_view key, std::string_view value);
  void erase(std::string_view stream, record what, std::string_view key);
  void put_page(stream_state& s, std::uint32_t number);
  [[nodiscard]] std::vector<std::uint32_t> touch_old_pages(stream_state& s);
  void erase_traces(stream_state& s, std::uint32_t number);
  void put_key(std::string_view stream, key_node& n);
  void put_rules(stream_state& s);
  void erase_removed(stream_state& s);
  [[nodiscard]] static pl::result<decoded> decode(const found& records);
  void restore_published(stream_state& s, bool offset_reset, bool has_snapshot);
  [[nodiscard]] static std::optional<published_record> published_of(const decoded& records);
  void restore_rules(stream_state& s, const std::string& bytes);
  struct restoring {
    stream_state& to;
    stored_stream& from;
    bool offset_reset;
    foreign_count foreign;
    bool has_snapshot;  // of any key
  };
  static void note_trace(stream_state& s, key_node& n, bool is_alone);
  pl::result<void> restore_page(restoring& r, std::uint32_t number, std::string_view bytes, bool keeps_number);
  // Return the node; null: the key belongs to another group_by. page: of the key; no_page: any.
  pl::result<key_node*> restore_found(restoring& r, std::string_view key, const found& records, std::uint32_t page);
  key_node& restore_key(restoring& r, std::string_view key, const decoded& records, std::uint32_t page);
  void restore_foreign(restoring& r, std::string_view key, const decoded& records, own_entries entries);
  [[nodiscard]] std::string key_of_foreign(const stream_state& s, std::string_view key) const;
  [[nodiscard]] std::string group_change(const stream_state& s) const;

  rule_set& rules_;
  evaluator& evaluator_;
  pl::context ctx_;
  pl::reread reread_;
  std::map<std::string, stored_stream, std::less<>> restoring_;  // by stream
  rows_by_stream in_flight_;
  std::map<std::string, std::vector<std::string>, std::less<>> useless_;  // names of entries, by stream
  std::string name_;
};

}  // namespace threshold_alert
