// SPDX-License-Identifier: Apache-2.0
#include "engine/instance.hpp"

#include "engine/batch_rules.hpp"
#include "engine/host_table.hpp"

#include <pipeline/extension.hpp>

#include <cxxabi.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <exception>
#include <utility>

namespace pl::engine {

using enum plugin_function;

namespace {

constexpr std::array<std::string_view, 7> status_names{"OK", "AGAIN", "END", "RETRY", "REJECT", "FENCED", "FATAL"};

bool is_status(pl_status s) { return s >= PL_OK && s <= PL_FATAL; }

// Join the faults that a component reported into one line.
std::string message_of(status code, std::span<const failure> details) {
  std::string all;
  for (const auto& d : details) {
    if (!all.empty()) all += "; ";
    if (!d.option.empty()) all += d.option + ": ";
    all += d.message;
  }
  if (!all.empty()) return all;
  return fmt::format("the plugin returned {} without a reason", status_names[static_cast<std::size_t>(code)]);
}

// Return a row that a call rejected twice: its dead letter would be written twice.
std::optional<std::uint32_t> row_rejected_twice(const call_effects& effects) {
  if (effects.rejected.size() < 2) return std::nullopt;
  std::vector<std::pair<const record_batch*, std::uint32_t>> rows;
  rows.reserve(effects.rejected.size());
  for (const auto& r : effects.rejected) rows.emplace_back(r.of.get(), r.row);
  std::ranges::sort(rows);
  const auto twice = std::ranges::adjacent_find(rows);
  return twice == rows.end() ? std::nullopt : std::optional(twice->second);
}

}  // namespace

pl_component complete(const pl_component& from) {
  auto whole = complete_table<pl_component>(&from);
  whole.size = sizeof whole;
  return whole;
}

instance::instance(const pl_component& component, std::shared_ptr<const config::bound_options> options, services common,
                   block_pool& pool, place where)
    : component_(complete(component)),
      options_(std::move(options)),
      common_(common),
      pool_(pool),
      where_(std::move(where)),
      ports_(config::port_names(component_)),
      clock_(std::make_shared<call_clock>(where_.pipeline, where_.node, std::string(view(component_.name)))),
      names_{clock_->plugin().c_str(), clock_->pipeline().c_str(), clock_->node().c_str()} {
  host_.size = sizeof host_;
  host_.lane = where_.index;
  host_.lanes = where_.of;
  host_.ctx = this;
  host_.pipeline = borrow(where_.pipeline);
  host_.node = borrow(where_.node);
  host_.state_dir = borrow(where_.state_dir);
  host_.memory_limit = where_.memory_limit;
  set_host_functions(host_);
  if (common_.calls != nullptr) common_.calls->watch(clock_);
}

instance::~instance() {
  for (auto& i : instruments_)
    if (i.sum) record(i, 0);
  pool_.budget().change_state(state_bytes_, 0);
  if (!created_) return;
  call_effects effects;
  (void)call(destroy, effects, [&]() -> pl_status { return component_.destroy(self_), PL_OK; });
  effects.discard({});  // batches that it still held were never delivered
}

std::uint32_t instance::make_metric(int kind, std::string_view name, std::string_view doc,
                                    std::span<const telemetry::label> labels) {
  std::vector<telemetry::label> all{{"pipeline", where_.pipeline}, {"node", where_.node}};
  all.insert(all.end(), labels.begin(), labels.end());
  instrument made;
  if (kind == PL_SUM) {
    const auto sum = common_.metrics.gauge(name, doc, all);
    if (sum) made.sum = *sum;
    if (!sum) log(telemetry::log_level::warn, sum.why().message);
  } else {
    const auto shown = common_.metrics.metric(static_cast<telemetry::metric_kind>(kind), name, doc, all);
    if (shown) made.shown = *shown;
    if (!shown) log(telemetry::log_level::warn, shown.why().message);
  }
  std::scoped_lock lock(metrics_mutex_);
  instruments_.push_back(std::move(made));
  return static_cast<std::uint32_t>(instruments_.size() - 1);
}

void instance::record(instrument& to, double value) {
  if (!to.sum) return to.shown.record(value);
  to.sum->add(value - std::exchange(to.share, value));
}

result<void> instance::run(plugin_function function, call_effects& effects, body_ref body,
                           plugin_call::batches passed) {
  details_.clear();
  if (broken() && function != plugin_function::stop && function != destroy) {
    details_.push_back(fatal(broken_));
    return details_.front();
  }
  plugin_call now(names_, static_cast<std::uint32_t>(ports_.size()), *clock_, function, effects, passed);
  const auto code = run_checked(now, body);
  return now.failed() ? fail(function, now.failure()) : result_of(function, code);
}

// Call the component, and note whether it kept the rules of the interface.
pl_status instance::run_checked(plugin_call& now, body_ref body) {
  pl_status code = PL_FATAL;
  try {
    code = body();
  } catch (const std::exception& e) {
    now.violated(fmt::format("it threw an exception: {}", masked(e.what())));
  } catch (const abi::__forced_unwind&) {
    throw;  // the thread is being cancelled
  } catch (...) {
    now.violated("it threw an exception");
  }
  if (auto rule = take_own_thread_violation(reinterpret_cast<const void*>(component_.create)))
    now.violated("on a thread of its own, " + *rule);
  if (const auto row = row_rejected_twice(now.effects()))
    now.violated(fmt::format("it rejected row {} of a batch twice", *row));
  if (!is_status(code)) now.violated(fmt::format("it returned {}, which is not a status", code));
  return code;
}

// End the instance: whatever is called next fails, too, so that the failure reaches an operator.
failure instance::fail(plugin_function function, std::string why) {
  if (common_.calls != nullptr) common_.calls->count_violation();
  if (function == destroy) log(telemetry::log_level::error, why);  // nobody else does
  if (!broken()) broken_ = why;
  details_.assign(1, fatal(std::move(why)));
  return details_.front();
}

// Convert the status of a call, and the faults that the component reported during the call.
result<void> instance::result_of(plugin_function function, pl_status code) {
  if (code == PL_OK) {
    if (function == plugin_function::create) return {};  // warnings, which the caller reports with their places
    for (const auto& d : details_) log(telemetry::log_level::warn, d.message);
    return {};
  }
  const auto returned = static_cast<status>(code);
  for (auto& d : details_) d.code = returned;
  return failure{returned, message_of(returned, details_), details_.size() == 1 ? details_.front().option : ""};
}

result<void> instance::create() {
  auto created = call(plugin_function::create, [&] { return component_.create(&host_, options_->cells(), &self_); });
  created_ = created.ok();
  if (!created_) return created;
  const auto warnings = std::exchange(details_, {});
  if (auto found = call(extension, [&] { return look_up_extensions(); }); !found.ok()) return found;
  if (auto asked = ask_ports(); !asked.ok()) return asked;
  if (auto asked = ask_used_columns(); !asked.ok()) return asked;
  details_ = warnings;
  return created;
}

result<void> instance::check() {
  if (component_.check == nullptr) return {};
  return call(plugin_function::check, [&] { return component_.check(self_); });
}

result<void> instance::start() {
  return call(plugin_function::start, [&] { return component_.start(self_); });
}

result<void> instance::stop() {
  call_effects effects;
  auto stopped = call(plugin_function::stop, effects, [&] { return component_.stop(self_); });
  left_undelivered_ = !effects.released.empty();
  effects.discard({});  // batches that the component still held were never delivered
  return stopped;
}

result<batch_ref> instance::poll(std::uint32_t max_rows, std::size_t max_bytes, std::chrono::nanoseconds timeout) {
  batch_ref batch;
  const auto polled = call(plugin_function::poll, [&] {
    pl_batch* raw = nullptr;
    const auto code = component_.poll(self_, max_rows, max_bytes, timeout.count(), &raw);
    return take_polled(code, raw, batch);
  });
  if (!polled.ok()) return polled.why();
  if (!batch) return nothing_yet();
  return batch;
}

// Take the reference that `poll` returned, and check the batch.
pl_status instance::take_polled(pl_status code, pl_batch* raw, batch_ref& batch) {
  if (raw == nullptr) return code;
  auto& now = *plugin_call::current();
  auto* found = record_batch::find(raw);
  if (found == nullptr) {
    now.violated("it returned a batch that does not exist: derive did not make it, or its last reference was released");
  } else if (!found->take_back()) {
    now.violated("it returned a batch of which it holds no reference");
  } else {
    batch = batch_ref(found);
    if (code != PL_OK && is_status(code))
      now.violated(fmt::format("it returned {} together with a batch, which would be lost",
                               status_names[static_cast<std::size_t>(code)]));
    else if (auto rule = violated_rule(*found, batch_from::source); !rule.empty())
      now.violated("it returned a batch that is not valid: " + rule);
  }
  return code;
}

result<void> instance::settle(std::span<const pl_range> ranges) {
  return call(plugin_function::settle, [&]() -> pl_status {
    component_.settle(self_, ranges.data(), static_cast<std::uint32_t>(ranges.size()));
    return PL_OK;
  });
}

result<void> instance::apply(record_batch& in, call_effects& effects) {
  auto* input = &in;
  return call(plugin_function::apply, effects,
              [&] { return component_.apply(self_, input, &effects, emit_function()); }, {&input, 1});
}

result<void> instance::tick(std::chrono::nanoseconds now, call_effects& effects) {
  if (component_.tick == nullptr) return {};
  return call(plugin_function::tick, effects,
              [&] { return component_.tick(self_, now.count(), &effects, emit_function()); });
}

result<void> instance::revoked(std::string_view stream) {
  if (component_.revoked == nullptr) return {};
  return call(plugin_function::revoked,
              [&]() -> pl_status { return component_.revoked(self_, borrow(stream)), PL_OK; });
}

result<void> instance::write(std::span<record_batch* const> batches, call_effects& effects) {
  std::vector<pl_batch*> raw(batches.begin(), batches.end());
  return call(
      plugin_function::write, effects,
      [&] { return component_.write(self_, raw.data(), static_cast<std::uint32_t>(raw.size())); }, batches);
}

}  // namespace pl::engine
