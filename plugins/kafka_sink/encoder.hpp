// SPDX-License-Identifier: Apache-2.0
// What of a row goes into a message: value, key, headers, time.
#pragma once

#include "options.hpp"

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
  std::int64_t time_ms = 0;  // 0: when it is sent
};

class encoder {
 public:
  // Options that don't parse are in `faults`: (option's path, message).
  encoder(const sink_options& options, std::vector<std::pair<std::string, std::string>>& faults);

  // Looks up the columns; cheap while the schema stays the same.
  pl::result<void> bind(const pl_schema& schema);
  const encoded_row& encode(pl::batch_view batch, pl::row_index row);

 private:
  struct header {
    std::string name;
    pl::text_template value;
    std::string text;  // of the row at hand
  };
  [[nodiscard]] std::optional<std::string_view> value_of(pl::batch_view batch, pl::row_index row);

  value_format format_;
  std::optional<pl::text_template> key_;
  std::vector<header> headers_;
  std::optional<std::string> time_;
  const pl_schema* schema_ = nullptr;
  std::optional<pl::column_index> value_at_, time_at_;
  std::string value_text_, key_text_;  // kept for their memory
  encoded_row row_;
};

}  // namespace kafka
