// SPDX-License-Identifier: Apache-2.0
// Any bytes as a file of dead letters, and as what a letter holds. No file brings the reader down, a torn last line is left
// alone, and a letter that was written is read back byte for byte.
#include "host/letters.hpp"

#include <pipeline/json.hpp>
#include <pipeline/json_members.hpp>
#include <pipeline/testing/fake_host.hpp>

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
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

// A file without a name.
class file {
 public:
  file() : fd_(::memfd_create("letters", MFD_CLOEXEC)), path_("/proc/self/fd/" + std::to_string(fd_)) {
    must(fd_ >= 0, "there is memory for a file");
  }
  void hold(std::string_view content) const {
    must(::ftruncate(fd_, 0) == 0 && ::pwrite(fd_, content.data(), content.size(), 0) == ssize_t(content.size()),
         "the file is written");
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    std::vector<std::string> all;
    must(each_line(path_, [&](std::string_view line) { all.emplace_back(line); }).ok(), "the file is read");
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
  must(is_harmless(shown(line)), "nothing that is shown commands a terminal");
  must(!parse_time(line) || pl::is_utf8(line), "a time is a text");
  const auto l = parse_letter(line);
  if (!l) return;
  must(!l->node.empty() && !l->reason.empty(), "a letter says who rejected what, and why");
  must(!l->topic || pl::is_utf8(*l->topic), "a topic is a text");
  for (const auto* json : {&l->headers, &l->record}) must(json->empty() || pl::is_json(*json), "JSON is JSON");
  must(letter_filter{l->pipeline, l->node, l->reason, l->stream, {}}.fits(*l), "a letter fits itself");
}

void read_file(const file& f, std::string_view content) {
  f.hold(content);
  const auto lines = f.lines();
  must(lines.size() == std::size_t(std::count(content.begin(), content.end(), '\n')), "each whole line is taken");
  for (const auto& line : lines) read_line(line);
}

// ----------------------------------------------------------------------------------------------- writing and reading back ---

// Numbers and texts out of the fuzzer's bytes.
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

pl::cell optional_bytes(const std::string_view bytes, bool there) {
  return there ? pl::bytes_cell(bytes) : pl::null_cell();
}

// As it must come back: in one line, without the white space around it.
std::string json_in_line(std::string_view json) {
  std::string line;
  pl::append_json_line(line, json);
  const auto begin = line.find_first_not_of(" \t"), end = line.find_last_not_of(" \t");
  line = line.substr(begin, end - begin + 1);
  return line == "null" ? std::string() : line;
}

struct sent {
  std::string node, reason, stream, topic, key, value, headers, record;
  std::int64_t time, position;
  unsigned there;
};

sent letter_of(input in) {
  sent s;
  s.there = in.number<std::uint8_t>();
  s.time = in.number<std::int64_t>();
  s.position = in.number<std::int64_t>() & INT64_MAX;
  for (auto* text : {&s.node, &s.reason, &s.stream, &s.topic}) *text = as_text(in.bytes());
  for (auto* bytes : {&s.key, &s.value, &s.headers, &s.record}) *bytes = in.bytes();
  for (auto* json : {&s.headers, &s.record})
    if (!pl::is_utf8(*json) || !pl::is_json(*json)) *json = "[0]";
  return s;
}

std::string line_of(const sent& s) {
  static pl::testing::fake_host host;
  const auto json = [](const std::string& text, bool there) { return there ? pl::json_cell(text) : pl::null_cell(); };
  const auto row = host.make_batch({{"time", {pl::time_cell(s.time)}},
                                    {"node", {pl::text_cell(s.node)}},
                                    {"reason", {pl::text_cell(s.reason)}},
                                    {"stream", {pl::text_cell(s.stream)}},
                                    {"position", {pl::int_cell(s.position)}},
                                    {"topic", {pl::text_cell(s.topic)}},
                                    {"key", {optional_bytes(s.key, s.there & 1U)}},
                                    {"value", {optional_bytes(s.value, s.there & 2U)}},
                                    {"headers", {json(s.headers, s.there & 4U)}},
                                    {"record_time", {pl::time_cell(s.time)}},
                                    {"record", {json(s.record, s.there & 8U)}}});
  std::string line;
  pl::append_json_row(line, row.get(), 0);
  return line;
}

void check_times(const letter& l, const sent& s) {
  if (!l.time_ns) return must(l.time.starts_with("1677") || l.time.starts_with("2262"), "a time is read");
  must(*l.time_ns == s.time && l.record_time_ns == s.time, "times come back");
}

void write_and_read(const file& f, input in) {
  const auto s = letter_of(in);
  const auto line = line_of(s);
  f.hold(line + "\n" + line.substr(0, line.size() / 2));
  const auto lines = f.lines();
  must(lines == std::vector{line}, "a letter is one line, and a torn one is none");
  const auto l = parse_letter(line);
  must(l.has_value() == (!s.node.empty() && !s.reason.empty()), "what is written is read");
  if (!l) return;
  must(l->node == s.node && l->reason == s.reason && l->stream == s.stream && l->topic == s.topic, "texts come back");
  must(l->position == std::uint64_t(s.position), "positions come back");
  must(l->key == ((s.there & 1U) ? std::optional(s.key) : std::nullopt), "keys come back");
  must(l->value == ((s.there & 2U) ? std::optional(s.value) : std::nullopt), "values come back");
  must(l->headers == ((s.there & 4U) ? json_in_line(s.headers) : ""), "headers come back");
  must(l->record == ((s.there & 8U) ? json_in_line(s.record) : ""), "rows come back");
  check_times(*l, s);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const file f;
  // A copy of its own size, so that the sanitizer sees a byte read too far.
  const std::vector<char> copy(data, data + size);
  const std::string_view content(copy.data(), copy.size());
  read_file(f, content);
  write_and_read(f, input(content));
  return 0;
}
