// SPDX-License-Identifier: Apache-2.0
// Templates of record keys. Different values of the columns never make the same key: if a template has several columns,
// the characters that separate them are percent-encoded in the values.
#pragma once

#include <pipeline/batch.hpp>
#include <pipeline/result.hpp>
#include <pipeline/text_template.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace kafka {

class record_key {
 public:
  static pl::result<record_key> parse(std::string_view source);

  // Bind the columns. Return the first column that is missing from the schema, if any.
  std::optional<std::string_view> bind(const pl_schema& schema) { return template_.bind(schema); }
  // Write the key of one row to `out`, which is cleared first.
  void render(std::string& out, pl::batch_view b, pl::row_index row) const;

 private:
  pl::text_template template_;
  std::string encoded_;  // the characters that are encoded in values; empty: none
};

}  // namespace kafka
