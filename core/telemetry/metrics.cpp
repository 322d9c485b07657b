// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics.hpp"

#include "telemetry/engine_metrics.hpp"
#include "telemetry/text.hpp"

#include <fmt/format.h>
#include <prometheus/client_metric.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/labels.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>
#include <vector>

namespace pl::telemetry {
namespace {

using prometheus::Labels;

constexpr std::size_t max_name = 200;
constexpr std::string_view prefix = "pipeline_";
constexpr std::array<double, 16> latency_bounds{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                0.25,   0.5,   1,      2.5,   5,    10,    30,   60};
constexpr std::array<double, 13> size_bounds{1,     5,      10,     50,      100,     500,      1'000,
                                             5'000, 10'000, 50'000, 100'000, 500'000, 1'000'000};
constexpr std::array<std::string_view, 3> histogram_suffixes{"_bucket", "_sum", "_count"};

bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_name_char(char c) noexcept { return is_letter(c) || (c >= '0' && c <= '9'); }

bool is_name(std::string_view text) noexcept {
  return !text.empty() && text.size() <= max_name && is_letter(text.front()) &&
         std::all_of(text.begin(), text.end(), is_name_char);
}

std::string suggestion(std::string_view text) {
  std::string name(text.substr(0, 60));
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !is_name_char(c); }, '_');
  if (!name.empty() && !is_letter(name.front())) name.insert(name.begin(), '_');
  return name;
}

failure bad_name(std::string_view what, std::string_view text) {
  if (text.empty()) return fatal(fmt::format("a {} is empty", what));
  return fatal(
      fmt::format("{} '{}' is not valid: use letters, digits and '_', no digit first, at most {} characters; "
                  "try '{}'",
                  what, valid_utf8(cut_bytes(text, 60)), max_name, suggestion(text)));
}

// prometheus-cpp escapes label values, but not the help text.
std::string escape_help(std::string_view text) {
  std::string out;
  for (const char c : valid_utf8(text)) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

using cell = std::variant<std::shared_ptr<prometheus::Counter>, std::shared_ptr<prometheus::Gauge>,
                          std::shared_ptr<prometheus::Histogram>>;

cell make_cell(metric_kind kind, bucket_set buckets) {
  if (kind == metric_kind::counter) return std::make_shared<prometheus::Counter>();
  if (kind == metric_kind::gauge) return std::make_shared<prometheus::Gauge>();
  const auto bounds = bucket_bounds(buckets);
  return std::make_shared<prometheus::Histogram>(std::vector<double>(bounds.begin(), bounds.end()));
}

template <class Handle>
Handle handle_on(const cell& value) {
  if constexpr (std::same_as<Handle, counter>) return counter(std::get<0>(value));
  if constexpr (std::same_as<Handle, gauge>) return gauge(std::get<1>(value));
  if constexpr (std::same_as<Handle, histogram>) return histogram(std::get<2>(value));
}

instrument instrument_on(const cell& value) {
  if (value.index() == 0) return instrument(counter(std::get<0>(value)));
  if (value.index() == 1) return instrument(gauge(std::get<1>(value)));
  return instrument(histogram(std::get<2>(value)));
}

prometheus::MetricType type_of(metric_kind kind) noexcept {
  if (kind == metric_kind::counter) return prometheus::MetricType::Counter;
  if (kind == metric_kind::gauge) return prometheus::MetricType::Gauge;
  return prometheus::MetricType::Histogram;
}

struct family {
  metric_kind kind = metric_kind::counter;
  bucket_set buckets = bucket_set::latency;
  std::string help;
  std::map<Labels, cell> series;
  std::map<std::string, std::size_t, std::less<>> series_of_scope;  // number of series; key: scope_of
};

std::string_view value_of(const Labels& labels, const std::string& name) {
  const auto found = labels.find(name);
  return found == labels.end() ? std::string_view() : std::string_view(found->second);
}

std::string scope_of(const Labels& labels) {
  return fmt::format("{}\x1f{}", value_of(labels, "pipeline"), value_of(labels, "node"));
}

std::string label_value(std::string_view text) { return valid_utf8(cut_bytes(text, metrics::max_label_bytes)); }

bool matches(const Labels& labels, std::span<const label> wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const label& one) {
    const auto found = labels.find(std::string(one.name));
    return found != labels.end() && found->second == label_value(one.value);
  });
}

pl::result<Labels> to_labels(metric_kind kind, std::span<const label> given) {
  Labels labels;
  for (const label& one : given) {
    if (!is_name(one.name)) return bad_name("label name", one.name);
    if (one.name.starts_with("__") || (kind == metric_kind::histogram && one.name == "le")) {
      return fatal(fmt::format("label name '{}' is reserved by Prometheus", one.name));
    }
    if (!labels.emplace(one.name, label_value(one.value)).second) {
      return fatal(fmt::format("label '{}' is specified twice", one.name));
    }
  }
  return labels;
}

}  // namespace

std::string_view to_string(metric_kind kind) noexcept {
  if (kind == metric_kind::counter) return "counter";
  return kind == metric_kind::gauge ? "gauge" : "histogram";
}

std::span<const double> bucket_bounds(bucket_set set) noexcept {
  if (set == bucket_set::size) return size_bounds;
  return latency_bounds;
}

void counter::add(double n) const noexcept {
  if (cell_ && n >= 0 && std::isfinite(n)) cell_->Increment(n);
}
double counter::value() const noexcept { return cell_ ? cell_->Value() : 0; }

void gauge::set(double value) const noexcept {
  if (cell_) cell_->Set(value);
}
void gauge::add(double n) const noexcept {
  if (cell_) cell_->Increment(n);
}
double gauge::value() const noexcept { return cell_ ? cell_->Value() : 0; }

void histogram::observe(double value) const noexcept {
  if (cell_ && std::isfinite(value)) cell_->Observe(value);
}

namespace {
void record_in(const counter& handle, double value) noexcept { handle.add(value); }
void record_in(const gauge& handle, double value) noexcept { handle.set(value); }
void record_in(const histogram& handle, double value) noexcept { handle.observe(value); }
}  // namespace

void instrument::record(double value) const noexcept {
  std::visit([value](const auto& handle) { record_in(handle, value); }, handle_);
}

class metrics::state {
 public:
  state() {
    std::apply([this](const auto&... def) { (declare(def.name, def.kind, def.doc, def.buckets), ...); },
               engine_metrics::all);
  }

  pl::result<cell> find(metric_kind kind, std::string_view name, std::string_view doc, std::span<const label> given,
                        bucket_set buckets) {
    if (kind < metric_kind::counter || kind > metric_kind::histogram) return fatal("a metric of an unknown kind");
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
    if (!is_name(name)) return bad_name("metric name", name);
    auto labels = to_labels(kind, given);
    if (!labels) return fatal(fmt::format("metric '{}': {}", name, labels.why().message));
    const std::lock_guard lock(mutex_);
    if (const auto clash = name_clash(kind, name)) return *clash;
    return find_series(name, declare(name, kind, doc, buckets), std::move(*labels));
  }

  void remove(std::span<const label> wanted) {
    const std::lock_guard lock(mutex_);
    for (auto& [name, one] : families_) {
      std::erase_if(one.series, [&, &counts = one.series_of_scope](const auto& series) {
        if (!matches(series.first, wanted)) return false;
        const auto count = counts.find(scope_of(series.first));
        if (count != counts.end() && --count->second == 0) counts.erase(count);
        --total_;
        return true;
      });
    }
  }

  std::size_t add_collector(std::function<void()> collect) {
    const std::lock_guard lock(collectors_mutex_);
    collectors_.emplace(++last_collector_, std::move(collect));
    return last_collector_;
  }
  void remove_collector(std::size_t id) {
    const std::lock_guard lock(collectors_mutex_);
    collectors_.erase(id);
  }

  std::string render() {
    run_collectors();
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, collect());
    return std::move(out).str();
  }

 private:
  // This table replaces prometheus::Registry, which throws if a name is used with two kinds. The registry also owns the
  // values, so that removing a series would leave dangling handles.
  family& declare(std::string_view name, metric_kind kind, std::string_view doc, bucket_set buckets) {
    const auto found = families_.find(name);
    if (found != families_.end()) return found->second;
    return families_.emplace(std::string(name), family{kind, buckets, escape_help(doc), {}, {}}).first->second;
  }

  std::optional<failure> name_clash(metric_kind kind, std::string_view name) const {
    const auto found = families_.find(name);
    if (found != families_.end()) {
      if (found->second.kind == kind) return std::nullopt;
      return fatal(fmt::format("metric '{}' is already a {} and cannot also be a {}; choose another name", name,
                               to_string(found->second.kind), to_string(kind)));
    }
    // A histogram `x` is exported as x_bucket, x_sum and x_count.
    for (const auto suffix : histogram_suffixes) {
      if (kind == metric_kind::histogram && families_.contains(std::string(name) + std::string(suffix))) {
        return fatal(fmt::format("histogram '{0}' is exported as '{0}{1}', which is already a metric", name, suffix));
      }
      if (!name.ends_with(suffix)) continue;
      const auto base = families_.find(name.substr(0, name.size() - suffix.size()));
      if (base != families_.end() && base->second.kind == metric_kind::histogram) {
        return fatal(fmt::format("metric '{}' is already a part of the histogram '{}'", name, base->first));
      }
    }
    return std::nullopt;
  }

  pl::result<cell> find_series(std::string_view name, family& in, Labels labels) {
    const auto found = in.series.find(labels);
    if (found != in.series.end()) return found->second;
    const auto scope = scope_of(labels);
    const auto known = in.series_of_scope.find(scope);
    if (known != in.series_of_scope.end() && known->second >= max_series) {
      reject_series(name);
      return fatal(
          fmt::format("metric '{}' already has {} series for this node; use fewer label values", name, max_series));
    }
    if (total_ >= max_total_series) {
      reject_series(name);
      return fatal(fmt::format("metric '{}': the host already has {} series of all metrics; use fewer label values",
                               name, max_total_series));
    }
    ++in.series_of_scope[scope];
    ++total_;
    return in.series.emplace(std::move(labels), make_cell(in.kind, in.buckets)).first->second;
  }

  // Count a rejected series. The counter has one series for each metric, so it is not limited itself.
  void reject_series(std::string_view name) {
    const auto& def = engine_metrics::metric_series_rejected_total;
    auto& counts = declare(def.name, def.kind, def.doc, def.buckets);
    auto& series = counts.series[{{std::string(def.labels[0]), std::string(name)}}];
    if (series.index() != 0 || std::get<0>(series) == nullptr) series = make_cell(def.kind, def.buckets);
    std::get<0>(series)->Increment();
  }

  void run_collectors() {
    const std::lock_guard lock(collectors_mutex_);
    for (const auto& [id, collect] : collectors_) collect();
  }

  std::vector<prometheus::MetricFamily> collect() const {
    std::vector<prometheus::MetricFamily> shown;
    const std::lock_guard lock(mutex_);
    for (const auto& [name, one] : families_) {
      if (one.series.empty()) continue;
      auto& to = shown.emplace_back();
      to.name = std::string(prefix) + name;
      to.help = one.help;
      to.type = type_of(one.kind);
      to.metric.reserve(one.series.size());
      for (const auto& [labels, value] : one.series) to.metric.push_back(collect_series(labels, value));
    }
    return shown;
  }

  static prometheus::ClientMetric collect_series(const Labels& labels, const cell& value) {
    auto shown = std::visit([](const auto& metric) { return metric->Collect(); }, value);
    shown.label.reserve(labels.size());
    for (const auto& [name, text] : labels) shown.label.push_back({name, text});
    return shown;
  }

  mutable std::mutex mutex_;
  std::map<std::string, family, std::less<>> families_;  // by name, without the prefix
  std::mutex collectors_mutex_;                          // held while collectors run; locked before mutex_
  std::map<std::size_t, std::function<void()>> collectors_;
  std::size_t last_collector_ = 0;
  std::size_t total_ = 0;  // number of series of all metrics
};

metrics::metrics() : state_(std::make_unique<state>()) {}
metrics::~metrics() = default;

pl::result<instrument> metrics::metric(metric_kind kind, std::string_view name, std::string_view doc,
                                       std::span<const label> labels, bucket_set buckets) {
  const auto found = state_->find(kind, name, doc, labels, buckets);
  if (!found) return found.why();
  return instrument_on(*found);
}

pl::result<telemetry::counter> metrics::counter(std::string_view name, std::string_view doc,
                                                std::span<const label> labels) {
  const auto found = state_->find(metric_kind::counter, name, doc, labels, bucket_set::latency);
  if (!found) return found.why();
  return handle_on<telemetry::counter>(*found);
}

pl::result<telemetry::gauge> metrics::gauge(std::string_view name, std::string_view doc,
                                            std::span<const label> labels) {
  const auto found = state_->find(metric_kind::gauge, name, doc, labels, bucket_set::latency);
  if (!found) return found.why();
  return handle_on<telemetry::gauge>(*found);
}

pl::result<telemetry::histogram> metrics::histogram(std::string_view name, std::string_view doc,
                                                    std::span<const label> labels, bucket_set buckets) {
  const auto found = state_->find(metric_kind::histogram, name, doc, labels, buckets);
  if (!found) return found.why();
  return handle_on<telemetry::histogram>(*found);
}

telemetry::counter metrics::get_as(std::string_view name, std::string_view doc, std::span<const label> labels,
                                   bucket_set, const telemetry::counter& none) {
  auto found = counter(name, doc, labels);
  return found ? *found : none;
}
telemetry::gauge metrics::get_as(std::string_view name, std::string_view doc, std::span<const label> labels, bucket_set,
                                 const telemetry::gauge& none) {
  auto found = gauge(name, doc, labels);
  return found ? *found : none;
}
telemetry::histogram metrics::get_as(std::string_view name, std::string_view doc, std::span<const label> labels,
                                     bucket_set buckets, const telemetry::histogram& none) {
  auto found = histogram(name, doc, labels, buckets);
  return found ? *found : none;
}

void metrics::remove(std::string_view pipeline, std::string_view node) {
  const std::array<label, 2> wanted{{{"pipeline", pipeline}, {"node", node}}};
  state_->remove(std::span(wanted).first(node.empty() ? 1 : 2));
}

void metrics::remove(std::string_view pipeline, std::string_view node, const label& also) {
  const std::array<label, 3> wanted{{{"pipeline", pipeline}, also, {"node", node}}};
  state_->remove(std::span(wanted).first(node.empty() ? 2 : 3));
}

std::unique_ptr<metrics::registration> metrics::before_render(std::function<void()> collect) {
  return std::make_unique<registration>(*state_, state_->add_collector(std::move(collect)));
}

metrics::registration::~registration() { owner_.remove_collector(id_); }

std::string metrics::render() { return state_->render(); }

}  // namespace pl::telemetry
