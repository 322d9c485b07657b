// SPDX-License-Identifier: Apache-2.0
#include "record_reader.hpp"

#include <pipeline/json.hpp>
#include <pipeline/time.hpp>

#include <algorithm>
#include <cstring>

namespace json_telemetry {

record_reader::record_reader(const plan& p)
    : plan_(p),
      rules_{p.unit, p.zone, p.nul},
      scanner_(p.limits, arena_, &keys_),
      extra_(p.nul == on_nul::strip),
      path_ids_(p.columns.size()),
      fields_(p.fields),
      visited_(p.tree.size() / 64 + 1) {
  for (const auto& column : p.columns) simple_.push_back(simple_kind(p, column));
}

record_reader::simple record_reader::simple_kind(const plan& p, const column_plan& column) {
  if (column.unit_field || p.topic || p.key) return simple::no;
  if (column.type == column_type::floating) return column.required ? simple::number : simple::optional_number;
  if (column.type == column_type::text) return column.required ? simple::text : simple::optional_text;
  return simple::no;
}

void record_reader::begin_batch(text_arena::block_source memory, std::int64_t now) {
  arena_.begin(std::move(memory));
  now_ = now;
}

bool record_reader::reject(reject_cause cause, std::string why) {
  cause_ = cause;
  why_ = std::move(why);
  return false;
}

bool record_reader::reject_scan() {
  switch (scanner_.error()) {
    case scan_error::none:
      return false;  // a callback of the scan has already called reject
    case scan_error::too_deep:
    case scan_error::too_many_keys:
      return reject(reject_cause::limit, scanner_.explain());
    case scan_error::duplicate_key:
      return reject(reject_cause::duplicate_key, scanner_.explain());
    default:
      return reject(reject_cause::not_json, scanner_.explain());
  }
}

bool record_reader::read(const message& m, row_store& rows) {
  if (m.payload.size() > plan_.max_size)
    return reject(reject_cause::limit, "the payload has " + std::to_string(m.payload.size()) +
                                           " bytes, more than max_size (" + std::to_string(plan_.max_size) + ")");
  message_ = &m;
  if (plan_.topic || plan_.key) match_ids(m);
  around_.clear();
  extra_around_.clear();
  reading_.reset();
  readings_at_.reset();
  scanner_.begin(m.payload);
  const auto before = rows.rows();
  const char next = scanner_.peek();
  if (next == '{' ? read_object(rows) : next == '[' ? read_readings(rows) : read_other()) return true;
  rows.cut(before);
  if (reading_) why_ = "reading " + std::to_string(*reading_ + 1) + ": " + why_;
  return false;
}

bool record_reader::read_object(row_store& rows) {
  start_record();
  if (!scan_record() || !scanner_.finish()) return reject_scan();
  if (!readings_at_) return finish_record(rows);
  if (needs_second_scan_ && !scan_again_for_extra()) return false;
  around_ = fields_;
  for (auto& f : around_) f.inherited = true;
  extra_around_ = extra_.members();
  scanner_.go_back(*readings_at_);
  return read_readings(rows);
}

// Read the array that begins here; each element is a record.
bool record_reader::read_readings(row_store& rows) {
  const auto before = rows.rows();
  const auto counted = counts;
  const bool whole = scanner_.array([&](std::uint32_t index) {
    reading_ = index;
    if (scanner_.peek() != '{') {
      json_value other;
      return scanner_.value(other) && reject(reject_cause::value, "it is " + described(other) + ", not an object");
    }
    scanner_.allow_keys();
    start_record();
    return scan_record() && finish_record(rows);
  });
  if (whole) reading_.reset();
  if (!whole || (!readings_at_ && !scanner_.finish())) {
    counts = counted;
    return reject_scan();
  }
  return rows.rows() != before || reject(reject_cause::missing, "the payload is an array without readings");
}

bool record_reader::read_other() {
  json_value other;
  if (!scanner_.value(other) || !scanner_.finish()) return reject_scan();
  return reject(reject_cause::value,
                "the payload is " + described(other) + ", neither an object nor an array of objects");
}

void record_reader::match_ids(const message& m) {
  std::fill(path_ids_.begin(), path_ids_.end(), std::string_view{});
  if (plan_.key) plan_.key->match(m.key, path_ids_);
  if (plan_.topic) plan_.topic->match(m.topic, path_ids_);  // the topic takes precedence over the key
}

// -------------------------------------------------------------------------------------------------------- scanning ---

void record_reader::start_record() {
  needs_second_scan_ = false;
  unfit_values_ = 0;
  if (around_.empty()) {
    for (auto& f : fields_) f.present = f.inherited = false;
  } else {
    fields_ = around_;
  }
}

bool record_reader::scan_record() {
  record_at_ = scanner_.here();
  std::fill(visited_.begin(), visited_.end(), 0);
  extra_.begin(extra_around_, message_->payload.size());
  return inside(path_tree::root);
}

[[gnu::always_inline]] inline bool record_reader::visit(path_tree::node at) noexcept {
  auto& word = visited_[at / 64];
  const auto bit = std::uint64_t{1} << (at % 64);
  const bool first = (word & bit) == 0;
  word |= bit;
  return first || !plan_.limits.unique_keys;
}

// Return the node of a member. A key that the scanner remembers carries the node that was found last, and its parent.
[[gnu::always_inline]] inline path_tree::node record_reader::find(path_tree::node parent, const json_key& key) const {
  if (key.note == nullptr) return plan_.tree.member(parent, key.text);
  const auto noted = *key.note;
  if (noted >> 32U == std::uint64_t{parent} + 1) return static_cast<path_tree::node>(noted);
  const auto at = plan_.tree.member(parent, key.text);
  *key.note = (std::uint64_t{parent} + 1) << 32U | at;
  return at;
}

// Scan the value of a field that has none yet.
[[gnu::always_inline]] inline bool record_reader::only_value(const path_target& target) {
  auto& field = fields_[target.field];
  if (!scanner_.value(field.value)) return false;
  field.rank = target.rank;
  field.present = field.value.kind != json_kind::null;
  field.inherited = false;
  return true;
}

[[gnu::always_inline]] inline bool record_reader::member(path_tree::node parent, const json_key& key) {
  const auto at = find(parent, key);
  if (at == path_tree::none) {
    scanner_.watch(key);
    return unmapped(key);
  }
  if (!visit(at)) return scanner_.fail_duplicate(key);
  const auto* const only = plan_.tree.only_target(at);
  if (only != nullptr && !fields_[only->field].present && !only_extra_) return only_value(*only);
  return mapped(at, key);
}

bool record_reader::inside(path_tree::node at) {
  if (scanner_.peek() == '[') return scanner_.array([&](std::uint32_t index) { return element(at, index); });
  return scanner_.object([&](const json_key& key) { return member(at, key); });
}

bool record_reader::mapped(path_tree::node at, const json_key& key) {
  const auto& tree = plan_.tree;
  const char next = scanner_.peek();
  if (!tree.is_leaf(at)) {
    if (next == '[' && tree.is_readings(at) && !reading_) return found_readings(at, key);
    const bool goes_on = (next == '{' && tree.has_members(at)) || (next == '[' && tree.has_elements(at));
    if (goes_on && (next == '[' || tree.is_whole(at))) return whole_and_inside(at, key.raw);
    if (goes_on) {
      extra_.enter(key.raw);
      if (!inside(at)) return false;
      extra_.leave();
      return true;
    }
  }
  json_value value;
  if (!scanner_.value(value)) return false;
  return assign(at, value) || leave_over(key.raw, key.has_nul, value);
}

bool record_reader::element(path_tree::node parent, std::uint32_t index) {
  const auto at = plan_.tree.element(parent, index);
  const char next = scanner_.peek();
  json_value value;
  if (at == path_tree::none) return scanner_.value(value);
  if ((next == '{' && plan_.tree.has_members(at)) || (next == '[' && plan_.tree.has_elements(at))) return inside(at);
  if (!scanner_.value(value)) return false;
  assign(at, value);
  return true;
}

// Keep the value whole (in a column, else in extra), and read the fields inside it, too.
bool record_reader::whole_and_inside(path_tree::node at, std::string_view raw_key) {
  const auto begin = scanner_.here();
  json_value value;
  if (!scanner_.value(value)) return false;
  const auto end = scanner_.here();
  if (!assign(at, value) && !leave_over(raw_key, false, value)) return false;
  scanner_.go_back(begin);
  scanner_.allow_any_number_of_keys();  // the first scan has already counted them
  ++covered_;
  const bool ok = inside(at);
  --covered_;
  scanner_.restore_key_count(end);
  return ok;
}

bool record_reader::unmapped(const json_key& key) {
  json_value value;
  return scanner_.value(value) && leave_over(key.raw, key.has_nul, value);
}

bool record_reader::found_readings(path_tree::node at, const json_key& key) {
  const auto begin = scanner_.here();
  scanner_.allow_any_number_of_keys();  // max_keys applies to each reading separately
  json_value array;
  if (!scanner_.value(array)) return false;
  scanner_.restore_key_count(begin);
  const auto first = array.raw.find_first_not_of(" \t\r\n", 1);
  const bool of_objects = array.raw[first] == '{';
  if (of_objects && !readings_at_) readings_at_ = begin;
  if (of_objects && readings_at_->at == begin.at) return true;
  return assign(at, array) || leave_over(key.raw, key.has_nul, array);
}

// Return whether at least one field uses the value.
bool record_reader::assign(path_tree::node at, const json_value& value) {
  bool taken = false;
  for (const auto& target : plan_.tree.targets(at)) taken = assign(target, value) || taken;
  return taken;
}

bool record_reader::assign(const path_target& target, const json_value& value) {
  auto& field = fields_[target.field];
  const bool same = field.present && !field.inherited && field.rank == target.rank;
  if (only_extra_) return same || value.kind == json_kind::null;
  if (value.kind == json_kind::null) {
    if (same) field.present = false;  // the last of two duplicate keys is used
    return true;
  }
  if (field.present && !field.inherited && !same) {
    needs_second_scan_ = true;  // the value that is not used must go to extra
    if (field.rank < target.rank) return true;
  }
  field.value = value;
  field.rank = target.rank;
  field.present = true;
  field.inherited = false;
  return true;
}

bool record_reader::leave_over(std::string_view raw_key, bool key_has_nul, const json_value& value) {
  if (covered_ > 0 || !plan_.has_extra) return true;
  if ((key_has_nul || value.has_nul) && plan_.nul == on_nul::reject)
    return reject(reject_cause::nul, "the field " + shown_key(raw_key) +
                                         " contains \\u0000, which PostgreSQL cannot store; to remove it, "
                                         "set 'nul: strip'");
  extra_.member(raw_key, value);
  return true;
}

bool record_reader::scan_again_for_extra() {
  if (!plan_.has_extra) return true;
  const auto end = scanner_.here();
  scanner_.go_back(record_at_);
  only_extra_ = true;
  const bool ok = scan_record();
  only_extra_ = false;
  scanner_.go_back(end);
  return ok || reject_scan();
}

// ---------------------------------------------------------------------------------------------- from fields to row ---

// Fill a simple column with the usual value: a number, a text without escapes, or none. Return false for everything else,
// which fill_column handles.
[[gnu::always_inline]] inline bool record_reader::fill_usual(std::uint16_t field, pl::cell& to) const {
  const auto kind = simple_[field];
  const auto& [value, rank, present, inherited] = fields_[field];
  if (kind == simple::no) return false;
  if (!present) {
    if (kind == simple::number || kind == simple::text) return false;
    to = plan_.columns[field].otherwise;
    return true;
  }
  if (kind == simple::number || kind == simple::optional_number) {
    double v = 0;
    if (value.kind != json_kind::number || to_double(value.number, value.raw, v) != number_fit::exact) return false;
    to = pl::real_cell(v);
    return true;
  }
  constexpr std::size_t quotes = 2;
  const auto size = value.raw.size() - quotes;
  if (value.kind != json_kind::string || value.escaped || size == 0 || size > plan_.max_id) return false;
  to = pl::text_cell(value.raw.substr(1, size));
  return true;
}

bool record_reader::finish_record(row_store& rows) {
  rows.prepare();
  if (!fill_time(rows.at(plan::time_field))) return false;
  const auto columns = static_cast<std::uint16_t>(plan_.columns.size());
  for (std::uint16_t i = plan::time_field + 1; i < columns; ++i)
    if (auto& cell = rows.at(i); !fill_usual(i, cell) && !fill_column(i, cell)) return false;
  if (needs_second_scan_ && !scan_again_for_extra()) return false;
  if (plan_.has_extra) fill_extra(rows.at(plan_.output.size() - 1));
  rows.commit(message_->row);
  count();
  return true;
}

void record_reader::fill_extra(pl::cell& to) {
  const auto members = extra_.members();
  to = pl::null_cell();
  if (members.empty()) return;
  char* const text = arena_.allocate(members.size() + 2);
  text[0] = '{';
  std::memcpy(text + 1, members.data(), members.size());
  text[members.size() + 1] = '}';
  to = pl::json_cell({text, members.size() + 2});
}

void record_reader::count() {
  if (unit_)
    ++counts.times[static_cast<std::size_t>(*unit_)];
  else
    ++counts.message_times;
  if (!extra_.members().empty()) ++counts.extra_rows;
  counts.unfit_values += unfit_values_;
}

bool record_reader::fill_time(pl::cell& to) {
  const auto& field = fields_[plan::time_field];
  const auto& column = plan_.columns[plan::time_field];
  if (!field.present) {
    if (plan_.missing_time == on_missing_time::reject)
      return reject(reject_cause::missing,
                    "'" + column.name + "' is missing; to use the time of the message, set time.missing: message_time");
    if (!message_->time)
      return reject(reject_cause::missing, "'" + column.name + "' is missing, and the message has no time either");
    to = pl::time_cell(*message_->time);
    unit_.reset();
    return in_window(to);
  }
  time_unit unit{};
  if (!read_time(field.value, column, rules_, arena_, to, unit, why_)) {
    cause_ = reject_cause::time;
    return false;
  }
  unit_ = unit;
  return in_window(to);
}

bool record_reader::in_window(const pl::cell& time) {
  const auto& window = plan_.window;
  const auto around = window.around == window_reference::message_time ? message_->time.value_or(now_) : now_;
  std::int64_t ahead = 0;
  const bool overflow = __builtin_sub_overflow(time.as.i, around, &ahead);
  const auto past = window.past.count(), future = window.future.count();
  const bool later = overflow ? time.as.i > around : ahead > 0;
  const bool too_old = past != 0 && !later && (overflow || ahead < -past);
  const bool too_new = future != 0 && later && (overflow || ahead > future);
  if (!too_old && !too_new) return true;
  const auto limit = pl::detail::duration_text(too_old ? window.past : window.future);
  return reject(reject_cause::time,
                "'" + plan_.columns[plan::time_field].name + "' is " + pl::rfc3339(time.as.i) +
                    (too_old ? ": older than time_window.past (" : ": further ahead than time_window.future (") +
                    limit + ")");
}

bool record_reader::fill_column(std::uint16_t field, pl::cell& to) {
  const auto& column = plan_.columns[field];
  auto& state = fields_[field];
  if (!state.present) return fill_absent(field, to);
  if (column.unit_field && !check_unit(column)) return false;
  if (!read_field(state.value, column, rules_, arena_, to, why_)) {
    cause_ = column.type == column_type::time ? reject_cause::time : reject_cause::value;
    if (!column.may_go_to_extra || state.inherited) return false;
    state.present = false;
    needs_second_scan_ = true;
    to = pl::null_cell();
    ++unfit_values_;
    return true;
  }
  if (to.kind == PL_TEXT && !check_text(column, to)) return false;
  return path_ids_[field].empty() || check_path_id(field, to);
}

bool record_reader::fill_absent(std::uint16_t field, pl::cell& to) {
  const auto& column = plan_.columns[field];
  if (const auto id = path_ids_[field]; !id.empty()) {
    if (!pl::is_utf8(id) || id.find('\0') != std::string_view::npos)
      return reject(reject_cause::id,
                    "'" + column.name + "' in the topic or key is " + in_quotes(id) + ": not a valid text");
    to = pl::text_cell(id);
    return check_text(column, to);
  }
  to = column.otherwise;
  if (!column.required) return true;
  std::string why = "'" + column.name + "' is missing or null; looked for: ";
  constexpr std::size_t shown = 6;
  for (std::size_t i = 0; i < std::min(column.from.size(), shown); ++i) why += (i == 0 ? "" : ", ") + column.from[i];
  if (column.from.size() > shown) why += ", ...";
  return reject(reject_cause::missing, std::move(why));
}

bool record_reader::check_unit(const column_plan& column) {
  const auto& unit = fields_[*column.unit_field];
  if (!unit.present) return true;
  const auto said = unit.value.kind == json_kind::string ? text_of(unit.value, arena_) : unit.value.raw;
  if (std::find(column.units.begin(), column.units.end(), said) != column.units.end()) return true;
  std::string accepted;
  for (const auto& u : column.units) accepted += (accepted.empty() ? "" : ", ") + u;
  return reject(reject_cause::unit,
                "'" + column.name + "' is in the unit " + in_quotes(said) + ": expected " + accepted);
}

bool record_reader::check_text(const column_plan& column, const pl::cell& text) {
  if (column.required && text.len == 0) return reject(reject_cause::missing, "'" + column.name + "' is an empty text");
  if (!column.is_id || text.len <= plan_.max_id) return true;
  return reject(reject_cause::limit, "'" + column.name + "' has " + std::to_string(text.len) +
                                         " bytes, more than max_id (" + std::to_string(plan_.max_id) + ")");
}

// Compare the id in the payload with the one in the topic or key, and apply ids_from.conflict.
bool record_reader::check_path_id(std::uint16_t field, pl::cell& to) {
  const auto id = path_ids_[field];
  if (pl::bytes_of(to) == id || plan_.id_conflict == on_id_conflict::payload) return true;
  if (plan_.id_conflict == on_id_conflict::path) return fill_absent(field, to);
  const auto& column = plan_.columns[field];
  return reject(reject_cause::id, "'" + column.name + "' is " + in_quotes(pl::bytes_of(to)) + " in the payload and " +
                                      in_quotes(id) +
                                      " in the message's topic or key; ids_from.conflict selects which one to use");
}

}  // namespace json_telemetry
