// SPDX-License-Identifier: Apache-2.0
// The component as the host sees it: conformance, columns, what it drops, what is kept.
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

using kept_state = std::map<std::pair<std::string, std::string>, std::string>;

// One instance; `said` tells the ids that came out of a port.
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
  [[nodiscard]] std::string said(std::uint32_t port) {
    std::string all;
    for (const auto& e : unit_.output())
      if (e.port == port)
        for (const auto row : e.data.get().selection())
          all.append(all.empty() ? "" : " ").append(pl::bytes_of(e.data.get().at(*e.data.get().find("id"), row)));
    return all;
  }
  [[nodiscard]] std::string take(std::uint32_t port = 0) {
    auto all = said(port);
    unit_.output().clear();
    return all;
  }
  void snapshot(std::string_view stream = "iot-stream/0") {
    REQUIRE(table().snapshot(unit_.self(), pl::borrow(stream)) == PL_OK);
  }
  void restore(const kept_state& kept, bool moved = false, std::string_view stream = "iot-stream/0") {
    unit_.drop(stream);
    for (const auto& [at, value] : kept)
      if (at.first == stream)
        REQUIRE(table().restore(unit_.self(), pl::borrow(stream), pl::borrow(at.second), pl::borrow(value)) == PL_OK);
    REQUIRE(table().restore(unit_.self(), pl::borrow(stream), {nullptr, 0}, pl::borrow(moved ? "moved" : "")) == PL_OK);
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

TEST_CASE("passes the conformance battery, as a class and as the built plugin") {
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

TEST_CASE("what was there before is dropped, and comes out on the port duplicates") {
  harness h;
  h.feed({{"a"}, {"b"}, {"a"}, {"a", 1}}, 0);
  h.feed({{"b"}, {"c"}}, 4);
  CHECK(h.said(1) == "a b");
  CHECK(h.take() == "a b a c");
  CHECK(h.host.sum("deduplicated_total") == 2);
  CHECK(h.host.last("deduplicate_remembered") == 4);
}

TEST_CASE("when: only marked records are dropped, but all are remembered") {
  harness h({{"by", list({"id"})}, {"when", "marked"}});
  const auto batch = h.host.make_batch(
      {{"id", {pl::text_cell("a"), pl::text_cell("a"), pl::text_cell("a"), pl::text_cell("b"), pl::text_cell("a")}},
       {"time", std::vector<pl::cell>(5, pl::time_cell(epoch))},
       {"marked",
        {pl::bool_cell(false), pl::bool_cell(false), pl::bool_cell(true), pl::bool_cell(true), pl::null_cell()}}},
      "iot-stream/0", 0);
  REQUIRE_MESSAGE(h.unit().apply(batch.get()) == PL_OK, h.host.error_text());
  CHECK(h.said(1) == "a");
  CHECK(h.take() == "a a b a");
  harness without({{"by", list({"id"})}, {"when", "marked"}, {"omit", list({})}});
  const auto other = without.host.make_batch({{"id", {}}, {"time", {}}});
  CHECK(without.unit().apply(other.get()) == PL_FATAL);
  CHECK(without.host.error_text() == "when: no column 'marked' comes in; there are: id, time");
}

TEST_CASE("a batch of which nothing is left emits nothing, and one of which all is left goes on as it is") {
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

TEST_CASE("the same value at another time is another record: a device may say it again") {
  harness h;
  h.feed({{"20", 0}, {"20", 60}, {"20", 120}}, 0);
  CHECK(h.take() == "20 20 20");
}

TEST_CASE("nothing is known of a record with a null: it passes, and is counted") {
  harness h;
  h.feed({{""}, {""}, {"a"}, {"a"}}, 0);
  CHECK(h.unit().output().at(0).data.get().selected() == 3);
  h.unit().output().clear();
  CHECK(h.host.sum("deduplicate_unidentified_total{reason=null}") == 2);
}

TEST_CASE("rows without a position pass: they could be the same one, read again") {
  harness h;
  auto b = h.host.make_batch(
      {{"id", {pl::text_cell("a"), pl::text_cell("a")}}, {"time", {pl::time_cell(epoch), pl::time_cell(epoch)}}});
  b.get().raw()->pos = nullptr;
  REQUIRE(h.unit().apply(b.get()) == PL_OK);
  CHECK(h.take() == "a a");
  CHECK(h.host.sum("deduplicate_unidentified_total{reason=no_position}") == 2);
}

TEST_CASE("the readings of one message share its position, and are no duplicates of each other") {
  harness h;
  auto b = h.host.make_batch({{"id", {pl::text_cell("m"), pl::text_cell("m"), pl::text_cell("m")}},
                              {"time", std::vector(3, pl::time_cell(epoch))}});
  const std::uint64_t pos[] = {5, 5, 6};  // the third is the message once more
  b.get().raw()->pos = pos;
  REQUIRE(h.unit().apply(b.get()) == PL_OK);
  CHECK(h.take() == "m m");
}

TEST_CASE("streams have nothing in common; a stream that leaves is forgotten") {
  harness h;
  h.feed({{"a"}}, 7, "t/0");
  h.feed({{"a"}, {"a"}}, 8, "t/1");
  CHECK(h.take() == "a a");
  h.unit().drop("t/0");
  h.feed({{"a"}, {"a"}}, 8, "t/0");
  CHECK(h.take() == "a");
}

TEST_CASE("rows of several streams in one batch") {
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

TEST_CASE("the window moves on with the newest record, not with late ones, nor with a wrong clock") {
  harness h({{"by", list({"id"})}, {"within", 60s}});
  h.feed({{"a", 0}, {"late", -90'000}, {"b", 30}}, 0);
  h.feed({{"late", -90'000}, {"a", 59}}, 3);
  CHECK(h.take() == "a late b");
  h.feed({{"2093", 2'200'000'000}, {"a", 60}}, 5);  // a record of the year 2093 moves nothing
  CHECK(h.take() == "2093");
  h.feed({{"c", 62}, {"a", 62}}, 7);
  CHECK(h.take() == "c a");
}

TEST_CASE("a window that max_keys cuts short is counted and told of once") {
  harness h({{"by", list({"id"})}, {"within", 600s}, {"max_keys", 4}});
  h.feed({{"a", 0}, {"b", 1}, {"c", 2}, {"d", 3}, {"a", 4}}, 0);
  CHECK(h.host.sum("deduplicate_forgotten_early_total") == 0);
  h.feed({{"e", 6}, {"a", 7}, {"d", 8}}, 5);  // a and b left
  CHECK(h.take() == "a b c d e a");
  CHECK(h.host.sum("deduplicate_forgotten_early_total") == 2);
  h.feed({{"f", 9}, {"g", 10}, {"h", 11}}, 8);
  CHECK(h.host.sum("deduplicate_forgotten_early_total") == 6);
  std::vector<std::string> warnings;
  for (const auto& l : h.host.logs())
    if (l.level == PL_LOG_WARN) warnings.push_back(l.message);
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].find("what max_keys (4) lets it remember spans only") == 0);
}

TEST_CASE("omit: columns that were needed for `by` alone end here, but not on the port duplicates") {
  harness h({{"by", list({"id", "time"})}, {"omit", list({"id"})}});
  h.feed({{"a"}, {"a"}}, 0);
  REQUIRE(h.unit().output().size() == 2);
  CHECK(&h.unit().output()[0].data.get().schema() == schema_of(h.host, {"time"}));
  CHECK(&h.unit().output()[1].data.get().schema() == schema_of(h.host, {"id", "time"}));
  h.unit().output().clear();
}

TEST_CASE("columns: what comes out is known beforehand, what doesn't come in is told") {
  pl::testing::fake_host host;
  pl::testing::instance unit(host, component(), {{"by", list({"id", "time"})}, {"omit", list({"id"})}});
  REQUIRE(unit.create() == PL_OK);
  const auto* table =
      static_cast<const pl_ext_columns*>(component().extension(unit.self(), pl::borrow(PL_EXT_COLUMNS)));
  const auto* in = schema_of(host, {"id", "time", "x"});
  const pl_schema* out = nullptr;
  REQUIRE(table->columns(unit.self(), in, 0, &out) == PL_OK);
  CHECK(out == schema_of(host, {"time", "x"}));
  REQUIRE(table->columns(unit.self(), in, 1, &out) == PL_OK);
  CHECK(out == in);
  CHECK(table->columns(unit.self(), schema_of(host, {"time", "x"}), 0, &out) == PL_FATAL);
  CHECK(host.error_text() == "by[0]: no column 'id' comes in; there are: time, x");
}

TEST_CASE("options: mistakes are told") {
  const auto complaints = [](const config_fields& options) {
    pl::testing::fake_host host;
    pl::testing::instance unit(host, component(), options);
    CHECK(unit.create() != PL_OK);
    return host.error_text();
  };
  CHECK(complaints({{"by", list({})}}) == "by: names no column: nothing tells records apart");
  CHECK(complaints({{"by", list({"a", "b", "a"})}}) == "by[2]: 'a' is there twice");
}

// ---------------------------------------------------------------------------------------------------------- state ---

TEST_CASE("after a crash the records since the snapshot come again, and all is as it was") {
  kept_state kept;
  {
    harness h;
    h.feed({{"a"}, {"b"}}, 0);
    h.snapshot();
    kept = h.host.state();
    h.feed({{"c"}, {"a"}, {"c"}, {"d"}}, 2);  // never kept
    CHECK(h.take() == "a b c d");
  }
  CHECK(kept.size() == 2);  // the key and one slice
  harness h;
  h.restore(kept);
  h.feed({{"c"}, {"a"}, {"c"}, {"d"}}, 2);
  h.feed({{"b"}, {"d"}, {"e"}}, 6);
  CHECK(h.take() == "c d e");
}

TEST_CASE("a snapshot is of what is new; slices are erased whole when they leave the window") {
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
  CHECK(h.host.state().size() == 2);  // a and b are gone
}

TEST_CASE("however many snapshots there are, what was there before is known") {
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

TEST_CASE("an order to the past: what comes again is stored again, its duplicates are not") {
  harness h;
  h.feed({{"a"}, {"b"}, {"a"}, {"c"}, {"b"}}, 0);
  h.snapshot();
  CHECK(h.take() == "a b c");
  h.restore(h.host.state(), true);
  h.feed({{"b"}, {"a"}, {"c"}, {"b"}}, 1);  // from 1 on
  CHECK(h.take() == "b c");                 // a was first before that, and is stored
  h.snapshot();
  h.restore(h.host.state(), true);
  h.feed({{"a"}, {"b"}, {"a"}, {"c"}, {"b"}}, 0);
  CHECK(h.take() == "a b c");
}

TEST_CASE("an order, and a crash before anything was kept: nothing is dropped by mistake") {
  harness before;
  before.feed({{"a"}, {"b"}, {"a"}, {"c"}}, 0);
  before.snapshot();
  const auto kept = before.host.state();
  harness h;
  h.restore(kept, true);  // and it dies
  harness again;
  again.restore(kept, false);  // the order is none any more, but reading begins there all the same
  again.feed({{"b"}, {"a"}, {"c"}}, 1);
  CHECK(again.take() == "b c");
}

TEST_CASE("an order to the future: what was before is known") {
  harness h;
  h.feed({{"a"}, {"b"}}, 0);
  h.snapshot();
  CHECK(h.take() == "a b");
  h.restore(h.host.state(), true);
  h.feed({{"a"}, {"c"}}, 1000);
  CHECK(h.take() == "c");
}

TEST_CASE("positions that begin anew without a word: nothing is dropped for what came under a later one") {
  harness h;
  h.feed({{"a"}, {"b"}}, 100);
  CHECK(h.take() == "a b");
  h.feed({{"a"}, {"b"}, {"a"}}, 0);
  CHECK(h.take() == "a b");
}

TEST_CASE("another lane takes the stream over") {
  harness one, two;
  one.feed({{"a"}}, 0);
  one.snapshot();
  two.feed({{"x"}}, 0, "iot-stream/1");
  (void)two.take();
  two.restore(one.host.state());
  two.feed({{"a"}, {"b"}}, 1);
  CHECK(two.take() == "b");
  two.snapshot();
  auto kept = one.host.state();  // what is kept is one place for all
  for (const auto& [at, value] : two.host.state()) kept[at] = value;
  (void)one.take();
  one.restore(kept);
  one.feed({{"b"}, {"a"}, {"c"}}, 3);
  CHECK(one.take() == "c");
}

TEST_CASE("without a sink that keeps state all is forgotten with the host, and nothing else happens") {
  harness h;
  h.feed({{"a"}}, 0);
  h.snapshot();
  harness again;
  again.restore({});
  again.feed({{"a"}}, 1);
  CHECK(again.take() == "a");
}

TEST_CASE("state that can't be read is told of and forgotten: records are worth more") {
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
  CHECK(logs[0].message.find("what was remembered of iot-stream/0 is lost") == 0);
  again.snapshot();
  for (const auto& [at, value] : again.host.state()) kept[at] = value;
  CHECK(kept.size() == 3);  // a real host would have heard that the bad one is erased
  std::erase_if(kept, [](const auto& e) { return e.first.second == deduplicate::slice_name(0); });
  harness once_more;
  once_more.restore(kept);
  once_more.feed({{"a"}}, 2);
  CHECK(once_more.take().empty());
}

TEST_CASE("slices without their key are of no use") {
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

TEST_CASE("fewer are remembered than before: the newest stay") {
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
