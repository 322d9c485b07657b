// SPDX-License-Identifier: Apache-2.0
// What an instance may ask of its host: logs, metrics, schemas, dead letters, streams.
#pragma once

#include <pipeline/abi.h>
#include <pipeline/batch.hpp>
#include <pipeline/result.hpp>

#include <initializer_list>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace pl {

enum class log_level {
  trace = PL_LOG_TRACE,
  debug = PL_LOG_DEBUG,
  info = PL_LOG_INFO,
  warn = PL_LOG_WARN,
  error = PL_LOG_ERROR
};

// What a source's proposal for the beginning of a stream rests on.
enum class begin : std::uint32_t {
  by_policy = PL_BY_POLICY,      // its own start policy: nobody has said where
  by_progress = PL_BY_PROGRESS,  // what was noted when records were settled
  by_order = PL_BY_ORDER         // a person wants to go there
};

using label = std::pair<std::string_view, std::string_view>;

// Handles of metrics: two words, copied freely, used from any thread.
class counter {
 public:
  counter() = default;
  counter(const pl_host* host, std::uint32_t id) noexcept : host_(host), id_(id) {}
  void add(double n = 1) const noexcept {
    if (host_) host_->record(host_->ctx, id_, n);
  }

 private:
  const pl_host* host_ = nullptr;
  std::uint32_t id_ = 0;
};
class gauge {
 public:
  gauge() = default;
  gauge(const pl_host* host, std::uint32_t id) noexcept : host_(host), id_(id) {}
  void set(double v) const noexcept {
    if (host_) host_->record(host_->ctx, id_, v);
  }

 private:
  const pl_host* host_ = nullptr;
  std::uint32_t id_ = 0;
};
class histogram {
 public:
  histogram() = default;
  histogram(const pl_host* host, std::uint32_t id) noexcept : host_(host), id_(id) {}
  void observe(double seconds) const noexcept {
    if (host_) host_->record(host_->ctx, id_, seconds);
  }

 private:
  const pl_host* host_ = nullptr;
  std::uint32_t id_ = 0;
};

// One instance's view of the host. A pointer: copy it freely; valid until the instance is destroyed.
class context {
 public:
  explicit context(const pl_host* host) noexcept : host_(host) {}

  [[nodiscard]] std::string_view pipeline() const noexcept { return view(host_->pipeline); }
  [[nodiscard]] std::string_view node() const noexcept { return view(host_->node); }
  [[nodiscard]] std::uint32_t lane() const noexcept { return host_->lane; }  // which of `lanes` instances this is
  [[nodiscard]] std::uint32_t lanes() const noexcept { return host_->lanes; }
  [[nodiscard]] std::string_view state_dir() const noexcept { return view(host_->state_dir); }
  [[nodiscard]] std::uint64_t memory_limit() const noexcept { return host_->memory_limit; }  // bytes

  // Logs. Any thread.
  [[nodiscard]] bool logs(log_level level) const noexcept {
    return host_->log_on(host_->ctx, static_cast<int>(level)) != 0;
  }
  void log(log_level level, std::string_view message) const noexcept {
    host_->log(host_->ctx, static_cast<int>(level), borrow(message));
  }
  void debug(std::string_view message) const noexcept { log(log_level::debug, message); }
  void info(std::string_view message) const noexcept { log(log_level::info, message); }
  void warn(std::string_view message) const noexcept { log(log_level::warn, message); }
  void error(std::string_view message) const noexcept { log(log_level::error, message); }

  // Metrics of this instance: pipeline_<name>, labelled with pipeline and node. Counters' names end in _total, histograms
  // are in seconds.
  [[nodiscard]] pl::counter counter(std::string_view name, std::string_view doc,
                                    std::initializer_list<label> labels = {}) const {
    return {host_, metric(PL_COUNTER, name, doc, labels)};
  }
  [[nodiscard]] pl::gauge gauge(std::string_view name, std::string_view doc,
                                std::initializer_list<label> labels = {}) const {
    return {host_, metric(PL_GAUGE, name, doc, labels)};
  }
  [[nodiscard]] pl::histogram histogram(std::string_view name, std::string_view doc,
                                        std::initializer_list<label> labels = {}) const {
    return {host_, metric(PL_HISTOGRAM, name, doc, labels)};
  }

  // Says what is wrong with an option, with the option's place in the file; may be called several times, then throw
  // invalid_options from the constructor.
  void option_error(std::string_view option, std::string_view message) const noexcept {
    host_->error(host_->ctx, borrow(message), borrow(option));
  }

  // Interned: equal names give the same schema, which lives for ever. Ask once and keep it.
  [[nodiscard]] const pl_schema* schema(std::span<const std::string_view> names) const {
    std::vector<pl_str> raw;
    raw.reserve(names.size());
    for (auto n : names) raw.push_back(borrow(n));
    return host_->schema(host_->ctx, raw.data(), static_cast<std::uint32_t>(raw.size()));
  }
  [[nodiscard]] const pl_schema* schema(std::initializer_list<std::string_view> names) const {
    return schema(std::span(names.begin(), names.size()));
  }
  [[nodiscard]] batch_builder build(const pl_schema* schema, std::uint32_t rows) const { return {host_, schema, rows}; }
  [[nodiscard]] batch_builder derive(batch_view parent, const pl_schema* schema, std::uint32_t rows) const {
    return {host_, parent, schema, rows};
  }
  [[nodiscard]] batch retain(batch_view borrowed) const noexcept { return batch::retained(host_, borrowed); }

  // Sends a row to the dead letters. In apply and write only; the row must then not be emitted or written.
  void reject(batch_view of, row_index row, std::string_view why) const noexcept {
    host_->reject(host_->ctx, of.raw(), row, borrow(why));
  }

  // For sources: see pl_host.announced, pl_host.assigned and pl_host.lost. The host itself says why it refuses.
  [[nodiscard]] result<void> announced(std::string_view stream) const {
    const auto code = host_->announced(host_->ctx, borrow(stream));
    return code == PL_OK ? result<void>{} : failure{static_cast<status>(code), {}, {}};
  }
  [[nodiscard]] result<std::uint64_t> assigned(std::string_view stream, std::uint64_t next,
                                               begin why = begin::by_progress) const {
    const auto code = host_->assigned(host_->ctx, borrow(stream), static_cast<std::uint32_t>(why), &next);
    if (code != PL_OK) return failure{static_cast<status>(code), {}, {}};
    return next;
  }
  [[nodiscard]] std::uint64_t lost(std::string_view stream) const noexcept {
    std::uint64_t settled = PL_UNKNOWN;
    host_->lost(host_->ctx, borrow(stream), &settled);
    return settled;
  }

  // For transforms that are `stateful`: in apply, tick and snapshot. A host that keeps no state ignores it.
  void put(std::string_view stream, std::string_view key, std::string_view value) const noexcept {
    if (const auto* s = state())
      s->put(host_->ctx, borrow(stream), borrow(key), {value.data() ? value.data() : "", value.size()});
  }
  void erase(std::string_view stream, std::string_view key) const noexcept {
    if (const auto* s = state()) s->put(host_->ctx, borrow(stream), borrow(key), {nullptr, 0});
  }
  // Of a batch made in tick: it is written in order with the stream's records.
  void belongs(const batch& made, std::string_view stream) const noexcept {
    if (const auto* s = state()) s->belongs(host_->ctx, made.get().raw(), borrow(stream));
  }
  [[nodiscard]] bool keeps_state() const noexcept { return state() != nullptr; }

  [[nodiscard]] const pl_host* raw() const noexcept { return host_; }

 private:
  [[nodiscard]] const pl_host_state* state() const noexcept {
    return static_cast<const pl_host_state*>(host_->extension(host_->ctx, borrow(PL_EXT_STATE)));
  }
  [[nodiscard]] std::uint32_t metric(int kind, std::string_view name, std::string_view doc,
                                     std::initializer_list<label> labels) const {
    std::vector<pl_str> raw;
    for (const auto& [key, value] : labels) {
      raw.push_back(borrow(key));
      raw.push_back(borrow(value));
    }
    return host_->metric(host_->ctx, kind, borrow(name), borrow(doc), raw.data(),
                         static_cast<std::uint32_t>(labels.size()));
  }
  const pl_host* host_;
};

}  // namespace pl
