// SPDX-License-Identifier: Apache-2.0
//
// Counters, gauges and histograms, and their text for Prometheus.
//
//   auto rows = metrics.get(engine_metrics::records_in_total, "iot", "parsed");   // an engine metric: cannot fail
//   rows.add(512);
//   auto sent = metrics.metric(metric_kind::counter, "sent_total", "Messages sent", labels);   // may fail
//
// Ownership: main creates one `metrics`. A handle shares ownership of its value, and stays valid after the metric or
//            `metrics` is removed; the value is then no longer rendered.
// Threads:   every function of every class may be called from any thread. add and set are atomic; observe briefly locks
//            its histogram, so call it once per batch and not once per record.
// Errors:    a fatal `pl::result` with a message. Handles never fail; a default-constructed handle does nothing.
#pragma once

#include <pipeline/abi.h>
#include <pipeline/result.hpp>

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
  void add(double n = 1) const noexcept;  // ignores values below 0 or not finite
  double value() const noexcept;

 private:
  std::shared_ptr<prometheus::Counter> cell_;
};

class gauge {
 public:
  gauge() = default;
  explicit gauge(std::shared_ptr<prometheus::Gauge> cell) noexcept : cell_(std::move(cell)) {}
  void set(double value) const noexcept;
  void add(double n) const noexcept;  // for sums over lanes; n may be negative
  double value() const noexcept;

 private:
  std::shared_ptr<prometheus::Gauge> cell_;
};

class histogram {
 public:
  histogram() = default;
  explicit histogram(std::shared_ptr<prometheus::Histogram> cell) noexcept : cell_(std::move(cell)) {}
  void observe(double value) const noexcept;  // seconds, or rows; ignores values that are not finite

 private:
  std::shared_ptr<prometheus::Histogram> cell_;
};

// A metric whose kind is known only at run time; implements pl_host.metric.
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

// The declaration of an engine metric (engine_metrics.hpp). `name`: without "pipeline_".
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
  // Maximum number of series (label sets) of one metric in one (pipeline, node), and of all metrics together: bounds the
  // memory of labels by device. What is rejected is counted in pipeline_metric_series_rejected_total.
  static constexpr std::size_t max_series = 10'000, max_total_series = 100'000;
  // Longer label values are cut.
  static constexpr std::size_t max_label_bytes = 512;

  metrics();
  ~metrics();
  metrics(const metrics&) = delete;
  metrics& operator=(const metrics&) = delete;

  // Return the metric pipeline_<name> with these labels. The first call creates the metric with its `doc` and
  // `buckets`. Fails for a name that is in use as another kind or not a valid Prometheus name (the message suggests
  // one), for invalid, repeated or reserved label names, and above max_series. Label values may be any text, of which the
  // first max_label_bytes count.
  pl::result<instrument> metric(metric_kind kind, std::string_view name, std::string_view doc,
                                std::span<const label> labels, bucket_set buckets = bucket_set::latency);
  pl::result<telemetry::counter> counter(std::string_view name, std::string_view doc, std::span<const label> labels);
  pl::result<telemetry::gauge> gauge(std::string_view name, std::string_view doc, std::span<const label> labels);
  pl::result<telemetry::histogram> histogram(std::string_view name, std::string_view doc, std::span<const label> labels,
                                             bucket_set buckets = bucket_set::latency);

  // Return an engine metric, with one value for each label in the declared order. Above max_series or max_total_series,
  // return a handle that does nothing.
  template <metric_kind Kind, std::size_t Labels, std::convertible_to<std::string_view>... Value>
    requires(sizeof...(Value) == Labels)
  handle_of<Kind> get(const metric_def<Kind, Labels>& def, const Value&... values) {
    const std::array<std::string_view, Labels> given{std::string_view(values)...};
    std::array<label, Labels> labels;
    for (std::size_t i = 0; i < Labels; ++i) labels[i] = {def.labels[i], given[i]};
    return get_as(def.name, def.doc, labels, def.buckets, handle_of<Kind>());
  }

  // Remove the series of a pipeline (`node` empty) or of a node, or only those with one more label (a stream that moved
  // to another host). Call remove before getting new metrics with the same labels: equal labels are the same series.
  void remove(std::string_view pipeline, std::string_view node = {});
  void remove(std::string_view pipeline, std::string_view node, const label& also);

  // Call `collect` at the beginning of each render(), to set gauges that are costly to keep current. `collect` may use
  // `metrics`, but must not add or remove collectors. Destroying the registration ends the calls and waits for a
  // running call. The registration must not outlive `metrics`.
  class registration;
  [[nodiscard]] std::unique_ptr<registration> before_render(std::function<void()> collect);

  // Render the text exposition format 0.0.4. Throws what a collector throws (the endpoint then returns status 500).
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
