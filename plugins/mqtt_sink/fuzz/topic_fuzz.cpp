// SPDX-License-Identifier: Apache-2.0
// Fuzz target: any bytes as a topic template and as its values. A rendered topic is valid for publishing, has exactly
// the levels of its template, and differs from the topic of any other value.
//
// Input: a byte for the policy, one for the template's length, the template; then for each column a byte for the
// length (255: null, 254: a number) and the value.
#include "../topic.hpp"

#include <pipeline/testing/fake_host.hpp>

#include <mqtt_common/strings.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using columns = std::vector<std::pair<std::string, std::vector<pl::cell>>>;

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

class input {
 public:
  explicit input(std::string_view bytes) : rest_(bytes) {}
  std::size_t byte() {
    if (rest_.empty()) return 0;
    const auto b = static_cast<unsigned char>(rest_[0]);
    rest_.remove_prefix(1);
    return b;
  }
  std::string_view bytes(std::size_t n) {
    const auto part = rest_.substr(0, n);
    rest_.remove_prefix(part.size());
    return part;
  }
  pl::cell value() {
    const auto n = byte();
    if (n == 255) return pl::null_cell();
    if (n == 254) return pl::int_cell(static_cast<std::int64_t>(byte()) - 128);
    return pl::bytes_cell(bytes(n));
  }

 private:
  std::string_view rest_;
};

// Convert a parsed template back to text.
std::string written(const pl::text_template& t) {
  std::string out;
  for (const auto& piece : t.pieces()) {
    if (piece.is_column) {
      out += "{" + piece.text + "}";
      continue;
    }
    for (const char c : piece.text) out.append(c == '{' || c == '}' ? 2 : 1, c);
  }
  return out;
}

bool same(const pl::text_template& a, const pl::text_template& b) {
  return std::equal(a.pieces().begin(), a.pieces().end(), b.pieces().begin(), b.pieces().end(),
                    [](const auto& x, const auto& y) { return x.text == y.text && x.is_column == y.is_column; });
}

void check_text_template(std::string_view source) {
  const auto t = pl::text_template::parse(source);
  if (!t.ok()) return must(t.why().message.size() > 10, "an error has a message");
  const auto again = pl::text_template::parse(written(*t));
  must(again.ok() && same(*t, *again), "a template converted to text parses to the same template");
}

std::string decoded(std::string_view topic) {
  std::string out;
  for (std::size_t i = 0; i < topic.size(); ++i) {
    if (topic[i] == '%') {
      must(i + 2 < topic.size(), "an escape is complete");
      out.push_back(static_cast<char>(std::strtoul(std::string(topic.substr(i + 1, 2)).c_str(), nullptr, 16)));
      i += 2;
    } else {
      out.push_back(topic[i]);
    }
  }
  return out;
}

void check_value(std::string_view value) {
  std::string out;
  const bool encoded = mqtt::append_escaped(out, value);
  must(encoded == (out != value), "the result is whether something was encoded");
  must(out.find_first_of("/+#$") == std::string::npos, "a value stays within its level");
  must(decoded(out) == value, "different values stay different");
  std::string property;
  mqtt::append_allowed(property, value);
  must(property.size() > mqtt::max_string_bytes || !mqtt::string_problem(property), "an encoded string is allowed");
  must(property == value || mqtt::string_problem(value), "an allowed string stays as it is");
  const auto shown = mqtt::shown(value);
  must(pl::is_utf8(shown) && shown.find('\n') == std::string::npos && shown.size() < 400, "a value can be displayed");
}

// Check the levels and the beginning of a topic against its template.
void check_topic(const pl::text_template& t, const std::string& topic) {
  std::string literal;
  for (const auto& piece : t.pieces()) literal += piece.is_column ? "x" : piece.text;
  must(!mqtt::topic_problem(topic).has_value(), "a topic is valid for publishing");
  must(topic.find('\0') == std::string::npos, "no NUL in a topic");
  must(std::count(topic.begin(), topic.end(), '/') == std::count(literal.begin(), literal.end(), '/'),
       "a topic has as many levels as the template");
  must(topic.starts_with('$') == literal.starts_with('$'), "no value reaches the broker's $ topics");
}

std::string rendered(mqtt::topic_template& t, pl::testing::fake_host& host, const columns& row) {
  const auto batch = host.make_batch(row);
  must(!t.bind(batch.get().schema()).has_value(), "every column exists");
  std::string topic;
  const auto problem = t.render(topic, batch.get(), 0);
  if (!problem) return topic;
  must(problem->size() > 10 && pl::is_utf8(*problem) && problem->size() < 1000 + 256, "a problem has a message");
  return {};
}

void check_template(std::string_view source, mqtt::unsafe_ids policy, input in) {
  auto t = mqtt::topic_template::parse(source, policy);
  if (!t.ok()) return must(t.why().message.size() > 10, "an error has a message");
  pl::testing::fake_host host;
  columns row;
  for (const auto& piece : t->text().pieces()) {
    const bool known = std::any_of(row.begin(), row.end(), [&](const auto& c) { return c.first == piece.text; });
    if (piece.is_column && !known) row.push_back({piece.text, {in.value()}});
  }
  const auto topic = rendered(*t, host, row);
  for (auto& [name, cells] : row)
    if (pl::has_bytes(cells[0])) check_value(pl::bytes_of(cells[0]));
  if (topic.empty()) return;
  check_topic(t->text(), topic);
  if (row.empty() || !pl::has_bytes(row[0].second[0])) return;
  const auto other = std::string(pl::bytes_of(row[0].second[0])) + "/";
  row[0].second[0] = pl::bytes_cell(other);
  must(rendered(*t, host, row) != topic, "another value has another topic");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of the exact size, so that the sanitizer detects reads past the end.
  const std::vector<char> copy(data, data + size);
  input in(std::string_view(copy.data(), copy.size()));
  const auto policy = in.byte() % 2 == 0 ? mqtt::unsafe_ids::escape : mqtt::unsafe_ids::reject;
  const auto source = in.bytes(in.byte());
  check_text_template(source);
  check_template(source, policy, in);
  return 0;
}
