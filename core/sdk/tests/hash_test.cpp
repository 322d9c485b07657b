// SPDX-License-Identifier: Apache-2.0
#include <pipeline/hash.hpp>

#include <doctest/doctest.h>

TEST_CASE("FNV-1a: the authors' test vectors") {
  CHECK(pl::fnv1a_32("") == 0x811C9DC5U);
  CHECK(pl::fnv1a_32("a") == 0xE40C292CU);
  CHECK(pl::fnv1a_32("foobar") == 0xBF9CF968U);
  CHECK(pl::fnv1a_64("") == 0xCBF29CE484222325U);
  CHECK(pl::fnv1a_64("a") == 0xAF63DC4C8601EC8CU);
  CHECK(pl::fnv1a_64("foobar") == 0x85944171F73967E8U);
  CHECK(pl::fnv1a_32("\xFF") != pl::fnv1a_32("\x7F"));
}
