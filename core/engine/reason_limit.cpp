// SPDX-License-Identifier: Apache-2.0
#include "engine/reason_limit.hpp"

#include <utility>

namespace pl::engine {

namespace {

// Devices may influence reasons: their number and length is limited. The reasons of a node beyond it share one limit.
constexpr std::size_t most_kinds = 1000, longest_kind = 256;

std::string key_of(std::string_view node, std::string_view kind) {
  std::string key(node);
  key += '\0';
  return key += kind;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::string kind_of_reason(std::string_view reason) {
  std::string kind;
  for (std::size_t i = 0; i < reason.size() && kind.size() < longest_kind;) {
    const char c = reason[i];
    if (is_digit(c)) {
      kind += '0';
      while (i < reason.size() && is_digit(reason[i])) ++i;
      continue;
    }
    const bool opens = (c == '\'' || c == '"') && (i == 0 || reason[i - 1] == ' ' || reason[i - 1] == '(');
    // The text may contain quotes, so the last one ends it.
    if (const auto end = opens ? reason.rfind(c) : i; end != i) {
      kind += c;
      kind += c;
      i = end + 1;
      continue;
    }
    kind += c;
    ++i;
  }
  return kind;
}

void reason_limit::set(const config::collapse_settings& to) {
  const std::scoped_lock lock(mutex_);
  settings_ = to;
}

config::collapse_settings reason_limit::settings() const {
  const std::scoped_lock lock(mutex_);
  return settings_;
}

std::string reason_limit::group_of(std::string_view node, std::string_view reason) const {
  auto kind = kind_of_reason(reason);
  const std::scoped_lock lock(mutex_);
  return used_.contains(key_of(node, kind)) ? kind : std::string();
}

reason_limit::used& reason_limit::of(std::string_view node, std::string_view reason) {
  auto key = key_of(node, kind_of_reason(reason));
  if (const auto known = used_.find(key); known != used_.end()) return known->second;
  if (used_.size() >= most_kinds) key = key_of(node, {});
  return used_[std::move(key)];
}

bool reason_limit::admit(std::string_view node, std::string_view reason, std::int64_t now_ns) {
  const std::scoped_lock lock(mutex_);
  if (settings_.originals == 0) return true;
  if (now_ns < begin_ns_ || now_ns - begin_ns_ >= settings_.per.count()) {
    used_.clear();
    begin_ns_ = now_ns;
  }
  auto& u = of(node, reason);
  if (u.originals >= settings_.originals) return false;
  ++u.originals;
  return true;
}

bool reason_limit::is_first_excess(std::string_view node, std::string_view reason) {
  const std::scoped_lock lock(mutex_);
  return !std::exchange(of(node, reason).exceeded, true);
}

}  // namespace pl::engine
