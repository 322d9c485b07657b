// SPDX-License-Identifier: Apache-2.0
// Passes each document of JSONTestSuite (json_test_suite/README.md) to the scanner, the plugin and the SDK's reader.
#include "harness.hpp"

#include <pipeline/json_members.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>
#include <json_common/tests/scanning.hpp>

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

using namespace json::testing;
using namespace json_telemetry::testing;

namespace {

using documents = std::map<std::string, std::string>;  // by name

std::string repeated(std::string_view what, int times) {
  std::string all;
  for (; times > 0; --times) all += what;
  return all;
}

const documents& suite() {
  static const documents all = [] {
    documents d;
    for (const auto& entry : std::filesystem::directory_iterator(JSON_TEST_SUITE))
      d[entry.path().filename().string()] = pl::testing::read_file(entry.path());
    d["n_structure_100000_opening_arrays.json"] = std::string(100'000, '[');
    d["n_structure_open_array_object.json"] = repeated("[{\"\":", 50'000) + "\n";
    return d;
  }();
  return all;
}

// The scanner's verdicts where RFC 8259 allows both. Empty: accepted in the original text (a column may still reject
// the number). Otherwise part of the reason: text that is not valid UTF-8 cannot be stored; no encoding is guessed.
const std::map<std::string, std::string> ours = {
    {"i_number_double_huge_neg_exp.json", ""},
    {"i_number_huge_exp.json", ""},
    {"i_number_neg_int_huge_exp.json", ""},
    {"i_number_pos_double_huge_exp.json", ""},
    {"i_number_real_neg_overflow.json", ""},
    {"i_number_real_pos_overflow.json", ""},
    {"i_number_real_underflow.json", ""},
    {"i_number_too_big_neg_int.json", ""},
    {"i_number_too_big_pos_int.json", ""},
    {"i_number_very_big_negative_int.json", ""},
    {"i_object_key_lone_2nd_surrogate.json", "half of a surrogate pair"},
    {"i_string_1st_surrogate_but_2nd_missing.json", "half of a surrogate pair"},
    {"i_string_1st_valid_surrogate_2nd_invalid.json", "half of a surrogate pair"},
    {"i_string_UTF-16LE_with_BOM.json", "UTF-16"},
    {"i_string_UTF-8_invalid_sequence.json", "not valid UTF-8"},
    {"i_string_UTF8_surrogate_U+D800.json", "not valid UTF-8"},
    {"i_string_incomplete_surrogate_and_escape_valid.json", "half of a surrogate pair"},
    {"i_string_incomplete_surrogate_pair.json", "half of a surrogate pair"},
    {"i_string_incomplete_surrogates_escape_valid.json", "half of a surrogate pair"},
    {"i_string_invalid_lonely_surrogate.json", "half of a surrogate pair"},
    {"i_string_invalid_surrogate.json", "half of a surrogate pair"},
    {"i_string_invalid_utf-8.json", "not valid UTF-8"},
    {"i_string_inverted_surrogates_U+1D11E.json", "half of a surrogate pair"},
    {"i_string_iso_latin_1.json", "not valid UTF-8"},
    {"i_string_lone_second_surrogate.json", "half of a surrogate pair"},
    {"i_string_lone_utf8_continuation_byte.json", "not valid UTF-8"},
    {"i_string_not_in_unicode_range.json", "not valid UTF-8"},
    {"i_string_overlong_sequence_2_bytes.json", "not valid UTF-8"},
    {"i_string_overlong_sequence_6_bytes.json", "not valid UTF-8"},
    {"i_string_overlong_sequence_6_bytes_null.json", "not valid UTF-8"},
    {"i_string_truncated-utf-8.json", "not valid UTF-8"},
    {"i_string_utf16BE_no_BOM.json", "UTF-16"},
    {"i_string_utf16LE_no_BOM.json", "UTF-16"},
    {"i_structure_500_nested_arrays.json", "deeper than max_depth"},
    {"i_structure_UTF-8_BOM_empty_object.json", "byte order mark"}};

bool about_syntax(const std::string& reason) {
  return reason.find("not JSON") != std::string::npos || reason.starts_with("the payload is empty") ||
         reason.starts_with("the payload contains only") || reason.find("deeper than max_depth") != std::string::npos;
}
// An array is read element by element, so an element that is not a reading is reported before an error after it.
bool about_an_element(const std::string& reason) { return reason.starts_with("reading 1: "); }

}  // namespace

TEST_CASE("JSONTestSuite is complete") {
  std::map<char, int> kinds;
  for (const auto& [name, document] : suite()) ++kinds[name[0]];
  CHECK(kinds == std::map<char, int>{{'i', 35}, {'n', 188}, {'y', 95}});
}

TEST_CASE("JSONTestSuite: the scanner's verdicts") {
  for (const auto& [name, document] : suite()) {
    const auto why = verdict(document);
    CAPTURE(name);
    CAPTURE(why);
    if (name[0] == 'y') CHECK(why.empty());
    if (name[0] == 'n') CHECK(why.size() > 15);
    if (name[0] != 'i') continue;
    REQUIRE(ours.contains(name));
    const auto& expected = ours.at(name);
    CHECK(why.empty() == expected.empty());
    CHECK(why.find(expected) != std::string::npos);
  }
}

TEST_CASE("JSONTestSuite: through the plugin, between good records") {
  const std::string good = R"({"user_id":"u1","device_id":"d7","timestamp":1795543200})";
  harness h;
  for (const auto& [name, document] : suite()) {
    CAPTURE(name);
    CHECK(h.read({good, document, good}).size() == 2);
    REQUIRE(h.host.rejects().size() == 1);  // none of them is telemetry
    const auto reason = h.host.rejects()[0].reason;
    CAPTURE(reason);
    CHECK(h.host.rejects()[0].position == 101);
    CHECK(pl::is_utf8(reason));
    CHECK(reason.size() < 500);
    const bool taken = name[0] == 'y' || (name[0] == 'i' && ours.at(name).empty());
    if (taken)
      CHECK_FALSE(about_syntax(reason));
    else
      CHECK((about_syntax(reason) || about_an_element(reason)));
  }
}

// The SDK's reader checks only the grammar; its callers check UTF-8 separately.
TEST_CASE("JSONTestSuite: the reader in the SDK") {
  for (const auto& [name, document] : suite()) {
    CAPTURE(name);
    const bool taken = pl::is_json(document) && pl::is_utf8(document);
    if (name[0] == 'y') CHECK(taken);
    if (name[0] == 'n') CHECK_FALSE(taken);
    if (name[0] == 'y' && document.starts_with('{')) CHECK(pl::each_json_member(document, [](auto, auto) {}));
    if (name[0] == 'y' && document.starts_with('"')) CHECK(pl::json_text(document));
  }
}
