// SPDX-License-Identifier: Apache-2.0
#include "limit.hpp"

#include <fmt/format.h>

namespace pl::load {
namespace {

constexpr double close_enough = 1.1;  // ratio of the lowest rate that was not sustained to the highest that was
constexpr double lowest = 1, highest = 1e7;
constexpr double sent_in_time = 0.98;  // share of the wanted rate; below it the tester or the broker is the bottleneck

}  // namespace

std::optional<limit_search::step> limit_search::next() const noexcept {
  if (ended_) return std::nullopt;
  return step{next_, confirming_};
}

void limit_search::note(bool sustained) noexcept {
  if (confirming_) return note_confirmed(sustained);
  (sustained ? sustained_ : not_sustained_) = next_;
  if (not_sustained_ == 0) {
    next_ = sustained_ * 2;
    ended_ = next_ > highest;
  } else if (sustained_ == 0) {
    next_ = not_sustained_ / 2;
    ended_ = next_ < lowest;
  } else if (not_sustained_ / sustained_ > close_enough) {
    next_ = (sustained_ + not_sustained_) / 2;
  } else {
    next_ = sustained_;
    confirming_ = true;
  }
}

// Reduce the rate in small steps, with a long trial for each: the rate sustained for a short time is already known.
void limit_search::note_confirmed(bool sustained) noexcept {
  if (sustained) found_ = next_;
  next_ /= close_enough;
  ended_ = sustained || next_ < lowest;
}

std::string why_not_sustained(const report& r, std::int64_t max_latency_us) {
  if (const auto wrong = faults(r); !wrong.empty()) return wrong.front();
  if (r.rate() < r.wanted_rate * sent_in_time) return fmt::format("only {:.0f}/s could be sent", r.rate());
  if (r.lateness.p99 > max_latency_us) return fmt::format("messages were sent {} late", time_text(r.lateness.p99));
  if (r.to_database.p99 > max_latency_us) return fmt::format("p99 to the database above {}", time_text(max_latency_us));
  return {};
}

}  // namespace pl::load
