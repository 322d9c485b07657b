// SPDX-License-Identifier: Apache-2.0
// Tests of the component through the host interface: conformance, columns, dropped records, stored state.
#include "codec.hpp"
#include "deduplicate.hpp"

#include <pipeline/plugin.hpp>
#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using pl::testing::config_fields;
using pl::testing::list;

namespace {

constexpr std::int64_t second = 1'000'000'000;
constexpr std::int64_t epoch = 1'700'000'000 * second;

const pl_component& component() {
  static const pl::detail::component_table<deduplicate::deduplicate> table;
  return *table.raw();
}

config_fields sample() { return {{"by", list({"id", "time"})}}; }

struct record {
  std::string id;  // empty: null
  std::int64_t at = 0;
};

using stored_state = std::map<std::pair<std::string, std::string>, std::string>;

// Runs one instance. `ids` returns the ids that were emitted on a port.
class harness {
 public:
  explicit harness(const config_fields& options = sample()) : unit_(host, component(), options) {
    if (unit_.create() != PL_OK || unit_.start() != PL_OK) throw std::runtime_error(host.error_text());
  }
  void feed(const std::vector<record>& records, std::uint64_t first, std::string_view stream = "iot-stream/0") {
    std::vector<pl::cell> id, time;
    for (const auto& r : records) {
      id.push_back(r.id.empty() ? pl::null_cell() : pl::text_cell(r.id));
      time.push_back(pl::time_cell(epoch + r.at * second));
    }
    auto batch = host.make_batch({{"id", id}, {"time", time}}, stream, first);
    REQUIRE_MESSAGE(unit_.apply(batch.get()) == PL_OK, host.error_text());
  }
  [[nodiscard]] std::string ids(std::uint32_t port) {
    std::string all;
    for (const auto& e : unit_.output())
      if (e.port == port)
        for (const auto row : e.data.get().selection())
          all.append(all.empty() ? "" : " ").append(pl::bytes_of(e.data.get().at(*e.data.get().find("id"), row)));
    return all;
  }
  [[nodiscard]] std::string take(std::uint32_t port = 0) {
    auto all = ids(port);
    unit_.output().clear();
    return all;
  }
  void snapshot(std::string_view stream = "iot-stream/0") {
    REQUIRE(table().snapshot(unit_.self(), pl::borrow(stream)) == PL_OK);
  }
  void restore(const stored_state& kept, bool offset_reset = false, std::string_view stream = "iot-stream/0") {
    unit_.revoked(stream);
    for (const auto& [at, value] : kept)
      if (at.first == stream)
        REQUIRE(table().restore(unit_.self(), pl::borrow(stream), pl::borrow(at.second), pl::borrow(value)) == PL_OK);
    REQUIRE(table().restored(unit_.self(), pl::borrow(stream),
                             offset_reset ? std::uint32_t{PL_RESTORED_OFFSET_RESET} : 0U) == PL_OK);
  }
  pl::testing::instance& unit() { return unit_; }

  pl::testing::fake_host host;

 private:
  const pl_ext_state& table() {
    return *static_cast<const pl_ext_state*>(component().extension(unit_.self(), pl::borrow(PL_EXT_STATE)));
  }
  pl::testing::instance unit_;
};

const pl_schema* schema_of(pl::testing::fake_host& host, std::vector<std::string_view> names) {
  return pl::context(&host.raw()).schema(names);
}

}  // namespace

TEST_CASE("passes the conformance tests, as a class and as the built plugin") {
  const std::vector<std::string> columns{"id", "time", "value"};
  const config_fields options{{"by", list({"id", "value"})}, {"omit", list({"id"})}};
  for (const auto& problem : pl::testing::check_life(component(), options, columns)) FAIL_CHECK(problem);
  const char* folder = std::getenv("PIPELINE_PLUGIN_DIR");
  REQUIRE(folder != nullptr);
  std::string error;
  const auto* plugin = pl::testing::load_plugin(std::string(folder) + "/deduplicate.so", error);
  REQUIRE_MESSAGE(plugin != nullptr, error);
  for (const auto& problem : pl::testing::check_plugin(*plugin)) FAIL_CHECK(problem);
  const auto* built = pl::testing::find_component(*plugin, "deduplicate");
  REQUIRE(built != nullptr);
  for (const auto& problem : pl::testing::check_life(*built, options, columns)) FAIL_CHECK(problem);
}

TEST_CASE("a duplicate is dropped and emitted on the port duplicates") {
  harness h;
  h.feed({{"a"}, {"b"}, {"a"}, {"a", 1}}, 0);
  h.feed({{"b"}, {"c"}}, 4);
  CHECK(h.ids(1) == "a b");
  CHECK(h.take() == "a b a c");
  CHECK(h.host.sum("deduplicated_total") == 2);
  CHECK(h.host.last("deduplicate_remembered") == 4);
}

TEST_CASE("when: only marked records are dropped, but all records enter the window") {
  harness h({{"by", list({"id"})}, {"when", "marked"}});
  const auto batch = h.host.make_batch(
      {{"id", {pl::text_cell("a"), pl::text_cell("a"), pl::text_cell("a"), pl::text_cell("b"), pl::text_cell("a")}},
       {"time", std::vector<pl::cell>(5, pl::time_cell(epoch))},
       {"marked",
        {pl::bool_cell(false), pl::bool_cell(false), pl::bool_cell(true), pl::bool_cell(true), pl::null_cell()}}},
      "iot-stream/0", 0);
  REQUIRE_MESSAGE(h.unit().apply(batch.get()) == PL_OK, h.host.error_text());
  CHECK(h.ids(1) == "a");
  CHECK(h.take() == "a a b a");
  harness without({{"by", list({"id"})}, {"when", "marked"}, {"omit", list({})}});
  const auto other = without.host.make_batch({{"id", {}}, {"time", {}}});
  CHECK(without.unit().apply(other.get()) == PL_FATAL);
  CHECK(without.host.error_text() == "when: the input has no column 'marked'; valid names: id, time");
}

TEST_CASE("a batch of duplicates emits nothing on the port out; a batch without duplicates passes unchanged") {
  harness h;
  h.feed({{"a"}, {"b"}}, 0);
  REQUIRE(h.unit().output().size() == 1);
  CHECK(h.unit().output()[0].data.get().selected() == 2);
  h.unit().output().clear();
  h.feed({{"a"}, {"b"}}, 2);
  REQUIRE(h.unit().output().size() == 1);
  CHECK(h.unit().output()[0].port == 1);
  CHECK(h.unit().output()[0].data.get().position(0) == 2);
}

TEST_CASE("the same value at another time is not a duplicate") {
  harness h;
  h.feed({{"20", 0}, {"20", 60}, {"20", 120}}, 0);
  CHECK(h.take() == "20 20 20");
}

TEST_CASE("a record with a null passes and is counted") {
  harness h;
  h.feed({{""}, {""}, {"a"}, {"a"}}, 0);
  CHECK(h.unit().output().at(0).data.get().selected() == 3);
  h.unit().output().clear();
  CHECK(h.host.sum("deduplicate_unidentified_total{reason=null}") == 2);
}

TEST_CASE("rows without a position pass, because they could be the same record read again") {
  harness h;
  auto b = h.host.make_batch(
      {{"id", {pl::text_cell("a"), pl::text_cell("a")}}, {"time", {pl::time_cell(epoch), pl::time_cell(epoch)}}});
  b.get().raw()->pos = nullptr;
  REQUIRE(h.unit().apply(b.get()) == PL_OK);
  CHECK(h.take() == "a a");
  CHECK(h.host.sum("deduplicate_unidentified_total{reason=no_position}") == 2);
}

TEST_CASE("readings of one message have the same position and are not duplicates of each other") {
  harness h;
  auto b = h.host.make_batch({{"id", {pl::text_cell("m"), pl::text_cell("m"), pl::text_cell("m")}},
                              {"time", std::vector(3, pl::time_cell(epoch))}});
  const std::uint64_t pos[] = {5, 5, 6};  // the third is a duplicate of the message
  b.get().raw()->pos = pos;
  REQUIRE(h.unit().apply(b.get()) == PL_OK);
  CHECK(h.take() == "m m");
}

TEST_CASE("streams have separate windows, and the window of a revoked stream is discarded") {
  harness h;
  h.feed({{"a"}}, 7, "t/0");
  h.feed({{"a"}, {"a"}}, 8, "t/1");
  CHECK(h.take() == "a a");
  h.unit().revoked("t/0");
  h.feed({{"a"}, {"a"}}, 8, "t/0");
  CHECK(h.take() == "a");
}

TEST_CASE("rows of several streams in one batch are compared by stream") {
  harness h;
  auto b =
      h.host.make_batch({{"id", std::vector(4, pl::text_cell("a"))}, {"time", std::vector(4, pl::time_cell(epoch))}});
  const pl_range ranges[] = {pl::range_of(pl::borrow("t/0"), 10, 20), pl::range_of(pl::borrow("t/1"), 5, 9)};
  const std::uint32_t origin[] = {0, 1, 0, 1};
  const std::uint64_t pos[] = {10, 5, 11, 6};
  auto* raw = b.get().raw();
  raw->ranges = ranges;
  raw->nranges = 2;
  raw->origin = origin;
  raw->pos = pos;
  REQUIRE(h.unit().apply(b.get()) == PL_OK);
  REQUIRE(h.unit().output().size() == 2);
  CHECK(h.unit().output()[0].data.get().selected() == 2);
  CHECK(h.unit().output()[1].data.get().ranges().size() == 2);
  h.unit().output().clear();
}

TEST_CASE("the newest record advances the window; late records and wrong clocks do not") {
  harness h({{"by", list({"id"})}, {"within", 60s}});
  h.feed({{"a", 0}, {"late", -90'000}, {"b", 30}}, 0);
  h.feed({{"late", -90'000}, {"a", 59}}, 3);
  CHECK(h.take() == "a late b");
  h.feed({{"2093", 2'200'000'000}, {"a", 60}}, 5);  // a record of the year 2093 does not advance the window
  CHECK(h.take() == "2093");
  h.feed({{"c", 62}, {"a", 62}}, 7);
  CHECK(h.take() == "c a");
}

TEST_CASE("a window that max_keys shortens is counted, and logged once") {
  harness h({{"by", list({"id"})}, {"within", 600s}, {"max_keys", 4}});
  h.feed({{"a", 0}, {"b", 1}, {"c", 2}, {"d", 3}, {"a", 4}}, 0);
  CHECK(h.host.sum("deduplicate_forgotten_early_total") == 0);
  h.feed({{"e", 6}, {"a", 7}, {"d", 8}}, 5);  // a and b have left the window
  CHECK(h.take() == "a b c d e a");
  CHECK(h.host.sum("deduplicate_forgotten_early_total") == 2);
  h.feed({{"f", 9}, {"g", 10}, {"h", 11}}, 8);
  CHECK(h.host.sum("deduplicate_forgotten_early_total") == 6);
  std::vector<std::string> warnings;
  for (const auto& l : h.host.logs())
    if (l.level == PL_LOG_WARN) warnings.push_back(l.message);
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].find("max_keys (4) limits the window to ") == 0);
}

TEST_CASE("omit: columns are removed from the port out, but not from the port duplicates") {
  harness h({{"by", list({"id", "time"})}, {"omit", list({"id"})}});
  h.feed({{"a"}, {"a"}}, 0);
  REQUIRE(h.unit().output().size() == 2);
  CHECK(&h.unit().output()[0].data.get().schema() == schema_of(h.host, {"time"}));
  CHECK(&h.unit().output()[1].data.get().schema() == schema_of(h.host, {"id", "time"}));
  h.unit().output().clear();
}

TEST_CASE("columns: the output schema is known in advance, and missing columns are reported") {
  pl::testing::fake_host host;
  pl::testing::instance unit(host, component(), {{"by", list({"id", "time"})}, {"omit", list({"id"})}});
  REQUIRE(unit.create() == PL_OK);
  const auto* table =
      static_cast<const pl_ext_columns*>(component().extension(unit.self(), pl::borrow(PL_EXT_COLUMNS)));
  const auto* in = schema_of(host, {"id", "time", "x"});
  const pl_schema* out = nullptr;
  REQUIRE(pl::testing::ask_columns(*table, unit.self(), in, 0, out) == PL_OK);
  CHECK(out == schema_of(host, {"time", "x"}));
  REQUIRE(pl::testing::ask_columns(*table, unit.self(), in, 1, out) == PL_OK);
  CHECK(out == in);
  CHECK(pl::testing::ask_columns(*table, unit.self(), schema_of(host, {"time", "x"}), 0, out) == PL_FATAL);
  CHECK(host.error_text() == "by[0]: the input has no column 'id'; valid names: time, x");
}

TEST_CASE("columns: those that identify a record are used, and the others are passed on") {
  pl::testing::fake_host host;
  pl::testing::instance unit(host, component(), {{"by", list({"id", "n"})}, {"omit", list({"id"})}, {"when", "again"}});
  REQUIRE(unit.create() == PL_OK);
  CHECK(pl::testing::ask_used_columns(component(), unit.self()) ==
        std::vector<std::string>{"id", "n", "time", "again", "*"});
}

TEST_CASE("columns: kinds are those of the input, and a column that an option can never use is an error") {
  pl::testing::fake_host host;
  pl::testing::instance unit(host, component(), {{"by", list({"id", "time"})}, {"omit", list({"id"})}, {"when", "x"}});
  REQUIRE(unit.create() == PL_OK);
  const auto* in = schema_of(host, {"id", "time", "x"});
  pl::column_set out;
  const auto ask = [&](std::vector<std::uint32_t> kinds, std::uint32_t port = 0) {
    host.forget();
    return pl::testing::ask_columns(component(), unit.self(), {in, std::move(kinds)}, port, out);
  };
  using kinds = std::vector<std::uint32_t>;
  REQUIRE(ask({PL_TEXT, PL_TIME_NS, PL_BOOL}) == PL_OK);
  CHECK(out.kinds == kinds{PL_TIME_NS, PL_BOOL});
  REQUIRE(ask({PL_TEXT, PL_TIME_NS, PL_NULL}, 1) == PL_OK);
  CHECK(out.kinds == kinds{PL_TEXT, PL_TIME_NS, PL_NULL});
  REQUIRE(ask({}) == PL_OK);
  CHECK(out.kinds.empty());
  CHECK(ask({PL_TEXT, PL_TEXT, PL_BOOL}) == PL_FATAL);
  CHECK(host.error_text() == "time_column: the column 'time' has the kind text; this option needs time");
  CHECK(ask({PL_TEXT, PL_TIME_NS, PL_F64}) == PL_FATAL);
  CHECK(host.error_text() == "when: the column 'x' has the kind float; this option needs bool");
}

TEST_CASE("options: errors are reported") {
  const auto errors = [](const config_fields& options) {
    pl::testing::fake_host host;
    pl::testing::instance unit(host, component(), options);
    CHECK(unit.create() != PL_OK);
    return host.error_text();
  };
  CHECK(errors({{"by", list({})}}) ==
        "by: by is empty, so that records cannot be identified; name at least one column");
  CHECK(errors({{"by", list({"a", "b", "a"})}}) == "by[2]: 'a' is listed twice");
}

// ---------------------------------------------------------------------------------------------------------- state ---

TEST_CASE("after a crash, records since the snapshot are read again with the same result") {
  stored_state kept;
  {
    harness h;
    h.feed({{"a"}, {"b"}}, 0);
    h.snapshot();
    kept = h.host.state();
    h.feed({{"c"}, {"a"}, {"c"}, {"d"}}, 2);  // not in a snapshot
    CHECK(h.take() == "a b c d");
  }
  CHECK(kept.size() == 2);  // the key and one slice
  harness h;
  h.restore(kept);
  h.feed({{"c"}, {"a"}, {"c"}, {"d"}}, 2);
  h.feed({{"b"}, {"d"}, {"e"}}, 6);
  CHECK(h.take() == "c d e");
}

TEST_CASE("a snapshot stores only new records; slices are erased as a whole when they leave the window") {
  harness h({{"by", list({"id"})}, {"within", 60s}});
  h.feed({{"a", 0}}, 0);
  h.snapshot();
  CHECK(h.host.state().size() == 2);
  const auto first = h.host.state();
  h.snapshot();
  CHECK(h.host.state() == first);  // nothing has changed
  h.feed({{"b", 1}}, 1);
  h.snapshot();
  CHECK(h.host.state().size() == 3);
  for (const auto& [at, value] : first) CHECK(h.host.state().at(at) == value);
  h.feed({{"c", 100}}, 2);
  h.snapshot();
  CHECK(h.host.state().size() == 2);  // a and b have left the window
}

TEST_CASE("duplicates are found after any number of snapshots") {
  harness h;
  std::uint64_t position = 0;
  for (int round = 0; round < 40; ++round) {
    std::vector<record> fresh;
    for (int i = 0; i < 100; ++i) fresh.push_back({"r" + std::to_string(round * 100 + i)});
    h.feed(fresh, position);
    position += 100;
    h.snapshot();
    const std::vector<record> again(fresh.begin(), fresh.begin() + 50);
    h.feed(again, position);
    position += 50;
    if (round % 3 == 0) h.snapshot();
  }
  CHECK(h.host.sum("deduplicated_total") == 40 * 50);
}

TEST_CASE("offset reset to the past: records that are read again pass, their duplicates do not") {
  harness h;
  h.feed({{"a"}, {"b"}, {"a"}, {"c"}, {"b"}}, 0);
  h.snapshot();
  CHECK(h.take() == "a b c");
  h.restore(h.host.state(), true);
  h.feed({{"b"}, {"a"}, {"c"}, {"b"}}, 1);  // from 1 on
  CHECK(h.take() == "b c");                 // the first a is at an earlier position
  h.snapshot();
  h.restore(h.host.state(), true);
  h.feed({{"a"}, {"b"}, {"a"}, {"c"}, {"b"}}, 0);
  CHECK(h.take() == "a b c");
}

TEST_CASE("offset reset and a crash before the next snapshot: no record is dropped by mistake") {
  harness before;
  before.feed({{"a"}, {"b"}, {"a"}, {"c"}}, 0);
  before.snapshot();
  const auto kept = before.host.state();
  harness h;
  h.restore(kept, true);  // and the host crashes
  harness again;
  again.restore(kept, false);  // no longer flagged as an offset reset, but reading starts at the same position
  again.feed({{"b"}, {"a"}, {"c"}}, 1);
  CHECK(again.take() == "b c");
}

TEST_CASE("offset reset to the future: earlier records stay in the window") {
  harness h;
  h.feed({{"a"}, {"b"}}, 0);
  h.snapshot();
  CHECK(h.take() == "a b");
  h.restore(h.host.state(), true);
  h.feed({{"a"}, {"c"}}, 1000);
  CHECK(h.take() == "c");
}

TEST_CASE("positions that restart without an offset reset: no record is dropped because of one at a later position") {
  harness h;
  h.feed({{"a"}, {"b"}}, 100);
  CHECK(h.take() == "a b");
  h.feed({{"a"}, {"b"}, {"a"}}, 0);
  CHECK(h.take() == "a b");
}

TEST_CASE("a stream moves to another lane and back") {
  harness one, two;
  one.feed({{"a"}}, 0);
  one.snapshot();
  two.feed({{"x"}}, 0, "iot-stream/1");
  (void)two.take();
  two.restore(one.host.state());
  two.feed({{"a"}, {"b"}}, 1);
  CHECK(two.take() == "b");
  two.snapshot();
  auto kept = one.host.state();  // all lanes share the stored state
  for (const auto& [at, value] : two.host.state()) kept[at] = value;
  (void)one.take();
  one.restore(kept);
  one.feed({{"b"}, {"a"}, {"c"}}, 3);
  CHECK(one.take() == "c");
}

TEST_CASE("without stored state the window starts empty after a restart") {
  harness h;
  h.feed({{"a"}}, 0);
  h.snapshot();
  harness again;
  again.restore({});
  again.feed({{"a"}}, 1);
  CHECK(again.take() == "a");
}

TEST_CASE("state that cannot be read is logged and discarded, and records pass") {
  harness h;
  h.feed({{"a"}}, 0);
  h.snapshot();
  auto kept = h.host.state();
  for (auto& [at, value] : kept)
    if (at.second != "key") value.resize(value.size() - 1);
  harness again;
  again.restore(kept);
  again.feed({{"a"}}, 1);
  CHECK(again.take() == "a");
  const auto logs = again.host.logs();
  REQUIRE(logs.size() == 1);
  CHECK(logs[0].level == PL_LOG_ERROR);
  CHECK(logs[0].message.find("discarded deduplication state of stream iot-stream/0") == 0);
  again.snapshot();
  for (const auto& [at, value] : again.host.state()) kept[at] = value;
  CHECK(kept.size() == 3);  // a real host would erase the damaged slice
  std::erase_if(kept, [](const auto& e) { return e.first.second == deduplicate::slice_name(0); });
  harness once_more;
  once_more.restore(kept);
  once_more.feed({{"a"}}, 2);
  CHECK(once_more.take().empty());
}

TEST_CASE("slices are discarded if the hash key is missing") {
  harness h;
  h.feed({{"a"}}, 0);
  h.snapshot();
  auto kept = h.host.state();
  std::erase_if(kept, [](const auto& e) { return e.first.second == "key"; });
  harness again;
  again.restore(kept);
  again.feed({{"a"}}, 1);
  CHECK(again.take() == "a");
}

TEST_CASE("a lower max_keys than before keeps the newest records") {
  harness h({{"by", list({"id"})}});
  for (std::uint64_t i = 0; i < 10; ++i) {
    h.feed({{std::string(1, static_cast<char>('a' + i)), static_cast<std::int64_t>(i)}}, i);
    h.snapshot();
  }
  harness smaller({{"by", list({"id"})}, {"max_keys", 2}});
  smaller.restore(h.host.state());
  smaller.feed({{"j", 10}, {"i", 10}, {"a", 10}}, 10);
  CHECK(smaller.take() == "a");
}

// ------------------------------------------------------------------------------------------------ changed options ---

namespace {

std::string bytes(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return out;
}

// The state that `options` left after a, b and c, which came at 0, 100 and 200 s.
stored_state state_after_three(const config_fields& options) {
  harness h(options);
  h.feed({{"a", 0}, {"b", 100}, {"c", 200}}, 0);
  h.snapshot();
  return h.host.state();
}

}  // namespace

TEST_CASE("a longer `within` and a changed max_keys keep the window") {
  for (const auto& changed :
       {config_fields{{"by", list({"id"})}, {"within", 1h}}, config_fields{{"by", list({"id"})}, {"max_keys", 10}},
        config_fields{{"by", list({"id"})}, {"omit", list({"id"})}}}) {
    harness h(changed);
    h.restore(state_after_three({{"by", list({"id"})}, {"within", 600s}}));
    h.feed({{"a", 210}, {"b", 210}, {"c", 210}}, 3);
    CHECK(h.ids(1) == "a b c");
    CHECK(h.host.logs().empty());
  }
}

TEST_CASE("a shorter `within` applies at once, also to a record that does not advance the stream's time") {
  harness h({{"by", list({"id"})}, {"within", 50s}});
  harness before({{"by", list({"id"})}});
  for (std::uint64_t i = 0; i < 3; ++i) {
    before.feed({{std::string(1, static_cast<char>('a' + i)), static_cast<std::int64_t>(i) * 100}}, i);
    before.snapshot();
  }
  h.restore(before.host.state());
  h.feed({{"a", 150}, {"c", 150}}, 3);
  CHECK(h.take() == "a");
}

TEST_CASE("`by` with other columns: the window starts empty, and this is logged") {
  harness h({{"by", list({"other"})}});
  h.restore(state_after_three({{"by", list({"id"})}}));
  const auto batch = h.host.make_batch({{"id", {pl::text_cell("x")}},
                                        {"other", {pl::text_cell("a")}},  // the value of another column before
                                        {"time", {pl::time_cell(epoch + 210 * second)}}},
                                       "iot-stream/0", 3);
  REQUIRE(h.unit().apply(batch.get()) == PL_OK);
  CHECK(h.take() == "x");
  REQUIRE(h.host.logs().size() == 1);
  CHECK(h.host.logs()[0].message ==
        "`by` was changed: the window of stream iot-stream/0 starts empty, so that duplicates of its records pass for "
        "the "
        "time of within");
}

TEST_CASE("another time_column: identities stay, and their time counts from the next record on") {
  harness h({{"by", list({"id"})}, {"time_column", "arrived"}, {"within", 60s}});
  h.restore(state_after_three({{"by", list({"id"})}, {"within", 600s}}));
  const auto feed = [&](const char* id, std::int64_t arrived, std::uint64_t position) {
    const auto batch =
        h.host.make_batch({{"id", {pl::text_cell(id)}}, {"arrived", {pl::time_cell(epoch + arrived * second)}}},
                          "iot-stream/0", position);
    REQUIRE(h.unit().apply(batch.get()) == PL_OK);
  };
  feed("a", -5000, 3);
  CHECK(h.take().empty());
  feed("b", -4930, 4);
  CHECK(h.take() == "b");
}

TEST_CASE("version 1 of the state is readable, and is stored with fingerprints from then on") {
  const stored_state kept{{{"iot-stream/0", "key"}, bytes("01f55b306d22b6985916a66d2410a7961a")},
                          {{"iot-stream/0", bytes("730000000000000000")},
                           bytes("010000002a36fe9c971700cac471fe9c97170200df5c00d65e6570674911e91253e164007c9a1a0a9e807"
                                 "44bc34639e34ed8941a02")},
                          {{"iot-stream/0", bytes("730000000000000001")},
                           bytes("010000945fadfe9c971700945fadfe9c971701a3be6f76e4bf0be153cbf45e18e659c604")}};
  harness h;
  h.restore(kept);
  h.feed({{"a", 0}, {"b", 1}, {"c", 2}, {"a", 1}}, 3);
  CHECK(h.take() == "a");
  CHECK(h.host.logs().empty());
  h.snapshot();
  harness other({{"by", list({"time", "id"})}});
  auto state = kept;
  for (const auto& [at, value] : h.host.state()) state[at] = value;
  other.restore(state);
  CHECK(other.host.logs().size() == 1);
}

TEST_CASE("an identity without a time is not lost when a time is known, not even by a crash") {
  harness h({{"by", list({"id"})}});
  const auto timeless =
      h.host.make_batch({{"id", {pl::text_cell("a")}}, {"time", {pl::null_cell()}}}, "iot-stream/0", 0);
  REQUIRE(h.unit().apply(timeless.get()) == PL_OK);
  h.snapshot();
  h.feed({{"b", 0}}, 1);
  h.snapshot();
  harness again({{"by", list({"id"})}});
  again.restore(h.host.state());
  again.feed({{"a", 1}, {"b", 1}}, 2);
  CHECK(again.take().empty());
}

TEST_CASE("state of any options under any other options: no crash, and no record without a duplicate is dropped") {
  const std::vector<config_fields> options{{{"by", list({"id"})}},
                                           {{"by", list({"id"})}, {"max_keys", 2}},
                                           {{"by", list({"id"})}, {"max_keys", 7}, {"within", 20s}},
                                           {{"by", list({"id", "time"})}, {"within", 1s}},
                                           {{"by", list({"id"})}, {"max_keys", 100}, {"within", 1h}}};
  for (const auto& before : options)
    for (const auto& after : options) {
      harness h(before);
      std::uint64_t position = 0;
      for (int i = 0; i < 60; ++i, ++position) {
        h.feed({{"r" + std::to_string(i), i}}, position);
        if (i % 4 == 0) h.snapshot();
      }
      harness next(after);
      next.restore(h.host.state());
      for (int i = 100; i < 160; ++i, ++position) next.feed({{"r" + std::to_string(i), i}}, position);
      CHECK(next.ids(1).empty());
      next.snapshot();
      CHECK(next.host.last("deduplicate_remembered") > 0);
    }
}
