// SPDX-License-Identifier: Apache-2.0
// Events as rows of a batch.
#pragma once

#include "evaluator.hpp"
#include "rule.hpp"

#include <pipeline/context.hpp>

#include <optional>
#include <string>
#include <vector>

namespace threshold_alert {

class alert_writer {
 public:
  alert_writer(const rule_set& rules, pl::context ctx);

  [[nodiscard]] const pl_schema* schema() const noexcept { return schema_; }
  // One row for each of `events` (indexes into evaluator.events()). Rows caused by records of `parent` take over their
  // positions; without a parent they have none.
  [[nodiscard]] pl::batch write(const evaluator& from, const std::vector<std::uint32_t>& events,
                                std::optional<pl::batch_view> parent);

 private:
  void set_origins(pl::batch_builder& b, const evaluator& from, const std::vector<std::uint32_t>& events,
                   pl::batch_view parent) const;
  void write_row(pl::batch_builder& b, std::vector<std::span<pl::cell>>& columns, std::uint32_t row, const event& e,
                 std::string_view key, std::string_view stream);

  const rule_set& rules_;
  pl::context ctx_;
  const pl_schema* schema_;
  std::vector<pl::cell> key_;
  std::string text_;
};

}  // namespace threshold_alert
