// SPDX-License-Identifier: Apache-2.0
// A host for tests of plugins: remembers what a component says and does, and counts every batch. Header-only; safe to use
// from several threads.
#pragma once

#include <pipeline/batch.hpp>

#include <algorithm>
#include <atomic>
#include <deque>
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
    raw_.lost = [](void* ctx, pl_str stream, std::uint64_t* settled) { *settled = self(ctx).on_lost(view(stream)); };
    raw_.extension = [](void*, pl_str name) -> const void* {
      static constexpr pl_host_state state{
          sizeof(pl_host_state),
          [](void* ctx, pl_str stream, pl_str key, pl_str value) { self(ctx).on_put(view(stream), view(key), value); },
          [](void* ctx, pl_batch* b, pl_str stream) { self(ctx).on_belongs(b, view(stream)); }};
      return view(name) == PL_EXT_STATE ? &state : nullptr;
    };
  }
  fake_host(const fake_host&) = delete;
  fake_host& operator=(const fake_host&) = delete;
  ~fake_host() {
    for (auto* b : live_) destroy(b);
  }

  // The table, for create; change names, lanes, limits before that.
  [[nodiscard]] pl_host& raw() noexcept { return raw_; }

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
  // Sum (counters), last value (gauges, histograms): both are kept. Labels: name{key=value,...}
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

  // Batches that nobody has released yet.
  [[nodiscard]] std::size_t live_batches() const {
    std::scoped_lock lock(mutex_);
    return live_.size();
  }
  // Broken rules: a batch released too often.
  [[nodiscard]] std::vector<std::string> violations() const {
    std::scoped_lock lock(mutex_);
    return violations_;
  }

  // What `assigned` answers for a stream (default: what the source proposed) and `lost` (default: PL_UNKNOWN).
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
  // What the source's proposals rested on: PL_BY_POLICY, ..., in the order of assigned_streams.
  [[nodiscard]] std::vector<std::uint32_t> assigned_because() const {
    std::scoped_lock lock(mutex_);
    return because_;
  }
  // From now on, `announced` and `assigned` answer this.
  void answer_streams_with(pl_status code) {
    std::scoped_lock lock(mutex_);
    stream_answer_ = code;
  }
  // What a stateful transform has put, by stream and key; erased keys are gone.
  [[nodiscard]] std::map<std::pair<std::string, std::string>, std::string> state() const {
    std::scoped_lock lock(mutex_);
    return state_;
  }
  [[nodiscard]] std::vector<std::string> lost_streams() const {
    std::scoped_lock lock(mutex_);
    return lost_;
  }

  // A batch for tests: columns by name, one range, positions first, first+1, ...
  batch make_batch(const std::vector<std::pair<std::string, std::vector<cell>>>& columns,
                   std::string_view stream = "test/0", std::uint64_t first = 0) {
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
    return stream_answer_;
  }
  pl_status on_assigned(std::string_view stream, std::uint32_t why, std::uint64_t& next) {
    std::scoped_lock lock(mutex_);
    if (stream_answer_ != PL_OK) return stream_answer_;
    assigned_.emplace_back(stream);
    because_.push_back(why);
    if (const auto it = resume_.find(std::string(stream)); it != resume_.end() && why != PL_BY_ORDER) next = it->second;
    return PL_OK;
  }
  void on_put(std::string_view stream, std::string_view key, pl_str value) {
    std::scoped_lock lock(mutex_);
    const std::pair id{std::string(stream), std::string(key)};
    if (value.p == nullptr)
      state_.erase(id);
    else
      state_[id] = std::string(view(value));
  }
  void on_belongs(pl_batch* b, std::string_view stream) {
    auto& to = held(b);
    auto* text = static_cast<char*>(to.alloc(stream.size(), 1));
    std::copy(stream.begin(), stream.end(), text);
    to.ranges = new (to.alloc(sizeof(pl_range), alignof(pl_range))) pl_range(range_of({text, stream.size()}, 0, 0));
    to.nranges = 1;
  }
  std::uint64_t on_lost(std::string_view stream) {
    std::scoped_lock lock(mutex_);
    lost_.emplace_back(stream);
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
  std::vector<std::string> assigned_, lost_;
  std::vector<std::uint32_t> because_;
  std::map<std::pair<std::string, std::string>, std::string> state_;
  pl_status stream_answer_ = PL_OK;
};

}  // namespace pl::testing
