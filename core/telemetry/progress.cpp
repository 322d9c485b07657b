// SPDX-License-Identifier: Apache-2.0
#include "telemetry/progress.hpp"

#include "telemetry/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace pl::telemetry {
namespace {

using steady = std::chrono::steady_clock;

const pipeline_progress* find(const progress_snapshot& in, std::string_view name) {
  const auto found = std::find_if(in.begin(), in.end(), [name](const auto& one) { return one.pipeline == name; });
  return found == in.end() ? nullptr : &*found;
}

bool is_continued(const pipeline_progress& before, const pipeline_progress& now) {
  return before.uptime < now.uptime && before.records_in <= now.records_in &&
         before.records_stored <= now.records_stored;
}

double per_second(std::uint64_t count, std::chrono::nanoseconds time) {
  const double seconds = std::chrono::duration<double>(time).count();
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

pipeline_rates rates_of(const pipeline_progress* before, const pipeline_progress& now) {
  pipeline_progress since;  // zero: since its start
  if (before != nullptr && is_continued(*before, now)) since = *before;
  const auto time = now.uptime - since.uptime;
  return {now, per_second(now.records_in - since.records_in, time),
          per_second(now.records_stored - since.records_stored, time)};
}

std::string with_name(const pipeline_rates& rates) {
  return fmt::format("{}  {}", rates.now.pipeline, format_progress(rates));
}

std::string side_by_side(std::span<const pipeline_rates> pipelines) {
  std::string line;
  for (const auto& one : pipelines) {
    if (!line.empty()) line += "  |  ";
    line += with_name(one);
  }
  return line;
}

pipeline_rates sum_of(std::span<const pipeline_rates> pipelines) {
  pipeline_rates sum;
  sum.now.pipeline = fmt::format("{} pipelines", pipelines.size());
  for (const auto& one : pipelines) {
    sum.in_per_second += one.in_per_second;
    sum.stored_per_second += one.stored_per_second;
    sum.now.alerts += one.now.alerts;
    sum.now.rejected += one.now.rejected;
    sum.now.dropped += one.now.dropped;
    sum.now.memory_bytes += one.now.memory_bytes;
    sum.now.disk_bytes += one.now.disk_bytes;
    if (one.now.lag) sum.now.lag = sum.now.lag.value_or(0) + *one.now.lag;
  }
  return sum;
}

}  // namespace

std::vector<pipeline_rates> rates_between(const progress_snapshot& before, const progress_snapshot& now) {
  std::vector<pipeline_rates> rates;
  rates.reserve(now.size());
  for (const auto& one : now) rates.push_back(rates_of(find(before, one.pipeline), one));
  return rates;
}

std::string format_count(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t i = digits.size(); i > 3;) digits.insert(i -= 3, 1, ',');
  return digits;
}

std::string format_rate(double per_second) {
  if (!std::isfinite(per_second) || per_second <= 0) return "0";
  if (per_second < 9.95) return fmt::format("{:.1f}", per_second);
  return format_count(static_cast<std::uint64_t>(std::min(std::round(per_second), 1e18)));
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 6> units{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1023.5 && unit + 1 < units.size(); ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}", value, value < 9.95 ? 1 : 0, units[unit]);
}

std::string format_progress(const pipeline_rates& rates) {
  const auto& now = rates.now;
  auto line = fmt::format("{} rec/s in  {} rec/s stored  lag {}  alerts {}  rejected {}{}  mem {}",
                          format_rate(rates.in_per_second), format_rate(rates.stored_per_second),
                          now.lag ? format_count(*now.lag) : "?", format_count(now.alerts), format_count(now.rejected),
                          now.dropped == 0 ? std::string() : "  dropped " + format_count(now.dropped),
                          format_bytes(now.memory_bytes));
  if (now.disk_bytes != 0) line += "  disk " + format_bytes(now.disk_bytes);
  return line;
}

std::string progress_line(std::span<const pipeline_rates> pipelines, std::size_t columns) {
  if (pipelines.empty()) return cut_columns("no pipelines", columns);
  std::string line = side_by_side(pipelines);
  if (pipelines.size() > 1 && count_characters(line) > columns) line = with_name(sum_of(pipelines));
  return cut_columns(line, columns);
}

class progress_reporter::state {
 public:
  state(logger& log, std::function<progress_snapshot()> snapshot, const progress_options& options)
      : log_(log),
        snapshot_(std::move(snapshot)),
        interval_(log.interactive() ? options.terminal_interval : options.log_interval),
        thread_([this](const std::stop_token& stop) { run(stop); }) {}

 private:
  static constexpr auto longest_sleep = std::chrono::milliseconds(1'000);  // between ticks of the logger

  void run(const std::stop_token& stop) {
    auto next = steady::now() + interval_;
    while (sleep(stop, next)) {
      log_.tick();
      if (interval_.count() <= 0 || steady::now() < next) continue;
      report();
      next = steady::now() + interval_;
    }
    log_.status_line({});
  }

  // Return false to stop.
  bool sleep(const std::stop_token& stop, steady::time_point next) {
    auto until = steady::now() + longest_sleep;
    if (interval_.count() > 0) until = std::min(until, next);
    std::unique_lock lock(mutex_);
    wake_.wait_until(lock, stop, until, [] { return false; });
    return !stop.stop_requested();
  }

  void report() noexcept {
    try {
      auto now = snapshot_();
      const auto rates = rates_between(before_, now);
      before_ = std::move(now);
      if (log_.interactive()) {
        // One column less, because some terminals wrap after the last column.
        log_.status_line(progress_line(rates, std::max<std::size_t>(log_.columns(), 2) - 1));
      } else {
        for (const auto& one : rates) log_.log(log_level::info, one.now.pipeline, {}, format_progress(one));
      }
    } catch (...) {  // the snapshot threw, or out of memory: retry at the next interval
    }
  }

  logger& log_;
  const std::function<progress_snapshot()> snapshot_;
  const std::chrono::milliseconds interval_;
  progress_snapshot before_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // last member: the thread uses all others
};

progress_reporter::progress_reporter(logger& log, std::function<progress_snapshot()> snapshot,
                                     const progress_options& options)
    : state_(std::make_unique<state>(log, std::move(snapshot), options)) {}
progress_reporter::~progress_reporter() = default;

}  // namespace pl::telemetry
