// SPDX-License-Identifier: Apache-2.0
// Converts a row to a message: value, key, headers, time.
#pragma once

#include "options.hpp"
#include "record_key.hpp"

#include <pipeline/batch.hpp>
#include <pipeline/result.hpp>
#include <pipeline/text_template.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kafka {

// Views into the batch, or into the encoder until the next call of encode.
struct encoded_row {
  std::optional<std::string_view> value, key;  // absent: null
  std::vector<std::pair<std::string_view, std::string_view>> headers;
  std::int64_t time_ms = 0;  // 0: the time of sending
};

class encoder {
 public:
  // Adds options that cannot be parsed to `faults`, as pairs of option path and message.
  encoder(const sink_options& options, std::vector<std::pair<std::string, std::string>>& faults);

  // Look up the columns. Cheap while the schema stays the same.
  pl::result<void> bind(const pl_schema& schema);
  const encoded_row& encode(pl::batch_view batch, pl::row_index row);

 private:
  struct header {
    std::string name;
    pl::text_template value;
    std::string text;  // of the current row
  };
  [[nodiscard]] std::optional<std::string_view> value_of(pl::batch_view batch, pl::row_index row);

  value_format format_;
  std::optional<record_key> key_;
  std::vector<header> headers_;
  std::optional<std::string> time_;
  const pl_schema* schema_ = nullptr;
  std::optional<pl::column_index> value_at_, time_at_;
  std::string value_text_, key_text_;  // reused to avoid allocations
  encoded_row row_;
};

}  // namespace kafka
