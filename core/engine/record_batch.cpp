// SPDX-License-Identifier: Apache-2.0
#include "engine/record_batch.hpp"

#include <algorithm>

namespace pl::engine {

record_batch::record_batch(block_pool& pool, record_batch* parent, const pl_schema* from_schema,
                           std::uint32_t row_count)
    : pl_batch{}, parent_(parent), memory_(pool) {
  size = sizeof(pl_batch);
  rows = nsel = row_count;
  schema = from_schema;
  cols = static_cast<const pl_cell**>(memory_.alloc(sizeof(pl_cell*) * std::max(1U, schema->ncols), alignof(pl_cell*)));
  if (cols != nullptr) std::fill_n(cols, schema->ncols, nullptr);
  if (parent == nullptr) return;
  parent->retain();
  ranges = parent->ranges;
  nranges = parent->nranges;
  if (parent->rows == row_count) {
    pos = parent->pos;
    origin = parent->origin;
  }
}

record_batch::~record_batch() {
  for (const auto& p : pins_) p.release(p.mem);
  memory_.budget().sub(pinned_bytes_);
}

void record_batch::release() noexcept {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  auto* parent = parent_;
  auto* inbox = inbox_;
  settlement_inbox::report news{std::move(flights_), !undelivered_.load(std::memory_order_relaxed),
                                fenced_.load(std::memory_order_relaxed)};
  const auto waited_for = std::move(departure_);
  delete this;
  // Reported after the memory is back, so that a lane that waits for room finds it.
  if (inbox != nullptr) inbox->put(std::move(news));
  if (waited_for) waited_for->gone();
  if (parent != nullptr) parent->release();
}

void record_batch::pin(void* mem, std::size_t bytes, void (*free_it)(void*)) {
  pins_.push_back({mem, free_it});
  pinned_bytes_ += bytes;
  memory_.budget().add(bytes);
}

record_batch& record_batch::root() noexcept {
  auto* b = this;
  while (b->parent_ != nullptr) b = b->parent_;
  return *b;
}

std::size_t record_batch::footprint() const noexcept {
  std::size_t bytes = 0;
  for (const auto* b = this; b != nullptr; b = b->parent_) bytes += b->memory_.bytes() + b->pinned_bytes_;
  return bytes;
}

std::uint64_t record_batch::payload_bytes() noexcept {
  if (payload_bytes_ != UINT64_MAX) return payload_bytes_;
  std::uint64_t bytes = 0;
  for (column_index c = 0; c < schema->ncols; ++c)
    for (const auto row : view().selection()) {
      const auto& cell = cols[c][row];
      bytes += has_bytes(cell) ? cell.len : (is_null(cell) ? 0U : 8U);
    }
  return payload_bytes_ = bytes;
}

namespace {

// A child that shares all columns, rows and positions.
batch_ref sharing_child(block_pool& pool, record_batch& of) {
  batch_ref child(new (std::nothrow) record_batch(pool, &of, of.schema, of.rows));
  if (!child || child->cols == nullptr) return {};
  std::copy_n(of.cols, of.schema->ncols, child->cols);
  return child;
}

std::uint32_t* copy_rows(record_batch& to, std::span<const std::uint32_t> rows) {
  auto* sel = static_cast<std::uint32_t*>(
      to.alloc(std::max<std::size_t>(1, rows.size()) * sizeof(std::uint32_t), alignof(std::uint32_t)));
  if (sel != nullptr) std::copy(rows.begin(), rows.end(), sel);
  return sel;
}

}  // namespace

batch_ref select_rows(block_pool& pool, record_batch& of, std::span<const std::uint32_t> rows) {
  auto child = sharing_child(pool, of);
  if (!child) return {};
  child->sel = copy_rows(*child, rows);
  if (child->sel == nullptr) return {};
  child->nsel = static_cast<std::uint32_t>(rows.size());
  return child;
}

batch_ref select_ranges(block_pool& pool, record_batch& of, const std::vector<bool>& take) {
  std::vector<std::uint32_t> selected;
  if (of.nsel != 0) selected.reserve(of.nsel);
  for (const auto row : of.view().selection())
    if (take[of.view().origin(row)]) selected.push_back(row);
  auto child = select_rows(pool, of, selected);
  if (!child) return {};
  const auto count = static_cast<std::size_t>(std::count(take.begin(), take.end(), true));
  auto* ranges = static_cast<pl_range*>(child->alloc(count * sizeof(pl_range), alignof(pl_range)));
  auto* origin =
      static_cast<std::uint32_t*>(child->alloc(std::max(1U, of.rows) * sizeof(std::uint32_t), alignof(std::uint32_t)));
  if (ranges == nullptr || origin == nullptr) return {};
  std::vector<std::uint32_t> moved(take.size(), 0);
  std::uint32_t n = 0;
  for (std::size_t i = 0; i < take.size(); ++i)
    if (take[i]) {
      ranges[n] = of.ranges[i];
      moved[i] = n++;
    }
  for (std::uint32_t row = 0; row < of.rows; ++row) origin[row] = moved[of.view().origin(row)];
  child->ranges = ranges;
  child->nranges = n;
  child->origin = origin;
  std::vector<pl_change> changes;
  for (const auto& c : of.view().changes())
    if (take[c.range]) {
      changes.push_back(c);
      changes.back().range = moved[c.range];
    }
  return carry(*child, changes) ? std::move(child) : batch_ref();
}

bool carry(record_batch& to, std::span<const pl_change> changes) {
  to.nchanges = static_cast<std::uint32_t>(changes.size());
  to.changes = nullptr;
  if (changes.empty()) return true;
  auto* copies = static_cast<pl_change*>(to.alloc(changes.size() * sizeof(pl_change), alignof(pl_change)));
  if (copies == nullptr) return false;
  std::copy(changes.begin(), changes.end(), copies);
  to.changes = copies;
  return true;
}

}  // namespace pl::engine
