// SPDX-License-Identifier: Apache-2.0
#include "../session.hpp"

#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

using strings = std::vector<std::string>;

TEST_CASE("a session is remembered with its subscriptions and those that were removed") {
  const pl::testing::temp_dir dir;
  mqtt::session before;
  before.load(dir.path());
  CHECK_FALSE(before.known());
  before.begin("broker:1883", "an id with spaces");
  before.expect({{"a/#", 1, 0}, {"b c/+", 2, 2}});
  before.expect({{"b c/+", 2, 2}, {"d", 1, 1}});
  REQUIRE(before.store().ok());

  mqtt::session after;
  after.load(dir.path());
  CHECK(after.is_of("broker:1883", "an id with spaces"));
  CHECK_FALSE(after.is_of("other:1883", "an id with spaces"));
  REQUIRE(after.find("b c/+") != nullptr);
  CHECK(after.find("b c/+")->qos == 2);
  CHECK(after.find("d")->granted == 1);
  CHECK(after.find("a/#") == nullptr);
  CHECK(after.removed() == strings{"a/#"});
  CHECK(after.without({"d"}) == strings{"a/#", "b c/+"});

  after.expect({{"a/#", 1, 1}});  // a removed filter is configured again
  CHECK(after.removed() == strings{"b c/+", "d"});
  after.forget();
  mqtt::session none;
  none.load(dir.path());
  CHECK_FALSE(none.known());
}

TEST_CASE("in an unknown session every known filter may be left, and none is known to be subscribed") {
  const pl::testing::temp_dir dir;
  mqtt::session s;
  s.load(dir.path());
  s.begin("one:1883", "id");
  s.expect({{"a", 1, 1}});
  s.take_over("two:1883", "id");
  CHECK(s.is_of("two:1883", "id"));
  CHECK(s.find("a") == nullptr);
  CHECK(s.removed() == strings{"a"});
}
