// SPDX-License-Identifier: Apache-2.0
// Topic templates, whose values are escaped so that a value cannot reach the topic of another value.
#pragma once

#include <pipeline/result.hpp>
#include <pipeline/text_template.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace mqtt {

// What to do with a value that has characters that are not allowed in a topic level.
enum class unsafe_ids { escape, reject };

// Return why the text is not a valid topic for publishing; nullopt if it is valid.
std::optional<std::string> topic_problem(std::string_view topic);

// Append a value and percent-encode the characters that are not allowed within one topic level: / + # $ %, control
// characters, and bytes that are not valid UTF-8. Different values stay different. Return whether anything was
// encoded.
bool append_escaped(std::string& out, std::string_view value);

class topic_template {
 public:
  static pl::result<topic_template> parse(std::string_view source, unsafe_ids policy);

  // Bind the columns. Return the first column that is missing from the schema, if any.
  std::optional<std::string_view> bind(const pl_schema& schema) { return template_.bind(schema); }
  // Return the underlying template, for example for the names of its columns.
  [[nodiscard]] const pl::text_template& text() const noexcept { return template_; }

  // Write the topic of one row to `out` (cleared first), or return why the row has no topic.
  std::optional<std::string> render(std::string& out, pl::batch_view b, pl::row_index row) const;

 private:
  pl::text_template template_;
  std::vector<std::string> columns_;  // in order of appearance
  unsafe_ids policy_ = unsafe_ids::escape;
};

}  // namespace mqtt
