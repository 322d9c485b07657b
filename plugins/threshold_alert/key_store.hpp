// SPDX-License-Identifier: Apache-2.0
// The state of all streams: their keys, the rules that apply to each key, and the keys that have changed since the last
// snapshot. Owned by an evaluator and used on its lane's thread.
#pragma once

#include "batch_columns.hpp"
#include "deadline_queue.hpp"
#include "instant.hpp"
#include "key_pages.hpp"
#include "key_table.hpp"
#include "records.hpp"
#include "rule.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace threshold_alert {

// The stream's arrival clock: readings, and the length of all gaps, which makes them wall time. Without one
// (by_arrival false), silence is measured in the records' own time.
struct stream_clock {
  bool by_arrival = false;
  std::int64_t now = never, behind = 0, connected = never;

  [[nodiscard]] std::int64_t wall(std::int64_t reading) const noexcept {
    return reading == never || !by_arrival ? reading : shifted(reading, behind);
  }
};

// What a timer stored of a key after the last snapshot. It applies once the key's records are read again up to
// `position`: until then, the state of the snapshot gives the events of those records.
struct timer_state {
  std::uint64_t position = PL_UNKNOWN;
  trace_record trace;
  alerts_record alerts;
};

// Keys of a stream whose records since the last snapshot are read again, under rules that may have changed since: what
// was published before is true, not what reading gives. See reconcile.hpp.
struct reread_state {
  bool active = false;
  std::uint64_t end = 0;                                           // the output of the records below is discarded
  std::map<std::string, published_record, std::less<>> published;  // by key
};

// Entries of its own that a key has in the stored state.
struct own_entries {
  bool trace = false, alerts = false, published = false, timer = false;
  [[nodiscard]] bool any() const noexcept { return trace || alerts || published || timer; }
};
struct removed_key {
  std::string key;
  own_entries entries;
};

// The open alerts of a key under another group_by.
struct foreign_key {
  removed_key stored;
  std::string key;                                           // its values for the current group_by
  std::string device, why;                                   // for the message
  std::vector<std::pair<std::uint32_t, open_alert>> alerts;  // of retired rules
};

struct stream_state {
  explicit stream_state(const rule_set& rules) : keys(rules.slots), pages(rules.configured) {}
  std::string name;
  std::int64_t greatest = never;  // time of its newest record
  bool caught_up = false;         // the last batch ended at the stream's end
  std::uint64_t read_to = 0;      // position after the last batch; 0: not known
  stream_clock clock;
  key_table keys;
  deadline_queue deadlines;
  key_pages pages;                   // only if changes are tracked
  std::vector<removed_key> removed;  // keys with entries of their own that were removed since the last snapshot
  std::map<const key_node*, timer_state> later;  // of keys that are `rereading`
  std::vector<std::string> to_settle;            // keys with alerts that a change of the rules may end
  std::vector<foreign_key> foreign;
  std::vector<std::uint32_t> foreign_pages;  // stored pages of none but such keys
  std::vector<std::uint32_t> old_pages;      // pages of keys whose traces are stored alone, too
  reread_state reread;
  rules_record stored;  // the rules under which its state was stored
};

// The rules that apply to a key, grouped by kind. Shared by all keys that match the same rules.
struct rule_scope {
  std::vector<bool> accepted;
  std::vector<std::uint32_t> values, silences;
  std::int64_t shortest_silence = no_deadline;  // of the silence rules for the whole device
  bool metric_silence = false;                  // there are silence rules for one metric
};

class key_store {
 public:
  explicit key_store(const rule_set& rules);

  [[nodiscard]] stream_state& stream(std::string_view name);  // created if it does not exist
  [[nodiscard]] stream_state* find_stream(std::string_view name);
  void drop_stream(std::string_view name);
  template <class Visit>
  void each_stream(Visit&& visit) const {
    for (const auto& [name, s] : streams_) visit(*s);
  }

  // Return the hash of a row's key. `columns` are the columns of group_by.
  [[nodiscard]] std::uint32_t hash_row(const std::vector<const pl::cell*>& columns, std::uint32_t row) const noexcept {
    auto h = hash_.start();
    for (const auto* column : columns) h = key_hash::add(h, column[row]);
    return fold(h);
  }
  // page: of the key if it is inserted; no_page: any.
  [[nodiscard]] key_node& find_or_insert(stream_state& s, std::string_view key, std::uint32_t page = no_page);
  [[nodiscard]] key_node* find(const stream_state& s, std::string_view key);
  // Return the node of a row's key, inserted if it is not known. Null: the state of no more keys can be kept.
  [[nodiscard]] key_node* find_or_admit(stream_state& s, const std::vector<const pl::cell*>& columns, std::uint32_t row,
                                        std::uint32_t hash);
  // Set whether the memory for state is used up: then a new key must replace others.
  void set_crowded(bool on) noexcept {
    crowded_ = on;
    replaceable_ = 0;
  }
  [[nodiscard]] std::uint64_t take_evicted() noexcept { return std::exchange(evicted_, 0); }
  void remove(stream_state& s, key_node& n);

  void track_changes() noexcept { tracks_changes_ = true; }
  void note_change(stream_state& s, key_node& n) {
    if (!tracks_changes_ || n.changed) return;
    s.pages.touch(n.page);
    n.changed = true;
  }

  [[nodiscard]] const rule_scope& scope_of(const key_node& n) const { return scopes_[n.scope]; }
  // Return the rule's state for the key; create it if it does not exist.
  [[nodiscard]] rule_state& state_of(key_node& n, std::uint32_t rule) const;
  // Delete the state of retired rules whose alerts have ended.
  void drop_ended(key_node& n) const;
  // Delete the rule's state if it is blank, at the time of the key's newest record or of a timer.
  void drop_blank(key_node& n, std::uint32_t rule, std::int64_t now) const;

  [[nodiscard]] std::size_t keys() const noexcept;
  [[nodiscard]] std::size_t bytes() const noexcept;

 private:
  [[nodiscard]] static std::uint32_t fold(std::uint64_t h) noexcept { return static_cast<std::uint32_t>(h ^ h >> 32); }
  [[nodiscard]] std::uint32_t hash_of(std::string_view key);
  [[nodiscard]] key_node* find_row(const stream_state& s, const std::vector<const pl::cell*>& columns,
                                   std::uint32_t row, std::uint32_t hash) const;
  [[nodiscard]] bool admits(stream_state& s);
  std::size_t evict_oldest(stream_state& s);
  [[nodiscard]] key_node& insert(stream_state& s, std::uint32_t hash, std::string_view key,
                                 std::uint32_t page = no_page);
  [[nodiscard]] std::uint16_t scope_for(std::string_view key);

  const rule_set& rules_;
  key_hash hash_;
  bool tracks_changes_ = false;
  bool crowded_ = false;
  std::size_t replaceable_ = 0;  // keys that were evicted and not replaced yet, since the memory was measured
  std::uint64_t evicted_ = 0;
  std::map<std::string, std::unique_ptr<stream_state>, std::less<>> streams_;
  std::deque<rule_scope> scopes_;
  std::string scratch_;
  std::vector<pl::cell> cells_;
};

}  // namespace threshold_alert
