// SPDX-License-Identifier: Apache-2.0
// Fuzz the reader with any bytes as a file of dead letters, and as the fields of a dead letter. No file crashes the
// reader, a torn last line is ignored, and a dead letter is read back byte for byte as it was written.
#include "host/dead_letter.hpp"
#include "host/dead_letter_row.hpp"

#include <pipeline/json.hpp>
#include <pipeline/json_members.hpp>
#include <pipeline/testing/fake_host.hpp>
#include <pipeline/time.hpp>

#include <file_common/each_line.hpp>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace pl::host;

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated property: %s\n", what);
  std::abort();
}

// An anonymous file in memory.
class file {
 public:
  file() : fd_(::memfd_create("dead-letters", MFD_CLOEXEC)), path_("/proc/self/fd/" + std::to_string(fd_)) {
    must(fd_ >= 0, "the file is created");
  }
  void replace_content(std::string_view content) const {
    must(::ftruncate(fd_, 0) == 0 && ::pwrite(fd_, content.data(), content.size(), 0) == ssize_t(content.size()),
         "the file is written");
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    std::vector<std::string> all;
    must(pl::files::each_line(path_, [&](std::string_view line) { all.emplace_back(line); }).ok(), "the file is read");
    return all;
  }

 private:
  int fd_;
  std::string path_;
};

// ------------------------------------------------------------------------------------------------------------- reading ---

bool is_harmless(std::string_view text) {
  return pl::is_utf8(text) && std::none_of(text.begin(), text.end(),
                                           [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

void read_line(std::string_view line) {
  must(is_harmless(shown(line)), "shown text contains no control characters");
  must(!pl::parse_rfc3339(line) || pl::is_utf8(line), "a time is valid UTF-8");
  const auto l = parse_dead_letter(line);
  if (!l) return;
  must(!l->node.empty() && !l->reason.empty(), "a dead letter has a node and a reason");
  must(!l->topic || pl::is_utf8(*l->topic), "a topic is valid UTF-8");
  for (const auto* json : {&l->headers, &l->record})
    must(json->empty() || pl::is_json(*json), "headers and rows are JSON");
  if (const auto row = row_of(*l)) must(!row_identity(*l, *row).empty(), "a row has an identity");
  must(parse_dead_letter(with_new_reason(std::string(line), std::string(line))).has_value(),
       "a dead letter with a new reason is a dead letter");
  must(dead_letter_filter{l->pipeline, l->node, l->reason, l->stream, {}}.fits(*l), "a dead letter matches itself");
}

void read_file(const file& f, std::string_view content) {
  f.replace_content(content);
  const auto lines = f.lines();
  must(lines.size() == std::size_t(std::count(content.begin(), content.end(), '\n')), "each complete line is read");
  for (const auto& line : lines) read_line(line);
}

// ----------------------------------------------------------------------------------------------- writing and reading back ---

// Extracts numbers and texts from the fuzzer's bytes.
class input {
 public:
  explicit input(std::string_view bytes) : rest_(bytes) {}
  template <class T>
  T number() {
    T n{};
    const auto part = rest_.substr(0, sizeof n);
    if (!part.empty()) std::memcpy(&n, part.data(), part.size());
    rest_.remove_prefix(part.size());
    return n;
  }
  std::string_view bytes() {
    const std::size_t n = number<std::uint8_t>();
    const auto part = rest_.substr(0, n);
    rest_.remove_prefix(part.size());
    return part;
  }

 private:
  std::string_view rest_;
};

std::string as_text(std::string_view bytes) { return pl::is_utf8(bytes) ? std::string(bytes) : pl::base64(bytes); }

pl::cell optional_bytes(const std::string_view bytes, bool present) {
  return present ? pl::bytes_cell(bytes) : pl::null_cell();
}

// Return the JSON as it must be read back: on one line, without surrounding white space.
std::string json_in_line(std::string_view json) {
  std::string line;
  pl::append_json_line(line, json);
  const auto begin = line.find_first_not_of(" \t"), end = line.find_last_not_of(" \t");
  line = line.substr(begin, end - begin + 1);
  return line == "null" ? std::string() : line;
}

// The fields of a dead letter that is written. `present` has a bit for each of key, value, headers and record.
struct dead_letter_fields {
  std::string node, reason, stream, topic, key, value, headers, record;
  std::int64_t time, position;
  unsigned present;
};

dead_letter_fields fields_from(input in) {
  dead_letter_fields s;
  s.present = in.number<std::uint8_t>();
  s.time = in.number<std::int64_t>();
  s.position = in.number<std::int64_t>() & INT64_MAX;
  for (auto* text : {&s.node, &s.reason, &s.stream, &s.topic}) *text = as_text(in.bytes());
  for (auto* bytes : {&s.key, &s.value, &s.headers, &s.record}) *bytes = in.bytes();
  for (auto* json : {&s.headers, &s.record})
    if (!pl::is_utf8(*json) || !pl::is_json(*json)) *json = "[0]";
  return s;
}

std::string line_of(const dead_letter_fields& s) {
  static pl::testing::fake_host host;
  const auto json = [](const std::string& text, bool present) {
    return present ? pl::json_cell(text) : pl::null_cell();
  };
  const auto row = host.make_batch({{"time", {pl::time_cell(s.time)}},
                                    {"node", {pl::text_cell(s.node)}},
                                    {"reason", {pl::text_cell(s.reason)}},
                                    {"stream", {pl::text_cell(s.stream)}},
                                    {"position", {pl::int_cell(s.position)}},
                                    {"topic", {pl::text_cell(s.topic)}},
                                    {"key", {optional_bytes(s.key, s.present & 1U)}},
                                    {"value", {optional_bytes(s.value, s.present & 2U)}},
                                    {"headers", {json(s.headers, s.present & 4U)}},
                                    {"record_time", {pl::time_cell(s.time)}},
                                    {"record", {json(s.record, s.present & 8U)}}});
  std::string line;
  pl::append_json_row(line, row.get(), 0);
  return line;
}

// parse_rfc3339 may reject the times at the limits of 64-bit nanoseconds, in 1677 and 2262.
void check_times(const dead_letter& l, const dead_letter_fields& s) {
  if (!l.time_ns) return must(l.time.starts_with("1677") || l.time.starts_with("2262"), "times are read");
  must(*l.time_ns == s.time && l.record_time_ns == s.time, "times are read as written");
}

// A row of fuzzed bytes is read back cell by cell.
void write_and_read_row(const dead_letter_fields& s) {
  static pl::testing::fake_host host;
  const auto b = host.make_batch({{"a", {pl::bytes_cell(s.key)}},
                                  {"b", {pl::text_cell(s.reason)}},
                                  {"c", {pl::json_cell(s.headers)}},
                                  {"d", {pl::int_cell(s.time)}},
                                  {"$kinds", {pl::null_cell()}}});
  dead_letter l;
  pl::engine::append_stored_row(l.record, b.get(), 0, [](pl::column_index) { return false; });
  const auto row = row_of(l);
  must(row && row->size() == 5, "a row is read");
  must((*row)[0].bytes == s.key && (*row)[1].bytes == s.reason && (*row)[3].number == s.time,
       "cells are read as written");
  must((*row)[2].bytes == json_in_line(s.headers) || (*row)[2].bytes == s.headers || json_in_line(s.headers).empty(),
       "JSON is read as written");
}

void write_and_read(const file& f, input in) {
  const auto s = fields_from(in);
  write_and_read_row(s);
  const auto line = line_of(s);
  f.replace_content(line + "\n" + line.substr(0, line.size() / 2));
  const auto lines = f.lines();
  must(lines == std::vector{line}, "a dead letter is one line, and a torn line is ignored");
  const auto l = parse_dead_letter(line);
  must(l.has_value() == (!s.node.empty() && !s.reason.empty()),
       "exactly the lines with a node and a reason are dead letters");
  if (!l) return;
  must(l->node == s.node && l->reason == s.reason && l->stream == s.stream && l->topic == s.topic,
       "texts are read as written");
  must(l->position == std::uint64_t(s.position), "positions are read as written");
  must(l->key == ((s.present & 1U) ? std::optional(s.key) : std::nullopt), "keys are read as written");
  must(l->value == ((s.present & 2U) ? std::optional(s.value) : std::nullopt), "values are read as written");
  must(l->headers == ((s.present & 4U) ? json_in_line(s.headers) : ""), "headers are read as written");
  must(l->record == ((s.present & 8U) ? json_in_line(s.record) : ""), "rows are read as written");
  check_times(*l, s);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const file f;
  // Copy the input into a buffer of exactly its size, so that the sanitizer detects an out-of-bounds read.
  const std::vector<char> copy(data, data + size);
  const std::string_view content(copy.data(), copy.size());
  read_file(f, content);
  write_and_read(f, input(content));
  return 0;
}
