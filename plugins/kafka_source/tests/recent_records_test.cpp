// SPDX-License-Identifier: Apache-2.0
#include "recent_records.hpp"

#include <doctest/doctest.h>

using kafka::recent_records;

TEST_CASE("records are recognised by their offset and content until two checks have confirmed the topic") {
  recent_records recent;
  for (int offset = 0; offset < 10; ++offset) recent.add(offset, 100 + static_cast<std::uint64_t>(offset));
  CHECK(recent.contains(9, 109));
  CHECK_FALSE(recent.contains(9, 108));
  CHECK_FALSE(recent.contains(10, 110));
  recent.confirm(5);
  CHECK(recent.contains(0, 100));  // the answer may have been older than a deletion
  recent.confirm(8);
  CHECK_FALSE(recent.contains(4, 104));
  CHECK(recent.contains(5, 105));
  CHECK(recent.reaches(9));
  CHECK_FALSE(recent.reaches(10));
}

TEST_CASE("a record that is read again replaces those that were noted from its offset on") {
  recent_records recent;
  recent.add(1, 11);
  recent.add(2, 12);
  recent.add(3, 13);
  recent.add(2, 22);
  CHECK(recent.contains(1, 11));
  CHECK(recent.contains(2, 22));
  CHECK_FALSE(recent.contains(2, 12));
  CHECK_FALSE(recent.contains(3, 13));
}

TEST_CASE("the number of noted records is bounded, and the newest ones stay") {
  recent_records recent;
  for (std::int64_t offset = 0; offset < 1'000'000; ++offset) recent.add(offset, 1);
  CHECK(recent.size() <= 131'072);
  CHECK(recent.contains(999'999, 1));
}
