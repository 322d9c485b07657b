// SPDX-License-Identifier: Apache-2.0
#include "topic.hpp"

namespace mqtt {
namespace {

void append_percent(std::string& out, char c) {
  static constexpr std::string_view hex = "0123456789ABCDEF";
  const auto u = static_cast<unsigned char>(c);
  out.push_back('%');
  out.push_back(hex[u >> 4U]);
  out.push_back(hex[u & 15U]);
}

// Brokers may close the connection on control characters and on what Unicode has set aside (MQTT 5, 1.5.4).
bool is_discouraged(std::string_view sequence) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(sequence[i]); };
  if (sequence.size() == 1) return byte(0) < 0x20 || byte(0) == 0x7F;
  if (sequence.size() == 2) return byte(0) == 0xC2 && byte(1) < 0xA0;
  const unsigned last = byte(sequence.size() - 1);
  if (sequence.size() == 3)  // U+FDD0..FDEF, U+FFFE, U+FFFF
    return (byte(0) == 0xEF && byte(1) == 0xB7 && last >= 0x90 && last <= 0xAF) ||
           (byte(0) == 0xEF && byte(1) == 0xBF && last >= 0xBE);
  return (byte(1) & 0x0FU) == 0x0FU && byte(2) == 0xBF && last >= 0xBE;  // U+nFFFE, U+nFFFF
}

bool is_reserved(char c) { return c == '/' || c == '+' || c == '#' || c == '$' || c == '%'; }

std::string quoted(std::string_view what) { return std::string("'").append(what).append("'"); }

// Which part of a value would have to be encoded, for people.
std::string first_unsafe(std::string_view value) {
  for (std::size_t i = 0; i < value.size();) {
    const auto n = pl::utf8_sequence(value, i);
    if (n == 0) return "a byte that is not valid UTF-8";
    if (is_reserved(value[i])) return quoted(value.substr(i, 1));
    if (is_discouraged(value.substr(i, n))) return "a control character";
    i += n;
  }
  return "nothing";
}

}  // namespace

std::string shown(std::string_view value) {
  constexpr std::size_t most = 60;
  std::string out = "\"";
  for (std::size_t i = 0; i < value.size();) {
    if (i >= most) return out + "...\" (" + std::to_string(value.size()) + " bytes)";
    const auto n = pl::utf8_sequence(value, i);
    if (n == 0 || is_discouraged(value.substr(i, n))) {
      out += "\\x";
      std::string hex;
      append_percent(hex, value[i]);
      out += hex.substr(1);
      ++i;
    } else {
      out += value.substr(i, n);
      i += n;
    }
  }
  return out + "\"";
}

std::optional<std::string> topic_problem(std::string_view topic) {
  if (topic.empty()) return "a topic can't be empty";
  if (topic.size() > max_topic_bytes)
    return "the topic is " + std::to_string(topic.size()) + " bytes long; MQTT allows 65,535";
  for (std::size_t i = 0; i < topic.size();) {
    const auto n = pl::utf8_sequence(topic, i);
    if (n == 0) return "the topic is not valid UTF-8";
    if (topic[i] == '+' || topic[i] == '#')
      return quoted(topic.substr(i, 1)) + " is a wildcard: it can't stand in a topic that is published to";
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
      for (const char c : sequence) append_percent(out, c);
      encoded = true;
    } else {
      out += sequence;
    }
    i += sequence.size();
  }
  return encoded;
}

pl::result<topic_template> topic_template::parse(std::string_view source, unsafe_ids policy) {
  if (!pl::is_utf8(source)) return pl::fatal("the topic is not valid UTF-8");  // names of columns are in messages
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
      problem = quoted(name) + " is empty, so the row has no topic of its own";
    else if (append_escaped(to, value) && policy_ == unsafe_ids::reject)
      problem = quoted(name) + " is " + shown(value) + ": " + first_unsafe(value) +
                " can't stand in a topic (unsafe_ids: escape would encode it)";
  });
  if (!problem && out.size() > max_topic_bytes)
    problem = "the topic would be " + std::to_string(out.size()) + " bytes long; MQTT allows 65,535";
  return problem;
}

}  // namespace mqtt
