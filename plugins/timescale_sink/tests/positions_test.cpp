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

  pl::batch& add(std::uint64_t first, std::uint64_t next, std::uint64_t epoch, std::string_view stream = "t/0") {
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
  add(10, 20, 1);
  add(5, 6, 3, "t/1");
  add(20, 30, 1);
  add(10, 30, 1);  // the rest of a split batch whose other rows came before
  add(30, 30, 1);  // rows that a timer emitted
  add(0, 9, 0, "unclaimed");
  CHECK(*moves() ==
        std::vector<move>{pl::stream_move{"src", "t/0", 10, 30, 1}, pl::stream_move{"src", "t/1", 5, 6, 3}});
}

TEST_CASE_FIXTURE(fixture, "ranges with a gap or with different claims cannot be one write") {
  add(10, 20, 1);
  SUBCASE("a gap") { add(21, 30, 1); }
  SUBCASE("another claim") { add(20, 30, 2); }
  CHECK_FALSE(moves());
}
