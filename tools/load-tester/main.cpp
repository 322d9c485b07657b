// SPDX-License-Identifier: Apache-2.0
// load-tester: simulates devices that publish over MQTT, and accounts for every message.
#include "limit.hpp"
#include "run.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <string>

namespace {

using namespace pl::load;

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

int fail(const std::string& why) {
  fmt::print(stderr, "load-tester: {}\n", why);
  return exit_unreachable;
}

int run(const options& o) {
  const auto out = run_once(o);
  if (!out.error.empty()) return fail(out.error);
  print(o.json ? as_json(out.seen) : as_text(out.seen));
  return out.code;
}

int find_limit(const options& given) {
  limit_report found;
  limit_search search(given.rate > 0 ? given.rate : 200);
  for (int n = 1; const auto step = search.next(); ++n) {
    auto o = given;
    o.quiet = true;
    o.rate = step->rate;
    o.count = 0;
    o.duration_ns = step->confirms ? 3 * given.trial_ns : given.trial_ns;
    o.run = fmt::format("{}-{}-", given.run, n);
    if (!given.quiet) fmt::print(stderr, "trying {:.0f}/s for {} ...\n", o.rate, time_text(o.duration_ns / 1000));
    const auto out = run_once(o);
    if (!out.error.empty()) return fail(out.error);
    if (stop_requests() > 0) return exit_aborted;
    trial t{step->rate, false, why_not_sustained(out.seen, given.max_latency_ns / 1000), out.seen};
    t.sustained = t.why_not.empty();
    if (!given.quiet) fmt::print(stderr, "  {}\n", t.sustained ? "sustained" : t.why_not);
    search.note(t.sustained);
    found.trials.push_back(std::move(t));
  }
  found.rate = search.found();
  print(given.json ? as_json(found) : as_text(found));
  return found.rate > 0 ? exit_fine : exit_lost;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto parsed = parse_options(argc, argv);
    if (const auto* code = std::get_if<int>(&parsed)) return *code;
    const mqtt_library library;
    catch_signals();
    const auto& o = std::get<options>(parsed);
    return o.find_limit ? find_limit(o) : run(o);
  } catch (const std::exception& e) {
    return fail(e.what());
  }
}
