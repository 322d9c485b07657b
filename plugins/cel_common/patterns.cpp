// SPDX-License-Identifier: Apache-2.0
#include "cel_common/patterns.hpp"

#include "cel_common/library.hpp"
#include "cel_common/limits.hpp"

#include <re2/re2.h>

namespace pl::cel {

pattern::pattern(std::string_view text) {
  if (text.size() > limits::pattern_bytes) {
    mistake_ = "the regular expression has more than " + std::to_string(limits::pattern_bytes) + " bytes";
    return;
  }
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(limits::pattern_memory);
  compiled_ = std::make_unique<re2::RE2>(std::string(text), options);
  if (!compiled_->ok()) mistake_ = "the regular expression is not valid: " + compiled_->error();
}

pattern::~pattern() = default;

bool pattern::matches(std::string_view text) const {
  return compiled_->Match({text.data(), text.size()}, 0, text.size(), re2::RE2::UNANCHORED, nullptr, 0);
}

const pattern& pattern_cache::find(std::string_view text) {
  for (const auto& e : entries_)
    if (e.text == text) return *e.compiled;
  if (entries_.size() < limits::cached_patterns) entries_.emplace_back();
  auto& made = entries_[next_];
  next_ = (next_ + 1) % limits::cached_patterns;
  made = {std::string(text), std::make_unique<pattern>(text)};
  return *made.compiled;
}

value matches(evaluation& e, const value* args) {
  const auto text = args[0].view(), written = args[1].view();
  // Compiling costs more than comparing with the patterns of the cache.
  if (!e.spend_bytes(text.size()) || !e.spend(static_cast<std::int64_t>(written.size()))) return e.limit_error();
  if (e.patterns == nullptr) {
    const pattern compiled(written);
    return compiled.mistake().empty() ? bool_value(compiled.matches(text)) : e.fail({compiled.mistake()});
  }
  const auto& compiled = e.patterns->find(written);
  return compiled.mistake().empty() ? bool_value(compiled.matches(text)) : e.fail({compiled.mistake()});
}

}  // namespace pl::cel
