// SPDX-License-Identifier: Apache-2.0
#include "engine/write_cutter.hpp"

#include <algorithm>

namespace pl::engine {
namespace {

std::uint64_t bytes_of(const record_batch& b, std::uint32_t row) {
  std::uint64_t bytes = sizeof(pl_cell) * b.schema->ncols;
  for (column_index c = 0; c < b.schema->ncols; ++c)
    if (const auto& cell = b.cols[c][row]; has_bytes(cell)) bytes += cell.len;
  return bytes;
}

template <class T>
T* array_in(record_batch& b, std::size_t n) {
  return static_cast<T*>(b.alloc(std::max<std::size_t>(1, n) * sizeof(T), alignof(T)));
}

bool has_position(batch_view b, std::uint32_t row) { return b.has_positions() && b.position(row) != PL_UNKNOWN; }

}  // namespace

bool write_cutter::fits(const group& batches, const write_limits& limits) {
  std::uint64_t rows = 0, bytes = 0;
  for (const auto& b : batches) {
    if (b->nsel == 0) continue;
    rows += b->nsel;
    bytes += b->write_bytes();
  }
  return rows <= limits.rows && bytes <= limits.bytes;
}

write_cutter::write_cutter(group batches, bool keeps_positions, block_pool& pool)
    : batches_(std::move(batches)), keeps_positions_(keeps_positions), pool_(pool), rows_(batches_.size()) {
  if (!keeps_positions_) {
    place_single_rows();
    return;
  }
  if (inseparable()) {
    whole_ = true;
    units_.resize(1);
    return;
  }
  find_streams();
  find_starts();
  place_rows();
}

// -------------------------------------------------------------------------------------------------- the divisions ---

void write_cutter::place_single_rows() {
  for (std::size_t i = 0; i < batches_.size(); ++i)
    for (const auto row : batches_[i]->view().selection()) {
      rows_[i].push_back({units_.size(), row});
      units_.push_back({0, 1, bytes_of(*batches_[i], row)});
    }
}

// Return whether there are rows whose stream is unknown: they may come from any record of the group.
bool write_cutter::inseparable() const {
  return std::ranges::any_of(batches_, [](const auto& b) {
    const auto view = b->view();
    if (b->nsel == 0 || b->nranges == 1) return false;
    if (b->nranges == 0) return true;
    return b->origin == nullptr &&
           std::ranges::any_of(view.selection(), [&](auto row) { return !has_position(view, row); });
  });
}

std::size_t write_cutter::stream_of(const pl_range& r) const {
  const auto found = std::ranges::find_if(
      streams_, [&](const stream& s) { return s.name == pl::view(r.stream) && s.source == pl::view(r.source); });
  return static_cast<std::size_t>(found - streams_.begin());
}

void write_cutter::find_streams() {
  for (const auto& b : batches_)
    for (const auto& r : b->view().ranges()) {
      const auto s = stream_of(r);
      if (s == streams_.size()) streams_.push_back({pl::view(r.source), pl::view(r.stream), r.first, r.next, {}, 0});
      streams_[s].first = std::min(streams_[s].first, r.first);
      streams_[s].next = std::max(streams_[s].next, r.next);
    }
}

// A part may end before the record of each row. Rows without positions may come from any record of their range, so no
// part ends inside that range: a host that reads the range again, in other batches, could not determine which rows are stored.
void write_cutter::find_starts() {
  std::vector<std::vector<std::pair<std::uint64_t, std::uint64_t>>> whole(streams_.size());
  for (auto& s : streams_) s.starts.push_back(s.first);
  for (const auto& b : batches_) {
    const auto view = b->view();
    std::vector<bool> indivisible(b->nranges, false);
    for (const auto row : view.selection())
      if (const auto& r = view.ranges()[view.origin(row)]; has_position(view, row))
        streams_[stream_of(r)].starts.push_back(std::clamp(view.position(row), r.first, std::max(r.first, r.next)));
      else
        indivisible[view.origin(row)] = true;
    for (std::size_t i = 0; i < indivisible.size(); ++i)
      if (const auto& r = view.ranges()[i]; indivisible[i]) whole[stream_of(r)].emplace_back(r.first, r.next);
  }
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    auto& s = streams_[i];
    std::ranges::sort(s.starts);
    s.starts.erase(std::unique(s.starts.begin(), s.starts.end()), s.starts.end());
    std::erase_if(s.starts, [&](std::uint64_t at) {
      return std::ranges::any_of(whole[i], [&](const auto& w) { return w.first < at && at < w.second; });
    });
    s.first_unit = units_.size();
    units_.resize(units_.size() + s.starts.size(), unit{i, 0, 0});
  }
}

std::size_t write_cutter::unit_of(const pl_range& r, std::uint64_t position) const {
  const auto& s = streams_[stream_of(r)];
  const auto after = std::ranges::upper_bound(s.starts, position);
  return s.first_unit + static_cast<std::size_t>(std::max<std::ptrdiff_t>(after - s.starts.begin() - 1, 0));
}

// Return the unit of rows without positions, and of state changes. Those of a timer, whose range is empty, belong to the
// record before it.
std::size_t write_cutter::unit_at(const pl_range& r) const {
  return unit_of(r, r.first == r.next && r.first > streams_[stream_of(r)].first ? r.first - 1 : r.first);
}

void write_cutter::place_rows() {
  for (std::size_t i = 0; i < batches_.size(); ++i) {
    const auto view = batches_[i]->view();
    for (const auto row : view.selection()) {
      const auto& r = view.ranges()[view.origin(row)];
      const auto u = has_position(view, row) ? unit_of(r, std::max(view.position(row), r.first)) : unit_at(r);
      rows_[i].push_back({u, row});
      ++units_[u].rows;
      units_[u].bytes += bytes_of(*batches_[i], row);
    }
    std::ranges::stable_sort(rows_[i], {}, &placed_row::unit);
  }
}

// ------------------------------------------------------------------------------------------------------ the parts ---

std::optional<write_cutter::group> write_cutter::next(const write_limits& limits) {
  part p{at_, at_};
  std::uint64_t rows = 0, bytes = 0;
  for (; p.end < units_.size(); ++p.end) {
    rows += units_[p.end].rows;
    bytes += units_[p.end].bytes;
    if (p.end != p.first && (rows > limits.rows || bytes > limits.bytes)) break;
  }
  group parts;
  at_ = p.end;
  if (whole_) {
    for (const auto& b : batches_) parts.push_back(batch_ref::share(*b));
    return parts;
  }
  for (std::size_t i = 0; i < batches_.size(); ++i) {
    batch_ref b;
    if (!cut(i, p, b)) return std::nullopt;
    if (b) parts.push_back(std::move(b));
  }
  return parts;
}

// Return the positions of a stream that a part covers. Empty at the stream's end or start if it has nothing of it.
std::pair<std::uint64_t, std::uint64_t> write_cutter::covered(std::size_t index, part p) const {
  const auto& s = streams_[index];
  const auto at = [&](std::size_t u) {
    if (u <= s.first_unit) return s.first;
    return u - s.first_unit < s.starts.size() ? s.starts[u - s.first_unit] : s.next;
  };
  return {at(p.first), at(p.end)};
}

bool write_cutter::cut(std::size_t batch, part p, batch_ref& to) {
  auto& of = *batches_[batch];
  const auto from = [&](std::size_t u) { return std::ranges::lower_bound(rows_[batch], u, {}, &placed_row::unit); };
  std::vector<std::uint32_t> rows;
  for (auto r = from(p.first); r != from(p.end); ++r) rows.push_back(r->row);
  std::ranges::sort(rows);
  if (!keeps_positions_ && rows.empty()) return true;
  auto child = select_rows(pool_, of, rows);
  if (!child) return false;
  bool empty = false;
  if (keeps_positions_ && !cut_ranges(of, p, *child, empty)) return false;
  if (!empty) to = std::move(child);
  return true;
}

// Set the ranges that a part covers, their changes, and the origins of its rows.
bool write_cutter::cut_ranges(record_batch& of, part p, record_batch& to, bool& empty) const {
  const auto ranges = of.view().ranges();
  std::vector<pl_state_change> changes;
  std::vector<bool> used(ranges.size(), false);
  for (const auto& c : of.view().state_changes())
    if (const auto u = unit_at(ranges[c.range]); u >= p.first && u < p.end) {
      changes.push_back(c);
      used[c.range] = true;
    }
  for (const auto row : to.view().selection()) used[of.view().origin(row)] = true;
  auto* kept = array_in<pl_range>(to, ranges.size());
  auto* origin = array_in<std::uint32_t>(to, of.rows);
  if (kept == nullptr || origin == nullptr) return false;
  std::vector<std::uint32_t> moved(ranges.size(), 0);
  std::uint32_t n = 0;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const auto [first, next] = covered(stream_of(ranges[i]), p);
    auto r = ranges[i];
    r.first = std::clamp(r.first, first, next);
    r.next = std::clamp(r.next, first, next);
    if (r.first == r.next && !used[i]) continue;
    kept[n] = r;
    moved[i] = n++;
  }
  for (std::uint32_t row = 0; row < of.rows; ++row) origin[row] = moved[of.view().origin(row)];
  for (auto& c : changes) c.range = moved[c.range];
  to.ranges = kept;
  to.nranges = n;
  to.origin = origin;
  empty = n == 0;
  return set_changes(to, changes);
}

}  // namespace pl::engine
