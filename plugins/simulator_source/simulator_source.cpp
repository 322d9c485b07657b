// SPDX-License-Identifier: Apache-2.0
// simulator_source generates records of simulated devices, for tests, demonstrations and benchmarks without a server.
#include "fleet.hpp"

#include <pipeline/plugin.hpp>
#include <pipeline/time.hpp>

#include <cmath>
#include <thread>

namespace simulator {
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

constexpr std::array<std::pair<std::string_view, time_format>, 5> choices(time_format) {
  return {{{"iso", time_format::iso},
           {"s", time_format::s},
           {"ms", time_format::ms},
           {"us", time_format::us},
           {"ns", time_format::ns}}};
}

struct fault_options {
  double anomalies = 0, silent = 0, spikes = 0, broken = 0, duplicates = 0, late = 0;
  std::uint64_t episode = 30;
  double anomaly_by = 60;
  std::chrono::nanoseconds late_by = 10min;

  static pl::option_table<fault_options> table() {
    return {
        pl::option(&fault_options::anomalies, "anomalies",
                   "Percentage of a device's episodes in which its temperature rises by anomaly_by and falls again.")
            .range(0, 100),
        pl::option(&fault_options::anomaly_by, "anomaly_by", "Rise of the temperature in an anomaly, in °C.")
            .range(-1000, 1000),
        pl::option(&fault_options::silent, "silent", "Percentage of a device's episodes in which it sends nothing.")
            .range(0, 100),
        pl::option(&fault_options::episode, "episode", "Length of an anomaly or a silence, in records of that device.")
            .range(1, 1'000'000),
        pl::option(&fault_options::spikes, "spikes", "Percentage of records whose temperature is off by 30 to 40 °C.")
            .range(0, 100),
        pl::option(&fault_options::broken, "broken",
                   "Percentage of records that cannot be parsed: truncated, not JSON, empty, invalid UTF-8, without "
                   "device_id, with text or NaN as temperature, or with an invalid time.")
            .range(0, 100),
        pl::option(&fault_options::duplicates, "duplicates",
                   "Percentage of records that repeat the device's previous record, byte for byte.")
            .range(0, 100),
        pl::option(&fault_options::late, "late", "Percentage of records with a time up to late_by in the past.")
            .range(0, 100),
        pl::option(&fault_options::late_by, "late_by", "Maximum delay of a late record.").range(0.000001, 31'536'000)};
  }
};

struct options {
  std::uint64_t users = 10, devices_per_user = 3;
  double rate = 100;
  std::uint64_t count = 0;
  std::int64_t seed = 1;
  std::string start = "now";
  std::optional<std::chrono::nanoseconds> step;
  time_format format = time_format::iso;
  std::string topic = "telemetry";
  fault_options faults;

  static pl::option_table<options> table() {
    return {
        pl::option(&options::users, "users", "Number of users.").range(1, 1'000'000),
        pl::option(&options::devices_per_user, "devices_per_user", "Number of devices per user.").range(1, 1'000'000),
        pl::option(&options::rate, "rate", "Records per second over all devices and lanes. 0: as fast as possible.")
            .range(0, 1e9),
        pl::option(&options::count, "count", "Stop after this many records, over all lanes. 0: never.")
            .range(0, 1e12)
            .example("1000000"),
        pl::option(&options::seed, "seed",
                   "Seed of the random numbers. The same seed, start and step result in the same records, byte for "
                   "byte, on every machine."),
        pl::option(&options::start, "start",
                   "Time of the first record, in UTC as RFC 3339, or now. Set a fixed time for an exact replay.")
            .example("\"2026-01-01T00:00:00Z\""),
        pl::option(&options::step, "step",
                   "Difference between the times of two consecutive records, over all devices. Default: 1/rate, or 1ms "
                   "with rate 0.")
            .range(0.000000001, 86'400)
            .example("10ms"),
        pl::option(&options::format, "time_format",
                   "Format of the time in the record: iso (text, with milliseconds), or a number of s, ms, us or ns "
                   "since 1970."),
        pl::option(&options::topic, "topic", "Value of the column `topic`."),
        pl::option(&options::faults, "faults", "Faults to simulate, and their frequency. Default: no faults.")
            .example("{anomalies: 2, broken: 0.5, late: 1}")};
  }
};

namespace {

// Parse a time such as "2026-01-01T00:00:00Z", with up to nine decimals of a second.
std::optional<std::int64_t> parse_utc(std::string_view text) {
  const auto time = pl::read_rfc3339(text);
  if (!time || time->fraction.size() > 9 || !text.ends_with('Z')) return std::nullopt;
  return pl::parse_rfc3339(text);
}

std::int64_t whole_nanoseconds(double ns) { return std::max<std::int64_t>(1, std::llround(ns)); }

}  // namespace

class simulator_source final : public pl::source, public pl::columns_aware {
 public:
  using options = simulator::options;

  static pl::description describe() {
    return {.name = "simulator_source",
            .doc =
                "Generates telemetry of simulated devices, with realistic values and configurable faults.\n"
                "Needs no server. Record n is a function of the seed and n, so the source can be replayed from any "
                "position. The columns are those of kafka_source: value (JSON), key "
                "(users/{user_id}/devices/{device_id}), topic, time.",
            .example =
                "plugin: simulator_source\nusers: 10\ndevices_per_user: 9\nrate: 1000\nfaults: {anomalies: 2, broken: "
                "0.5}\n",
            .abilities = PL_REPLAYABLE};
  }

  simulator_source(options o, pl::context ctx)
      : options_(std::move(o)), ctx_(ctx), stream_("sim/" + std::to_string(ctx.lane())) {
    const auto devices = options_.users * options_.devices_per_user;
    if (devices > 100'000'000)
      throw pl::invalid_options("devices_per_user",
                                std::to_string(devices) + " devices are too many; at most 100,000,000");
    if (devices < ctx.lanes())
      throw pl::invalid_options("users", "there are " + std::to_string(ctx.lanes()) + " lanes, but only " +
                                             std::to_string(devices) +
                                             " devices; lower `lanes`, or raise `users` or `devices_per_user`");
    if (options_.start != "now" && !parse_utc(options_.start))
      throw pl::invalid_options(
          "start", "'" + options_.start + "' is not a valid time; write now, or UTC like \"2026-01-01T00:00:00Z\"");
    plan_lane(devices);
    schema_ = ctx.schema({"value", "key", "topic", "time"});
  }

  pl::result<const pl_schema*> columns(const pl_schema*, std::uint32_t) override { return schema_; }
  pl::result<pl::column_set> typed_columns(const pl::column_set&, std::uint32_t) override {
    return pl::column_set{schema_, {PL_BYTES, PL_BYTES, PL_TEXT, PL_TIME_NS}};
  }

  pl::result<void> start() override {
    auto next = ctx_.assigned(stream_, 0);
    if (!next.ok()) return next.why();
    next_ = *next;
    // Record next_ is due now, also after a restart: no records are generated for the time in between.
    first_due_ = next_;
    started_ = clock::now();
    fleet_options_.start_ns = options_.start == "now" ? now_minus(next_) : *parse_utc(options_.start);
    fleet_.emplace(fleet_options_);
    return {};
  }

  pl::result<pl::batch> poll(const pl::poll_request& request) override {
    if (next_ >= end_) return pl::end_of_stream();
    if (request.max_rows == 0) return pl::nothing_yet();
    auto due = due_until();
    if (due <= next_) {
      std::this_thread::sleep_for(std::min(request.timeout, until_due(next_)));
      due = due_until();
      if (due <= next_) return pl::nothing_yet();
    }
    return make_batch(due, request);
  }

 private:
  // Compute the devices of this lane, and its share of rate, count and time.
  void plan_lane(std::uint64_t devices) {
    auto& f = fleet_options_;
    f.seed = static_cast<std::uint64_t>(options_.seed);
    f.users = options_.users;
    f.devices_per_user = options_.devices_per_user;
    f.lane = ctx_.lane();
    f.lanes = std::max(1U, ctx_.lanes());
    f.format = options_.format;
    const auto& faults = options_.faults;
    f.faults = {faults.anomalies, faults.silent, faults.spikes, faults.broken, faults.duplicates, faults.late};
    f.episode = faults.episode;
    f.anomaly_milli = std::llround(faults.anomaly_by * 1000);
    f.late_by_ns = faults.late_by.count();
    const auto share = static_cast<double>(fleet(f).devices()) / static_cast<double>(devices);
    rate_ = options_.rate * share;
    const double step = options_.step       ? static_cast<double>(options_.step->count())
                        : options_.rate > 0 ? 1e9 / options_.rate
                                            : 1e6;
    f.step_ns = whole_nanoseconds(step / share);
    if (options_.count != 0) end_ = (options_.count + f.lanes - 1 - f.lane) / f.lanes;
  }

  [[nodiscard]] std::int64_t now_minus(std::uint64_t records) const {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::nanoseconds(now).count() - static_cast<std::int64_t>(records) * fleet_options_.step_ns;
  }

  // Return the first record that is not due yet.
  [[nodiscard]] std::uint64_t due_until() const {
    if (rate_ <= 0) return end_;
    const auto seconds = std::chrono::duration<double>(clock::now() - started_).count();
    return std::min(end_, first_due_ + static_cast<std::uint64_t>(seconds * rate_) + 1);
  }
  [[nodiscard]] std::chrono::nanoseconds until_due(std::uint64_t n) const {
    const auto after = std::min(static_cast<double>(n - first_due_) / rate_, 3600.0);
    return started_ + std::chrono::nanoseconds(whole_nanoseconds(after * 1e9)) - clock::now();
  }

  pl::batch make_batch(std::uint64_t due, const pl::poll_request& request) {
    const auto first = next_;
    fill(due, request);
    const auto rows = static_cast<std::uint32_t>(rows_.size());
    auto batch = ctx_.build(schema_, rows);
    auto value = batch.make_column(0), key = batch.make_column(1), topic = batch.make_column(2),
         time = batch.make_column(3);
    auto position = batch.allocate<std::uint64_t>(rows);
    const auto topic_cell = pl::text_cell(batch.copy(options_.topic));
    const auto text = batch.copy(text_);
    std::size_t at = 0;
    for (std::uint32_t r = 0; r < rows; ++r) {
      const auto& row = rows_[r];
      value[r] = pl::bytes_cell(text.substr(at, row.value_end - at));
      key[r] = pl::bytes_cell(text.substr(row.value_end, row.key_end - row.value_end));
      topic[r] = topic_cell;
      time[r] = pl::time_cell(fleet_->arrival(row.n));
      position[r] = row.n;
      at = row.key_end;
    }
    batch.set_positions(position);
    auto range = batch.allocate<pl_range>(1);
    const auto stream_end = rate_ > 0 || options_.count != 0 ? due : PL_UNKNOWN;
    range[0] = pl::range_of(pl::borrow(batch.copy(stream_)), first, next_, stream_end);
    batch.set_ranges(range);
    return std::move(batch).finish();
  }

  // Write the next records to text_ and rows_. Each call skips only a bounded number of silent records.
  void fill(std::uint64_t due, const pl::poll_request& request) {
    text_.clear();
    rows_.clear();
    const auto look_until = next_ + std::min<std::uint64_t>(due - next_, 65'536ULL + request.max_rows);
    for (; next_ < look_until && rows_.size() < request.max_rows && (rows_.empty() || text_.size() < request.max_bytes);
         ++next_) {
      if (fleet_->is_silent(next_)) continue;
      fleet_->append_value(text_, next_);
      const auto value_end = text_.size();
      fleet_->append_key(text_, next_);
      rows_.push_back({next_, value_end, text_.size()});
    }
  }

  struct pending_row {
    std::uint64_t n;
    std::size_t value_end, key_end;  // in text_
  };

  const options options_;
  const pl::context ctx_;
  const std::string stream_;
  const pl_schema* schema_;
  fleet_options fleet_options_;
  std::optional<fleet> fleet_;
  double rate_ = 0;                 // of this lane
  std::uint64_t end_ = PL_UNKNOWN;  // of this lane
  std::uint64_t next_ = 0, first_due_ = 0;
  clock::time_point started_;
  std::string text_;
  std::vector<pending_row> rows_;
};

}  // namespace simulator

PL_EXPORT("0.1.0", simulator::simulator_source)
