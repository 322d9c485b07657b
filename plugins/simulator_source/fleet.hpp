// SPDX-License-Identifier: Apache-2.0
// A fleet computes records of simulated devices as a pure function of n: record n does not depend on previous calls.
// All arithmetic is on integers, so that the records are the same on every machine, byte for byte.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace simulator {

enum class time_format { iso, s, ms, us, ns };

// Fault rates in percent.
struct fault_rates {
  double anomalies = 0, silent = 0;                         // of a device's episodes
  double spikes = 0, broken = 0, duplicates = 0, late = 0;  // of the records
};

struct fleet_options {
  std::uint64_t seed = 1;
  std::uint64_t users = 1, devices_per_user = 1;
  std::uint64_t lane = 0, lanes = 1;  // this fleet consists of the devices d with d % lanes == lane
  std::int64_t start_ns = 0;          // time of record 0
  std::int64_t step_ns = 1'000'000;   // time between one record of this lane and the next
  time_format format = time_format::iso;
  fault_rates faults;
  std::uint64_t episode = 30;           // length of an anomaly or a silence, in records of a device
  std::int64_t anomaly_milli = 60'000;  // how far the temperature rises in an anomaly, in 1/1000 °C
  std::int64_t late_by_ns = 0;          // maximum delay of a late record
};

class fleet {
 public:
  explicit fleet(const fleet_options& options);

  [[nodiscard]] std::uint64_t devices() const noexcept { return devices_; }  // of this lane

  // Return whether record n is not sent, so that position n is a gap.
  [[nodiscard]] bool is_silent(std::uint64_t n) const noexcept;
  // Return the arrival time of record n, in nanoseconds since 1970.
  [[nodiscard]] std::int64_t arrival(std::uint64_t n) const noexcept;
  // Append record n as the device sends it, including faults.
  void append_value(std::string& out, std::uint64_t n);
  // Append the key of record n: users/{user_id}/devices/{device_id}.
  void append_key(std::string& out, std::uint64_t n) const;

 private:
  struct reading {
    std::uint64_t user, device;
    std::int64_t time_ns;
    std::int64_t temperature, humidity, pressure, battery;  // in 1/1000
  };
  // The purpose of a random number; each purpose has its own sequence.
  enum salt : std::uint32_t {
    of_device,
    of_slow_walk,
    of_fast_walk,
    of_noise,
    of_humidity,
    of_pressure,
    of_anomaly,
    of_silence,
    of_spike,
    of_fault,
    of_duplicate,
    of_lateness,
    salts
  };
  enum class fault : std::uint64_t {
    truncated,
    not_json,
    empty,
    bad_utf8,
    no_device,
    text_number,
    bad_time,
    nan,
    kinds
  };

  [[nodiscard]] std::uint64_t device_of(std::uint64_t n) const noexcept;
  [[nodiscard]] std::uint64_t original_of(std::uint64_t n) const noexcept;
  [[nodiscard]] bool is_duplicate(std::uint64_t n) const noexcept;
  [[nodiscard]] reading measure(std::uint64_t n) const noexcept;
  [[nodiscard]] std::int64_t anomaly(std::uint64_t device, std::uint64_t round) const noexcept;
  [[nodiscard]] std::int64_t disturbance(std::uint64_t device, std::uint64_t round) const noexcept;
  [[nodiscard]] std::int64_t lateness(std::uint64_t device, std::uint64_t round) const noexcept;
  [[nodiscard]] std::uint64_t random(salt use, std::uint64_t a, std::uint64_t b = 0) const noexcept;
  [[nodiscard]] std::int64_t walk(salt use, std::uint64_t who, std::uint64_t at, std::uint64_t period,
                                  std::int64_t amplitude) const noexcept;
  char* put_reading(char* to, const reading& r, fault kind);
  char* put_time(char* to, std::int64_t ns);
  char* put_iso(char* to, std::int64_t ms);

  const fleet_options options_;
  std::uint64_t devices_;
  std::array<std::uint64_t, salts> seeds_{};  // one per purpose
  std::uint64_t last_representable_;          // later records have the time of this one, to prevent overflow
  struct {
    std::uint64_t anomalies, silent, spikes, broken, duplicates, late;
  } threshold_;
  std::int64_t day_ = INT64_MIN;  // the day in day_text_; the date is formatted once per day
  std::array<char, 12> day_text_{};
};

}  // namespace simulator
