// SPDX-License-Identifier: Apache-2.0
#include "engine/dead_letter_batch.hpp"

#include "engine/collapsed_letter.hpp"
#include "engine/shortened_letter.hpp"
#include "engine/stored_row.hpp"

#include <pipeline/json.hpp>
#include <pipeline/text.hpp>
#include <pipeline/text_template.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <new>
#include <optional>
#include <span>
#include <unordered_map>

namespace pl::engine {

namespace {

enum column : column_index {
  time,
  pipeline,
  node,
  reason,
  stream,
  position,
  topic,
  key,
  value,
  headers,
  record_time,
  record,
  count
};
constexpr std::array<std::string_view, column::count> names{"time",   "pipeline", "node",        "reason",
                                                            "stream", "position", "topic",       "key",
                                                            "value",  "headers",  "record_time", "record"};
constexpr std::array<std::uint32_t, column::count> kinds{PL_TIME_NS, PL_TEXT,  PL_TEXT,  PL_TEXT, PL_TEXT,    PL_I64,
                                                         PL_TEXT,    PL_BYTES, PL_BYTES, PL_JSON, PL_TIME_NS, PL_JSON};

// Return a text that every database accepts.
std::string storable(std::string_view text) {
  std::string out;
  for (const char c : valid_utf8(text))
    if (c == '\0')
      out += replacement_character;
    else
      out += c;
  return out;
}

// Return the row of the root that a row derives from. Rows keep their order, so the search starts where the last one
// ended.
std::optional<std::uint32_t> original_row(record_batch& of, std::uint32_t row, std::uint32_t& hint) {
  auto& root = of.root();
  const auto ranges = root.view().ranges();
  // A timer made the rows: there is no record.
  if (std::ranges::all_of(ranges, [](const auto& r) { return r.first == r.next; })) return std::nullopt;
  if (&root == &of || (root.pos == of.pos && root.rows == of.rows)) return row;
  if (of.pos == nullptr || root.pos == nullptr) return std::nullopt;
  const auto from = of.view().stream(row);
  for (std::uint32_t i = 0; i < root.rows; ++i) {
    const auto at = (hint + i) % root.rows;
    if (root.pos[at] == of.pos[row] && root.view().stream(at) == from) return hint = at;
  }
  return std::nullopt;
}

// Fills in the columns of one batch.
class column_writer {
 public:
  explicit column_writer(record_batch& to) : to_(to) {
    for (column_index c = 0; c < column::count; ++c) {
      columns_[c] = static_cast<cell*>(allocate(sizeof(cell) * to.rows, alignof(cell)));
      std::fill_n(columns_[c], to.rows, null_cell());
      to.cols[c] = columns_[c];
    }
  }
  void set(column c, std::uint32_t row, cell v) { columns_[c][row] = v; }
  std::string_view copy(std::string_view bytes) {
    if (bytes.empty()) return {};
    auto* p = static_cast<char*>(allocate(bytes.size(), 1));
    std::memcpy(p, bytes.data(), bytes.size());
    return {p, bytes.size()};
  }
  // Copy the original record's cell, in the kind of the column. A sink creates and checks its table by these kinds, so a
  // source with other kinds in these columns must not be able to break it.
  void take_over(column c, std::uint32_t row, const cell& from) {
    if (is_null(from) || (from.kind == kinds[c] && kinds[c] != PL_TEXT)) return set(c, row, from);
    std::string text;
    if (kinds[c] == PL_JSON) {
      append_json(text, from);
      set(c, row, json_cell(copy(text)));
    } else if (kinds[c] == PL_TEXT) {
      text_template::append_plain(text, from);
      set(c, row, text_cell(copy(storable(text))));
    } else if (kinds[c] == PL_BYTES && has_bytes(from)) {
      set(c, row, bytes_cell(bytes_of(from)));
    }
  }
  void take_over(column c, std::uint32_t row, record_batch& original, std::string_view name,
                 std::uint32_t original_row) {
    const auto at = original.view().find(name);
    if (!at) return;
    take_over(c, row, original.view().at(*at, original_row));
    if (original.late() == nullptr) return;
    original.late()->make(original, *at, original_row,
                          [&](const cell& made) { take_over(c, row, span_cell(made.kind, copy(bytes_of(made)))); });
  }
  void* allocate(std::size_t bytes, std::size_t align) {
    void* p = to_.alloc(bytes, align);
    if (p == nullptr) throw std::bad_alloc();
    return p;
  }

 private:
  record_batch& to_;
  std::array<cell*, column::count> columns_{};
};

// Return whether the record of this row became several rows. The row itself must be retried then: the record would make
// the other rows again.
bool has_siblings(batch_view b, row_index row) {
  if (!b.has_positions()) return false;
  const auto same = [&](row_index other) {
    return b.position(other) == b.position(row) && b.origin(other) == b.origin(row);
  };
  return (row > 0 && same(row - 1)) || (row + 1 < b.rows() && same(row + 1));
}

bool is_same(const cell& a, const cell& b) {
  if (a.kind != b.kind) return false;
  if (has_bytes(a)) return bytes_of(a) == bytes_of(b);
  return is_null(a) || a.as.i == b.as.i;  // the bits of a real
}

// Counts the equal rows of the same record before a row. They must have different dead letters: `unique_by` keeps one of
// equal ones, and the retry delivers one row for them.
class copy_counter {
 public:
  std::uint64_t before(batch_view b, row_index row) {
    std::uint64_t copies = 0;
    for (auto other = row; other-- > 0 && of_same_record(b, other, row);) {
      if (!equal(b, other, row)) continue;
      ++copies;
      if (const auto known = counted_.find(other); known != counted_.end()) {
        copies += known->second;
        break;
      }
    }
    return counted_[row] = copies;
  }

 private:
  static bool of_same_record(batch_view b, row_index one, row_index other) {
    return b.origin(one) == b.origin(other) && (!b.has_positions() || b.position(one) == b.position(other));
  }
  static bool equal(batch_view b, row_index one, row_index other) {
    for (column_index c = 0; c < b.columns(); ++c)
      if (!is_same(b.at(c, one), b.at(c, other))) return false;
    return true;
  }

  std::unordered_map<row_index, std::uint64_t> counted_;  // of one batch
};

// Return whether a column of the dead letter has the value of this cell unchanged.
bool is_own_column(std::string_view name, const cell& c) {
  if (name == names[topic]) return c.kind == PL_TEXT && storable(bytes_of(c)) == bytes_of(c);
  if (name == names[headers]) return c.kind == PL_JSON;
  return (name == names[value] || name == names[key]) && has_bytes(c);
}

// Write the rejected row, without the values that the dead letter has as columns of its own.
void write_row(column_writer& w, std::uint32_t at, const rejection& r, std::optional<std::uint32_t> original,
               copy_counter& copies) {
  const auto root = r.of->root().view(), row = r.of->view();
  const auto in_own_column = [&](column_index c) {
    const auto name = row.name(c);
    const auto of_root = original ? root.find(name) : std::nullopt;
    const auto& cell = row.at(c, r.row);
    return of_root && is_own_column(name, cell) && root.at(*of_root, *original).kind == cell.kind &&
           bytes_of(root.at(*of_root, *original)) == bytes_of(cell);
  };
  std::string json;
  append_stored_row(json, row, r.row, in_own_column, copies.before(row, r.row));
  w.set(record, at, json_cell(w.copy(json)));
}

// What the dead letters of one batch share.
struct batch_progress {
  std::uint32_t hint = 0;  // row of the root from which to search
  copy_counter copies;
};

void write_original(column_writer& w, std::uint32_t at, const rejection& r, refused_at where,
                    batch_progress& progress) {
  const auto row = original_row(*r.of, r.row, progress.hint);
  const auto root = r.of->root().view();
  const auto value_at = row ? root.find(names[value]) : std::nullopt;
  const bool has_value =
      value_at && (is_null(root.at(*value_at, *row)) || has_bytes(root.at(*value_at, *row)));  // null: a tombstone
  if (has_value) {
    for (const auto c : {topic, key, value, headers}) w.take_over(c, at, r.of->root(), names[c], *row);
    w.take_over(record_time, at, r.of->root(), "time", *row);
  }
  if (!has_value || where == refused_at::sink || has_siblings(r.of->view(), r.row))
    write_row(w, at, r, has_value ? row : std::nullopt, progress.copies);
}

void write_place(column_writer& w, std::uint32_t at, const rejection& r) {
  const auto view = r.of->view();
  if (r.of->nranges != 0) w.set(stream, at, text_cell(view.stream(r.row)));
  if (r.of->pos != nullptr) w.set(position, at, int_cell(static_cast<std::int64_t>(view.position(r.row))));
}

// Set the ranges of the rejected rows' batch, and the range of each row. Their epoch is 0 (no claim): a dead letter
// records its place, but moves no position.
void set_ranges(column_writer& w, record_batch& batch, std::span<const rejection> group) {
  auto& of = *group.front().of;
  auto* pos = static_cast<std::uint64_t*>(w.allocate(sizeof(std::uint64_t) * group.size(), alignof(std::uint64_t)));
  auto* origin = static_cast<std::uint32_t*>(w.allocate(sizeof(std::uint32_t) * group.size(), alignof(std::uint32_t)));
  for (std::size_t i = 0; i < group.size(); ++i) {
    pos[i] = of.view().position(group[i].row);
    origin[i] = of.view().origin(group[i].row);
  }
  auto* ranges = static_cast<pl_range*>(w.allocate(sizeof(pl_range) * std::max(1U, of.nranges), alignof(pl_range)));
  std::copy_n(of.ranges, of.nranges, ranges);
  for (std::uint32_t i = 0; i < of.nranges; ++i) ranges[i].epoch = 0;
  batch.ranges = ranges;
  batch.pos = of.pos != nullptr ? pos : nullptr;
  batch.origin = of.nranges != 0 ? origin : nullptr;
}

// ------------------------------------------------------------------------------------------ smaller dead letters ---

constexpr std::size_t cut_to = 4096, longest_kept = 1024, longest_reason = 1024;

// Cut a text before a character.
std::string_view cut_text(std::string_view text, std::size_t most) {
  if (text.size() <= most) return text;
  auto end = most;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end);
}

std::string shorter_reason(std::string_view reason, std::string_view why, const std::vector<missing_part>& missing) {
  std::string text(cut_text(reason, longest_reason));
  if (text.size() < reason.size()) text += " ...";
  text += "; shortened";
  for (const auto& part : missing)
    text += ", " + part.name + " had " + std::to_string(part.bytes) + " bytes (sha256 " + part.sha256 + ")";
  text += ": the dead-letter sink rejects the complete dead letter: ";
  text += cut_text(why, longest_reason);
  return storable(text);
}

// Write a column of a smaller dead letter: unchanged, cut, or left out. Note what is missing.
void write_smaller(column_writer& w, column c, const cell& from, dead_letter_format::size to,
                   std::vector<missing_part>& lacking) {
  if (!has_bytes(from)) return w.set(c, 0, from);
  const auto bytes = bytes_of(from);
  const bool content = c == value || c == key || c == headers || c == record;
  const bool bare = to == dead_letter_format::size::bare && content;
  if (!bare && bytes.size() <= longest_kept && c != record) return w.set(c, 0, from);
  lacking.push_back(missing(names[c], bytes));
  if (c == value && !bare) w.set(c, 0, bytes_cell(bytes.substr(0, cut_to)));
}

}  // namespace

dead_letter_format::dead_letter_format(services common, block_pool& pool, std::string pipeline_name)
    : pool_(pool), pipeline_(std::move(pipeline_name)), clock_(common.clock) {
  std::array<pl_str, column::count> raw;
  for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = borrow(names[i]);
  schema_ = common.schemas.intern(raw.data(), static_cast<std::uint32_t>(raw.size()));
}

column_set dead_letter_format::columns() const { return {schema_, {kinds.begin(), kinds.end()}}; }

std::vector<batch_ref> dead_letter_format::batches(const std::vector<rejection>& rejected, std::string_view from,
                                                   refused_at where) const {
  const auto now = wall_ns(clock_.get());
  std::vector<batch_ref> all;
  for (std::size_t begin = 0; begin < rejected.size();) {
    auto end = begin;
    while (end < rejected.size() && rejected[end].of.get() == rejected[begin].of.get()) ++end;
    const std::span group(rejected.data() + begin, end - begin);
    begin = end;

    batch_ref batch(new record_batch(pool_, group.front().of.get(), schema_, static_cast<std::uint32_t>(group.size())));
    column_writer w(*batch);
    batch_progress progress;
    for (std::uint32_t i = 0; i < group.size(); ++i) {
      const auto& r = group[i];
      w.set(time, i, time_cell(now));
      w.set(pipeline, i, text_cell(w.copy(pipeline_)));
      w.set(node, i, text_cell(w.copy(from)));
      w.set(reason, i, text_cell(w.copy(storable(r.why))));
      write_place(w, i, r);
      write_original(w, i, r, where, progress);
    }
    set_ranges(w, *batch, group);
    all.push_back(std::move(batch));
  }
  return all;
}

batch_ref dead_letter_format::collapsed(const std::vector<rejection>& rows, std::string_view from) const {
  const auto& first = rows.front();
  batch_ref batch(new record_batch(pool_, first.of.get(), schema_, 1));
  column_writer w(*batch);
  w.set(time, 0, time_cell(wall_ns(clock_.get())));
  w.set(pipeline, 0, text_cell(w.copy(pipeline_)));
  w.set(node, 0, text_cell(w.copy(from)));
  w.set(reason, 0, text_cell(w.copy(storable(first.why))));
  write_place(w, 0, first);
  position_runs positions;
  if (first.of->nranges != 0 && first.of->pos != nullptr)
    for (const auto& r : rows) positions.add(r.of->view().position(r.row));
  w.set(record, 0, json_cell(w.copy(collapsed_record({rows.size(), positions.text()}))));
  set_ranges(w, *batch, std::span(rows.data(), 1));
  return batch;
}

batch_ref dead_letter_format::smaller(const record_batch::replacement& original, record_batch& rejected,
                                      std::string_view why, size to) const {
  const auto from = original.original->view();
  const auto row = original.row;
  batch_ref batch(new record_batch(pool_, &rejected, schema_, 1));
  batch->replaces({original.original, row, original.times + 1});
  column_writer w(*batch);
  std::vector<missing_part> lacking;
  for (const auto c : {time, pipeline, node, position, record_time}) w.set(c, 0, from.at(c, row));
  for (const auto c : {stream, topic, key, value, headers, record}) write_smaller(w, c, from.at(c, row), to, lacking);
  w.set(reason, 0, text_cell(w.copy(shorter_reason(bytes_of(from.at(reason, row)), why, lacking))));
  w.set(record, 0, json_cell(w.copy(shortened_record(lacking))));
  std::vector<rejection> one;
  one.push_back({batch_ref::share(*original.original), row, {}});
  set_ranges(w, *batch, one);
  return batch;
}

}  // namespace pl::engine
