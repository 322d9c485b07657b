// SPDX-License-Identifier: Apache-2.0
// Which writer of a sink receives which stream. The choice depends on nothing else than the name, so that a stream keeps
// its writer also after a restart: a writer may have a file of its own, in which it recognises rows that were written before.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace pl::engine {

// Return the sum of the digits of a number in the given base, modulo the base (for 2, the Thue-Morse sequence). Each run of
// consecutive numbers has all remainders nearly equally often, and so has each second, fourth, ... number.
inline std::size_t digit_sum(std::uint64_t number, std::size_t base) {
  std::size_t sum = 0;
  for (; number != 0 && base > 1; number /= base) sum += number % base;
  return sum % base;
}

// Divide the streams evenly: the partitions of a topic ("topic/7"), and those of them that a host or a lane reads, if other
// hosts read each second one. A hash of the whole name would often give most of the partitions to one writer.
inline std::size_t writer_of(std::string_view stream, std::size_t writers) {
  const auto hash = std::hash<std::string_view>();
  const auto slash = stream.rfind('/');
  if (slash == std::string_view::npos) return hash(stream) % writers;
  const auto digits = stream.substr(slash + 1);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc{} || end != digits.data() + digits.size()) return hash(stream) % writers;
  return (hash(stream.substr(0, slash)) % writers + digit_sum(number, writers)) % writers;
}

}  // namespace pl::engine
