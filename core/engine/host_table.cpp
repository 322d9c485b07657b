// SPDX-License-Identifier: Apache-2.0
#include "engine/host_table.hpp"

#include "engine/batch_rules.hpp"
#include "engine/host_checks.hpp"
#include "engine/instance.hpp"
#include "engine/plugin_call.hpp"

#include <pipeline/next_write.h>
#include <pipeline/reread.h>

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <utility>

namespace pl::engine {

namespace {

using enum plugin_function;
using namespace host_checks;

// The status of a result, for the component.
template <class T>
pl_status code_of(const result<T>& r) {
  return r.ok() ? PL_OK : static_cast<pl_status>(r.why().code);
}

std::vector<telemetry::label> label_list(const pl_str* raw, std::uint32_t n) {
  std::vector<telemetry::label> labels;
  labels.reserve(n);
  for (std::size_t i = 0; i < n; ++i) labels.push_back({view(raw[2 * i]), view(raw[2 * i + 1])});
  return labels;
}

}  // namespace

// The functions behind pl_host.
struct host_functions {
  static instance& self(void* ctx) { return *static_cast<instance*>(ctx); }

  // ------------------------------------------------------------------------------------------------ logs, metrics ---

  static int log_on(void* ctx, int level) noexcept {
    return self(ctx).common_.log.log_on(telemetry::to_log_level(level)) ? 1 : 0;
  }
  static void log(void* ctx, int level, pl_str message) noexcept {
    const auto* from = caller();
    guarded([&] {
      auto& i = self(ctx);
      const auto at = telemetry::to_log_level(level);
      if (valid(from, {message}, "log") && i.common_.log.log_on(at)) i.log(at, i.masked(view(message)));
    });
  }
  static std::uint32_t metric(void* ctx, int kind, pl_str name, pl_str doc, const pl_str* labels,
                              std::uint32_t n) noexcept {
    const auto* from = caller();
    return guarded(UINT32_MAX, [&]() -> std::uint32_t {
      if (!valid(from, {name, doc}, "metric")) return UINT32_MAX;
      if (kind < PL_COUNTER || kind > PL_SUM) {
        violated(from, fmt::format("it made the metric '{}' of kind {}, which does not exist", view(name), kind));
        return UINT32_MAX;
      }
      for (std::size_t i = 0; i < 2 * std::size_t{n}; ++i)
        if (labels == nullptr || !valid(labels[i])) {
          violated(from, fmt::format("it passed labels at NULL to metric '{}'", view(name)));
          return UINT32_MAX;
        }
      return self(ctx).make_metric(kind, view(name), view(doc), label_list(labels, n));
    });
  }
  static void record(void* ctx, std::uint32_t id, double value) noexcept {
    guarded([&] {
      auto& i = self(ctx);
      std::scoped_lock lock(i.metrics_mutex_);
      if (id < i.instruments_.size()) i.record(i.instruments_[id], value);
    });
  }
  static void error(void* ctx, pl_str detail, pl_str option) noexcept {
    const auto* from = caller();
    guarded([&] {
      if (plugin_call::current() == nullptr)
        return violated(from, "it called error outside of a call, on a thread of its own");
      if (valid(from, {detail, option}, "error"))
        self(ctx).details_.push_back({status::fatal, self(ctx).masked(view(detail)), std::string(view(option))});
    });
  }
  static const pl_schema* schema(void* ctx, const pl_str* names, std::uint32_t n) noexcept {
    const auto* from = caller();
    return guarded(static_cast<const pl_schema*>(nullptr), [&]() -> const pl_schema* {
      for (std::uint32_t i = 0; i < n; ++i)
        if (names == nullptr || !valid(names[i])) {
          violated(from, fmt::format("it passed {} column names to schema, and the name at {} is NULL", n, i));
          return nullptr;
        }
      return self(ctx).common_.schemas.intern(names, n);
    });
  }

  // ------------------------------------------------------------------------------------------------------ batches ---

  static pl_batch* derive(void* ctx, pl_batch* parent, const pl_schema* schema, std::uint32_t rows) noexcept {
    const auto* from = caller();
    return guarded(static_cast<pl_batch*>(nullptr), [&]() -> pl_batch* {
      auto& i = self(ctx);
      if (!i.common_.schemas.has(schema)) {
        violated(from, schema == nullptr ? "it called derive with a schema that is NULL"
                                         : "it called derive with a schema that is not from pl_host.schema");
        return nullptr;
      }
      auto* known = parent == nullptr ? nullptr : readable(from, parent, "derive");
      if (parent != nullptr && known == nullptr) return nullptr;
      batch_ref made(new (std::nothrow) record_batch(i.pool_, known, schema, rows));
      if (!made || made->cols == nullptr) return nullptr;
      made->lend();
      return made.release();
    });
  }
  static void* alloc(pl_batch* b, std::size_t bytes, std::size_t align) noexcept {
    const auto* from = caller();
    return guarded(static_cast<void*>(nullptr), [&]() -> void* {
      auto* batch = writable(from, b, "alloc");
      if (batch == nullptr) return nullptr;
      if (align != 0 && (align & (align - 1)) == 0) return batch->alloc(bytes, align);
      violated(from, fmt::format("it called alloc with an alignment of {}, which is not a power of two", align));
      return nullptr;
    });
  }
  static void pin(pl_batch* b, void* mem, std::size_t bytes, void (*free_it)(void*)) noexcept {
    const auto* from = caller();
    guarded([&] {
      if (auto* batch = writable(from, b, "pin"); batch != nullptr && free_it != nullptr)
        batch->pin(mem, bytes, free_it);
      else if (batch != nullptr)
        violated(from, "it called pin with a release function that is NULL");
    });
  }
  static void retain(pl_batch* b) noexcept {
    const auto* from = caller();
    guarded([&] {
      auto* batch = readable(from, b, "retain");
      if (batch == nullptr) return;
      batch->lend();
      batch->retain();
    });
  }
  static void release(pl_batch* b) noexcept {
    const auto* from = caller();
    guarded([&] {
      auto* batch = existing(from, b, "release");
      if (batch == nullptr) return;
      if (!batch->take_back()) return violated(from, "it released a batch of which it holds no reference");
      batch_ref last(batch);
      if (auto* call = plugin_call::current()) call->effects().released.push_back(std::move(last));
    });
  }
  static void emit(void* to, std::uint32_t port, pl_batch* b) noexcept {
    const auto* from = caller();
    guarded([&] {
      auto* call = call_in(from, {apply, tick}, "emit");
      if (call == nullptr) return;
      if (to != &call->effects()) return call->violated("it called emit with a `to` that is not of this call");
      auto* batch = existing(from, b, "emit");
      if (batch == nullptr) return;
      if (!batch->take_back())
        return call->violated("it emitted a batch of which it holds no reference: retain the batch first");
      batch_ref passed(batch);
      if (port >= call->nports())
        return call->violated(fmt::format("it emitted to port {}, and has {} port{}, numbered from 0", port,
                                          call->nports(), call->nports() == 1 ? "" : "s"));
      if (auto rule = violated_rule(*batch, batch_from::transform); !rule.empty())
        return call->violated("it emitted a batch that is not valid: " + rule);
      if (batch->nranges == 0 && batch->rows != 0 && call->is_one_of({apply}))
        return call->violated("it emitted rows without a range: derive the batch from the one that was passed");
      call->effects().emitted.push_back({port, std::move(passed)});
    });
  }

  // Return the batch if one of its rows can be rejected now.
  static record_batch* rejectable(const void* from, const plugin_call& call, pl_batch* b, std::uint32_t row, pl_str why,
                                  std::string_view what) {
    auto* batch = readable(from, b, what);
    if (batch == nullptr || !valid(from, {why}, what)) return nullptr;
    const auto* end = batch->sel + batch->nsel;
    const bool selected = batch->sel == nullptr ? row < batch->nsel : std::binary_search(batch->sel, end, row);
    if (selected && (call.is_one_of({apply}) || call.was_passed(*batch))) return batch;
    violated(from, selected ? fmt::format("it called {} with a batch that is not one of this write", what)
                            : fmt::format("it rejected row {} of a batch, which is not one of the {} selected rows",
                                          row, batch->nsel));
    return nullptr;
  }
  static void reject(void* ctx, pl_batch* b, std::uint32_t row, pl_str why) noexcept {
    const auto* from = caller();
    guarded([&] {
      auto* call = call_in(from, {apply, write}, "reject");
      if (call == nullptr) return;
      if (auto* batch = rejectable(from, *call, b, row, why, "reject"))
        call->effects().rejected.push_back({batch_ref::share(*batch), row, self(ctx).masked(view(why))});
    });
  }
  static pl_status reject_now(void* ctx, pl_batch* b, std::uint32_t row, pl_str why) noexcept {
    const auto* from = caller();
    return guarded(pl_status{PL_AGAIN}, [&]() -> pl_status {
      auto* call = call_in(from, {write}, "reject of early_reject/1");
      auto* to = self(ctx).write_listener_;
      if (call == nullptr || to == nullptr) return PL_AGAIN;
      auto* batch = rejectable(from, *call, b, row, why, "reject of early_reject/1");
      if (batch == nullptr) return PL_AGAIN;
      return to->reject_now({batch_ref::share(*batch), row, self(ctx).masked(view(why))}) ? PL_OK : PL_AGAIN;
    });
  }
  static void progress(void* ctx) noexcept {
    const auto* from = caller();
    guarded([&] {
      if (call_in(from, {write}, "progress") == nullptr) return;
      if (auto* to = self(ctx).write_listener_) to->progressed();
    });
  }
  static void too_large(void* ctx) noexcept {
    const auto* from = caller();
    guarded([&] {
      if (call_in(from, {write}, "too_large") == nullptr) return;
      if (auto* to = self(ctx).write_listener_) to->too_large();
    });
  }

  static pl_batch* const* peek(void* ctx, std::uint32_t* n) noexcept {
    const auto* from = caller();
    *n = 0;
    return guarded(static_cast<pl_batch* const*>(nullptr), [&]() -> pl_batch* const* {
      if (call_in(from, {write}, "peek of next_write/1") == nullptr) return nullptr;
      auto* to = self(ctx).write_listener_;
      if (to == nullptr) return nullptr;
      const auto batches = to->next_write();
      *n = static_cast<std::uint32_t>(batches.size());
      return batches.data();
    });
  }
  static std::uint32_t peeked(void* ctx) noexcept {
    const auto* from = caller();
    return guarded(std::uint32_t{0}, [&]() -> std::uint32_t {
      if (call_in(from, {write}, "peeked of next_write/1") == nullptr) return 0;
      const auto* to = self(ctx).write_listener_;
      return to != nullptr && to->was_peeked() ? 1 : 0;
    });
  }

  static void later(void*, pl_batch* b, std::uint32_t column, void* mem, pl_make_cell make) noexcept {
    const auto* from = caller();
    guarded([&] {
      auto* call = call_in(from, {poll}, "later");
      auto* batch = call == nullptr ? nullptr : writable(from, b, "later");
      if (batch == nullptr) return;
      auto rule = rule_of_later(*batch, column, make);
      rule.empty() ? batch->make_later(column, mem, make) : call->violated(std::move(rule));
    });
  }

  // ------------------------------------------------------------------------------------------------------ streams ---

  // Return the receiver of stream events, if the call is valid and there is one.
  static stream_listener* listener(void* ctx, const void* from, pl_str stream, std::string_view what) {
    auto* to = self(ctx).listener_.load();
    if (to == nullptr || call_in(from, {start, poll, stop}, what) == nullptr) return nullptr;
    if (stream.n != 0 && stream.p != nullptr) return to;
    violated(from, fmt::format("it called {} without the name of a stream", what));
    return nullptr;
  }
  // The status for a source whose call was a violation, or has no receiver.
  static pl_status without_listener() {
    return plugin_call::current() == nullptr || plugin_call::current()->failed() ? PL_FATAL : PL_OK;
  }

  static pl_status announced(void* ctx, pl_str stream) noexcept {
    const auto* from = caller();
    return guarded(pl_status{PL_FATAL}, [&] {
      auto* to = listener(ctx, from, stream, "announced");
      return to != nullptr ? code_of(to->stream_announced(view(stream))) : without_listener();
    });
  }
  static pl_status assigned(void* ctx, pl_str stream, std::uint32_t why, std::uint64_t* next) noexcept {
    const auto* from = caller();
    return guarded(pl_status{PL_FATAL}, [&]() -> pl_status {
      auto* to = listener(ctx, from, stream, "assigned");
      if (to == nullptr) return without_listener();
      if (next == nullptr || why > PL_START_RESET) {
        violated(from, next == nullptr ? "it called assigned without a start position: next is NULL"
                                       : fmt::format("it called assigned with start {}, which does not exist", why));
        return PL_FATAL;
      }
      const auto begin = to->stream_assigned(view(stream), static_cast<start_reason>(why), *next);
      if (begin.ok()) *next = *begin;
      return code_of(begin);
    });
  }
  static void revoked(void* ctx, pl_str stream, std::uint64_t* settled) noexcept {
    const auto* from = caller();
    guarded([&] {
      if (settled == nullptr)
        return violated(from, "it called revoked without a place for the position: settled is NULL");
      *settled = PL_UNKNOWN;
      if (auto* to = listener(ctx, from, stream, "revoked")) *settled = to->stream_revoked(view(stream));
    });
  }
  static pl_status arrival(void* ctx, pl_str stream, pl_arrival* out) noexcept {
    const auto* from = caller();
    return guarded(pl_status{PL_AGAIN}, [&]() -> pl_status {
      if (call_in(from, {restored, apply, tick, snapshot}, "arrival") == nullptr) return PL_AGAIN;
      if (out == nullptr || !valid(from, {stream}, "arrival")) {
        violated(from, "it called arrival without a place for the reading: out is NULL");
        return PL_AGAIN;
      }
      const auto* clocks = self(ctx).clocks_;
      const auto now = clocks != nullptr ? clocks->reading(view(stream)) : std::nullopt;
      if (!now) return PL_AGAIN;
      *out = *now;
      return PL_OK;
    });
  }
  static void receiving(void* ctx, pl_str why_not) noexcept {
    const auto* from = caller();
    guarded([&] {
      auto& i = self(ctx);
      if (!valid(from, {why_not}, "receiving")) return;
      const auto why = i.masked(view(why_not));
      if (auto* to = i.listener_.load()) to->receiving(why);
      std::scoped_lock lock(i.write_listener_mutex_);
      if (i.write_listener_ != nullptr) i.write_listener_->connected(why);
    });
  }
  static std::uint32_t arrivals_wanted(void* ctx) noexcept {
    const auto* to = self(ctx).listener_.load();
    return to != nullptr && to->arrivals_wanted() ? 1 : 0;
  }
  static void observed_end(void* ctx, pl_str stream, std::uint64_t end, std::int64_t before) noexcept {
    const auto* from = caller();
    guarded([&] {
      auto& i = self(ctx);
      auto* to = i.listener_.load();
      const auto& clock = i.common_.clock;
      if ((to == nullptr && !clock) || call_in(from, {poll}, "observed_end") == nullptr) return;
      if (!valid(from, {stream}, "observed_end")) return;
      if (clock) clock->advance_to(before);
      if (to != nullptr) to->stream_observed(view(stream), end, before);
    });
  }
  static pl_status held(void* ctx, std::uint64_t bytes) noexcept {
    auto& i = self(ctx);
    auto& budget = i.pool_.budget();
    budget.change_state(i.state_bytes_.exchange(bytes), bytes);
    return budget.state() > budget.state_limit() ? PL_AGAIN : PL_OK;
  }
  static std::int64_t now(void* ctx) noexcept { return self(ctx).common_.wall_ns(); }

  // -------------------------------------------------------------------------------------------------------- state ---

  static void change(void* ctx, const void* from, pl_str stream, pl_str key, pl_str value, bool until_delivered) {
    const std::string_view what = until_delivered ? "put_until_delivered" : "put";
    auto* call = until_delivered ? call_in(from, {apply, tick}, what) : call_in(from, {apply, tick, snapshot}, what);
    const bool erase = value.p == nullptr && !until_delivered;
    if (call == nullptr || !valid(from, {stream, key}, what) || (!erase && !valid(from, {value}, what))) return;
    call->effects().changes.push_back({self(ctx).node(), std::string(view(stream)), std::string(view(key)),
                                       erase ? std::string() : std::string(view(value)), erase, until_delivered});
  }
  static void put(void* ctx, pl_str stream, pl_str key, pl_str value) noexcept {
    const auto* from = caller();
    guarded([&] { change(ctx, from, stream, key, value, false); });
  }
  static void put_until_delivered(void* ctx, pl_str stream, pl_str key, pl_str value) noexcept {
    const auto* from = caller();
    guarded([&] { change(ctx, from, stream, key, value, true); });
  }
  static void set_stream(void*, pl_batch* b, pl_str stream) noexcept {
    const auto* from = caller();
    guarded([&] {
      auto* call = call_in(from, {tick}, "set_stream");
      auto* batch = call == nullptr ? nullptr : writable(from, b, "set_stream");
      if (batch != nullptr && valid(from, {stream}, "set_stream"))
        call->effects().timer_batches.push_back({batch, std::string(view(stream))});
    });
  }

  static std::uint64_t delivered(void* ctx, pl_str stream) noexcept {
    const auto* from = caller();
    return guarded(std::uint64_t{0}, [&]() -> std::uint64_t {
      const bool allowed = call_in(from, {restored}, "delivered") != nullptr && valid(from, {stream}, "delivered");
      return allowed ? self(ctx).output_discarded_ : 0;
    });
  }

  static const void* extension(void* ctx, pl_str name) noexcept {
    static constexpr pl_host_state state{sizeof(pl_host_state), put, set_stream, put_until_delivered};
    static constexpr pl_host_reread reread{sizeof(pl_host_reread), delivered};
    static constexpr pl_host_arrival clocks{sizeof(pl_host_arrival), arrival};
    static constexpr pl_host_liveness liveness{sizeof(pl_host_liveness), receiving, arrivals_wanted, observed_end};
    static constexpr pl_host_early_reject early{sizeof(pl_host_early_reject), reject_now, progress};
    static constexpr pl_host_write_size sizes{sizeof(pl_host_write_size), too_large};
    static constexpr pl_host_next_write next{sizeof(pl_host_next_write), peek, peeked};
    static constexpr pl_host_clock clock{sizeof(pl_host_clock), now};
    static constexpr pl_host_memory memory{sizeof(pl_host_memory), held};
    static constexpr pl_host_on_demand on_demand{sizeof(pl_host_on_demand), later};
    auto& i = self(ctx);
    if (!valid(name)) return nullptr;
    const bool plain_sink = i.component_.role == PL_SINK && (i.component_.caps & PL_TRANSACTIONAL) == 0;
    if (view(name) == PL_EXT_CLOCK) return &clock;
    if (view(name) == PL_EXT_MEMORY && i.component_.role == PL_TRANSFORM) return &memory;
    if (view(name) == PL_EXT_ON_DEMAND && i.component_.role == PL_SOURCE) return &on_demand;
    if (view(name) == PL_EXT_STATE && i.where_.keeps_state) return &state;
    if (view(name) == PL_EXT_REREAD && i.where_.keeps_state) return &reread;
    if (view(name) == PL_EXT_LIVENESS && i.component_.role != PL_TRANSFORM) return &liveness;
    if (view(name) == PL_EXT_EARLY_REJECT && plain_sink) return &early;
    if (view(name) == PL_EXT_WRITE_SIZE && i.component_.role == PL_SINK) return &sizes;
    if (view(name) == PL_EXT_NEXT_WRITE && i.component_.role == PL_SINK) return &next;
    if (view(name) != PL_EXT_ARRIVAL || i.component_.role != PL_TRANSFORM) return nullptr;
    i.uses_clocks_ = true;
    return &clocks;
  }
};

void set_host_functions(pl_host& table) {
  table.log_on = host_functions::log_on;
  table.log = host_functions::log;
  table.metric = host_functions::metric;
  table.record = host_functions::record;
  table.error = host_functions::error;
  table.schema = host_functions::schema;
  table.derive = host_functions::derive;
  table.alloc = host_functions::alloc;
  table.pin = host_functions::pin;
  table.retain = host_functions::retain;
  table.release = host_functions::release;
  table.reject = host_functions::reject;
  table.announced = host_functions::announced;
  table.assigned = host_functions::assigned;
  table.revoked = host_functions::revoked;
  table.extension = host_functions::extension;
}

pl_emit emit_function() noexcept { return host_functions::emit; }

}  // namespace pl::engine
