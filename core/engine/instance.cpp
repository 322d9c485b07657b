// SPDX-License-Identifier: Apache-2.0
#include "engine/instance.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace pl::engine {

namespace {

// The call that this thread is in. Releases in it wait for its status; they may nest (a source's poll that loses a stream).
thread_local yield* current_call = nullptr;

class call_guard {
 public:
  explicit call_guard(yield& now) noexcept : before_(std::exchange(current_call, &now)) {}
  ~call_guard() { current_call = before_; }
  call_guard(const call_guard&) = delete;
  call_guard& operator=(const call_guard&) = delete;

 private:
  yield* before_;
};

bool is_status(pl_status s) { return s >= PL_OK && s <= PL_FATAL; }

std::vector<telemetry::label> label_list(const pl_str* raw, std::uint32_t n) {
  std::vector<telemetry::label> labels;
  labels.reserve(n);
  for (std::size_t i = 0; i < n; ++i) labels.push_back({view(raw[2 * i]), view(raw[2 * i + 1])});
  return labels;
}

}  // namespace

std::string_view status_name(pl_status code) {
  static constexpr std::array<std::string_view, 7> names{"OK", "AGAIN", "END", "RETRY", "REJECT", "FENCED", "FATAL"};
  return is_status(code) ? names[static_cast<std::size_t>(code)] : "no status";
}

pl_component complete(const pl_component& from) {
  pl_component whole{};
  std::memcpy(&whole, &from, std::min<std::size_t>(from.size, sizeof whole));
  whole.size = sizeof whole;
  return whole;
}

std::string outcome::text() const {
  std::string all;
  for (const auto& s : why) {
    if (!all.empty()) all += "; ";
    if (!s.option.empty()) all += s.option + ": ";
    all += s.detail;
  }
  return all.empty() ? fmt::format("the plugin answered {} without a reason", status_name(code)) : all;
}

void yield::fail(std::span<record_batch* const> inputs) {
  for (const auto& b : released) {
    const auto& root = b->root();
    if (std::none_of(inputs.begin(), inputs.end(), [&](auto* in) { return &in->root() == &root; }))
      b->mark_undelivered();
  }
  emitted.clear();
  rejected.clear();
  changes.clear();
  belongings.clear();
}

// The functions behind pl_host. No exception leaves them: C may be on the other side.
struct host_functions {
  static instance& self(void* ctx) { return *static_cast<instance*>(ctx); }

  static int log_on(void* ctx, int level) {
    return self(ctx).common_.log.log_on(telemetry::to_log_level(level)) ? 1 : 0;
  }
  static void log(void* ctx, int level, pl_str message) {
    self(ctx).log(telemetry::to_log_level(level), view(message));
  }
  static std::uint32_t metric(void* ctx, int kind, pl_str name, pl_str doc, const pl_str* labels, std::uint32_t n) {
    return self(ctx).make_metric(kind, view(name), view(doc), label_list(labels, n));
  }
  static void record(void* ctx, std::uint32_t id, double value) {
    auto& i = self(ctx);
    std::scoped_lock lock(i.metrics_mutex_);
    if (id < i.instruments_.size()) i.instruments_[id].record(value);
  }
  static void error(void* ctx, pl_str detail, pl_str option) {
    self(ctx).said_.push_back({std::string(view(detail)), std::string(view(option))});
  }
  static const pl_schema* schema(void* ctx, const pl_str* names, std::uint32_t n) {
    return self(ctx).common_.schemas.intern(names, n);
  }
  static pl_batch* derive(void* ctx, pl_batch* parent, const pl_schema* schema, std::uint32_t rows) {
    auto* b = new (std::nothrow) record_batch(self(ctx).pool_, static_cast<record_batch*>(parent), schema, rows);
    if (b != nullptr && b->cols == nullptr) batch_ref(b).operator=(batch_ref());
    return b;
  }
  static void* alloc(pl_batch* b, std::size_t bytes, std::size_t align) {
    return record_batch::of(b).alloc(bytes, align);
  }
  static void pin(pl_batch* b, void* mem, std::size_t bytes, void (*free_it)(void*)) {
    record_batch::of(b).pin(mem, bytes, free_it);
  }
  static void retain(pl_batch* b) { record_batch::of(b).retain(); }
  static void release(pl_batch* b) {
    if (current_call != nullptr)
      current_call->released.emplace_back(&record_batch::of(b));
    else
      record_batch::of(b).release();
  }
  static void reject(void*, pl_batch* b, std::uint32_t row, pl_str why) {
    if (current_call != nullptr)
      current_call->rejected.push_back({batch_ref::share(record_batch::of(b)), row, std::string(view(why))});
  }
  static pl_status announced(void* ctx, pl_str stream) {
    auto* l = self(ctx).listener_;
    return l != nullptr ? l->stream_announced(view(stream)) : PL_OK;
  }
  static pl_status assigned(void* ctx, pl_str stream, std::uint32_t why, std::uint64_t* next) {
    auto* l = self(ctx).listener_;
    return l != nullptr ? l->stream_assigned(view(stream), static_cast<begin>(why), *next) : PL_OK;
  }
  static void lost(void* ctx, pl_str stream, std::uint64_t* settled) {
    auto* l = self(ctx).listener_;
    *settled = l != nullptr ? l->stream_lost(view(stream)) : PL_UNKNOWN;
  }
  static void put(void* ctx, pl_str stream, pl_str key, pl_str value) {
    if (current_call != nullptr)
      current_call->changes.push_back({self(ctx).node(), std::string(view(stream)), std::string(view(key)),
                                       std::string(view(value)), value.p == nullptr});
  }
  static void belongs(void*, pl_batch* b, pl_str stream) {
    if (current_call != nullptr) current_call->belongings.push_back({&record_batch::of(b), std::string(view(stream))});
  }
  static const void* extension(void* ctx, pl_str name) {
    static constexpr pl_host_state state{sizeof(pl_host_state), put, belongs};
    return self(ctx).where_.keeps_state && view(name) == PL_EXT_STATE ? &state : nullptr;
  }
  static void emit(void* to, std::uint32_t port, pl_batch* b) {
    static_cast<yield*>(to)->emitted.push_back({port, batch_ref(&record_batch::of(b))});
  }
};

instance::instance(const pl_component& component, std::shared_ptr<const config::bound_options> options, services common,
                   block_pool& pool, place where)
    : component_(complete(component)),
      options_(std::move(options)),
      common_(common),
      pool_(pool),
      where_(std::move(where)) {
  host_.size = sizeof host_;
  host_.lane = where_.index;
  host_.lanes = where_.of;
  host_.ctx = this;
  host_.pipeline = borrow(where_.pipeline);
  host_.node = borrow(where_.node);
  host_.state_dir = borrow(where_.state_dir);
  host_.memory_limit = where_.memory_limit;
  host_.log_on = host_functions::log_on;
  host_.log = host_functions::log;
  host_.metric = host_functions::metric;
  host_.record = host_functions::record;
  host_.error = host_functions::error;
  host_.schema = host_functions::schema;
  host_.derive = host_functions::derive;
  host_.alloc = host_functions::alloc;
  host_.pin = host_functions::pin;
  host_.retain = host_functions::retain;
  host_.release = host_functions::release;
  host_.reject = host_functions::reject;
  host_.announced = host_functions::announced;
  host_.assigned = host_functions::assigned;
  host_.lost = host_functions::lost;
  host_.extension = host_functions::extension;
}

instance::~instance() {
  if (!created_) return;
  yield left;
  {
    call_guard guard(left);
    component_.destroy(self_);
  }
  left.fail({});
}

std::uint32_t instance::make_metric(int kind, std::string_view name, std::string_view doc,
                                    std::span<const telemetry::label> labels) {
  std::vector<telemetry::label> all{{"pipeline", where_.pipeline}, {"node", where_.node}};
  all.insert(all.end(), labels.begin(), labels.end());
  auto made = common_.metrics.metric(static_cast<telemetry::metric_kind>(kind), name, doc, all);
  if (!made) log(telemetry::log_level::warn, made.failure().message);
  std::scoped_lock lock(metrics_mutex_);
  instruments_.push_back(made ? *made : telemetry::instrument());
  return static_cast<std::uint32_t>(instruments_.size() - 1);
}

template <class F>
outcome instance::call(std::string_view function, yield& left, F&& body) {
  said_.clear();
  outcome result;
  {
    call_guard guard(left);
    result.code = body();
  }
  result.why = std::exchange(said_, {});
  if (!is_status(result.code)) {
    result.why.push_back(
        {fmt::format("plugin {} answered {} to {}, which is no status: it is broken, or built for another host",
                     view(component_.name), result.code, function),
         {}});
    result.code = PL_FATAL;
  }
  if (result.ok())
    for (const auto& s : result.why) log(telemetry::log_level::warn, s.detail);
  return result;
}

outcome instance::create() {
  yield left;
  auto result = call("create", left, [&] { return component_.create(&host_, options_->cells(), &self_); });
  created_ = result.ok();
  return result;
}

outcome instance::check() {
  yield left;
  if (component_.check == nullptr) return {};
  return call("check", left, [&] { return component_.check(self_); });
}

outcome instance::start() {
  yield left;
  return call("start", left, [&] { return component_.start(self_); });
}

outcome instance::stop() {
  yield left;
  auto result = call("stop", left, [&] { return component_.stop(self_); });
  left.fail({});  // whatever was held back until now was never handed on
  return result;
}

outcome instance::poll(std::uint32_t max_rows, std::size_t max_bytes, std::chrono::nanoseconds timeout,
                       batch_ref& out) {
  yield left;
  pl_batch* raw = nullptr;
  auto result = call("poll", left, [&] { return component_.poll(self_, max_rows, max_bytes, timeout.count(), &raw); });
  if (raw != nullptr) out = batch_ref(&record_batch::of(raw));
  if (result.ok() && !out) result.code = PL_AGAIN;
  return result;
}

outcome instance::settle(std::span<const pl_range> ranges) {
  yield left;
  return call("settle", left, [&]() -> pl_status {
    component_.settle(self_, ranges.data(), static_cast<std::uint32_t>(ranges.size()));
    return PL_OK;
  });
}

outcome instance::apply(record_batch& in, yield& left) {
  return call("apply", left, [&] { return component_.apply(self_, &in, &left, host_functions::emit); });
}

outcome instance::tick(std::chrono::nanoseconds now, yield& left) {
  if (component_.tick == nullptr) return {};
  return call("tick", left, [&] { return component_.tick(self_, now.count(), &left, host_functions::emit); });
}

outcome instance::drop(std::string_view stream) {
  yield left;
  if (component_.drop == nullptr) return {};
  return call("drop", left, [&]() -> pl_status { return component_.drop(self_, borrow(stream)), PL_OK; });
}

outcome instance::write(std::span<record_batch* const> batches, yield& left) {
  std::vector<pl_batch*> raw(batches.begin(), batches.end());
  return call("write", left,
              [&] { return component_.write(self_, raw.data(), static_cast<std::uint32_t>(raw.size())); });
}

template <class Table>
const Table* instance::extension(std::string_view name) const {
  return component_.extension == nullptr ? nullptr
                                         : static_cast<const Table*>(component_.extension(self_, borrow(name)));
}

outcome instance::columns(const pl_schema* in, std::uint32_t port, const pl_schema*& out) {
  yield left;
  out = nullptr;
  const auto* table = extension<pl_ext_columns>(PL_EXT_COLUMNS);
  if (table == nullptr || table->columns == nullptr) return {};
  return call("columns", left, [&] { return table->columns(self_, in, port, &out); });
}

bool instance::stateful() const { return extension<pl_ext_state>(PL_EXT_STATE) != nullptr; }

outcome instance::restore(std::string_view stream, std::string_view key, std::string_view value) {
  yield left;
  const auto* table = extension<pl_ext_state>(PL_EXT_STATE);
  if (table == nullptr) return {};
  const pl_str named{key.data() == nullptr ? "" : key.data(), key.size()};
  return call("restore", left, [&] { return table->restore(self_, borrow(stream), named, borrow(value)); });
}

outcome instance::restored(std::string_view stream, bool moved) {
  yield left;
  const auto* table = extension<pl_ext_state>(PL_EXT_STATE);
  if (table == nullptr) return {};
  return call("restore", left, [&] { return table->restore(self_, borrow(stream), {}, borrow(moved ? "moved" : "")); });
}

outcome instance::snapshot(std::string_view stream, yield& left) {
  const auto* table = extension<pl_ext_state>(PL_EXT_STATE);
  if (table == nullptr) return {};
  return call("snapshot", left, [&] { return table->snapshot(self_, borrow(stream)); });
}

bool instance::keeps_positions() const { return extension<pl_ext_store>(PL_EXT_STORE) != nullptr; }

outcome instance::position(std::string_view source, std::string_view stream, pl_position& out) {
  yield left;
  const auto* table = extension<pl_ext_store>(PL_EXT_STORE);
  return call("position", left, [&] { return table->position(self_, borrow(source), borrow(stream), &out); });
}

outcome instance::claim(std::string_view source, std::string_view stream, pl_position seen, pl_position wanted,
                        const pl_mark& mark) {
  yield left;
  const auto* table = extension<pl_ext_store>(PL_EXT_STORE);
  return call("claim", left, [&] { return table->claim(self_, borrow(source), borrow(stream), seen, wanted, mark); });
}

outcome instance::load(std::string_view source, std::string_view stream, const entry& each) {
  yield left;
  const auto* table = extension<pl_ext_store>(PL_EXT_STORE);
  const auto pass_on = [](void* to, pl_str node, pl_str key, pl_str value) {
    (*static_cast<const entry*>(to))(view(node), view(key), view(value));
  };
  return call("load", left,
              [&] { return table->load(self_, borrow(source), borrow(stream), const_cast<entry*>(&each), pass_on); });
}

bool instance::replayable() const { return extension<pl_ext_replay>(PL_EXT_REPLAY) != nullptr; }

outcome instance::windows(pl_bound from, pl_bound until, window_list& out) {
  yield left;
  const auto* table = extension<pl_ext_replay>(PL_EXT_REPLAY);
  const auto add = [](void* to, const pl_window* w) {
    static_cast<window_list*>(to)->push_back({std::string(view(w->stream)), w->first, w->next, w->oldest, w->newest});
  };
  return call("windows", left, [&] { return table->windows(self_, from, until, &out, add); });
}

namespace {

std::vector<pl_window> raw_windows(const instance::window_list& windows) {
  std::vector<pl_window> raw;
  for (const auto& w : windows) raw.push_back({borrow(w.stream), w.first, w.next, w.oldest, w.newest});
  return raw;
}

}  // namespace

outcome instance::choose(const window_list& windows) {
  yield left;
  const auto* table = extension<pl_ext_replay>(PL_EXT_REPLAY);
  const auto raw = raw_windows(windows);
  return call("choose", left, [&] { return table->choose(self_, raw.data(), static_cast<std::uint32_t>(raw.size())); });
}

outcome instance::order(const window_list& windows) {
  yield left;
  const auto* table = extension<pl_ext_replay>(PL_EXT_REPLAY);
  if (table->order == nullptr) return {PL_FATAL, {{"this source can't be told where to begin", {}}}};
  const auto raw = raw_windows(windows);
  return call("order", left, [&] { return table->order(self_, raw.data(), static_cast<std::uint32_t>(raw.size())); });
}

outcome instance::rewritable() {
  yield left;
  if ((component_.caps & PL_IDEMPOTENT) != 0) return {};
  const auto* table = extension<pl_ext_rewrite>(PL_EXT_REWRITE);
  if (table == nullptr)
    return {PL_FATAL, {{fmt::format("{} would take each record once more", view(component_.name)), {}}}};
  return call("rewritable", left, [&] { return table->rewritable(self_); });
}

}  // namespace pl::engine
