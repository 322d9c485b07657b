// SPDX-License-Identifier: Apache-2.0
// Makes the readings of the simulated devices, with a configurable percentage of faults and anomalies.
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
  std::int64_t silent_after_us = 0;                                           // after begin(); 0: never
  std::string run;            // part of each message: distinguishes this run's rows from all others
  std::string device_prefix;  // prefix of the device ids
  std::uint64_t seed = 1;
};

enum class breakage : std::uint8_t { none, cut_short, no_json, text_number, bad_time };

struct reading {
  std::uint32_t device = 0;
  std::int64_t time_us = 0;   // time of the measurement; the message contains it in milliseconds
  std::int32_t centi = 0;     // temperature in hundredths of a degree
  std::uint32_t episode = 0;  // number of the episode (a series of readings above the threshold), from 1; 0: none
  bool ends_episode = false;  // the first reading below the threshold after an episode
  breakage broken = breakage::none;
  std::uint8_t copies = 1;  // how often to send the message
};

// The simulated devices. Their readings depend only on the seed and the order of calls. Not thread-safe.
class fleet {
 public:
  explicit fleet(const fleet_options& options);

  [[nodiscard]] std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(devices_.size()); }
  [[nodiscard]] const std::string& topic(std::uint32_t device) const { return devices_[device].topic; }
  [[nodiscard]] const std::string& id(std::uint32_t device) const { return devices_[device].id; }
  [[nodiscard]] std::uint32_t silent_devices() const noexcept { return silent_; }

  // Set the start of the run. silent_after_us counts from it.
  void begin(std::int64_t now_us) noexcept {
    silent_from_us_ = options_.silent_after_us == 0 ? 0 : now_us + options_.silent_after_us;
  }
  // Make the next reading of a device; std::nullopt once the device has gone silent.
  std::optional<reading> measure(std::uint32_t device, std::int64_t now_us);
  // Return whether to hold back the reading just made and send it after the device's next one.
  bool is_held_back() { return random_.happens(options_.reorder); }

  // Append the message. sent_us: the scheduled time of sending.
  void append_payload(std::string& out, const reading& r, std::uint64_t seq, std::int64_t sent_us) const;

 private:
  struct simulated {
    std::string user, id, topic;
    bool goes_silent = false;
    std::uint32_t hot_left = 0, episode = 0;
    bool may_begin = true;  // false for one reading after an episode, so that the episode ends
  };
  void heat(simulated& d, reading& r);

  fleet_options options_;
  random_numbers random_;
  std::vector<simulated> devices_;
  std::uint32_t silent_ = 0, episodes_ = 0;
  double begin_percent_ = 0;
  std::int64_t silent_from_us_ = 0;
};

// Return the number of the message of this run that `text` contains, even if the message is quoted or cut short in it;
// std::nullopt if there is none.
std::optional<std::uint64_t> find_seq(std::string_view text, std::string_view run);

}  // namespace pl::load
