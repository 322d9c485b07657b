// SPDX-License-Identifier: Apache-2.0
// Runs the rules over batches: finds each record's key, keeps what must be remembered, and collects the events.
#pragma once

#include "deadline_queue.hpp"
#include "key_table.hpp"
#include "rule.hpp"
#include "step.hpp"

#include <pipeline/batch.hpp>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace threshold_alert {

constexpr std::uint32_t no_row = UINT32_MAX;

// Where the columns are in one schema.
struct column_places {
  pl::column_index time = 0;
  std::vector<pl::column_index> keys;                   // one for each group_by
  std::vector<std::optional<pl::column_index>> metric;  // one for each rule
};

// One thing to tell. Its key (see evaluator::key_of), value, threshold and stream live until the next apply or tick.
struct event {
  std::uint32_t row;  // of the batch; no_row: caused by a timer
  std::uint32_t rule;
  notice what;
  pl::cell value, threshold;
  std::int64_t time;
  std::string_view stream;
  std::uint64_t position;
  std::size_t key_at, key_size;
};

// Since the last look.
struct tally {
  std::uint64_t late = 0, ahead = 0, no_time = 0, no_key = 0, null_values = 0, unfit_values = 0, repeated_times = 0;
};

class evaluator {
 public:
  // name: of pipeline and node, part of the ids.
  evaluator(const rule_set& rules, std::string_view pipeline, std::string_view node);

  void apply(pl::batch_view in, const column_places& at);  // fills events()
  void tick(std::int64_t wall);                            // the same
  void drop(std::string_view stream);
  // For max_age and max_ahead before the first tick.
  void set_wall(std::int64_t now) noexcept { wall_ = now; }

  [[nodiscard]] const std::vector<event>& events() const noexcept { return events_; }
  [[nodiscard]] std::string_view key_of(const event& e) const noexcept {
    return std::string_view(key_bytes_).substr(e.key_at, e.key_size);
  }
  [[nodiscard]] tally take_tally() noexcept { return std::exchange(tally_, {}); }
  [[nodiscard]] std::int64_t open_alerts(std::size_t rule) const noexcept { return open_[rule]; }
  [[nodiscard]] std::size_t keys() const noexcept;
  [[nodiscard]] std::size_t bytes() const noexcept;

  // For state kept outside: everything of a stream's keys, and back. See codec.hpp and memory.hpp.
  void remember_changes() noexcept { remembers_ = true; }
  struct stream_state {
    explicit stream_state(std::size_t slots) : keys(slots) {}
    std::string name;
    std::int64_t greatest = never;  // time of its newest record
    bool caught_up = false;
    key_table keys;
    deadline_queue deadlines;
    std::vector<key_node*> changed;      // if changes are remembered
    std::vector<std::string> forgotten;  // keys, the same
  };
  [[nodiscard]] stream_state& stream(std::string_view name);
  // The key's node, made where it is missing; then, with its contents restored, `restored`.
  [[nodiscard]] key_node& node(stream_state& s, std::string_view key);
  void restored(stream_state& s, key_node& n);
  // The next tick tells once more of the open alerts of a key that a timer caused.
  void tell_again(const stream_state& s, const key_node& n) { again_.emplace_back(s.name, std::string(n.key())); }

 private:
  // Rules that apply to a key, by what they need; shared by all keys that match the same rules.
  struct scope {
    std::vector<bool> accepted;
    std::vector<std::uint32_t> values, silences;
    std::int64_t shortest_silence = no_deadline;  // of those for the whole device
  };
  // A rule as the inner loop wants it.
  struct watch {
    const pl::cell* cells = nullptr;  // this batch's column; null: not there
    double low = 0, high = 0;         // of the mildest level
    condition when = condition::above;
    bool rate = false;
  };
  // The record in hand.
  struct record {
    std::uint32_t row = no_row;
    std::int64_t time = never;
    std::uint64_t position = PL_UNKNOWN;
    std::string_view stream;  // as the batch names it
  };

  void enter(pl::batch_view in, const column_places& at);
  void leave(pl::batch_view in);
  void run_rows(pl::batch_view in, std::span<const std::uint32_t> rows);
  void run_row(pl::batch_view in, std::uint32_t row, std::uint64_t hash);
  [[nodiscard]] bool usable_time(const pl::cell& c);
  [[nodiscard]] std::uint64_t hash_row(std::uint32_t row) const noexcept;
  [[nodiscard]] bool has_key(std::uint32_t row) const noexcept;
  [[nodiscard]] key_node& find_or_insert(stream_state& s, std::uint32_t row, std::uint32_t hash);
  [[nodiscard]] bool is_key(const key_node& n, std::uint32_t row) const noexcept;
  void start_key(key_node& n);
  void note_change(stream_state& s, key_node& n);
  void forget(stream_state& s, key_node& n);
  void repeat(stream_state& s, key_node& n);
  [[nodiscard]] std::uint16_t scope_of(std::string_view key);

  void run_values(stream_state& s, key_node& n, const record& r);
  void run_value(stream_state& s, key_node& n, std::uint32_t rule, const pl::cell& value, double number,
                 const record& r);
  [[nodiscard]] bool take_rate(const rule& r, key_node& n, double& value, const record& now);
  void settle_rule(stream_state& s, key_node& n, std::uint32_t rule, rule_state& state, std::int32_t level,
                   const moment& now, const pl::cell& value, const record& r);
  void run_silences(stream_state& s, key_node& n, const record& r, bool first);

  [[nodiscard]] std::int64_t clock(const stream_state& s) const noexcept;
  [[nodiscard]] std::int64_t last_seen(const rule& r, const key_node& n) const noexcept;
  [[nodiscard]] std::int64_t silence_deadline(std::uint32_t rule, key_node& n) const noexcept;
  [[nodiscard]] std::int64_t next_deadline(key_node& n) const noexcept;
  [[nodiscard]] std::int64_t poll_interval(const rule& r, const open_alert& a) const noexcept;
  void expire(stream_state& s, const record& cause);
  void expire_key(stream_state& s, key_node& n, std::int64_t due, std::int64_t now, const record& cause);
  void expire_silence(stream_state& s, key_node& n, std::uint32_t rule, std::int64_t due, std::int64_t now,
                      const record& cause);
  [[nodiscard]] bool forgettable(const key_node& n) const noexcept;

  [[nodiscard]] std::int64_t oldest() const noexcept;
  rule_state& state_of(key_node& n, std::uint32_t rule);
  void drop_blank(key_node& n, std::uint32_t rule, std::int64_t now);
  void tell(const stream_state& s, key_node& n, std::uint32_t rule, notice what, std::int64_t time,
            const pl::cell& value, std::uint64_t position, const record& cause);
  [[nodiscard]] uuid make_id(const stream_state& s, const key_node& n, std::uint32_t rule, std::int64_t time,
                             std::uint64_t position);

  const rule_set& rules_;
  std::string id_prefix_;
  key_hash hash_;
  bool timers_ = false;                                     // something can fall due by itself
  bool remembers_ = false;                                  // which keys have changed
  std::vector<std::pair<std::string, std::string>> again_;  // stream, key
  std::int64_t wall_ = never;
  std::int64_t tick_wall_ = never;  // of the last tick

  std::map<std::string, std::unique_ptr<stream_state>, std::less<>> streams_;
  std::deque<scope> scopes_;
  std::vector<std::int64_t> open_;
  tally tally_;

  // Of the batch in hand; kept for their memory.
  std::vector<watch> watches_;
  std::vector<stream_state*> origins_;
  std::vector<const pl::cell*> key_columns_;
  const pl::cell* time_column_ = nullptr;
  std::vector<event> events_;
  std::string key_bytes_, scratch_;
  std::vector<pl::cell> cells_;
};

}  // namespace threshold_alert
