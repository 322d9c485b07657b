// SPDX-License-Identifier: Apache-2.0
//
// Counters, gauges and histograms, and their text for Prometheus.
//
//   auto rows = metrics.get(engine_metrics::records_in_total, "iot", "parsed");   // the engine's: can't fail
//   rows.add(512);
//   auto sent = metrics.metric(metric_kind::counter, "sent_total", "Messages sent", labels);   // a plugin's: may
//
// Ownership: main makes one `metrics`. A handle shares its value: it stays valid when the metric is removed, and when
//            `metrics` is gone; it then counts for nobody.
// Threads:   every function of every class may be called from any thread. add and set are atomic, observe takes a short
//            lock of that one histogram: once a batch, not once a record.
// Errors:    a `result` with a sentence. Handles never fail; a default-constructed one does nothing.
#pragma once

#include "telemetry/result.hpp"

#include <pipeline/abi.h>

#include <array>
#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace pl::telemetry {

enum class metric_kind : int { counter = PL_COUNTER, gauge = PL_GAUGE, histogram = PL_HISTOGRAM };
enum class bucket_set { latency, size };  // seconds, 0.5 ms ... 60 s; rows, 1 ... 1,000,000

std::string_view to_string(metric_kind kind) noexcept;
std::span<const double> bucket_bounds(bucket_set set) noexcept;

struct label {
  std::string_view name, value;
};

class counter {
 public:
  counter() = default;
  explicit counter(std::shared_ptr<prometheus::Counter> cell) noexcept : cell_(std::move(cell)) {}
  void add(double n = 1) const noexcept;  // below 0 or not finite: ignored
  double value() const noexcept;

 private:
  std::shared_ptr<prometheus::Counter> cell_;
};

class gauge {
 public:
  gauge() = default;
  explicit gauge(std::shared_ptr<prometheus::Gauge> cell) noexcept : cell_(std::move(cell)) {}
  void set(double value) const noexcept;
  void add(double n) const noexcept;  // for sums over lanes; may be below 0
  double value() const noexcept;

 private:
  std::shared_ptr<prometheus::Gauge> cell_;
};

class histogram {
 public:
  histogram() = default;
  explicit histogram(std::shared_ptr<prometheus::Histogram> cell) noexcept : cell_(std::move(cell)) {}
  void observe(double value) const noexcept;  // seconds, or rows; not finite: ignored

 private:
  std::shared_ptr<prometheus::Histogram> cell_;
};

// A metric whose kind is only known at run time: what stands behind a pl_host.metric.
class instrument {
 public:
  instrument() = default;
  template <class Handle>
    requires(!std::same_as<std::remove_cvref_t<Handle>, instrument>)
  explicit instrument(Handle handle) noexcept : handle_(std::move(handle)) {}
  void record(double value) const noexcept;  // adds, sets or observes

 private:
  std::variant<counter, gauge, histogram> handle_;
};

// The declaration of one of the engine's own metrics (engine_metrics.hpp). name: without "pipeline_".
template <metric_kind Kind, std::size_t Labels>
struct metric_def {
  std::string_view name, doc;
  std::array<std::string_view, Labels> labels;
  bucket_set buckets = bucket_set::latency;
  static constexpr metric_kind kind = Kind;
};

template <metric_kind Kind>
using handle_of = std::conditional_t<Kind == metric_kind::counter, counter,
                                     std::conditional_t<Kind == metric_kind::gauge, gauge, histogram>>;

class metrics {
 public:
  // Series (label sets) of one metric in one (pipeline, node): labels by device would else fill the memory.
  static constexpr std::size_t max_series = 10'000;

  metrics();
  ~metrics();
  metrics(const metrics&) = delete;
  metrics& operator=(const metrics&) = delete;

  // The metric pipeline_<name> with these labels; made when it is asked for first. `doc` and `buckets` of the first
  // time stay. An error: a name that another kind has already or that isn't a Prometheus name (the message suggests
  // one), labels that are no names, repeated or reserved, or more than max_series. Values may be any text.
  result<instrument> metric(metric_kind kind, std::string_view name, std::string_view doc,
                            std::span<const label> labels, bucket_set buckets = bucket_set::latency);
  result<telemetry::counter> counter(std::string_view name, std::string_view doc, std::span<const label> labels);
  result<telemetry::gauge> gauge(std::string_view name, std::string_view doc, std::span<const label> labels);
  result<telemetry::histogram> histogram(std::string_view name, std::string_view doc, std::span<const label> labels,
                                         bucket_set buckets = bucket_set::latency);

  // One of the engine's own, with a value for each of its labels, in their order. Beyond max_series a handle that
  // counts for nobody.
  template <metric_kind Kind, std::size_t Labels, std::convertible_to<std::string_view>... Value>
    requires(sizeof...(Value) == Labels)
  handle_of<Kind> get(const metric_def<Kind, Labels>& def, const Value&... values) {
    const std::array<std::string_view, Labels> given{std::string_view(values)...};
    std::array<label, Labels> labels;
    for (std::size_t i = 0; i < Labels; ++i) labels[i] = {def.labels[i], given[i]};
    return get_as(def.name, def.doc, labels, def.buckets, handle_of<Kind>());
  }

  // Removes the series labelled so: all of a pipeline (node empty), of a node, or those of them with one more label (a
  // stream that moved to another host). Do it before the new ones are asked for: equal labels are the same series.
  void remove(std::string_view pipeline, std::string_view node = {});
  void remove(std::string_view pipeline, std::string_view node, const label& also);

  // Called at the beginning of each render(), to set gauges that would be costly to keep current. May use `metrics`,
  // but not add or remove collectors. Until the registration is destroyed, which waits for a call that is under way.
  // The registration must not outlive `metrics`.
  class registration;
  [[nodiscard]] std::unique_ptr<registration> before_render(std::function<void()> collect);

  // Text exposition format 0.0.4. Throws what a collector throws (the endpoint answers 500 then).
  std::string render();

 private:
  class state;
  telemetry::counter get_as(std::string_view name, std::string_view doc, std::span<const label> labels,
                            bucket_set buckets, const telemetry::counter& none);
  telemetry::gauge get_as(std::string_view name, std::string_view doc, std::span<const label> labels,
                          bucket_set buckets, const telemetry::gauge& none);
  telemetry::histogram get_as(std::string_view name, std::string_view doc, std::span<const label> labels,
                              bucket_set buckets, const telemetry::histogram& none);
  std::unique_ptr<state> state_;
};

class metrics::registration {
 public:
  registration(metrics::state& owner, std::size_t id) noexcept : owner_(owner), id_(id) {}
  ~registration();
  registration(const registration&) = delete;
  registration& operator=(const registration&) = delete;

 private:
  metrics::state& owner_;
  std::size_t id_;
};

}  // namespace pl::telemetry
