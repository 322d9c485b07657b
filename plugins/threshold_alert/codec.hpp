// SPDX-License-Identifier: Apache-2.0
// State as bytes, for whoever keeps it: compact, versioned, independent of the machine and of the order of the rules.
//
// A key has two records, since they change at very different rates: its trace (with each record of the device) and its
// alerts (with each event). A stream has one of its own. Rules are named by fingerprint: what belongs to a rule that is
// no longer configured is left out when read.
#pragma once

#include "evaluator.hpp"
#include "rule.hpp"
#include "state.hpp"

#include <pipeline/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace threshold_alert {

constexpr std::uint8_t state_version = 1;

struct trace_record {
  struct slot {
    std::uint64_t rule = 0;
    std::int64_t time = 0;
    std::uint64_t bits = 0;  // a double's, or a position
    bool operator==(const slot&) const = default;
  };
  struct progress {
    std::uint64_t rule = 0;
    std::vector<run> runs;
    bool operator==(const progress&) const = default;
  };
  std::int64_t newest = never;
  std::uint64_t position = PL_UNKNOWN;
  std::vector<slot> slots;
  std::vector<progress> runs;
  bool operator==(const trace_record&) const = default;
};

struct alerts_record {
  struct entry {
    std::uint64_t rule = 0;
    alert_state state;
    bool operator==(const entry&) const = default;
  };
  std::vector<entry> entries;
  bool operator==(const alerts_record&) const = default;
};

struct stream_record {
  std::int64_t greatest = never;
  bool operator==(const stream_record&) const = default;
};

[[nodiscard]] std::string encode(const trace_record& r);
[[nodiscard]] std::string encode(const alerts_record& r);
[[nodiscard]] std::string encode(const stream_record& r);
[[nodiscard]] pl::result<trace_record> decode_trace(std::string_view bytes);
[[nodiscard]] pl::result<alerts_record> decode_alerts(std::string_view bytes);
[[nodiscard]] pl::result<stream_record> decode_stream(std::string_view bytes);

[[nodiscard]] trace_record trace_of(const rule_set& rules, const key_node& n);
[[nodiscard]] alerts_record alerts_of(const rule_set& rules, const key_node& n);
// Puts both back into a fresh node; then evaluator::restored.
void restore(const rule_set& rules, const trace_record& trace, const alerts_record& alerts, key_node& n);

}  // namespace threshold_alert
