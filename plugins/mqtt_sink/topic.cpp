// SPDX-License-Identifier: Apache-2.0
#include "topic.hpp"

#include <pipeline/text.hpp>

#include <mqtt_common/strings.hpp>

namespace mqtt {
namespace {

bool is_reserved(char c) { return c == '/' || c == '+' || c == '#' || c == '$' || c == '%'; }

std::string in_quotes(std::string_view what) { return std::string("'").append(what).append("'"); }

// Describe the first part of a value that would have to be encoded.
std::string first_unsafe(std::string_view value) {
  for (std::size_t i = 0; i < value.size();) {
    const auto n = pl::utf8_sequence(value, i);
    if (n == 0) return "a byte that is not valid UTF-8";
    if (is_reserved(value[i])) return in_quotes(value.substr(i, 1));
    if (is_discouraged(value.substr(i, n))) return "a control character";
    i += n;
  }
  return "nothing";
}

}  // namespace

std::optional<std::string> topic_problem(std::string_view topic) {
  if (topic.empty()) return "a topic must not be empty";
  if (topic.size() > max_string_bytes)
    return "the topic is " + std::to_string(topic.size()) + " bytes long; MQTT allows 65,535";
  for (std::size_t i = 0; i < topic.size();) {
    const auto n = pl::utf8_sequence(topic, i);
    if (n == 0) return "the topic is not valid UTF-8";
    if (topic[i] == '+' || topic[i] == '#')
      return in_quotes(topic.substr(i, 1)) + " is a wildcard, which is not allowed in a topic for publishing";
    if (is_discouraged(topic.substr(i, n))) return "the topic has a control character";
    i += n;
  }
  return std::nullopt;
}

bool append_escaped(std::string& out, std::string_view value) {
  bool encoded = false;
  for (std::size_t i = 0; i < value.size();) {
    const auto n = pl::utf8_sequence(value, i);
    const auto sequence = value.substr(i, n == 0 ? 1 : n);
    if (n == 0 || is_reserved(value[i]) || is_discouraged(sequence)) {
      for (const char c : sequence) pl::append_percent(out, c);
      encoded = true;
    } else {
      out += sequence;
    }
    i += sequence.size();
  }
  return encoded;
}

pl::result<topic_template> topic_template::parse(std::string_view source, unsafe_ids policy) {
  if (!pl::is_utf8(source)) return pl::fatal("the topic is not valid UTF-8");  // column names appear in messages
  topic_template t;
  t.policy_ = policy;
  auto parsed = pl::text_template::parse(source);
  if (!parsed.ok()) return parsed.why();
  t.template_ = std::move(*parsed);
  std::string literal;
  for (const auto& piece : t.template_.pieces()) {
    if (piece.is_column) t.columns_.push_back(piece.text);
    literal += piece.is_column ? "x" : piece.text;
  }
  if (auto problem = topic_problem(literal)) return pl::fatal(*problem);
  return t;
}

std::optional<std::string> topic_template::render(std::string& out, pl::batch_view b, pl::row_index row) const {
  out.clear();
  std::size_t column = 0;
  std::optional<std::string> problem;
  template_.render(out, b, row, [&](std::string& to, std::string_view value) {
    const auto& name = columns_[column++];
    if (problem) return;
    if (value.empty())
      problem = in_quotes(name) + " is empty, so the row has no topic";
    else if (append_escaped(to, value) && policy_ == unsafe_ids::reject)
      problem = in_quotes(name) + " is " + shown(value) + ": " + first_unsafe(value) +
                " is not allowed in a topic level (unsafe_ids: escape would encode it)";
  });
  if (!problem && out.size() > max_string_bytes)
    problem = "the topic would be " + std::to_string(out.size()) + " bytes long; MQTT allows 65,535";
  return problem;
}

}  // namespace mqtt
