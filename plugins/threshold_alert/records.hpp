// SPDX-License-Identifier: Apache-2.0
// The records of stored state, as plain values: codec.hpp encodes them, restore.hpp applies them to keys.
//
// A key has two records, because they change at very different rates: the trace (changes with each record of the
// device) and the alerts (change with each event). Both name the grouping that the key belongs to. What was published
// after the last snapshot is a third record, until the next snapshot. A stream has two records: its own, and the rules under which it was stored. Rules are identified by fingerprint. A hash of 0 is not
// known: version 1 did not store it.
#pragma once

#include "state.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace threshold_alert {

struct trace_record {
  struct slot {
    std::uint64_t rule = 0;
    std::uint32_t meaning = 0;  // slot_meaning
    std::int64_t time = 0;
    std::uint64_t bits = 0;  // the bits of a double, or a position
    bool operator==(const slot&) const = default;
  };
  struct progress {
    std::uint64_t rule = 0, definition = 0;
    std::vector<run> runs;
    std::int64_t read_at = never;
    std::vector<std::uint64_t> values;
    bool operator==(const progress&) const = default;
  };
  std::uint32_t grouping = 0;
  std::int64_t newest = never, seen = never;
  bool seen_is_reading = false;
  std::uint8_t silences_ended = 0;
  std::uint64_t position = PL_UNKNOWN;
  std::vector<slot> slots;
  std::vector<progress> runs;
  bool operator==(const trace_record&) const = default;
};

struct alerts_record {
  struct entry {
    std::uint64_t rule = 0, definition = 0;
    alert_state state;
    bool recheck = false;
    bool silence = false;  // of a rule with missing_for
    std::string severity;  // of the open alert's level
    bool operator==(const entry&) const = default;
  };
  std::uint32_t grouping = 0;
  std::vector<entry> entries;
  bool operator==(const alerts_record&) const = default;
};

// The alerts of a key as they were published: with each event, after the last snapshot. They include the events of the
// records up to `position`.
struct published_record {
  std::uint64_t position = PL_UNKNOWN;
  alerts_record alerts;
  bool operator==(const published_record&) const = default;
};

struct stream_record {
  std::int64_t greatest = never;
  bool operator==(const stream_record&) const = default;
};

// What the notice needs that resolves the alert of a rule that is no longer configured.
struct rules_record {
  struct entry {
    std::string name, metric, labels;
    bool send_resolved = true;
    bool operator==(const entry&) const = default;
  };
  std::vector<std::string> group_by;
  std::vector<entry> rules;
  bool keeps_published = false;  // each event is stored as a published_record
  bool operator==(const rules_record&) const = default;
};

}  // namespace threshold_alert
