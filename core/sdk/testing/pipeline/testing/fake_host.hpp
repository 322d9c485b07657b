// SPDX-License-Identifier: Apache-2.0
// A host for tests of plugins: records the calls of a component and counts every batch. Header-only; may be used from
// several threads.
#pragma once

#include <pipeline/batch.hpp>
#include <pipeline/json.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace pl::testing {

struct logged {
  int level;
  std::string message;
};
struct reported {
  std::string detail, option;
};
struct observed_end {
  std::string stream;
  std::uint64_t end;
  std::int64_t before_ns;
};
struct rejected_row {
  std::string reason, stream;
  std::uint64_t position;
  std::uint32_t row;
};

class fake_host {
 public:
  fake_host() {
    raw_.size = sizeof raw_;
    raw_.lanes = 1;
    raw_.ctx = this;
    raw_.pipeline = borrow("test");
    raw_.node = borrow("node");
    raw_.state_dir = borrow("state");
    raw_.memory_limit = 64ULL << 20;
    raw_.log_on = [](void*, int) { return 1; };
    raw_.log = [](void* ctx, int level, pl_str message) { self(ctx).on_log(level, view(message)); };
    raw_.metric = [](void* ctx, int, pl_str name, pl_str, const pl_str* labels, std::uint32_t n) {
      return self(ctx).on_metric(view(name), labels, n);
    };
    raw_.record = [](void* ctx, std::uint32_t id, double v) { self(ctx).on_record(id, v); };
    raw_.error = [](void* ctx, pl_str detail, pl_str option) { self(ctx).on_error(view(detail), view(option)); };
    raw_.schema = [](void* ctx, const pl_str* names, std::uint32_t n) { return self(ctx).on_schema(names, n); };
    raw_.derive = [](void* ctx, pl_batch* parent, const pl_schema* schema, std::uint32_t rows) {
      return self(ctx).on_derive(parent, schema, rows);
    };
    raw_.alloc = [](pl_batch* b, std::size_t bytes, std::size_t align) { return held(b).alloc(bytes, align); };
    raw_.pin = [](pl_batch* b, void* mem, std::size_t, void (*release)(void*)) {
      held(b).pins.emplace_back(mem, release);
    };
    raw_.retain = [](pl_batch* b) { ++held(b).references; };
    raw_.release = [](pl_batch* b) { held(b).owner->on_release(held(b)); };
    raw_.reject = [](void* ctx, pl_batch* b, std::uint32_t row, pl_str why) {
      self(ctx).on_reject(batch_view(b), row, view(why));
    };
    raw_.announced = [](void* ctx, pl_str stream) { return self(ctx).on_announced(view(stream)); };
    raw_.assigned = [](void* ctx, pl_str stream, std::uint32_t why, std::uint64_t* next) {
      return self(ctx).on_assigned(view(stream), why, *next);
    };
    raw_.revoked = [](void* ctx, pl_str stream, std::uint64_t* settled) {
      *settled = self(ctx).on_revoked(view(stream));
    };
    raw_.extension = [](void* host, pl_str name) -> const void* {
      static constexpr pl_host_state state{
          sizeof(pl_host_state),
          [](void* ctx, pl_str stream, pl_str key, pl_str value) { self(ctx).on_put(view(stream), view(key), value); },
          [](void* ctx, pl_batch* b, pl_str stream) { self(ctx).on_set_stream(b, view(stream)); },
          [](void* ctx, pl_str stream, pl_str key, pl_str value) {
            self(ctx).on_put(view(stream), view(key), value);
            self(ctx).on_until_delivered(view(stream), view(key));
          }};
      static constexpr pl_host_arrival arrival{sizeof(pl_host_arrival), [](void* ctx, pl_str stream, pl_arrival* out) {
                                                 return self(ctx).on_arrival(view(stream), *out);
                                               }};
      static constexpr pl_host_liveness liveness{
          sizeof(pl_host_liveness), [](void* ctx, pl_str why_not) { self(ctx).on_receiving(view(why_not)); },
          [](void* ctx) -> std::uint32_t { return self(ctx).wants_arrivals_ ? 1 : 0; },
          [](void* ctx, pl_str stream, std::uint64_t end, std::int64_t before) {
            self(ctx).on_observed_end({std::string(view(stream)), end, before});
          }};
      static constexpr pl_host_write_size sizes{sizeof(pl_host_write_size), [](void* ctx) { ++self(ctx).too_large_; }};
      static constexpr pl_host_memory memory{sizeof(pl_host_memory), [](void* ctx, std::uint64_t bytes) -> pl_status {
                                               self(ctx).state_bytes_ = bytes;
                                               return bytes > self(ctx).state_limit_ ? PL_AGAIN : PL_OK;
                                             }};
      if (view(name) == PL_EXT_MEMORY) return &memory;
      static constexpr pl_host_on_demand on_demand{
          sizeof(pl_host_on_demand), [](void*, pl_batch* b, std::uint32_t column, void* mem, pl_make_cell make) {
            held(b).make_later(column, mem, make);
          }};
      if (view(name) == PL_EXT_ON_DEMAND) return self(host).offers_on_demand_ ? &on_demand : nullptr;
      if (view(name) == PL_EXT_ARRIVAL) return &arrival;
      if (view(name) == PL_EXT_WRITE_SIZE) return &sizes;
      if (view(name) == PL_EXT_LIVENESS) return &liveness;
      return view(name) == PL_EXT_STATE ? &state : nullptr;
    };
  }
  fake_host(const fake_host&) = delete;
  fake_host& operator=(const fake_host&) = delete;
  ~fake_host() {
    for (auto* b : live_) destroy(b);
  }

  // Return the table for `create`. Change names, lanes and limits before that call.
  [[nodiscard]] pl_host& raw() noexcept { return raw_; }

  // The memory that state may use, and what the component has reported ("memory/1").
  void limit_state(std::uint64_t bytes) noexcept { state_limit_ = bytes; }
  [[nodiscard]] std::uint64_t state_bytes() const noexcept { return state_bytes_; }

  [[nodiscard]] std::vector<logged> logs() const {
    std::scoped_lock lock(mutex_);
    return logs_;
  }
  [[nodiscard]] std::vector<reported> errors() const {
    std::scoped_lock lock(mutex_);
    return errors_;
  }
  [[nodiscard]] std::vector<rejected_row> rejects() const {
    std::scoped_lock lock(mutex_);
    return rejects_;
  }
  // Return the sum or the last value recorded for a metric. Name a metric with labels as name{key=value,...}.
  [[nodiscard]] double sum(const std::string& metric) const {
    std::scoped_lock lock(mutex_);
    const auto it = ids_.find(metric);
    return it == ids_.end() ? 0 : sums_[it->second];
  }
  [[nodiscard]] double last(const std::string& metric) const {
    std::scoped_lock lock(mutex_);
    const auto it = ids_.find(metric);
    return it == ids_.end() ? 0 : lasts_[it->second];
  }
  [[nodiscard]] std::string error_text() const {
    std::string all;
    for (const auto& e : errors()) {
      if (!all.empty()) all.push_back('\n');
      if (!e.option.empty()) all.append(e.option).append(": ");
      all += e.detail;
    }
    return all;
  }
  void forget() {
    std::scoped_lock lock(mutex_);
    logs_.clear();
    errors_.clear();
    rejects_.clear();
  }

  // Return how often a sink reported that a write was too large.
  [[nodiscard]] int times_too_large() const noexcept { return too_large_; }

  // Return the number of batches that have not been released.
  [[nodiscard]] std::size_t live_batches() const {
    std::scoped_lock lock(mutex_);
    return live_.size();
  }
  // Return the violations of ownership rules: batches that were released too often.
  [[nodiscard]] std::vector<std::string> violations() const {
    std::scoped_lock lock(mutex_);
    return violations_;
  }

  // Set the position that `assigned` returns for a stream (default: the proposed one), and the one that `revoked`
  // returns (default: PL_UNKNOWN).
  void resume_at(std::string stream, std::uint64_t next) {
    std::scoped_lock lock(mutex_);
    resume_[std::move(stream)] = next;
  }
  void settled(std::string stream, std::uint64_t next) {
    std::scoped_lock lock(mutex_);
    settled_[std::move(stream)] = next;
  }
  [[nodiscard]] std::vector<std::string> assigned_streams() const {
    std::scoped_lock lock(mutex_);
    return assigned_;
  }
  // Return the `start` argument of each call of `assigned` (PL_START_POLICY, ...), in the order of assigned_streams.
  [[nodiscard]] std::vector<std::uint32_t> start_reasons() const {
    std::scoped_lock lock(mutex_);
    return start_reasons_;
  }
  // Set the status that `announced` and `assigned` return.
  void set_stream_status(pl_status code) {
    std::scoped_lock lock(mutex_);
    stream_status_ = code;
  }
  // Return the entries that a stateful transform has put, by stream and key, without the erased ones.
  [[nodiscard]] std::map<std::pair<std::string, std::string>, std::string> state() const {
    std::scoped_lock lock(mutex_);
    return state_;
  }
  // Set the entries that a transform has put before a restart.
  void set_state(std::map<std::pair<std::string, std::string>, std::string> state) {
    std::scoped_lock lock(mutex_);
    state_ = std::move(state);
  }
  // Erase the entries that a transform has put until its output is delivered.
  void deliver() {
    std::scoped_lock lock(mutex_);
    for (const auto& id : until_delivered_) state_.erase(id);
    until_delivered_.clear();
  }
  // Set the reading of a stream's arrival clock. Until it is set, the stream has none. connected: see pl_arrival.
  void set_arrival(const std::string& stream, std::int64_t now_ns, std::int64_t behind_ns = 0,
                   std::int64_t connected_ns = INT64_MIN) {
    std::scoped_lock lock(mutex_);
    arrivals_[stream] = {now_ns, behind_ns, connected_ns};
  }
  void set_wants_arrivals(bool on) noexcept { wants_arrivals_ = on; }
  // Offer sources "on_demand/1", or not (the default): then they make all columns themselves. Set it before `create`.
  void set_offers_on_demand(bool on) noexcept { offers_on_demand_ = on; }
  // Make a cell that a source makes on demand, as JSON; "null" if there is none. `of` is from this host.
  [[nodiscard]] static std::string make_late_cell(const batch& of, column_index column, row_index row) {
    std::string json = "null";
    for (const auto& late : held(of.get().raw()).late)
      if (late.column == column)
        (void)late.make(late.mem, row, &json, [](void* to, pl_cell made) {
          auto& text = *static_cast<std::string*>(to);
          text.clear();
          append_json(text, made);
        });
    return json;
  }
  // Return what a source reported: why it could not receive records (empty: it could), each time that this changed, and the
  // observed ends.
  [[nodiscard]] std::vector<std::string> receptions() const {
    std::scoped_lock lock(mutex_);
    return receptions_;
  }
  [[nodiscard]] std::vector<observed_end> observed_ends() const {
    std::scoped_lock lock(mutex_);
    return observed_ends_;
  }
  [[nodiscard]] std::vector<std::string> revoked_streams() const {
    std::scoped_lock lock(mutex_);
    return revoked_;
  }

  // Make a batch with the given columns, one range, and the positions first, first+1, ... arrivals: one for each row, or
  // none.
  batch make_batch(const std::vector<std::pair<std::string, std::vector<cell>>>& columns,
                   std::string_view stream = "test/0", std::uint64_t first = 0,
                   const std::vector<std::int64_t>& arrivals = {}) {
    std::vector<pl_str> names;
    for (const auto& c : columns) names.push_back(borrow(c.first));
    const auto rows = columns.empty() ? 0U : static_cast<std::uint32_t>(columns.front().second.size());
    batch_builder b(&raw_, on_schema(names.data(), static_cast<std::uint32_t>(names.size())), rows);
    for (column_index c = 0; c < columns.size(); ++c) {
      auto to = b.make_column(c);
      for (std::uint32_t r = 0; r < rows; ++r) {
        to[r] = columns[c].second[r];
        if (has_bytes(to[r])) to[r] = span_cell(to[r].kind, b.copy(bytes_of(to[r])));
      }
    }
    auto pos = b.allocate<std::uint64_t>(rows);
    for (std::uint32_t r = 0; r < rows; ++r) pos[r] = first + r;
    b.set_positions(pos);
    if (!arrivals.empty()) {
      auto times = b.allocate<std::int64_t>(rows);
      std::copy_n(arrivals.begin(), rows, times.begin());
      b.set_arrivals(times);
    }
    auto range = b.allocate<pl_range>(1);
    range[0] = range_of(borrow(b.copy(stream)), first, first + rows, first + rows);
    b.set_ranges(range);
    return std::move(b).finish();
  }

 private:
  struct held_batch : pl_batch {
    fake_host* owner = nullptr;
    held_batch* parent = nullptr;
    std::atomic<int> references{1};
    std::vector<const pl_cell*> columns;
    std::vector<std::pair<void*, std::align_val_t>> memory;
    std::vector<std::pair<void*, void (*)(void*)>> pins;
    struct late_column {
      std::uint32_t column;
      void* mem;
      pl_make_cell make;
    };
    std::vector<late_column> late;

    void make_later(std::uint32_t column, void* mem, pl_make_cell make) {
      auto* cells = static_cast<cell*>(alloc(rows * sizeof(cell), alignof(cell)));
      std::fill_n(cells, rows, null_cell());
      cols[column] = cells;
      late.push_back({column, mem, make});
    }

    void* alloc(std::size_t bytes, std::size_t align) {
      void* p =
          ::operator new(std::max<std::size_t>(bytes, 1), std::align_val_t(std::max(align, alignof(std::max_align_t))));
      memory.emplace_back(p, std::align_val_t(std::max(align, alignof(std::max_align_t))));
      return p;
    }
  };
  struct interned {
    std::deque<std::string> texts;
    std::vector<pl_str> names;
    pl_schema schema;
  };

  static fake_host& self(void* ctx) { return *static_cast<fake_host*>(ctx); }
  static held_batch& held(pl_batch* b) { return *static_cast<held_batch*>(b); }

  void on_log(int level, std::string_view m) {
    std::scoped_lock lock(mutex_);
    logs_.push_back({level, std::string(m)});
  }
  void on_error(std::string_view d, std::string_view o) {
    std::scoped_lock lock(mutex_);
    errors_.push_back({std::string(d), std::string(o)});
  }
  void on_reject(batch_view b, std::uint32_t row, std::string_view why) {
    std::scoped_lock lock(mutex_);
    rejects_.push_back({std::string(why), std::string(b.stream(row)), b.position(row), row});
  }
  std::uint32_t on_metric(std::string_view name, const pl_str* labels, std::uint32_t n) {
    std::string id(name);
    for (std::uint32_t i = 0; i < n; ++i) {
      id += i == 0 ? "{" : ",";
      id.append(view(labels[2 * i])).append("=").append(view(labels[2 * i + 1]));
    }
    if (n) id += "}";
    std::scoped_lock lock(mutex_);
    const auto [it, fresh] = ids_.emplace(id, static_cast<std::uint32_t>(sums_.size()));
    if (fresh) {
      sums_.push_back(0);
      lasts_.push_back(0);
    }
    return it->second;
  }
  void on_record(std::uint32_t id, double v) {
    std::scoped_lock lock(mutex_);
    sums_.at(id) += v;
    lasts_.at(id) = v;
  }
  const pl_schema* on_schema(const pl_str* names, std::uint32_t n) {
    std::scoped_lock lock(mutex_);
    for (const auto& s : schemas_)
      if (s->schema.ncols == n &&
          std::equal(names, names + n, s->names.begin(), [](pl_str a, pl_str b) { return view(a) == view(b); }))
        return &s->schema;
    auto fresh = std::make_unique<interned>();
    for (std::uint32_t i = 0; i < n; ++i) fresh->texts.emplace_back(view(names[i]));
    for (const auto& t : fresh->texts) fresh->names.push_back(borrow(t));
    fresh->schema = {n, fresh->names.data()};
    return &schemas_.emplace_back(std::move(fresh))->schema;
  }
  pl_batch* on_derive(pl_batch* parent, const pl_schema* schema, std::uint32_t rows) {
    auto* b = new held_batch;
    static_cast<pl_batch&>(*b) = {};
    b->size = sizeof(pl_batch);
    b->owner = this;
    b->rows = b->nsel = rows;
    b->schema = schema;
    b->columns.resize(schema->ncols);
    b->cols = b->columns.data();
    if (parent) {
      b->parent = &held(parent);
      ++b->parent->references;
      b->ranges = parent->ranges;
      b->nranges = parent->nranges;
      if (parent->rows == rows) {
        b->pos = parent->pos;
        b->arrival = parent->arrival;
        b->origin = parent->origin;
      }
    }
    std::scoped_lock lock(mutex_);
    live_.insert(b);
    return b;
  }
  void on_release(held_batch& b) {
    {
      std::scoped_lock lock(mutex_);
      if (!live_.contains(&b)) {
        violations_.emplace_back("a batch was released more often than it was retained");
        return;
      }
      if (--b.references > 0) return;
      live_.erase(&b);
    }
    auto* parent = b.parent;
    destroy(&b);
    if (parent) on_release(*parent);
  }
  static void destroy(held_batch* b) {
    for (const auto& [mem, release] : b->pins) release(mem);
    for (const auto& [mem, align] : b->memory) ::operator delete(mem, align);
    delete b;
  }
  pl_status on_announced(std::string_view) {
    std::scoped_lock lock(mutex_);
    return stream_status_;
  }
  pl_status on_assigned(std::string_view stream, std::uint32_t why, std::uint64_t& next) {
    std::scoped_lock lock(mutex_);
    if (stream_status_ != PL_OK) return stream_status_;
    assigned_.emplace_back(stream);
    start_reasons_.push_back(why);
    if (const auto it = resume_.find(std::string(stream)); it != resume_.end() && why != PL_START_RESET)
      next = it->second;
    return PL_OK;
  }
  pl_status on_arrival(std::string_view stream, pl_arrival& out) {
    std::scoped_lock lock(mutex_);
    const auto it = arrivals_.find(stream);
    if (it == arrivals_.end()) return PL_AGAIN;
    out = it->second;
    return PL_OK;
  }
  void on_receiving(std::string_view why_not) {
    std::scoped_lock lock(mutex_);
    if (receptions_.empty() || receptions_.back() != why_not) receptions_.emplace_back(why_not);
  }
  void on_observed_end(observed_end seen) {
    std::scoped_lock lock(mutex_);
    observed_ends_.push_back(std::move(seen));
  }
  void on_put(std::string_view stream, std::string_view key, pl_str value) {
    std::scoped_lock lock(mutex_);
    const std::pair id{std::string(stream), std::string(key)};
    if (value.p == nullptr)
      state_.erase(id);
    else
      state_[id] = std::string(view(value));
  }
  void on_until_delivered(std::string_view stream, std::string_view key) {
    std::scoped_lock lock(mutex_);
    until_delivered_.emplace(stream, key);
  }
  void on_set_stream(pl_batch* b, std::string_view stream) {
    auto& to = held(b);
    auto* text = static_cast<char*>(to.alloc(stream.size(), 1));
    std::copy(stream.begin(), stream.end(), text);
    to.ranges = new (to.alloc(sizeof(pl_range), alignof(pl_range))) pl_range(range_of({text, stream.size()}, 0, 0));
    to.nranges = 1;
  }
  std::uint64_t on_revoked(std::string_view stream) {
    std::scoped_lock lock(mutex_);
    revoked_.emplace_back(stream);
    const auto it = settled_.find(std::string(stream));
    return it == settled_.end() ? PL_UNKNOWN : it->second;
  }

  pl_host raw_{};
  mutable std::mutex mutex_;
  std::vector<logged> logs_;
  std::vector<reported> errors_;
  std::vector<rejected_row> rejects_;
  std::map<std::string, std::uint32_t> ids_;
  std::vector<double> sums_, lasts_;
  std::vector<std::unique_ptr<interned>> schemas_;
  std::set<held_batch*> live_;
  std::vector<std::string> violations_;
  std::map<std::string, std::uint64_t> resume_, settled_;
  std::vector<std::string> assigned_, revoked_;
  std::vector<std::uint32_t> start_reasons_;
  std::map<std::pair<std::string, std::string>, std::string> state_;
  std::set<std::pair<std::string, std::string>> until_delivered_;
  std::map<std::string, pl_arrival, std::less<>> arrivals_;
  std::vector<std::string> receptions_;
  std::vector<observed_end> observed_ends_;
  pl_status stream_status_ = PL_OK;
  std::atomic<bool> wants_arrivals_{true};
  std::atomic<int> too_large_{0};
  std::atomic<std::uint64_t> state_bytes_{0}, state_limit_{UINT64_MAX};
  std::atomic<bool> offers_on_demand_{false};
};

}  // namespace pl::testing
