// SPDX-License-Identifier: Apache-2.0
#include "histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

namespace pl::load {
namespace {

// Each value below 256 has its own class; each higher power of two is divided into 128 classes.
constexpr unsigned exact_bits = 8;
constexpr std::uint64_t half = 1ULL << (exact_bits - 1);

std::size_t class_of(std::uint64_t value) noexcept {
  const auto width = static_cast<unsigned>(std::bit_width(value));
  if (width <= exact_bits) return static_cast<std::size_t>(value);
  const auto shift = width - exact_bits;
  return static_cast<std::size_t>(half * shift + (value >> shift));
}

// Return the largest value of a class.
std::int64_t end_of(std::size_t index) noexcept {
  if (index < 2 * half) return static_cast<std::int64_t>(index);
  const auto shift = index / half - 1;
  const auto top = index - half * shift;
  return static_cast<std::int64_t>(((top + 1) << shift) - 1);
}

}  // namespace

void histogram::add(std::int64_t us) {
  const auto value = std::max<std::int64_t>(us, 0);
  const auto index = class_of(static_cast<std::uint64_t>(value));
  if (index >= classes_.size()) classes_.resize(index + 1);
  ++classes_[index];
  ++count_;
  max_ = std::max(max_, value);
}

std::int64_t histogram::percentile(double percent) const {
  const auto rank = static_cast<std::uint64_t>(std::ceil(static_cast<double>(count_) * percent / 100.0));
  std::uint64_t so_far = 0;
  for (std::size_t i = 0; i < classes_.size(); ++i) {
    so_far += classes_[i];
    if (so_far >= rank && so_far > 0) return std::min(end_of(i), max_);
  }
  return max_;
}

std::uint64_t histogram::count_below(std::int64_t us) const {
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < classes_.size() && end_of(i) < us; ++i) n += classes_[i];
  return n;
}

latency summary(const histogram& of) {
  latency l{of.count(), of.percentile(50), of.percentile(95), of.percentile(99), of.max()};
  for (std::size_t i = 0; i < l.below.size(); ++i) l.below[i] = of.count_below(latency_bounds_ms[i] * 1000);
  return l;
}

}  // namespace pl::load
