// SPDX-License-Identifier: Apache-2.0
#include "telemetry/repeat_filter.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pl::telemetry {
namespace {

constexpr int longest_pause = 8;  // multiple of the first pause

std::string key_of(const log_message& message, std::string_view text) {
  return fmt::format("{}\x1f{}\x1f{}\x1f{}", static_cast<int>(message.level), message.pipeline, message.node, text);
}

repeat_filter::note note_of(const log_message& message) {
  return {message.level, std::string(message.pipeline), std::string(message.node), std::string(message.text)};
}

std::string times(std::uint64_t count) {
  return count == 1 ? "repeated once" : fmt::format("repeated {} times", count);
}

repeat_filter::note repeat_note(const repeat_filter::note& first, std::uint64_t count) {
  repeat_filter::note repeat = first;
  repeat.text += fmt::format(" ({})", times(count));
  return repeat;
}

}  // namespace

repeat_filter::repeat_filter(const log_options& limits)
    : pause_(limits.repeat_pause), burst_(limits.burst), rate_(limits.rate) {}

bool repeat_filter::admit(const log_message& message, clock::time_point now) {
  if (message.unlimited || message.level < log_level::info) return true;
  std::string key = key_of(message, message.text);
  if (const auto found = seen_.find(key); found != seen_.end()) {
    ++found->second.count;
    return false;
  }
  // Do not record dropped messages, so that a flood of different messages cannot evict the recorded messages.
  if (over_budget(message, now)) return false;
  if (pause_.count() > 0) remember(std::move(key), message, now);
  return true;
}

void repeat_filter::remember(std::string key, const log_message& message, clock::time_point now) {
  if (seen_.size() >= max_remembered) {
    const auto oldest = std::min_element(seen_.begin(), seen_.end(),
                                         [](const auto& a, const auto& b) { return a.second.until < b.second.until; });
    if (oldest->second.count > 0) {
      evicted_.push_back(repeat_note(oldest->second.first, oldest->second.count));
      wake_at(now);
    }
    seen_.erase(oldest);
  }
  seen_.emplace(std::move(key), repeated{note_of(message), 0, pause_, now + pause_});
  wake_at(now + pause_);
}

bool repeat_filter::over_budget(const log_message& message, clock::time_point now) {
  if (burst_ <= 0) return false;
  std::string key = key_of(message, {});
  auto found = budgets_.find(key);
  if (found == budgets_.end()) {
    if (budgets_.size() >= max_remembered)
      return false;  // not expected: pipelines and nodes come from the configuration
    found = budgets_.emplace(std::move(key), budget{note_of(message), burst_, now, 0, {}}).first;
  }
  budget& left = found->second;
  const double seconds = std::chrono::duration<double>(now - left.filled).count();
  left.tokens = std::min(burst_, left.tokens + rate_ * seconds);
  left.filled = now;
  if (left.tokens >= 1) {
    left.tokens -= 1;
    return false;
  }
  if (left.dropped++ == 0) {
    left.until = now + std::max(pause_, std::chrono::milliseconds(1'000));
    wake_at(left.until);
  }
  return true;
}

void repeat_filter::wake_at(clock::time_point when) noexcept { next_due_ = std::min(next_due_, when); }

std::vector<repeat_filter::note> repeat_filter::due(clock::time_point now) {
  std::vector<note> notes = std::move(evicted_);
  evicted_.clear();
  next_due_ = clock::time_point::max();
  collect_repeats(notes, now);
  collect_drops(notes, now);
  return notes;
}

void repeat_filter::collect_repeats(std::vector<note>& notes, clock::time_point now) {
  for (auto it = seen_.begin(); it != seen_.end();) {
    repeated& entry = it->second;
    if (entry.until <= now && entry.count == 0) {
      it = seen_.erase(it);
      continue;
    }
    if (entry.until <= now) {
      notes.push_back(repeat_note(entry.first, entry.count));
      entry.count = 0;
      entry.pause = std::min(entry.pause * 2, pause_ * longest_pause);
      entry.until = now + entry.pause;
    }
    wake_at(entry.until);
    ++it;
  }
}

void repeat_filter::collect_drops(std::vector<note>& notes, clock::time_point now) {
  for (auto& [key, left] : budgets_) {
    if (left.dropped == 0) continue;
    if (left.until > now) {
      wake_at(left.until);
      continue;
    }
    notes.push_back(left.source);
    notes.back().text = fmt::format("({} more messages dropped: limit is {} per second)", left.dropped, rate_);
    left.dropped = 0;
  }
}

std::vector<repeat_filter::note> repeat_filter::rest() {
  std::vector<note> notes = std::move(evicted_);
  evicted_.clear();
  for (auto& [key, entry] : seen_) entry.until = {};
  for (auto& [key, left] : budgets_) left.until = {};
  collect_repeats(notes, clock::time_point{});
  collect_drops(notes, clock::time_point{});
  return notes;
}

}  // namespace pl::telemetry
