// SPDX-License-Identifier: Apache-2.0
// Which dead letters contain the rejected row: what `dead-letters retry` needs to deliver it again.
#include "engine/dead_letter_batch.hpp"

#include "engine/shortened_letter.hpp"
#include "engine/stored_row.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

using namespace pl;
using namespace pl::engine;

namespace {

struct made_column {
  std::string_view name;
  std::vector<cell> cells;
};

// A batch of the stream "s", with records at the positions.
class fixture {
 public:
  batch_ref make(record_batch* parent, const std::vector<made_column>& columns, const std::vector<std::uint64_t>& at,
                 std::uint64_t first = 0, std::uint64_t next = 100) {
    std::vector<pl_str> names;
    for (const auto& c : columns) names.push_back(borrow(c.name));
    const auto* schema = schemas_.intern(names.data(), static_cast<std::uint32_t>(names.size()));
    const auto rows = static_cast<std::uint32_t>(columns.front().cells.size());
    batch_ref b(new record_batch(memory_.pool, parent, schema, rows));
    for (std::size_t c = 0; c < columns.size(); ++c) b->cols[c] = copied(*b, columns[c].cells);
    if (!at.empty()) b->pos = copied(*b, at);
    if (parent == nullptr) {
      b->ranges = copied(*b, std::vector{range_of(borrow("s"), first, next)});
      b->nranges = 1;
    }
    return b;
  }
  // Reject a row, and return its dead letter's columns as text; empty: null.
  std::string letter(record_batch& of, std::uint32_t row, refused_at where, std::string_view column) {
    std::vector<rejection> one;
    one.push_back({batch_ref::share(of), row, "why"});
    const dead_letter_format format({log_, metrics_, schemas_}, memory_.pool, "p");
    const auto batches = format.batches(one, "n", where);
    const auto view = batches.front()->view();
    const auto& c = view.at(*view.find(column), 0);
    return c.kind == PL_I64 ? std::to_string(c.as.i) : std::string(bytes_of(c));
  }
  // Reject all rows at a sink, and return a column of their dead letters.
  std::vector<std::string> letters(record_batch& of, std::string_view column) {
    std::vector<rejection> all;
    for (std::uint32_t row = 0; row < of.rows; ++row) all.push_back({batch_ref::share(of), row, "why"});
    const dead_letter_format format({log_, metrics_, schemas_}, memory_.pool, "p");
    const auto batches = format.batches(all, "n", refused_at::sink);
    const auto view = batches.front()->view();
    std::vector<std::string> texts;
    for (std::uint32_t row = 0; row < view.rows(); ++row)
      texts.emplace_back(bytes_of(view.at(*view.find(column), row)));
    return texts;
  }
  // Reject a row and make its dead letter smaller, and return that one's columns as text; empty: null.
  std::string smaller(record_batch& of, std::uint32_t row, dead_letter_format::size to, std::string_view column) {
    std::vector<rejection> one;
    one.push_back({batch_ref::share(of), row, "why"});
    const dead_letter_format format({log_, metrics_, schemas_}, memory_.pool, "p");
    const auto whole = format.batches(one, "n", refused_at::sink);
    const auto small = format.smaller({whole.front().get(), 0, 0}, *whole.front(), "too large", to);
    CHECK(small->replaced().times == 1);
    CHECK(small->view().position(0) == of.view().position(row));
    CHECK(small->view().stream(0) == of.view().stream(row));
    CHECK(small->payload_bytes() < 16'384);
    const auto& c = small->view().at(*small->view().find(column), 0);
    return c.kind == PL_I64 ? std::to_string(c.as.i) : std::string(bytes_of(c));
  }

 private:
  template <class T>
  static T* copied(record_batch& b, const std::vector<T>& from) {
    auto* to = static_cast<T*>(b.alloc(from.size() * sizeof(T), alignof(T)));
    std::copy(from.begin(), from.end(), to);
    return to;
  }
  telemetry::logger log_;
  telemetry::metrics metrics_;
  schema_pool schemas_;
  pipeline_memory memory_{1 << 20};
};

}  // namespace

TEST_CASE("a transform's dead letter has the original record; it has the row if the record became several rows") {
  fixture f;
  const auto root = f.make(nullptr, {{"value", {bytes_cell("a"), bytes_cell("b")}}}, {7, 9});
  CHECK(f.letter(*root, 1, refused_at::transform, "value") == "b");
  CHECK(f.letter(*root, 1, refused_at::transform, "record").empty());

  const auto rows = f.make(root.get(), {{"x", {real_cell(1), real_cell(2), real_cell(3)}}}, {7, 7, 9});
  CHECK(f.letter(*rows, 1, refused_at::transform, "value") == "a");
  CHECK(f.letter(*rows, 1, refused_at::transform, "position") == "7");
  CHECK(f.letter(*rows, 1, refused_at::transform, "record") == R"({"x":2,"$kinds":{"x":"real"}})");
  CHECK(f.letter(*rows, 2, refused_at::transform, "value") == "b");
  CHECK(f.letter(*rows, 2, refused_at::transform, "record").empty());
}

TEST_CASE("a sink's dead letter has the row, without what the original record's columns have") {
  fixture f;
  const auto root = f.make(
      nullptr,
      {{"value", {bytes_cell("a")}}, {"topic", {text_cell("t")}}, {"key", {null_cell()}}, {"offset", {int_cell(7)}}},
      {7});
  CHECK(f.letter(*root, 0, refused_at::sink, "record") ==
        R"({"offset":7,"$kinds":{"value":"bytes","topic":"text","key":"null","offset":"int"}})");
  const auto row = f.make(root.get(), {{"topic", {text_cell("other")}}, {"value", {real_cell(2)}}}, {7});
  CHECK(f.letter(*row, 0, refused_at::sink, "value") == "a");
  CHECK(f.letter(*row, 0, refused_at::sink, "record") ==
        R"({"topic":"other","value":2,"$kinds":{"topic":"text","value":"real"}})");
}

TEST_CASE("equal rows of one record have different dead letters, whichever of them are rejected") {
  fixture f;
  const auto root = f.make(nullptr, {{"value", {bytes_cell("a"), bytes_cell("b")}}}, {7, 9});
  const auto rows = f.make(root.get(),
                           {{"x", {real_cell(1), real_cell(2), real_cell(1), real_cell(1), real_cell(1)}},
                            {"id", {text_cell("d"), text_cell("d"), text_cell("d"), text_cell("e"), text_cell("d")}}},
                           {7, 7, 7, 7, 9});
  const std::string kinds = R"("$kinds":{"x":"real","id":"text"}})";
  const std::string one = R"({"x":1,"id":"d",)";
  for (const auto where : {refused_at::sink, refused_at::transform}) {
    CHECK(f.letter(*rows, 0, where, "record") == one + kinds);
    CHECK(f.letter(*rows, 1, where, "record") == R"({"x":2,"id":"d",)" + kinds);
    CHECK(f.letter(*rows, 2, where, "record") == one + R"("$copy":1,)" + kinds);
    CHECK(f.letter(*rows, 3, where, "record") == R"({"x":1,"id":"e",)" + kinds);
  }
  CHECK(f.letter(*rows, 4, refused_at::sink, "record") == one + kinds);  // of another record

  std::vector<cell> many(3000, real_cell(5));
  const auto equal = f.make(root.get(), {{"x", many}}, std::vector<std::uint64_t>(many.size(), 9));
  CHECK(f.letter(*equal, 2999, refused_at::sink, "record") == R"({"x":5,"$copy":2999,"$kinds":{"x":"real"}})");
  CHECK(f.letters(*equal, "record").back() == R"({"x":5,"$copy":2999,"$kinds":{"x":"real"}})");
}

TEST_CASE("a row that a timer made has no original record, although it has a column 'value'") {
  fixture f;
  const auto alert = f.make(nullptr, {{"id", {text_cell("i")}}, {"value", {real_cell(2)}}}, {}, 5, 5);
  for (const auto where : {refused_at::sink, refused_at::transform}) {
    CHECK(f.letter(*alert, 0, where, "stream") == "s");
    CHECK(f.letter(*alert, 0, where, "value").empty());
    CHECK(f.letter(*alert, 0, where, "record") == R"({"id":"i","value":2,"$kinds":{"id":"text","value":"real"}})");
  }
}

TEST_CASE(
    "a smaller dead letter has the place, the start of a long value, and the lengths and hashes of what is missing") {
  using size = dead_letter_format::size;
  fixture f;
  const std::string value(800'000, '\xC1'), headers = '[' + std::string(5000, ' ') + ']',
                                            id = "d" + std::string(20'000, 'x');
  const auto root = f.make(nullptr,
                           {{"value", {bytes_cell("a"), bytes_cell(value)}},
                            {"key", {null_cell(), bytes_cell("k")}},
                            {"topic", {text_cell("t"), text_cell("t")}},
                            {"headers", {null_cell(), json_cell(headers)}}},
                           {7, 9});
  CHECK(f.smaller(*root, 1, size::cut, "position") == "9");
  CHECK(f.smaller(*root, 1, size::cut, "stream") == "s");
  CHECK(f.smaller(*root, 1, size::cut, "topic") == "t");
  CHECK(f.smaller(*root, 1, size::cut, "key") == "k");
  CHECK(f.smaller(*root, 1, size::cut, "value") == value.substr(0, 4096));
  CHECK(f.smaller(*root, 1, size::cut, "headers").empty());
  CHECK(f.smaller(*root, 1, size::bare, "key").empty());
  CHECK(f.smaller(*root, 1, size::bare, "value").empty());
  const auto parts = parse_shortened(f.smaller(*root, 1, size::cut, "record"));
  REQUIRE(parts.has_value());
  REQUIRE(parts->size() == 3);  // the row, too
  CHECK((*parts)[0].name == "value");
  CHECK((*parts)[0].bytes == 800'000);
  CHECK((*parts)[0].sha256 == sha256_of(value));
  CHECK((*parts)[1].name == "headers");
  CHECK((*parts)[2].name == "record");
  CHECK(f.smaller(*root, 1, size::cut, "reason").starts_with("why; shortened, value had 800000 bytes (sha256 "));
  const auto row = f.make(root.get(), {{"device_id", {text_cell(id)}}}, {9});
  CHECK(f.smaller(*row, 0, size::bare, "position") == "9");
}
