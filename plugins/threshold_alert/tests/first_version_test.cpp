// SPDX-License-Identifier: Apache-2.0
// Tests with state that the first version of the codec wrote: bytes of version 1, stored by the commit before it changed.
#include "harness.hpp"

#include <pipeline/text.hpp>

using namespace threshold_alert::testing;

namespace {

std::string bytes(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return out;
}

using stored = std::vector<std::pair<std::string_view, std::string_view>>;

harness::state state_of(const stored& entries) {
  harness::state made;
  for (const auto& [key, value] : entries) made[{"telemetry/0", bytes(key)}] = bytes(value);
  return made;
}

// a: the alert `hot` is open, critical; b: one reading above 80 (times: 2); c: nothing.
harness::state alerts_open() {
  return state_of(
      {{"61050100000075050100000061",
        "0101d4d0f52f19245f330280a8a69ccebfce972f0001098981d7527e53a6bc8c36355c62c1d08080d0e2c6bfce972f80d0fcd5d5bfce97"
        "2f0"
        "20200"},
       {"73", "0180c8ff82ecbfce972f"},
       {"74050100000075050100000061",
        "0180d0fcd5d5bfce972f0302cda432f8dd7617eb80d0fcd5d5bfce972f0000000000c05740fa85ccec2e2455428080d0e2c6bfce972f00"
        "00"
        "00000000000001d4d0f52f19245f330200000000"},
       {"74050100000075050100000062",
        "0180f8d28fddbfce972f0402cda432f8dd7617eb80f8d28fddbfce972f0000000000405540fa85ccec2e24554280f8d28fddbfce972f03"
        "00"
        "00000000000001d4d0f52f19245f330280f8d28fddbfce972f010000"},
       {"74050100000075050100000063", "0180c8ff82ecbfce972f0501cda432f8dd7617eb80c8ff82ecbfce972f000000000000344000"}});
}

// Stored by a timer: a is silent and has no humidity; b is hot and silent.
harness::state timers_fired() {
  return state_of(
      {{"41050100000075050100000061",
        "0102fa85ccec2e2455420080d0aba6bbc2ce972f0001f8e8205c602d583bbef1bafe3a85fc068080d0e2c6bfce972f80d0aba6bbc2ce97"
        "2f"
        "00000064671bc7caf28a590080e08ae785c3ce972f00012fcabb3dee245ed6aa84d7dd4c490a148080d0e2c6bfce972f80e08ae785c3ce"
        "97"
        "2f000000"},
       {"41050100000075050100000062",
        "0102d4d0f52f19245f330280d0fcd5d5bfce972f00018649af2ccf0455b3bf1a75f3d7e6aead80a8a69ccebfce972f80d0fcd5d5bfce97"
        "2f"
        "02020064671bc7caf28a590080b0b7da94c3ce972f000183adf3779ebb5110b71f53b6b058065580d0fcd5d5bfce972f80b0b7da94c3ce"
        "97"
        "2f000000"},
       {"54050100000075050100000061",
        "018080d0e2c6bfce972f0102cda432f8dd7617eb8080d0e2c6bfce972f0000000000003440fa85ccec2e2455428080d0e2c6bfce972f00"
        "00"
        "00000000000000"},
       {"54050100000075050100000062",
        "0180d0fcd5d5bfce972f0301cda432f8dd7617eb80d0fcd5d5bfce972f0000000000c0574001d4d0f52f19245f330200000000"},
       {"61050100000075050100000062",
        "0101d4d0f52f19245f330280d0fcd5d5bfce972f00018649af2ccf0455b3bf1a75f3d7e6aead80a8a69ccebfce972f80d0fcd5d5bfce97"
        "2f"
        "020200"},
       {"73", "0180d0fcd5d5bfce972f"},
       {"74050100000075050100000061",
        "018080d0e2c6bfce972f0102cda432f8dd7617eb8080d0e2c6bfce972f0000000000003440fa85ccec2e2455428080d0e2c6bfce972f00"
        "00"
        "00000000000000"},
       {"74050100000075050100000062",
        "0180d0fcd5d5bfce972f0301cda432f8dd7617eb80d0fcd5d5bfce972f0000000000c0574001d4d0f52f19245f330200000000"}});
}

std::vector<pl::testing::config_value> rules(bool with_hot = true) {
  const auto severities =
      list({object({{"severity", "warning"}, {"above", 80.0}}), object({{"severity", "critical"}, {"above", 90.0}})});
  std::vector all{object({{"name", "jump"}, {"metric", "temperature"}, {"rate_of_change", "second"}, {"above", 15.0}}),
                  object({{"name", "silent"}, {"missing_for", 60s}, {"repeat_interval", 100s}}),
                  object({{"name", "no_humidity"}, {"metric", "humidity"}, {"missing_for", 50s}})};
  if (with_hot)
    all.push_back(object({{"name", "hot"}, {"metric", "temperature"}, {"severities", severities}, {"times", 2}}));
  return all;
}

}  // namespace

TEST_CASE("version 1: open alerts, counts and references continue") {
  harness h(rules());
  h.restore(alerts_open(), "telemetry/0", 5);
  CHECK(h.host.last("alerts_open{rule=hot}") == 1);
  CHECK(h.host.last("alert_devices") == 0);
  h.tick(6);
  CHECK(h.take() == lines{});
  CHECK(h.host.last("alert_devices") == 3);
  h.feed({{6, real(84), "b"}, {7, real(20), "a"}, {8, real(90), "c"}});
  const auto all = h.take_fields();
  REQUIRE(all.size() == 3);
  CHECK((all[0].at("device_id") == "b" && all[0].at("state") == "firing"));  // its second reading
  CHECK((all[1].at("id") == "098981d7-527e-53a6-bc8c-36355c62c1d0" && all[1].at("state") == "resolved"));
  CHECK((all[2].at("rule") == "jump" && all[2].at("device_id") == "c"));
}

TEST_CASE("version 1: alerts that a timer stored are open, and are not sent again") {
  harness h(rules());
  h.restore(timers_fired(), "telemetry/0", 3);
  CHECK(h.host.last("alerts_open{rule=hot}") == 1);
  CHECK(h.host.last("alerts_open{rule=silent}") == 2);
  CHECK(h.host.last("alerts_open{rule=no_humidity}") == 1);
  h.tick(71);
  CHECK(h.take() == lines{});
  h.feed({{75, real(20), "a", real(1)}});
  const auto all = h.take_fields();
  REQUIRE(all.size() == 2);
  CHECK(all[0].at("id") == "2fcabb3d-ee24-5ed6-aa84-d7dd4c490a14");
  CHECK(all[1].at("id") == "f8e8205c-602d-583b-bef1-bafe3a85fc06");
}

TEST_CASE("version 1: the alert of a removed rule is resolved under its id, although its name is unknown") {
  harness h(rules(false));
  h.restore(alerts_open(), "telemetry/0", 5);
  h.tick(6);
  const auto all = h.take_fields();
  REQUIRE(all.size() == 1);
  CHECK(all[0].at("id") == "098981d7-527e-53a6-bc8c-36355c62c1d0");
  CHECK((all[0].at("state") == "resolved" && all[0].at("device_id") == "a" && all[0].at("rule") == "unknown"));
  CHECK(all[0].at("message") == "unknown: resolved for u/a: rule removed from the configuration");
}

TEST_CASE("version 1: group_by with another number of columns is noticed by the shape of the keys") {
  harness h(config_fields{{"group_by", list({"device_id"})}, {"rules", list(rules())}});
  h.restore(timers_fired(), "telemetry/0", 3);
  REQUIRE(h.host.logs().size() == 1);
  CHECK(h.host.logs()[0].message ==
        "group_by changed to [device_id]: 4 open alerts of stream telemetry/0 are resolved, and the state of its 2 "
        "devices "
        "starts anew");
  h.tick(71);
  const auto all = h.take_fields();
  REQUIRE(all.size() == 4);
  for (const auto& e : all) CHECK((e.at("state") == "resolved" && e.contains("device_id")));
  h.feed({{72, real(95), "b"}, {73, real(95), "b"}});
  CHECK(h.take() == lines{"firing critical 95 @73 b"});
}

TEST_CASE("version 1: a stored stream gets an arrival clock") {
  harness h(rules());
  h.restore(alerts_open(), "telemetry/0", 5);
  h.clock(62.9);
  CHECK(h.take() == lines{"firing warning 50 @50 a", "firing warning 50 @53 b", "firing warning 60 @62 a"});
  h.clock(63);
  CHECK(h.take() == lines{"firing warning 60 @63 b"});
}
