// SPDX-License-Identifier: Apache-2.0
// record_reader converts a payload to rows, or returns the reason why it cannot. It does not depend on the host.
#pragma once

#include "extra_writer.hpp"
#include "field_values.hpp"
#include "plan.hpp"
#include "row_store.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace json_telemetry {

struct message {
  std::string_view payload;
  std::string_view topic, key;       // empty: none
  std::optional<std::int64_t> time;  // of the message
  pl::row_index row = 0;
};

enum class reject_cause : std::uint8_t {
  no_payload,
  not_json,
  limit,
  duplicate_key,
  nul,
  missing,
  value,
  unit,
  time,
  id
};
constexpr std::array<std::string_view, 10> cause_names = {"no_payload", "not_json", "limit", "duplicate_key", "nul",
                                                          "missing",    "value",    "unit",  "time",          "id"};

// Counts since the last reset to zero.
struct reader_counts {
  std::array<std::uint64_t, 6> times{};  // records by the time_unit of their time
  std::uint64_t message_times = 0;       // records with the time of their message
  std::uint64_t extra_rows = 0;          // records with fields in extra
  std::uint64_t unfit_values = 0;        // values kept in extra because they do not fit their column
};

class record_reader {
 public:
  explicit record_reader(const plan& p);
  record_reader(const record_reader&) = delete;
  record_reader& operator=(const record_reader&) = delete;

  // Start a batch. `memory` allocates blocks that live as long as the output batch; `now` is the clock in ns.
  void begin_batch(text_arena::block_source memory, std::int64_t now);

  // Append all records of the message to `rows`. On failure, append none and set cause() and why().
  [[nodiscard]] bool read(const message& m, row_store& rows);
  [[nodiscard]] reject_cause cause() const noexcept { return cause_; }
  [[nodiscard]] const std::string& why() const noexcept { return why_; }

  reader_counts counts;

 private:
  struct field_state {
    json_value value;
    std::uint16_t rank = 0;
    bool present = false;    // present and not null
    bool inherited = false;  // from the object around the reading; the reading may override it
  };

  // A column without a unit and without an id from topic or key.
  enum class simple : std::uint8_t { no, number, text, optional_number, optional_text };
  [[nodiscard]] static simple simple_kind(const plan& p, const column_plan& column);

  bool reject(reject_cause cause, std::string why);
  bool reject_scan();  // reject with the scanner's error

  bool read_object(row_store& rows);
  bool read_readings(row_store& rows);
  bool read_other();
  void match_ids(const message& m);

  void start_record();
  bool scan_record();
  bool finish_record(row_store& rows);

  // Called while scanning.
  bool member(path_tree::node parent, const json_key& key);
  path_tree::node find(path_tree::node parent, const json_key& key) const;
  bool only_value(const path_target& target);
  bool mapped(path_tree::node at, const json_key& key);
  bool element(path_tree::node parent, std::uint32_t index);
  bool inside(path_tree::node at);
  bool whole_and_inside(path_tree::node at, std::string_view raw_key);
  bool unmapped(const json_key& key);
  bool found_readings(path_tree::node at, const json_key& key);
  bool assign(path_tree::node at, const json_value& value);
  bool assign(const path_target& target, const json_value& value);
  bool leave_over(std::string_view raw_key, bool key_has_nul, const json_value& value);
  bool visit(path_tree::node at) noexcept;

  // Called after the record was scanned.
  bool fill_time(pl::cell& to);
  bool in_window(const pl::cell& time);
  bool fill_usual(std::uint16_t field, pl::cell& to) const;
  bool fill_column(std::uint16_t field, pl::cell& to);
  bool fill_absent(std::uint16_t field, pl::cell& to);
  bool check_unit(const column_plan& column);
  bool check_text(const column_plan& column, const pl::cell& text);
  bool check_path_id(std::uint16_t field, pl::cell& to);
  bool scan_again_for_extra();
  void fill_extra(pl::cell& to);
  void count();

  const plan& plan_;
  value_rules rules_;
  text_arena arena_;
  key_memory keys_;
  json_scanner scanner_;
  extra_writer extra_;
  std::int64_t now_ = 0;

  const message* message_ = nullptr;
  std::vector<std::string_view> path_ids_;  // ids from topic and key, by field
  std::vector<simple> simple_;              // by column
  std::vector<field_state> fields_;
  std::vector<field_state> around_;  // fields of the object around the readings
  std::string extra_around_;
  std::vector<std::uint64_t> visited_;  // bitmap of the tree's nodes
  json_scanner::mark record_at_{};
  std::optional<json_scanner::mark> readings_at_;
  std::optional<std::uint32_t> reading_;  // index of the current element
  int covered_ = 0;                       // > 0 inside a value that is already kept whole
  std::optional<time_unit> unit_;         // of the current record; unset: it has its message's time
  std::uint64_t unfit_values_ = 0;        // of the current record
  bool only_extra_ = false;               // second scan: write extra, leave the fields unchanged
  bool needs_second_scan_ = false;

  reject_cause cause_ = reject_cause::not_json;
  std::string why_;
};

}  // namespace json_telemetry
