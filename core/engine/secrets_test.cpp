// SPDX-License-Identifier: Apache-2.0
// What a component reports contains no secret of its options, wherever the report goes.
#include "engine/testing/test_host.hpp"

#include <doctest/doctest.h>

namespace pl::engine::test {
namespace {

// The password has characters at which parsers of URLs may split it. A record's text is a part of it, too, so that the
// sink's reason for a rejection repeats it.
constexpr const char* with_secrets =
    "name: t\nhttp: {listen: off}\n"
    "sources:\n  in: {plugin: test_source, stage: s, note: \"http://u:s3cr@t/word9@db\"}\n"
    "sinks:\n  out: {plugin: test_sink, from: in, stage: s, note: \"postgresql://u:s/0:500@db/x\", batch: {rows: 50}, "
    "retry: {initial: 1ms, max: 5ms}}\n"
    "dead_letters: {plugin: test_dead, stage: s, batch: {delay: 5ms}}\n";

TEST_CASE("logs, reasons of dead letters and failures do not contain the secrets of a component") {
  test_host h;
  auto s = new_stage("s");
  s->on_start = [n = 0]() mutable -> result<void> {
    return ++n < 3 ? result<void>(retry("cannot resolve 't/word9@db' of http://u:s3cr@t/word9@db")) : result<void>();
  };
  s->reject_by_name = [](std::string_view text) { return text == "s/0:500"; };
  auto p = h.build(with_secrets);
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] {
    p->supervise();
    return p->ended();
  }));
  p->join();
  const std::scoped_lock lock(s->mutex);
  REQUIRE(s->reasons.size() == 1);
  CHECK(s->reasons.front() == "value '<secret>' does not fit");
  const auto log = h.log();
  CHECK(log.find("cannot resolve") != std::string::npos);
  for (const auto* part : {"s3cr", "word9", "s3cr@t/word9"}) CHECK_MESSAGE(log.find(part) == std::string::npos, log);
}

}  // namespace
}  // namespace pl::engine::test
