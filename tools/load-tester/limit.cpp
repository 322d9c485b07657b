// SPDX-License-Identifier: Apache-2.0
#include "limit.hpp"

#include <fmt/format.h>

namespace pl::load {
namespace {

constexpr double close_enough = 1.1;  // between held and not held
constexpr double lowest = 1, highest = 1e7;
constexpr double sent_in_time = 0.98;  // of the wanted rate: less, and it is the tester or the broker that can't

}  // namespace

std::optional<limit_search::step> limit_search::next() const noexcept {
  if (ended_) return std::nullopt;
  return step{next_, confirming_};
}

void limit_search::note(bool held) noexcept {
  if (confirming_) return note_confirmed(held);
  (held ? held_ : not_held_) = next_;
  if (not_held_ == 0) {
    next_ = held_ * 2;
    ended_ = next_ > highest;
  } else if (held_ == 0) {
    next_ = not_held_ / 2;
    ended_ = next_ < lowest;
  } else if (not_held_ / held_ > close_enough) {
    next_ = (held_ + not_held_) / 2;
  } else {
    next_ = held_;
    confirming_ = true;
  }
}

// Down in small steps, each of them long: what is held for a short while has been found already.
void limit_search::note_confirmed(bool held) noexcept {
  if (held) found_ = next_;
  next_ /= close_enough;
  ended_ = held || next_ < lowest;
}

std::string why_not_held(const report& r, std::int64_t max_latency_us) {
  if (const auto wrong = faults(r); !wrong.empty()) return wrong.front();
  if (r.rate() < r.wanted_rate * sent_in_time) return fmt::format("only {:.0f}/s could be sent", r.rate());
  if (r.lateness.p99 > max_latency_us) return fmt::format("left {} late", time_text(r.lateness.p99));
  if (r.to_database.p99 > max_latency_us) return fmt::format("p99 to the database above {}", time_text(max_latency_us));
  return {};
}

}  // namespace pl::load
