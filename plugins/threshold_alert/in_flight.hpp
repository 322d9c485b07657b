// SPDX-License-Identifier: Apache-2.0
// Notices of timers that are not known to be delivered. Reading records again does not reproduce them, so each is stored
// as the row that was emitted, until the host has reported its delivery. After a crash, the rows that are left are
// emitted again, whatever the configuration is then: by the first timer, or before the next event of their device.
#pragma once

#include <pipeline/batch.hpp>
#include <pipeline/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace threshold_alert {

struct stored_row {
  struct column {
    std::string name;
    std::string cell;  // packed, see append_key
  };
  std::string name;  // of its state entry
  std::string key;   // packed, under the group_by of that time
  std::uint32_t port = 0;
  // Position up to which the stream was read when a timer emitted the notice: it follows the events of the records below.
  // PL_UNKNOWN: not stored (version 1).
  std::uint64_t read_to = PL_UNKNOWN;
  std::vector<column> columns;

  // Return the text of a column; empty if there is none.
  [[nodiscard]] std::string_view text(std::string_view of) const;
  // Return the time of the event.
  [[nodiscard]] std::int64_t time() const;
};

[[nodiscard]] std::string encode_row(std::string_view key, std::uint32_t port, std::uint64_t read_to, pl::batch_view b,
                                     pl::row_index row);
[[nodiscard]] std::string encode_row(const stored_row& row);
[[nodiscard]] pl::result<stored_row> decode_row(std::string_view name, std::string_view bytes);
// Return what identifies a notice among those in flight.
[[nodiscard]] std::string row_name(pl::batch_view b, pl::row_index row);

}  // namespace threshold_alert
