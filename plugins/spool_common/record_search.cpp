// SPDX-License-Identifier: Apache-2.0
#include "record_search.hpp"

#include "checksum.hpp"
#include "segment.hpp"

#include <cstring>
#include <limits>

namespace spool {

namespace {

constexpr std::size_t sample_distance = 4096;
constexpr std::uint32_t initial = std::numeric_limits<std::uint32_t>::max();

std::uint32_t get(const char* from) {
  std::uint32_t value = 0;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace

record_search::record_search(std::string_view bytes, std::uint64_t expected, std::uint64_t below)
    : bytes_(bytes), expected_(expected), below_(below) {
  std::uint32_t at = 0;
  samples_.push_back(at);
  for (std::size_t end = sample_distance; end <= bytes.size(); end += sample_distance)
    samples_.push_back(at = crc_register::after(at, bytes.substr(end - sample_distance, sample_distance)));
}

// Return the register after bytes_[0, at), from zero.
std::uint32_t record_search::register_at(std::size_t at) const {
  const auto sample = at / sample_distance;
  return crc_register::after(samples_[sample], bytes_.substr(sample * sample_distance, at % sample_distance));
}

// Return the register after bytes_[begin, end), from zero.
std::uint32_t record_search::register_over(std::size_t begin, std::size_t end) const {
  if (end - begin <= 2 * sample_distance) return crc_register::after(0, bytes_.substr(begin, end - begin));
  return register_at(end) ^ crc_register::after_zeros(register_at(begin), end - begin);
}

// Return the number with which the bytes at this offset are a record, if it is possible there.
std::optional<std::uint64_t> record_search::number_at(std::size_t at) const {
  if (bytes_.size() - at < record_header) return std::nullopt;
  const auto length = get(bytes_.data() + at);
  const auto crc = get(bytes_.data() + at + 4);
  const auto body = at + record_header;
  if (length > bytes_.size() - body || (length == 0 && crc == 0)) return std::nullopt;
  // The register after the record's number, from the checksum backwards.
  const auto reached = crc_register::before_zeros(~crc ^ register_over(body, body + length), length);
  // A number is 8 bytes, the low half first; its high half is that of the expected number, or the next one.
  for (const auto high : {expected_ >> 32U, (expected_ >> 32U) + 1}) {
    const auto middle = crc_register::before_zeros(reached, 4) ^ static_cast<std::uint32_t>(high);
    const auto low = crc_register::before_zeros(middle, 4) ^ initial;
    const auto number = high << 32U | low;
    if (number >= expected_ && number < below_ && number - expected_ <= at / record_header + 1) return number;
  }
  return std::nullopt;
}

std::optional<record_search::found> record_search::first() const {
  for (std::size_t at = 0; at + record_header <= bytes_.size(); ++at) {
    const auto number = number_at(at);
    if (!number) continue;
    const auto end = at + record_header + get(bytes_.data() + at);
    // The numbers of arbitrary bytes are random, so one that fits by chance is refused.
    if (*number <= expected_ + 1 || end == bytes_.size() || number_at(end) == *number + 1) return found{at, *number};
  }
  return std::nullopt;
}

}  // namespace spool
