// SPDX-License-Identifier: Apache-2.0
// Topics from templates, such that no value of a column reaches a topic that belongs to another value.
#pragma once

#include <pipeline/result.hpp>
#include <pipeline/text_template.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace mqtt {

constexpr std::size_t max_topic_bytes = 65'535;

// What happens to a value that can't stand in a topic as it is.
enum class unsafe_ids { escape, reject };

// Why text can't be a topic to publish to; nothing where it can.
std::optional<std::string> topic_problem(std::string_view topic);

// Percent-encodes what can't stand within one level of a topic: / + # $ %, control characters, and bytes that are not
// valid UTF-8. Different values stay different. Answers whether anything had to be encoded.
bool append_escaped(std::string& out, std::string_view value);

class topic_template {
 public:
  static pl::result<topic_template> parse(std::string_view source, unsafe_ids policy);

  // The first column that is missing from the schema.
  std::optional<std::string_view> bind(const pl_schema& schema) { return template_.bind(schema); }
  // Names of the columns, for messages.
  [[nodiscard]] const pl::text_template& text() const noexcept { return template_; }

  // The topic of one row, in `out` (cleared first); or why it has none.
  std::optional<std::string> render(std::string& out, pl::batch_view b, pl::row_index row) const;

 private:
  pl::text_template template_;
  std::vector<std::string> columns_;  // in order of appearance
  unsafe_ids policy_ = unsafe_ids::escape;
};

// A value as it is shown in a message: quoted, short, nothing that a terminal would act on.
std::string shown(std::string_view value);

}  // namespace mqtt
