// SPDX-License-Identifier: Apache-2.0
// Cells, batches and builders: a thin C++ layer over the structs of abi.h that owns no memory.
#pragma once

#include <pipeline/abi.h>
#include <pipeline/result.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

namespace pl {

using cell = pl_cell;
using timestamp = std::chrono::sys_time<std::chrono::nanoseconds>;

// ---------------------------------------------------------------------------------------------------------- cells ---

[[nodiscard]] constexpr cell null_cell() noexcept { return {PL_NULL, 0, {.i = 0}}; }
[[nodiscard]] constexpr cell bool_cell(bool v) noexcept { return {PL_BOOL, 0, {.i = v ? 1 : 0}}; }
[[nodiscard]] constexpr cell int_cell(std::int64_t v) noexcept { return {PL_I64, 0, {.i = v}}; }
[[nodiscard]] constexpr cell real_cell(double v) noexcept { return {PL_F64, 0, {.f = v}}; }
[[nodiscard]] constexpr cell time_cell(std::int64_t ns) noexcept { return {PL_TIME_NS, 0, {.i = ns}}; }
[[nodiscard]] constexpr cell time_cell(timestamp t) noexcept { return time_cell(t.time_since_epoch().count()); }

// The bytes are borrowed and must live as long as the batch that contains the cell (see batch_builder::copy).
[[nodiscard]] constexpr cell span_cell(std::uint32_t kind, std::string_view bytes) noexcept {
  return {kind, static_cast<std::uint32_t>(bytes.size()), {.p = bytes.data()}};
}
[[nodiscard]] constexpr cell text_cell(std::string_view utf8) noexcept { return span_cell(PL_TEXT, utf8); }
[[nodiscard]] constexpr cell bytes_cell(std::string_view bytes) noexcept { return span_cell(PL_BYTES, bytes); }
[[nodiscard]] constexpr cell json_cell(std::string_view document) noexcept { return span_cell(PL_JSON, document); }

[[nodiscard]] constexpr bool is_null(const cell& c) noexcept { return c.kind == PL_NULL; }
[[nodiscard]] constexpr bool is_number(const cell& c) noexcept { return c.kind == PL_I64 || c.kind == PL_F64; }
[[nodiscard]] constexpr bool has_bytes(const cell& c) noexcept {
  return c.kind == PL_TEXT || c.kind == PL_BYTES || c.kind == PL_JSON;
}
// Return the bytes of a text, bytes or JSON cell; empty for all other kinds.
[[nodiscard]] constexpr std::string_view bytes_of(const cell& c) noexcept {
  return has_bytes(c) && c.len != 0 ? std::string_view{c.as.p, c.len} : std::string_view{};
}
// Return an integer or a real as a double; std::nullopt for all other kinds.
[[nodiscard]] constexpr std::optional<double> number_of(const cell& c) noexcept {
  if (c.kind == PL_F64) return c.as.f;
  if (c.kind == PL_I64) return static_cast<double>(c.as.i);
  return std::nullopt;
}

// Return the name of a kind, for messages and documentation.
[[nodiscard]] constexpr std::string_view kind_name(std::uint32_t kind) noexcept {
  constexpr std::array<std::string_view, PL_JSON + 1> names{"null", "bool", "int",   "float",
                                                            "time", "text", "bytes", "json"};
  return kind < names.size() ? names[kind] : std::string_view("unknown");
}

// -------------------------------------------------------------------------------------------------------- reading ---

using column_index = std::uint32_t;
using row_index = std::uint32_t;

[[nodiscard]] inline std::optional<column_index> find_column(const pl_schema& schema, std::string_view name) noexcept {
  for (column_index c = 0; c < schema.ncols; ++c)
    if (view(schema.names[c]) == name) return c;
  return std::nullopt;
}

// The selected rows of a batch, for `for (auto row : batch.selection())`.
class row_selection {
 public:
  class iterator {
   public:
    using value_type = row_index;
    using difference_type = std::ptrdiff_t;
    iterator() = default;
    iterator(const std::uint32_t* sel, std::uint32_t at) noexcept : sel_(sel), at_(at) {}
    row_index operator*() const noexcept { return sel_ ? sel_[at_] : at_; }
    iterator& operator++() noexcept { return ++at_, *this; }
    iterator operator++(int) noexcept {
      auto old = *this;
      return ++at_, old;
    }
    bool operator==(const iterator& o) const noexcept { return at_ == o.at_; }

   private:
    const std::uint32_t* sel_ = nullptr;
    std::uint32_t at_ = 0;
  };

  row_selection(const std::uint32_t* sel, std::uint32_t n) noexcept : sel_(sel), n_(n) {}
  [[nodiscard]] iterator begin() const noexcept { return {sel_, 0}; }
  [[nodiscard]] iterator end() const noexcept { return {sel_, n_}; }
  [[nodiscard]] std::uint32_t size() const noexcept { return n_; }
  [[nodiscard]] row_index operator[](std::uint32_t i) const noexcept { return sel_ ? sel_[i] : i; }

 private:
  const std::uint32_t* sel_;
  std::uint32_t n_;
};

// Make the range of a stream that a source has read; see pl_range.
[[nodiscard]] constexpr pl_range range_of(pl_str stream, std::uint64_t first, std::uint64_t next,
                                          std::uint64_t end = PL_UNKNOWN) noexcept {
  return {stream, first, next, end, {}, 0};
}

// A borrowed batch: valid until the call that passed it returns. Cheap to copy.
class batch_view {
 public:
  explicit batch_view(pl_batch* raw) noexcept : raw_(raw) {}

  [[nodiscard]] std::uint32_t rows() const noexcept { return raw_->rows; }
  [[nodiscard]] std::uint32_t selected() const noexcept { return raw_->nsel; }
  [[nodiscard]] row_selection selection() const noexcept { return {raw_->sel, raw_->nsel}; }

  [[nodiscard]] const pl_schema& schema() const noexcept { return *raw_->schema; }
  [[nodiscard]] std::uint32_t columns() const noexcept { return raw_->schema->ncols; }
  [[nodiscard]] std::string_view name(column_index c) const noexcept { return view(raw_->schema->names[c]); }
  [[nodiscard]] std::optional<column_index> find(std::string_view column) const noexcept {
    return find_column(*raw_->schema, column);
  }
  [[nodiscard]] std::span<const cell> column(column_index c) const noexcept { return {raw_->cols[c], raw_->rows}; }
  [[nodiscard]] const cell& at(column_index c, row_index row) const noexcept { return raw_->cols[c][row]; }

  [[nodiscard]] std::span<const pl_range> ranges() const noexcept { return {raw_->ranges, raw_->nranges}; }
  [[nodiscard]] std::span<const pl_state_change> state_changes() const noexcept {
    return {raw_->state_changes, raw_->nstate_changes};
  }
  [[nodiscard]] bool has_positions() const noexcept { return raw_->pos != nullptr; }
  [[nodiscard]] std::uint64_t position(row_index row) const noexcept { return raw_->pos ? raw_->pos[row] : PL_UNKNOWN; }
  // Return the time at which the row's record arrived (not the record's own time), as a reading of its stream's arrival
  // clock in a transform that uses it (arrival.hpp); std::nullopt: unknown.
  [[nodiscard]] std::optional<timestamp> arrival(row_index row) const noexcept {
    if (raw_->arrival == nullptr) return std::nullopt;
    return timestamp(std::chrono::nanoseconds(raw_->arrival[row]));
  }
  [[nodiscard]] std::uint32_t origin(row_index row) const noexcept { return raw_->origin ? raw_->origin[row] : 0; }
  // Return the stream of a row; empty if the row belongs to no stream.
  [[nodiscard]] std::string_view stream(row_index row) const noexcept {
    return raw_->nranges == 0 ? std::string_view{} : view(raw_->ranges[origin(row)].stream);
  }

  [[nodiscard]] pl_batch* raw() const noexcept { return raw_; }

 private:
  pl_batch* raw_;
};

// Caches the indexes of columns, so that names are looked up once for each schema instead of once for each record.
template <std::size_t N>
class column_lookup {
 public:
  // The names must outlive the lookup.
  explicit column_lookup(std::array<std::string_view, N> names) : names_(names) {}

  // Return the index of each name in `schema`; std::nullopt if the column is missing. Cheap while the schema is the
  // same.
  const std::array<std::optional<column_index>, N>& in(const pl_schema& schema) {
    if (schema_ != &schema) {
      schema_ = &schema;
      for (std::size_t i = 0; i < N; ++i) at_[i] = find_column(schema, names_[i]);
    }
    return at_;
  }

 private:
  std::array<std::string_view, N> names_;
  std::array<std::optional<column_index>, N> at_{};
  const pl_schema* schema_ = nullptr;
};

// An owned reference to a batch. The destructor releases it.
class batch {
 public:
  batch() = default;
  batch(const pl_host* host, pl_batch* raw) noexcept : host_(host), raw_(raw) {}  // takes ownership of the reference
  batch(batch&& o) noexcept : host_(o.host_), raw_(std::exchange(o.raw_, nullptr)) {}
  batch& operator=(batch&& o) noexcept {
    if (this != &o) {
      reset();
      host_ = o.host_;
      raw_ = std::exchange(o.raw_, nullptr);
    }
    return *this;
  }
  batch(const batch&) = delete;
  batch& operator=(const batch&) = delete;
  ~batch() { reset(); }

  static batch retained(const pl_host* host, batch_view borrowed) noexcept {
    host->retain(borrowed.raw());
    return {host, borrowed.raw()};
  }
  explicit operator bool() const noexcept { return raw_ != nullptr; }
  [[nodiscard]] batch_view get() const noexcept { return batch_view{raw_}; }
  [[nodiscard]] pl_batch* release() noexcept { return std::exchange(raw_, nullptr); }  // passes ownership to the caller

 private:
  void reset() noexcept {
    if (raw_) host_->release(std::exchange(raw_, nullptr));
  }
  const pl_host* host_ = nullptr;
  pl_batch* raw_ = nullptr;
};

// -------------------------------------------------------------------------------------------------------- writing ---

// Fills a new batch, which owns all memory. Throws std::bad_alloc if memory is exhausted; the SDK's barrier turns the
// exception into a status.
class batch_builder {
 public:
  // Create a batch without a parent, in `poll` or `tick`.
  batch_builder(const pl_host* host, const pl_schema* schema, std::uint32_t rows)
      : batch_builder(host, nullptr, schema, rows) {}
  // Derive a batch. It gets the parent's ranges, and its positions, arrival times and origins if the number of rows is
  // equal.
  batch_builder(const pl_host* host, batch_view parent, const pl_schema* schema, std::uint32_t rows)
      : batch_builder(host, parent.raw(), schema, rows) {}

  // Allocate the cells of column c, all null.
  std::span<cell> make_column(column_index c) {
    auto cells = allocate<cell>(raw_->rows);
    std::fill(cells.begin(), cells.end(), null_cell());
    raw_->cols[c] = cells.data();
    return cells;
  }
  // Use a column of the parent as column c. The number of rows must be equal.
  void share_column(column_index c, std::span<const cell> of_parent) noexcept { raw_->cols[c] = of_parent.data(); }

  template <class T>
  std::span<T> allocate(std::size_t n) {
    static_assert(std::is_trivially_destructible_v<T>, "a batch frees its memory without running destructors");
    void* p = host_->alloc(raw_, n * sizeof(T), alignof(T));
    if (p == nullptr && n != 0) throw std::bad_alloc();
    return {static_cast<T*>(p), n};
  }
  std::string_view copy(std::string_view bytes) {
    if (bytes.empty()) return {};
    auto to = allocate<char>(bytes.size());
    std::memcpy(to.data(), bytes.data(), bytes.size());
    return {to.data(), to.size()};
  }
  // Keep foreign memory that cells point into: `release(mem)` is called when the batch is freed. bytes: counted against
  // the memory limit.
  void pin(void* mem, std::size_t bytes, void (*release)(void*)) { host_->pin(raw_, mem, bytes, release); }

  // Set one position (arrival time in ns since 1970; origin: an index into the ranges) for each row. The arrays must
  // live as long as the batch: get them from `allocate`.
  void set_positions(std::span<const std::uint64_t> pos) noexcept { raw_->pos = pos.data(); }
  void set_arrivals(std::span<const std::int64_t> ns) noexcept { raw_->arrival = ns.data(); }
  // For sources: producers set the arrival times, and their clocks may be wrong.
  void mark_arrivals_claimed() noexcept { raw_->arrival_claimed = 1; }
  void set_origins(std::span<const std::uint32_t> origin) noexcept { raw_->origin = origin.data(); }
  void set_ranges(std::span<const pl_range> ranges) noexcept {
    raw_->ranges = ranges.data();
    raw_->nranges = static_cast<std::uint32_t>(ranges.size());
  }
  // Select only these rows, which must be in ascending order. The array must live as long as the batch.
  void select(std::span<const std::uint32_t> rows) noexcept {
    raw_->sel = rows.data();
    raw_->nsel = static_cast<std::uint32_t>(rows.size());
  }
  // Reduce the number of rows.
  void shrink(std::uint32_t rows) noexcept {
    raw_->rows = rows;
    raw_->nsel = rows;
  }

  [[nodiscard]] batch_view peek() const noexcept { return batch_view{raw_}; }
  [[nodiscard]] batch finish() && noexcept { return {host_, std::exchange(raw_, nullptr)}; }

  batch_builder(batch_builder&& o) noexcept : host_(o.host_), raw_(std::exchange(o.raw_, nullptr)) {}
  batch_builder& operator=(batch_builder&&) = delete;
  batch_builder(const batch_builder&) = delete;
  batch_builder& operator=(const batch_builder&) = delete;
  ~batch_builder() {
    if (raw_) host_->release(raw_);
  }

 private:
  batch_builder(const pl_host* host, pl_batch* parent, const pl_schema* schema, std::uint32_t rows)
      : host_(host), raw_(host->derive(host->ctx, parent, schema, rows)) {
    if (raw_ == nullptr) throw std::bad_alloc();
  }
  const pl_host* host_;
  pl_batch* raw_;
};

}  // namespace pl
