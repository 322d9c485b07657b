// SPDX-License-Identifier: Apache-2.0
#include "body.hpp"

#include <http/request.hpp>
#include <json_common/json_scanner.hpp>

#include <algorithm>

namespace http {

namespace {

using json::json_scanner;
using json::json_value;
using pl::http::same_word;

constexpr std::string_view space = " \t\r\n";
constexpr std::uint32_t deepest = 256;

// checker validates the syntax of documents, but not their contents. It allocates nothing for a document.
class checker {
 public:
  explicit checker(std::string_view body)
      : body_(body),
        scanner_({.max_depth = deepest, .max_keys = UINT32_MAX, .unique_keys = false, .decode_keys = false}, arena_) {}

  // Return whether `document`, a part of the body, is valid JSON.
  bool document(std::string_view document) {
    begin(document);
    json_value value;
    return scanner_.value(value) && scanner_.finish();
  }

  // Append the elements of the body, which is an array. Return false on an error or if there are more than `at_most`.
  bool elements(std::size_t at_most, std::vector<std::string_view>& to) {
    begin(body_);
    const bool whole = scanner_.array([&](std::uint32_t index) {
      json_value value;
      if (index >= at_most || !scanner_.value(value)) return false;
      to.push_back(value.raw);
      return true;
    });
    return whole && scanner_.finish();
  }
  [[nodiscard]] bool is_array() {
    begin(body_);
    return scanner_.peek() == '[';
  }
  [[nodiscard]] bool failed() const noexcept { return scanner_.error() != json::scan_error::none; }

  // Return the problem with the last document, which has the number `record`.
  [[nodiscard]] split_problem problem(std::size_t record) const {
    const auto at = static_cast<std::size_t>(document_.data() - body_.data()) + scanner_.offset();
    const auto before = body_.substr(0, at);
    const auto line_begin = before.rfind('\n');
    split_problem p;
    p.why = scanner_.explain();
    p.record = record;
    p.line = 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
    p.column = 1 + at - (line_begin == std::string_view::npos ? 0 : line_begin + 1);
    return p;
  }

 private:
  void begin(std::string_view document) {
    document_ = document;
    scanner_.begin(document);
  }

  std::string_view body_, document_;
  json::text_arena arena_;  // not used: keys are not decoded
  json_scanner scanner_;
};

std::string_view without_space(std::string_view text) {
  const auto first = text.find_first_not_of(space);
  return first == std::string_view::npos ? std::string_view()
                                         : text.substr(first, text.find_last_not_of(space) - first + 1);
}

split_problem too_many(const split_limits& limits) {
  split_problem p;
  p.why = "more than " + std::to_string(limits.max_records) + " records in one request (max_records); send fewer";
  p.too_many = true;
  return p;
}

std::optional<split_problem> split_json(std::string_view body, const split_limits& limits,
                                        std::vector<std::string_view>& to) {
  checker check(body);
  if (check.is_array()) {
    if (check.elements(limits.max_records, to)) return std::nullopt;
    if (to.size() == limits.max_records && !check.failed()) return too_many(limits);
    if (limits.check) return check.problem(to.size() + 1);
    to.clear();
  } else if (limits.check && !check.document(body)) {
    return check.problem(1);
  }
  if (const auto document = without_space(body); !document.empty()) to.push_back(document);
  return std::nullopt;
}

std::optional<split_problem> split_lines(std::string_view body, const split_limits& limits,
                                         std::vector<std::string_view>& to) {
  checker check(body);
  while (!body.empty()) {
    const auto end = std::min(body.find('\n'), body.size());
    const auto line = without_space(body.substr(0, end));
    body.remove_prefix(std::min(end + 1, body.size()));
    if (line.empty()) continue;
    if (to.size() == limits.max_records) return too_many(limits);
    if (limits.check && !check.document(line)) return check.problem(to.size() + 1);
    to.push_back(line);
  }
  return std::nullopt;
}

}  // namespace

std::optional<form> form_of(std::string_view media_type) {
  const auto type = without_space(media_type.substr(0, media_type.find(';')));
  const auto is_one_of = [&](std::initializer_list<std::string_view> names) {
    return std::any_of(names.begin(), names.end(), [&](std::string_view n) { return same_word(type, n); });
  };
  if (is_one_of({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
                 "application/jsonlines"}))
    return form::ndjson;
  if (type.empty() || is_one_of({"application/json", "text/json"})) return form::json;
  if (type.size() > 5 && same_word(type.substr(type.size() - 5), "+json")) return form::json;
  if (is_one_of({"text/plain", "application/octet-stream"})) return form::raw;
  return std::nullopt;
}

std::optional<split_problem> split(std::string_view body, form as, const split_limits& limits,
                                   std::vector<std::string_view>& records) {
  records.clear();
  std::optional<split_problem> problem;
  if (as == form::raw) {
    if (body.empty())
      problem = split_problem{.why = "the body is empty"};
    else
      records.push_back(body);
  } else {
    problem = as == form::json ? split_json(body, limits, records) : split_lines(body, limits, records);
  }
  if (problem) records.clear();
  return problem;
}

}  // namespace http
