// SPDX-License-Identifier: Apache-2.0
// Numeric and boolean expressions allocate no memory once their scratch memory exists. A program of its own, because it
// replaces operator new to count.
#include "harness.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> allocations{0};

void* counted(std::size_t bytes) {
  ++allocations;
  if (void* p = std::malloc(bytes != 0 ? bytes : 1)) return p;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes); }
void* operator new[](std::size_t bytes) { return counted(bytes); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }

using namespace pl;
using namespace pl::cel;
using namespace pl::cel::testing;

namespace {

table numbers(std::uint32_t rows) {
  std::vector<cell> t, h, flag, text;
  for (std::uint32_t i = 0; i < rows; ++i) {
    t.push_back(i % 100 == 7 ? null_cell() : real_cell(i % 90));
    h.push_back(i % 50 == 3 ? int_cell(40) : real_cell(i % 100));
    flag.push_back(bool_cell(i % 2 == 0));
    text.push_back(text_cell(i % 3 == 0 ? "th-1" : "pump"));
  }
  return table({{"t", PL_F64, t}, {"h", PL_F64, h}, {"b", PL_BOOL, flag}, {"s", PL_TEXT, text}});
}

// Return the allocations of the second of two equal evaluations.
std::size_t allocations_of(std::string_view text, const table& in, std::vector<cell>& to) {
  auto compiled = compile(text, in.columns());
  REQUIRE_MESSAGE(compiled.ok(), text, ": ", compiled.why().message);
  evaluator e(std::move(compiled).value());
  auto& host = const_cast<table&>(in);
  batch_builder owner(host.host(), in.view(), &in.view().schema(), in.view().rows());
  std::vector<row_index> matched, failed;
  matched.reserve(2 * to.size());
  failed.reserve(2 * to.size());
  std::size_t before = 0;
  for (int round = 0; round < 2; ++round) {
    before = allocations;
    matched.clear();
    failed.clear();
    if (e.compiled().kind() == PL_BOOL) (void)e.select(in.view(), matched, &failed);
    (void)e.fill(in.view(), owner, to, &failed);
  }
  return allocations - before;
}

}  // namespace

TEST_CASE("numeric and boolean work allocates nothing for a row") {
  const auto in = numbers(1000);
  std::vector<cell> to(1000, null_cell());
  for (const auto* text : {"t > 30", "t * 9 / 5 + 32", "t > 30 && h < 50.0 || b", "b ? t : h", "has(row.t) ? t : 0.0",
                           "math.round(t / 3)", "s == 'th-1' && t > 3", "s.startsWith('th-') && b", "t == null"})
    CHECK_MESSAGE(allocations_of(text, in, to) == 0, text);
}
