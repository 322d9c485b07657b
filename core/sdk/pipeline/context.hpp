// SPDX-License-Identifier: Apache-2.0
// The services that the host offers to an instance: logs, metrics, schemas, dead letters, streams.
#pragma once

#include <pipeline/abi.h>
#include <pipeline/arrival.hpp>
#include <pipeline/batch.hpp>
#include <pipeline/extension.hpp>
#include <pipeline/result.hpp>

#include <algorithm>
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

// Where the start position that a source proposes for a stream comes from.
enum class start_reason : std::uint32_t {
  policy = PL_START_POLICY,        // the source's start policy: no position was committed
  committed = PL_START_COMMITTED,  // a commit, made when records were settled
  reset = PL_START_RESET           // an offset reset by an operator
};

using label = std::pair<std::string_view, std::string_view>;

// Handles of metrics. They are cheap to copy and may be used from any thread.
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

// One instance's view of the host: a pointer that is valid until the instance is destroyed. Cheap to copy.
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

  // Metrics of this instance: pipeline_<name>, labelled with pipeline and node. Names of counters end in _total;
  // histograms are in seconds.
  [[nodiscard]] pl::counter counter(std::string_view name, std::string_view doc,
                                    std::initializer_list<label> labels = {}) const {
    return {host_, metric(PL_COUNTER, name, doc, labels)};
  }
  [[nodiscard]] pl::gauge gauge(std::string_view name, std::string_view doc,
                                std::initializer_list<label> labels = {}) const {
    return {host_, metric(PL_GAUGE, name, doc, labels)};
  }
  // A gauge that is shown as the sum over the instances of the node (lanes or writers).
  [[nodiscard]] pl::gauge summed_gauge(std::string_view name, std::string_view doc,
                                       std::initializer_list<label> labels = {}) const {
    return {host_, metric(PL_SUM, name, doc, labels)};
  }
  [[nodiscard]] pl::histogram histogram(std::string_view name, std::string_view doc,
                                        std::initializer_list<label> labels = {}) const {
    return {host_, metric(PL_HISTOGRAM, name, doc, labels)};
  }

  // Report an invalid option, which the host shows with its place in the file. May be called several times; then throw
  // invalid_options from the constructor.
  void option_error(std::string_view option, std::string_view message) const noexcept {
    host_->error(host_->ctx, borrow(message), borrow(option));
  }

  // Warn of an option, in a constructor that then returns normally. The host shows the place in the file.
  void option_warning(std::string_view option, std::string_view message) const noexcept {
    host_->error(host_->ctx, borrow(message), borrow(option));
  }

  // Interned: equal names return the same schema, which is never freed. Look it up once and keep it.
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
  // Derive a batch with the same columns, of which only these rows, in ascending order, are selected.
  [[nodiscard]] batch_builder derive_rows(batch_view parent, std::span<const row_index> rows) const {
    auto part = derive(parent, &parent.schema(), parent.rows());
    for (column_index c = 0; c < parent.columns(); ++c) part.share_column(c, parent.column(c));
    const auto selected = part.allocate<row_index>(rows.size());
    std::copy(rows.begin(), rows.end(), selected.begin());
    part.select(selected);
    return part;
  }
  [[nodiscard]] batch retain(batch_view borrowed) const noexcept { return batch::retained(host_, borrowed); }

  // Dead-letter a row. Call this function only in apply and write, and do not emit or write the row.
  void reject(batch_view of, row_index row, std::string_view why) const noexcept {
    host_->reject(host_->ctx, of.raw(), row, borrow(why));
  }

  // Like reject, in a write, but at once: the dead letter is written whatever this write returns, and a repeated write
  // does not have the row. False: not possible now; call `reject` when the write succeeds.
  [[nodiscard]] bool reject_now(batch_view of, row_index row, std::string_view why) const noexcept {
    const auto early = early_reject();
    return early.reject != nullptr && early.reject(host_->ctx, of.raw(), row, borrow(why)) == PL_OK;
  }
  // In a write: a part of the batches was delivered, so a repetition of the write does not wait longer than the first.
  void progress() const noexcept {
    if (const auto early = early_reject(); early.progress != nullptr) early.progress(host_->ctx);
  }

  // In a write that returns `retry`: nothing of it is stored, but fewer rows might be. See pl_host_write_size.
  void too_large() const noexcept {
    const auto* sizes = static_cast<const pl_host_write_size*>(host_->extension(host_->ctx, borrow(PL_EXT_WRITE_SIZE)));
    if (sizes != nullptr) sizes->too_large(host_->ctx);
  }

  // For sources, in poll: let a column of a new batch be made when something needs it, see pl_host_on_demand. False: this
  // host does not make columns on demand; set the column.
  [[nodiscard]] bool make_later(const batch_builder& of, column_index column, void* mem,
                                pl_make_cell make) const noexcept {
    const auto* table = static_cast<const pl_host_on_demand*>(host_->extension(host_->ctx, borrow(PL_EXT_ON_DEMAND)));
    if (table == nullptr) return false;
    table->later(host_->ctx, of.peek().raw(), column, mem, make);
    return true;
  }

  // For sources: see pl_host.announced, pl_host.assigned and pl_host.revoked. The host itself logs why it returns a
  // failure.
  [[nodiscard]] result<void> announced(std::string_view stream) const {
    const auto code = host_->announced(host_->ctx, borrow(stream));
    return code == PL_OK ? result<void>{} : failure{static_cast<status>(code), {}, {}};
  }
  [[nodiscard]] result<std::uint64_t> assigned(std::string_view stream, std::uint64_t next,
                                               start_reason why = start_reason::committed) const {
    const auto code = host_->assigned(host_->ctx, borrow(stream), static_cast<std::uint32_t>(why), &next);
    if (code != PL_OK) return failure{static_cast<status>(code), {}, {}};
    return next;
  }
  [[nodiscard]] std::uint64_t revoked(std::string_view stream) const noexcept {
    std::uint64_t settled = PL_UNKNOWN;
    host_->revoked(host_->ctx, borrow(stream), &settled);
    return settled;
  }

  // Store an entry of a `stateful` transform. Call it in apply, tick and snapshot. No effect if the host keeps no
  // state.
  void put(std::string_view stream, std::string_view key, std::string_view value) const noexcept {
    if (const auto s = state(); s.put != nullptr)
      s.put(host_->ctx, borrow(stream), borrow(key), {value.data() ? value.data() : "", value.size()});
  }
  // For output that reading records again does not reproduce: like put, until the output is delivered. In apply and tick.
  void put_until_delivered(std::string_view stream, std::string_view key, std::string_view value) const noexcept {
    const auto s = state();
    if (s.put_until_delivered == nullptr) return;
    s.put_until_delivered(host_->ctx, borrow(stream), borrow(key), {value.data() ? value.data() : "", value.size()});
  }
  void erase(std::string_view stream, std::string_view key) const noexcept {
    if (const auto s = state(); s.put != nullptr) s.put(host_->ctx, borrow(stream), borrow(key), {nullptr, 0});
  }
  // Assign a batch made in tick to a stream, so that the batch is written in order with the stream's records.
  void set_stream(const batch& made, std::string_view stream) const noexcept {
    if (const auto s = state(); s.set_stream != nullptr) s.set_stream(host_->ctx, made.get().raw(), borrow(stream));
  }
  [[nodiscard]] bool keeps_state() const noexcept { return state().put != nullptr; }

  // Report how many bytes of state this transform holds. Return false while the state of all transforms exceeds its share
  // of the pipeline's memory limit. See pl_host_memory.
  [[nodiscard]] bool holds_memory(std::uint64_t bytes) const noexcept {
    const auto memory = complete_table<pl_host_memory>(host_->extension(host_->ctx, borrow(PL_EXT_MEMORY)));
    return memory.held == nullptr || memory.held(host_->ctx, bytes) == PL_OK;
  }

  // The arrival clock, for transforms, and what sources report for it: see arrival.hpp. In the constructor.
  [[nodiscard]] pl::arrival_clocks arrival_clocks() const noexcept { return pl::arrival_clocks(host_); }
  [[nodiscard]] pl::liveness liveness() const noexcept { return pl::liveness(host_); }

  [[nodiscard]] const pl_host* raw() const noexcept { return host_; }

 private:
  // Functions that the host does not offer are null.
  [[nodiscard]] pl_host_early_reject early_reject() const noexcept {
    return complete_table<pl_host_early_reject>(host_->extension(host_->ctx, borrow(PL_EXT_EARLY_REJECT)));
  }
  [[nodiscard]] pl_host_state state() const noexcept {
    return complete_table<pl_host_state>(host_->extension(host_->ctx, borrow(PL_EXT_STATE)));
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
