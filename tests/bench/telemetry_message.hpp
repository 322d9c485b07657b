// SPDX-License-Identifier: Apache-2.0
// The message that all benchmarks use, of about 125 bytes. common.py makes the same one for a topic.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace bench {

inline constexpr std::int64_t first_time_ms = 1'763'000'000'000;
inline constexpr unsigned devices = 90;

[[nodiscard]] inline double temperature(std::uint64_t n) { return 20 + static_cast<double>(n % 400) / 16; }
[[nodiscard]] inline double humidity(std::uint64_t n) { return 40 + static_cast<double>(n % 32) / 8; }
[[nodiscard]] inline std::string user(std::uint64_t n) { return "user-" + std::to_string(n % devices / 3); }
[[nodiscard]] inline std::string device(std::uint64_t n) { return "device-" + std::to_string(n % devices); }

[[nodiscard]] inline std::string message(std::uint64_t n) {
  char numbers[96];
  std::snprintf(numbers, sizeof numbers, R"("timestamp":%lld,"temperature":%g,"humidity":%g})",
                static_cast<long long>(first_time_ms + static_cast<std::int64_t>(n)), temperature(n), humidity(n));
  return R"({"user_id":")" + user(n) + R"(","device_id":")" + device(n) + R"(",)" + numbers;
}

}  // namespace bench
