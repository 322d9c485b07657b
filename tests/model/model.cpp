// SPDX-License-Identifier: Apache-2.0
#include "checker.hpp"
#include "one_stream.hpp"

#include <chrono>
#include <cstdio>
#include <string_view>

using namespace model;

int main(int argc, char** argv) {
  const std::string_view which = argc > 1 ? argv[1] : "claim";
  bounds b;
  rules r;
  if (which == "claim") b = {.records = 3, .sinks = 1, .window = 2, .kills = 1, .rebalances = 2, .orders = 1, .lost = 1};
  if (which == "sinks") b = {.records = 2, .sinks = 2, .window = 1, .kills = 1, .rebalances = 1, .orders = 1, .lost = 1};
  if (which == "mqtt") b = {.records = 2, .sinks = 1, .mqtt = true, .window = 2, .kills = 1, .rebalances = 1, .orders = 0, .lost = 1};
  if (which == "mqttorder") b = {.records = 2, .sinks = 1, .mqtt = true, .window = 2, .kills = 1, .rebalances = 1, .orders = 1, .lost = 0};
  if (which == "state") b = {.records = 3, .sinks = 1, .mqtt = false, .state = true, .window = 2, .kills = 1, .rebalances = 1, .orders = 0, .lost = 1};
  if (which == "state2") b = {.records = 3, .sinks = 2, .mqtt = false, .state = true, .window = 2, .kills = 1, .rebalances = 0, .orders = 0, .lost = 1};
  if (which == "stateorder") b = {.records = 3, .sinks = 2, .mqtt = false, .state = true, .window = 2, .kills = 1, .rebalances = 0, .orders = 1, .lost = 0};
  if (which == "newsink") b = {.records = 4, .sinks = 2, .mqtt = false, .state = true, .window = 2, .kills = 1, .rebalances = 0, .orders = 0, .lost = 0, .new_sink = true};
  if (which == "timer") b = {.records = 1, .sinks = 1, .mqtt = false, .state = true, .timer = true, .window = 1, .kills = 1, .rebalances = 1, .orders = 0, .lost = 1};
  if (which == "timer2") b = {.records = 1, .sinks = 2, .mqtt = false, .state = true, .timer = true, .window = 1, .kills = 1, .rebalances = 0, .orders = 0, .lost = 0};
  if (which == "topic") b = {.records = 2, .sinks = 1, .mqtt = false, .window = 1, .kills = 0, .rebalances = 2, .orders = 0, .lost = 0, .new_topic = true};
  for (int i = 2; i < argc; ++i) {
    const std::string_view a = argv[i];
    const auto num = [&](std::string_view key, byte& to) { if (a.starts_with(key)) to = static_cast<byte>(std::atoi(a.data() + key.size())); };
    num("k=", b.kills), num("r=", b.rebalances), num("o=", b.orders), num("l=", b.lost), num("n=", b.records), num("w=", b.window), num("c=", b.first_commit);
    num("d=", b.devices); if (a == "mqtt") b.mqtt = true;
    if (a == "one") r.state_in_one = true;
    if (a == "noguard") r.begins_at_state = true;
    if (a == "startmark") r.start_marked_first = true;
    if (a == "purge") r.changes_dropped = true;
    if (a == "lowest") r.new_sink_at_lowest = true;
    if (a == "token") r.serial_in_write = true;
    if (a == "back") r.back_under_claim = true;
    if (a == "epochs") r.one_epoch = false;
  }
  const auto began = std::chrono::steady_clock::now();
  const one_stream m(b, r);
  const auto f = search<one_stream>(m, 20'000'000).run();
  std::printf("%s: %zu states, %zu finished, %zu stuck, %s%s, %.1f s\n", which.data(), f.states, f.finished, f.stuck, f.broken.c_str(), f.too_many ? " TOO MANY" : "",
              std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  int n = 0; for (const auto& t : f.trace) if (n++ < 40) std::printf("    %s\n", t.c_str());
}
