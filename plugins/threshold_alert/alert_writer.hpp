// SPDX-License-Identifier: Apache-2.0
// Converts events to rows of a batch.
#pragma once

#include "event_log.hpp"
#include "in_flight.hpp"
#include "rule.hpp"

#include <pipeline/component.hpp>
#include <pipeline/context.hpp>

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace threshold_alert {

class alert_writer {
 public:
  alert_writer(const rule_set& rules, pl::context ctx);

  [[nodiscard]] const pl_schema* schema() const noexcept { return schema_; }
  // Return the kind of each column. in: the records; the kinds of their group_by columns, and of values that `equals`
  // compares, are those of the alerts.
  [[nodiscard]] std::vector<std::uint32_t> kinds(const pl::column_set& in) const;
  // Write one row for each event. A row has the position of the record of `parent` that caused the event. Without a
  // parent, rows have no positions.
  [[nodiscard]] pl::batch write(std::span<const event* const> events, std::optional<pl::batch_view> parent);
  // Write stored rows again. Columns of another group_by are omitted; missing ones are null. With a parent, row i has
  // the position of the parent's row origins[i].
  [[nodiscard]] pl::batch rewrite(std::span<const stored_row* const> rows, std::optional<pl::batch_view> parent,
                                  std::span<const std::uint32_t> origins);

 private:
  void write_row(pl::batch_builder& b, std::vector<std::span<pl::cell>>& columns, std::uint32_t row, const event& e,
                 std::string_view stream);

  const rule_set& rules_;
  pl::context ctx_;
  const pl_schema* schema_;
  std::vector<std::uint32_t> origins_;
  std::vector<pl::cell> key_;
  std::string text_;
};

}  // namespace threshold_alert
