// SPDX-License-Identifier: Apache-2.0
#include "positions.hpp"

#include <pipeline/testing/fake_host.hpp>

#include <doctest/doctest.h>

using namespace timescale;
using strings = std::vector<std::string>;

namespace {

struct fixture {
  pl::testing::fake_host host;
  std::vector<pl::batch> batches;
  position_tables where{"p", "s", {"", "pos"}, {"", "state"}};

  pl::batch& read(std::uint64_t first, std::uint64_t next, std::uint64_t epoch, std::string_view stream = "t/0") {
    auto& b = batches.emplace_back(host.make_batch({}, stream, first));
    auto& range = const_cast<pl_range&>(b.get().ranges()[0]);
    range.source = pl::borrow("src");
    range.next = next;
    range.epoch = epoch;
    return b;
  }
  pl::batch_list list() {
    raw_.clear();
    for (const auto& b : batches) raw_.push_back(b.get().raw());
    return {raw_.data(), static_cast<std::uint32_t>(raw_.size())};
  }
  std::optional<std::vector<move>> moves() { return moves_in(list()); }

 private:
  std::vector<pl_batch*> raw_;
};

}  // namespace

TEST_CASE_FIXTURE(fixture, "a write moves each stream once, from the first of its ranges to the last") {
  read(10, 20, 1);
  read(5, 6, 3, "t/1");
  read(20, 30, 1);
  read(10, 30, 1);  // what became of its rows came before: the rest of a batch that was split
  read(30, 30, 1);  // of a timer
  read(0, 9, 0, "unclaimed");
  CHECK(*moves() ==
        std::vector<move>{pl::stream_move{"src", "t/0", 10, 30, 1}, pl::stream_move{"src", "t/1", 5, 6, 3}});
}

TEST_CASE_FIXTURE(fixture, "ranges that can't be of one write") {
  read(10, 20, 1);
  SUBCASE("a hole") { read(21, 30, 1); }
  SUBCASE("another claim") { read(20, 30, 2); }
  CHECK_FALSE(moves());
}

TEST_CASE_FIXTURE(fixture, "the last change of a key is the one that is written, in the order of keys") {
  const std::vector<pl_change> changes{{0, 0, pl::borrow("n"), pl::borrow("b"), pl::borrow("1")},
                                       {0, 0, pl::borrow("n"), pl::borrow("a"), pl::borrow("\xFF")},
                                       {0, 1, pl::borrow("n"), pl::borrow("c"), {}},
                                       {0, 0, pl::borrow("n"), pl::borrow("b"), pl::borrow("2")}};
  auto& b = read(0, 1, 1);
  b.get().raw()->changes = changes.data();
  b.get().raw()->nchanges = 4;
  const std::string owner = "E'p',E's',E'src',E't/0',E'n',";
  CHECK(change_sql(where, list()) ==
        strings{R"(INSERT INTO "state" (pipeline, sink, source, stream, node, key, value) VALUES ()" + owner +
                    R"('\x61'::bytea,'\xff'::bytea),()" + owner +
                    R"('\x62'::bytea,'\x32'::bytea) ON CONFLICT (pipeline, sink, source, stream, node, key) )" +
                    "DO UPDATE SET value = EXCLUDED.value",
                R"(DELETE FROM "state" WHERE (pipeline, sink, source, stream, node, key) IN (VALUES ()" + owner +
                    R"('\x63'::bytea)))"});
}
