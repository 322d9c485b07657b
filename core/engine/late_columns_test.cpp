// SPDX-License-Identifier: Apache-2.0
// Tests of columns that a source makes on demand: they are made for nodes that use them, and for dead letters only.
#include "engine/backoff.hpp"
#include "engine/testing/test_host.hpp"

#include <pipeline/json.hpp>
#include <pipeline/plugin.hpp>

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;

namespace {

constexpr std::uint32_t rows = 10;

// What the components of this file share.
struct observed {
  std::atomic<int> made{0};
  std::atomic<bool> no_memory{false};  // a cell cannot be made
  std::mutex mutex;
  std::vector<std::string> stored;   // "value headers" of each row, as JSON
  std::vector<std::string> letters;  // "node value headers"
  void clear() {
    made = 0;
    stored.clear();
    letters.clear();
  }
};
observed seen;

struct late_option {
  std::string kind = "good";
  static option_table<late_option> table() {
    return {option(&late_option::kind, "kind", "How the source or the transform behaves.")};
  }
};

std::string headers_of(std::uint32_t row) { return "[[\"n\",\"" + std::to_string(row) + "\"]]"; }

pl_status make_headers(void* mem, std::uint32_t row, void* to, pl_put_cell put) noexcept {
  ++seen.made;
  if (row == 3) return PL_OK;  // null
  auto text = headers_of(row);
  put(to, json_cell(text));
  text.assign(text.size(), '!');  // the host has copied it
  if (seen.no_memory) return PL_FATAL;
  return mem == &seen ? PL_OK : PL_FATAL;
}
pl_status make_nonsense(void*, std::uint32_t, void* to, pl_put_cell put) noexcept {
  put(to, {99, 0, {.i = 0}});
  return PL_OK;
}

// One batch of ten rows with the values "0" to "9", and headers that are made on demand.
class late_source final : public source, public columns_aware {
 public:
  using options = late_option;
  static description describe() {
    return {.name = "late_source", .doc = "Makes headers on demand.", .example = "plugin: late_source\n"};
  }
  late_source(const options& o, context ctx) : ctx_(ctx), kind_(o.kind), schema_(ctx.schema({"value", "headers"})) {}
  result<const pl_schema*> columns(const pl_schema*, std::uint32_t) override { return schema_; }
  result<batch> poll(const poll_request& request) override {
    if (request.max_rows == 0) return nothing_yet();
    if (std::exchange(done_, true)) return end_of_stream();
    auto b = ctx_.build(schema_, rows);
    auto values = b.make_column(0);
    auto positions = b.allocate<std::uint64_t>(rows);
    for (std::uint32_t i = 0; i < rows; ++i) {
      values[i] = bytes_cell(b.copy(std::to_string(i)));
      positions[i] = i;
    }
    if (kind_ == "set") b.make_column(1);
    if (!ctx_.make_later(b, 1, &seen, kind_ == "nonsense" ? make_nonsense : make_headers))
      return fatal("the host does not offer on_demand/1");
    b.set_positions(positions);
    auto range = b.allocate<pl_range>(1);
    range[0] = range_of(borrow("s"), 0, rows, rows);
    b.set_ranges(range);
    return std::move(b).finish();
  }

 private:
  context ctx_;
  std::string kind_;
  const pl_schema* schema_;
  bool done_ = false;
};

// Rejects odd rows, and emits the others with their values (uses_value), or as they came (passes_on).
class picky final : public transform, public column_user {
 public:
  using options = late_option;
  static description describe() {
    return {.name = "picky", .doc = "Uses one column.", .example = "plugin: picky\nfrom: in\n"};
  }
  picky(const options& o, context ctx) : ctx_(ctx), passes_on_(o.kind == "passes_on") {}
  [[nodiscard]] column_use used_columns() const override { return {{"value"}, passes_on_}; }
  result<void> apply(batch_view in, emitter& out) override {
    std::vector<std::uint32_t> good;
    for (const auto row : in.selection())
      if ((bytes_of(in.at(0, row)).front() - '0') % 2 == 1)
        ctx_.reject(in, row, "odd");
      else
        good.push_back(row);
    auto b = ctx_.derive(in, &in.schema(), in.rows());
    b.share_column(0, in.column(0));
    b.share_column(1, in.column(1));
    auto sel = b.allocate<std::uint32_t>(good.size());
    std::copy(good.begin(), good.end(), sel.begin());
    b.select(sel);
    out.emit(std::move(b));
    return {};
  }

 private:
  context ctx_;
  bool passes_on_;
};

// Passes everything on, and declares nothing.
class plain final : public transform {
 public:
  using options = late_option;
  static description describe() {
    return {.name = "plain", .doc = "Passes rows on.", .example = "plugin: plain\nfrom: in\n"};
  }
  plain(const options&, context) {}
  result<void> apply(batch_view in, emitter& out) override { return out.pass(in), result<void>(); }
};

std::string shown(batch_view b, row_index row, std::initializer_list<std::string_view> columns) {
  std::string text;
  for (const auto name : columns) {
    if (!text.empty()) text += ' ';
    const auto& cell = b.at(*b.find(name), row);
    text += is_null(cell) ? "null" : std::string(bytes_of(cell));
  }
  return text;
}

class late_sink final : public sink {
 public:
  using options = late_option;
  static description describe() {
    return {.name = "late_sink",
            .doc = "Keeps rows and dead letters.",
            .example = "plugin: late_sink\nfrom: in\n",
            .dead_letters = "{plugin: late_sink, kind: letters, batch: {delay: 5ms}}"};
  }
  late_sink(const options& o, context ctx) : ctx_(ctx), kind_(o.kind) {}
  result<void> write(const batch_list& batches) override {
    std::scoped_lock lock(seen.mutex);
    for (auto b : batches)
      for (const auto row : b.selection())
        if (kind_ == "letters")
          seen.letters.push_back(shown(b, row, {"node", "value", "headers"}));
        else if (kind_ == "rejects" && bytes_of(b.at(0, row)) == "4")
          ctx_.reject(b, row, "four");
        else
          seen.stored.push_back(shown(b, row, {"value", "headers"}));
    return {};
  }

 private:
  context ctx_;
  std::string kind_;
};

const pl_plugin& late_plugin() {
  static const pl_plugin plugin = pl::detail::make_plugin<late_source, picky, plain, late_sink>("1.0.0");
  return plugin;
}

// Run a pipeline to its end. Return why it failed; empty: it did not.
std::string run(const std::string& nodes) {
  seen.clear();
  test_host host;
  host.add(late_plugin());
  const auto folder = std::filesystem::temp_directory_path() / ("late_columns_test." + std::to_string(getpid()));
  auto p = host.build("name: p\nstate_dir: " + folder.string() + "\n" + nodes +
                      "dead_letters: {plugin: late_sink, kind: letters, batch: {delay: 5ms}}\n");
  REQUIRE_MESSAGE(p, host.problems);
  p->start();
  REQUIRE(eventually([&] { return p->ended(); }));
  p->join();
  std::filesystem::remove_all(folder);
  return p->failure();
}

constexpr const char* to_sink = "sinks: {out: {plugin: late_sink, from: t, batch: {delay: 5ms}}}\n";

std::vector<std::string> all_rows() {
  std::vector<std::string> all;
  for (std::uint32_t i = 0; i < rows; ++i)
    all.push_back(std::to_string(i) + " " + (i == 3 ? std::string("null") : headers_of(i)));
  return all;
}

}  // namespace

TEST_CASE("a column that no node uses is made for dead letters alone") {
  CHECK(run("sources: {in: {plugin: late_source}}\ntransforms: {t: {plugin: picky, from: in}}\n" + std::string(to_sink))
            .empty());
  CHECK(seen.made == 5);  // the odd rows
  CHECK(seen.stored == std::vector<std::string>{"0 null", "2 null", "4 null", "6 null", "8 null"});
  CHECK(seen.letters == std::vector<std::string>{"t 1 " + headers_of(1), "t 3 null", "t 5 " + headers_of(5),
                                                 "t 7 " + headers_of(7), "t 9 " + headers_of(9)});
}

TEST_CASE("a sink, and a transform that declares nothing, use all columns") {
  CHECK(run("sources: {in: {plugin: late_source}}\nsinks: {out: {plugin: late_sink, from: in, batch: {delay: 5ms}}}\n")
            .empty());
  CHECK(seen.made == 10);
  CHECK(seen.stored == all_rows());
  CHECK(run("sources: {in: {plugin: late_source}}\ntransforms: {t: {plugin: plain, from: in}}\n" + std::string(to_sink))
            .empty());
  CHECK(seen.made == 10);
  CHECK(seen.stored == all_rows());
}

TEST_CASE("a column that is passed on to a reader is made, and its dead letters have it") {
  CHECK(run("sources: {in: {plugin: late_source}}\ntransforms: {t: {plugin: picky, from: in, kind: passes_on}}\n"
            "sinks: {out: {plugin: late_sink, kind: rejects, from: t, batch: {delay: 5ms}}}\n")
            .empty());
  CHECK(seen.made == 10);
  CHECK(seen.stored == std::vector<std::string>{"0 " + headers_of(0), "2 " + headers_of(2), "6 " + headers_of(6),
                                                "8 " + headers_of(8)});
  REQUIRE(seen.letters.size() == 6);
  CHECK(std::ranges::count(seen.letters, "out 4 " + headers_of(4)) == 1);
  CHECK(std::ranges::count(seen.letters, "t 5 " + headers_of(5)) == 1);
}

TEST_CASE("one reader of several is enough") {
  CHECK(run("sources: {in: {plugin: late_source}}\ntransforms: {t: {plugin: picky, from: in}}\n"
            "sinks: {out: {plugin: late_sink, from: in, batch: {delay: 5ms}}}\n")
            .empty());
  CHECK(seen.made == 10);
  CHECK(seen.stored == all_rows());
  CHECK(seen.letters.size() == 5);
}

TEST_CASE("violations are reported") {
  const auto nonsense =
      run("sources: {in: {plugin: late_source, kind: nonsense}}\n"
          "sinks: {out: {plugin: late_sink, from: in, batch: {delay: 5ms}}}\n");
  CHECK_MESSAGE(nonsense.find("column 'headers' has the kind 99") != std::string::npos, nonsense);
  CHECK(seen.stored.empty());
  const auto set =
      run("sources: {in: {plugin: late_source, kind: set}}\n"
          "sinks: {out: {plugin: late_sink, from: in, batch: {delay: 5ms}}}\n");
  CHECK_MESSAGE(set.find("it called later for column 1, which it has set") != std::string::npos, set);
}

TEST_CASE("a dead letter whose column cannot be made for lack of memory stops the pipeline, which reports it") {
  seen.no_memory = true;
  const auto why =
      run("sources: {in: {plugin: late_source}}\ntransforms: {t: {plugin: picky, from: in}}\n" + std::string(to_sink));
  seen.no_memory = false;
  CHECK(why == "dead_letters: out of memory for the dead letters of t");
  CHECK(seen.letters.empty());
}

TEST_CASE("a back-off seeds its random numbers when it is first needed, and once") {
  static int seeded;
  seeded = 0;
  backoff pause({}, [] { return static_cast<std::uint32_t>(++seeded); });
  CHECK(seeded == 0);
  CHECK(pause.next() <= std::chrono::milliseconds(100));
  CHECK(pause.next() >= std::chrono::milliseconds(160));
  CHECK(seeded == 1);
}
