// SPDX-License-Identifier: Apache-2.0
// Encodes state as bytes. The encoding is compact, versioned, and independent of the machine and of the order of the
// rules. Records of earlier versions can be read.
#pragma once

#include "key_table.hpp"
#include "records.hpp"
#include "rule.hpp"

#include <pipeline/result.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace threshold_alert {

// Version 3 has the same records as version 2, in addition to pages. Plugins that read no pages refuse its records;
// otherwise they would overlook the pages, and count the devices as new.
constexpr std::uint8_t state_version = 3;

[[nodiscard]] std::string encode(const trace_record& r);
[[nodiscard]] std::string encode(const alerts_record& r);
[[nodiscard]] std::string encode(const published_record& r);
[[nodiscard]] std::string encode(const stream_record& r);
[[nodiscard]] std::string encode(const rules_record& r);
[[nodiscard]] pl::result<trace_record> decode_trace(std::string_view bytes);
[[nodiscard]] pl::result<alerts_record> decode_alerts(std::string_view bytes);
[[nodiscard]] pl::result<published_record> decode_published(std::string_view bytes);
[[nodiscard]] pl::result<stream_record> decode_stream(std::string_view bytes);
[[nodiscard]] pl::result<rules_record> decode_rules(std::string_view bytes);

// The traces of the keys of a page, which are one entry of the stored state.
struct paged_trace {
  std::string key, trace;  // encoded
  bool operator==(const paged_trace&) const = default;
};
[[nodiscard]] std::string encode_page(const rule_set& rules, std::span<key_node* const> keys);
[[nodiscard]] pl::result<std::vector<paged_trace>> decode_page(std::string_view bytes);

// Return the records of a key, for a snapshot.
[[nodiscard]] trace_record trace_of(const rule_set& rules, const key_node& n);
[[nodiscard]] alerts_record alerts_of(const rule_set& rules, const key_node& n);
// Return the part that timers change: silence, and alerts that a change of the configuration resolved. Every such rule
// has an entry, so that the entry replaces that of the last snapshot.
[[nodiscard]] trace_record timer_trace_of(const rule_set& rules, const key_node& n);
[[nodiscard]] alerts_record timer_alerts_of(const rule_set& rules, const key_node& n);
[[nodiscard]] rules_record rules_of(const rule_set& rules);

}  // namespace threshold_alert
