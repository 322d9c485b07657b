// SPDX-License-Identifier: Apache-2.0
#include "rule_identity.hpp"

#include "text.hpp"

#include <pipeline/hash.hpp>

#include <algorithm>

namespace threshold_alert {
namespace {

// Collects fields. Each is terminated, so that different lists of fields give different texts.
class fields {
 public:
  void add(std::string_view text) { all_.append(text).push_back('\0'); }
  void add_number(std::int64_t n) { add(std::to_string(n)); }
  void add_limit(double v) { add(number_text(v)); }
  void add_scalar(const pl::scalar& s) {
    add_number(static_cast<std::int64_t>(s.index()));
    if (const auto* t = std::get_if<std::string>(&s)) add(*t);
    if (const auto* b = std::get_if<bool>(&s)) add_number(*b ? 1 : 0);
    if (const auto* i = std::get_if<std::int64_t>(&s)) add_number(*i);
    if (const auto* d = std::get_if<double>(&s)) add_limit(*d);
  }
  [[nodiscard]] const std::string& text() const noexcept { return all_; }

 private:
  std::string all_;
};

}  // namespace

std::uint64_t fingerprint(std::string_view name) { return pl::fnv1a_64(name); }

// Durations, counts, severities and texts are not part of it: readings that were counted under it are still valid.
std::uint64_t definition_of(const rule& r) {
  fields all;
  all.add_number(static_cast<std::int64_t>(r.when));
  all.add(r.metric);
  all.add_number(r.rate ? nanoseconds_of(*r.rate) : 0);
  all.add_number(r.over);
  for (const auto& l : r.levels) {
    for (const auto v : {l.low, l.high, l.clear_low, l.clear_high}) all.add_limit(v);
    all.add_scalar(l.equals);
    all.add_number(l.missing_for);
    // Only for rules with expressions: the definitions of all others, in stored state, stay the same.
    if (l.has_computed_limits())
      for (const auto& from : {l.low_from, l.high_from, l.clear_low_from, l.clear_high_from})
        all.add_number(from ? 1 : 0);
  }
  for (const auto& text : r.expressions) all.add(text);
  return pl::fnv1a_64(all.text());
}

std::uint32_t slot_meaning(const rule& r) {
  fields all;
  all.add(r.rate ? "rate" : "silence");
  all.add(r.metric);
  return pl::fnv1a_32(all.text());
}

std::uint32_t grouping_of(const std::vector<std::string>& group_by) {
  fields all;
  for (const auto& column : group_by) all.add(column);
  return std::max(1U, pl::fnv1a_32(all.text()));
}

}  // namespace threshold_alert
