// SPDX-License-Identifier: Apache-2.0
// Fuzz target: any bytes as a payload lead to rows or to a reason, never to a crash. The output is valid, and the
// scanner agrees with RapidJSON.
#include "../record_reader.hpp"

#include <pipeline/json.hpp>
#include <pipeline/json_members.hpp>
#include <pipeline/testing/fake_host.hpp>

#include <json_common/tests/scanning.hpp>

#include <cstdio>
#include <cstdlib>

using namespace json_telemetry;
using namespace json::testing;

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated property: %s\n", what);
  std::abort();
}

options strict_options() { return {}; }
options generous_options() {
  options o;
  o.coerce = coercion::lenient;
  o.invalid = on_invalid::extra;
  o.duplicate_keys = on_duplicate_key::last;
  o.nul = on_nul::strip;
  o.time.missing = on_missing_time::message_time;
  o.time_window.past = o.time_window.future = {};
  o.readings = {"readings", "a.b"};
  column_options whole, element, word, flag, count;
  whole.name = "whole";
  whole.type = column_type::json;
  whole.from = {"metrics", "x"};
  element.name = "element";
  element.from = {"a[0]", "a[1][0]", "a[2].b"};
  word.name = "word";
  word.type = column_type::text;
  flag.name = "flag";
  flag.type = column_type::boolean;
  flag.unit = unit_options{{"unit", "metrics.unit"}, {"C"}};
  count.name = "count";
  count.type = column_type::integer;
  o.columns = {whole, element, word, flag, count};
  o.ids_from.topic = "{user_id}/{device_id}";
  return o;
}

void check_cell(const pl::cell& c) {
  if (c.kind == PL_TEXT) must(pl::is_utf8(pl::bytes_of(c)), "a text is valid UTF-8");
  if (c.kind == PL_JSON) must(verdict(pl::bytes_of(c)).empty(), "JSON that comes out is valid");
  if (c.kind == PL_F64) must(c.as.f - c.as.f == 0, "a float is finite");
  if (pl::has_bytes(c) && c.kind == PL_TEXT)
    must(pl::bytes_of(c).find('\0') == std::string_view::npos, "no NUL in a text");
}

void read(const plan& p, record_reader& reader, std::string_view payload, pl::testing::fake_host& host) {
  std::vector<std::string_view> names(p.output.begin(), p.output.end());
  std::vector<pl_str> raw;
  for (const auto n : names) raw.push_back(pl::borrow(n));
  const auto* schema = host.raw().schema(host.raw().ctx, raw.data(), static_cast<std::uint32_t>(raw.size()));
  pl::batch_builder memory(&host.raw(), schema, 1);
  row_store rows;
  rows.begin(memory, static_cast<std::uint32_t>(names.size()), 1);
  reader.begin_batch([&](std::size_t n) { return memory.allocate<char>(n).data(); }, 1'795'543'200'000'000'000);
  const message m{payload, "u1/d7", {}, 1'795'543'200'000'000'000, 0};
  const bool good = reader.read(m, rows);
  must(good == (rows.rows() > 0), "rows, or a reason");
  if (!good)
    must(reader.why().size() > 5 && pl::is_utf8(reader.why()) && reader.why().size() < 2000, "a reason is a sentence");
  if (good) must(verdict(payload).empty(), "only JSON is read");
  for (std::size_t c = 0; c < names.size(); ++c)
    for (const auto& cell : rows.column(c)) check_cell(cell);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static pl::testing::fake_host host;
  static const auto no_mistake = [](std::string_view, std::string_view) { must(false, "the options are right"); };
  static const plan strict = make_plan(strict_options(), no_mistake),
                    generous = make_plan(generous_options(), no_mistake);
  static record_reader strict_reader(strict), generous_reader(generous);
  // A copy of the exact size, so that the sanitizer detects an out-of-bounds read.
  const std::vector<char> copy(data, data + size);
  const std::string_view payload(copy.data(), copy.size());
  read(strict, strict_reader, payload, host);
  read(generous, generous_reader, payload, host);
  const auto expected = rapidjson_verdict(payload);
  const auto why = verdict(payload);
  const bool own_limit = why.find("surrogate") != std::string::npos || why.find("max_depth") != std::string::npos;
  if (expected != referee::unsure && !own_limit)
    must(why.empty() == (expected == referee::accepts), "RapidJSON agrees");
  if (!own_limit) must(why.empty() == (pl::is_json(payload) && pl::is_utf8(payload)), "the SDK's reader agrees");
  return 0;
}
