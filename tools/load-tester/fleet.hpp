// SPDX-License-Identifier: Apache-2.0
// What the simulated devices say: readings, with faults and anomalies by percentage.
#pragma once

#include "random.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl::load {

struct fleet_options {
  std::uint32_t users = 1, devices_per_user = 1;
  double duplicates = 0, reorder = 0, broken = 0, silent = 0, anomalies = 0;  // percent
  double threshold = 80, clear = 75;                                          // of the alert rule
  std::int64_t silent_after_us = 0;                                           // from begin(); 0: never
  std::string run;            // part of each message: tells this run's rows from all others
  std::string device_prefix;  // what device ids begin with
  std::uint64_t seed = 1;
};

enum class breakage : std::uint8_t { none, cut_short, no_json, text_number, bad_time };

struct reading {
  std::uint32_t device = 0;
  std::int64_t time_us = 0;   // when it was measured: what the message says, to the millisecond
  std::int32_t centi = 0;     // hundredths of a degree
  std::uint32_t episode = 0;  // the series of readings over the threshold that it belongs to, from 1; 0: none
  bool ends_episode = false;  // the first one below again
  breakage broken = breakage::none;
  std::uint8_t copies = 1;  // how often it is to be sent
};

// Depends on the seed and the order of calls alone. One thread at a time.
class fleet {
 public:
  explicit fleet(const fleet_options& options);

  [[nodiscard]] std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(devices_.size()); }
  [[nodiscard]] const std::string& topic(std::uint32_t device) const { return devices_[device].topic; }
  [[nodiscard]] const std::string& id(std::uint32_t device) const { return devices_[device].id; }
  [[nodiscard]] std::uint32_t silent_devices() const noexcept { return silent_; }

  // The wall clock at the beginning, from which silence is counted.
  void begin(std::int64_t now_us) noexcept {
    silent_from_us_ = options_.silent_after_us == 0 ? 0 : now_us + options_.silent_after_us;
  }
  // The next reading of a device; nothing once it has gone silent.
  std::optional<reading> measure(std::uint32_t device, std::int64_t now_us);
  // Whether a reading just made is to wait for the device's next one and follow it.
  bool is_held_back() { return random_.happens(options_.reorder); }

  // Appends the message. `sent_us`: when it was meant to leave.
  void append_payload(std::string& out, const reading& r, std::uint64_t seq, std::int64_t sent_us) const;

 private:
  struct simulated {
    std::string user, id, topic;
    bool goes_silent = false;
    std::uint32_t hot_left = 0, episode = 0;
    bool may_begin = true;  // after an episode one reading is cool for certain, so that it ends
  };
  void heat(simulated& d, reading& r);

  fleet_options options_;
  random_numbers random_;
  std::vector<simulated> devices_;
  std::uint32_t silent_ = 0, episodes_ = 0;
  double begin_percent_ = 0;
  std::int64_t silent_from_us_ = 0;
};

// Where `text` holds the mark of a message of this run, its number; whatever way the message is quoted in it.
std::optional<std::uint64_t> find_seq(std::string_view text, std::string_view run);

}  // namespace pl::load
