// SPDX-License-Identifier: Apache-2.0
// Fuzz target: any bytes as a line of a file, and as the values of rows. A written row has a key, which is the same
// each time and differs from the keys of other rows.
//
// Input: the first byte determines where the first value ends and the second begins.
#include "../line_keys.hpp"

#include <pipeline/json_members.hpp>
#include <pipeline/testing/fake_host.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

using pl::files::line_key_reader;

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated property: %s\n", what);
  std::abort();
}

// Return a row with the columns a and b, and a third column that is not part of the key.
std::string row_of(std::string_view a, std::string_view b, std::string_view other) {
  static pl::testing::fake_host host;
  const bool json = pl::is_json(other) && pl::is_utf8(other);
  const auto row = host.make_batch({{"other", {json ? pl::json_cell(other) : pl::bytes_cell(other)}},
                                    {"a", {pl::bytes_cell(a)}},
                                    {"b", {pl::bytes_cell(b)}}});
  std::string line;
  pl::append_json_row(line, row.get(), 0);
  return line;
}

void check_line(line_key_reader& reader, std::string_view line) {
  const auto key = reader.read(line);
  must(key == reader.read(" " + std::string(line) + "\r"), "white space around a row is ignored");
  if (key) must(pl::each_json_member(line, [](auto, auto) {}), "only an object is a row");
}

void check_rows(line_key_reader& reader, std::string_view bytes) {
  const auto middle = bytes.empty() ? 0 : static_cast<unsigned char>(bytes[0]) % bytes.size();
  const auto a = bytes.substr(0, middle), b = bytes.substr(middle);
  const auto key = reader.read(row_of(a, b, "x"));
  must(key.has_value(), "a row has a key");
  must(key == reader.read(row_of(a, b, bytes)), "other columns are ignored");
  must((key == reader.read(row_of(b, a, "x"))) == (a == b), "another row has another key");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static line_key_reader reader({{"a", false}, {"b", false}});
  // A copy of the exact size, so that the sanitizer detects an out-of-bounds read.
  const std::vector<char> copy(data, data + size);
  const std::string_view bytes(copy.data(), copy.size());
  check_line(reader, bytes);
  check_rows(reader, bytes);
  return 0;
}
