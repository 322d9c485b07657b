// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <http/inflate.hpp>
#include <http/testing/client.hpp>

#include <string>

using namespace pl::http;
using testing::gzipped;

TEST_CASE("gzip: pieces of any size, several members, and invalid data") {
  const std::string plain(100'000, 'x');
  const auto two = testing::gzipped(plain) + testing::gzipped("end");
  for (const std::size_t piece : {1UL, 7UL, 100'000UL}) {
    inflater in;
    std::string out;
    for (std::size_t at = 0; at < two.size(); at += piece)
      REQUIRE(in.feed(std::string_view(two).substr(at, piece), [&](auto p) { return out += p, true; }) ==
              inflater::result::ok);
    CHECK(out == plain + "end");
    CHECK(in.at_end());
  }
  inflater cut, broken, bounded;
  CHECK(cut.feed(two.substr(0, 50), [](auto) { return true; }) == inflater::result::ok);
  CHECK(!cut.at_end());
  CHECK(broken.feed("no gzip", [](auto) { return true; }) == inflater::result::broken);
  CHECK(bounded.feed(two, [](auto) { return false; }) == inflater::result::refused);
}
