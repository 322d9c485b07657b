// SPDX-License-Identifier: Apache-2.0
#include "engine/record_batch.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <unordered_set>

namespace pl::engine {

namespace {

// The addresses of all batches, in parts with a lock each. Plugins pass addresses on any thread and without a context,
// so the process has one such set.
class batch_addresses {
 public:
  void add(const record_batch* b) {
    auto& of = part_of(b);
    std::scoped_lock lock(of.mutex);
    of.all.insert(b);
  }
  void remove(const record_batch* b) noexcept {
    auto& of = part_of(b);
    std::scoped_lock lock(of.mutex);
    of.all.erase(b);
  }
  bool contain(const record_batch* b) noexcept {
    auto& of = part_of(b);
    std::scoped_lock lock(of.mutex);
    return of.all.contains(b);
  }

 private:
  struct part {
    std::mutex mutex;
    std::unordered_set<const record_batch*> all;
  };
  part& part_of(const record_batch* b) noexcept {
    return parts_[(reinterpret_cast<std::uintptr_t>(b) / alignof(std::max_align_t)) % parts_.size()];
  }
  std::array<part, 16> parts_;
};
batch_addresses addresses;

}  // namespace

record_batch::record_batch(block_pool& pool, record_batch* parent, const pl_schema* from_schema,
                           std::uint32_t row_count)
    : pl_batch{}, parent_(parent), memory_(pool), made_schema_(from_schema), rows_made_(row_count) {
  size = sizeof(pl_batch);
  rows = nsel = row_count;
  schema = from_schema;
  cols = static_cast<const pl_cell**>(memory_.alloc(sizeof(pl_cell*) * std::max(1U, schema->ncols), alignof(pl_cell*)));
  if (cols != nullptr) std::fill_n(cols, schema->ncols, nullptr);
  made_cols_ = cols;
  addresses.add(this);
  if (parent == nullptr) return;
  parent->retain();
  ranges = parent->ranges;
  nranges = parent->nranges;
  if (parent->rows == row_count) {
    pos = parent->pos;
    arrival = parent->arrival;
    origin = parent->origin;
  }
}

record_batch::~record_batch() {
  addresses.remove(this);
  for (const auto& p : pins_) p.release(p.mem);
  memory_.budget().sub(pinned_bytes_);
}

void record_batch::release() noexcept {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  auto* parent = parent_;
  auto in_flight = std::move(settlement_);
  const auto latch = std::move(release_latch_);
  delete this;
  // Report after the memory is freed, so that a lane that waits for room finds it.
  in_flight.reset();
  if (latch) latch->count_down();
  if (parent != nullptr) parent->release();
}

void record_batch::pin(void* mem, std::size_t bytes, void (*free_it)(void*)) {
  pins_.push_back({mem, bytes, free_it});
  pinned_bytes_ += bytes;
  memory_.budget().add(bytes);
}

void record_batch::make_later(column_index column, void* mem, pl_make_cell make) {
  auto* cells = static_cast<cell*>(alloc(sizeof(cell) * std::max(1U, rows_made_), alignof(cell)));
  if (cells == nullptr) throw std::bad_alloc();
  std::fill_n(cells, rows_made_, null_cell());
  if (!late_) late_ = std::make_unique<late_columns>();
  late_->add({column, mem, make});
  cols[column] = cells;
}

bool record_batch::awaited() const noexcept {
  for (const auto* b = this; b != nullptr; b = b->parent_)
    if (b->release_latch_ != nullptr && b->release_latch_->awaited()) return true;
  return false;
}

record_batch* record_batch::find(const pl_batch* b) noexcept {
  auto* found = static_cast<record_batch*>(const_cast<pl_batch*>(b));
  return b != nullptr && addresses.contain(found) ? found : nullptr;
}

bool record_batch::take_back() noexcept {
  auto held = lent_.load(std::memory_order_relaxed);
  while (held != 0)
    if (lent_.compare_exchange_weak(held, held - 1, std::memory_order_acq_rel)) return true;
  return false;
}

bool record_batch::contains(const void* memory, std::size_t bytes) const noexcept {
  const auto is_in_pin = [&](const pinned& p) {
    const auto begin = reinterpret_cast<std::uintptr_t>(p.mem), at = reinterpret_cast<std::uintptr_t>(memory);
    return at >= begin && at - begin <= p.bytes && bytes <= p.bytes - (at - begin);
  };
  for (const auto* b = this; b != nullptr; b = b->parent_)
    if (b->memory_.contains(memory, bytes) || std::ranges::any_of(b->pins_, is_in_pin)) return true;
  return false;
}

record_batch::replacement record_batch::replaced() const noexcept {
  for (const auto* b = this; b != nullptr; b = b->parent_)
    if (b->replaces_.original != nullptr) return b->replaces_;
  return {};
}

record_batch& record_batch::root() noexcept {
  auto* b = this;
  while (b->parent_ != nullptr) b = b->parent_;
  return *b;
}

std::size_t record_batch::footprint() const noexcept {
  const auto own = memory_.bytes() + pinned_bytes_;
  if (parent_ == nullptr) return own;
  const auto all = parent_->footprint();
  return own + (shares_parent_ && parent_->nsel != 0 ? all / parent_->nsel * nsel : all);
}

const record_batch::amount& record_batch::measured() noexcept {
  if (measured_.text != UINT64_MAX) return measured_;
  amount sum{0, 0};
  // Without branches: a column may hold several kinds in any order.
  const auto add = [&sum](const pl_cell& cell) {
    const bool bytes = has_bytes(cell);
    sum.text += bytes ? cell.len : 0;
    sum.numbers += !bytes && !is_null(cell) ? 1 : 0;
  };
  for (column_index c = 0; c < schema->ncols; ++c) {
    if (sel == nullptr)
      for (const auto& cell : std::span(cols[c], rows)) add(cell);
    else
      for (const auto row : view().selection()) add(cols[c][row]);
  }
  return measured_ = sum;
}

namespace {

// Return a child that shares all columns, rows and positions.
batch_ref sharing_child(block_pool& pool, record_batch& of) {
  batch_ref child(new (std::nothrow) record_batch(pool, &of, of.schema, of.rows));
  if (!child || child->cols == nullptr) return {};
  std::copy_n(of.cols, of.schema->ncols, child->cols);
  if (of.checked()) child->set_checked();
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
  std::vector<pl_state_change> changes;
  for (const auto& c : of.view().state_changes())
    if (take[c.range]) {
      changes.push_back(c);
      changes.back().range = moved[c.range];
    }
  return set_changes(*child, changes) ? std::move(child) : batch_ref();
}

bool set_changes(record_batch& to, std::span<const pl_state_change> changes) {
  to.nstate_changes = static_cast<std::uint32_t>(changes.size());
  to.state_changes = nullptr;
  if (changes.empty()) return true;
  auto* copies =
      static_cast<pl_state_change*>(to.alloc(changes.size() * sizeof(pl_state_change), alignof(pl_state_change)));
  if (copies == nullptr) return false;
  std::copy(changes.begin(), changes.end(), copies);
  to.state_changes = copies;
  return true;
}

}  // namespace pl::engine
