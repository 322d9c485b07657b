// SPDX-License-Identifier: Apache-2.0
// Tests with state of version 2, stored by the commit before rules could have expressions: definitions of rules without
// expressions have the same hash, so alerts continue with their hysteresis, counts and references.
#include "harness.hpp"

using namespace threshold_alert::testing;

namespace {

std::string bytes(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return out;
}

// a: hot (critical), dry and failed are open; b: one reading above 80 (times: 2); c: nothing.
harness::state stored() {
  const std::vector<std::pair<std::string_view, std::string_view>> entries{
      {"61050100000075050100000061",
       "02d8b6b1af0e03d4d0f52f19245f330e93cd812b4e5ddd000280d0fcd5d5bfce972f0001098981d7527e53a6bc8c36355c62c1d080a8a69"
       "c"
       "cebfce972f80d0fcd5d5bfce972f020202000000000000584008637269746963616c3e0926f4183153ca27299b0ae1a9ca22000080a8a69"
       "c"
       "cebfce972f00014f9600212a925c7e982bd39cf7b8f5fc80a8a69ccebfce972f80a8a69ccebfce972f00000200000000000024400777617"
       "2"
       "6e696e67f49423b4468933d779505271d72a33c8000080a8a69ccebfce972f00018b9f0fd120355b6ebe069b3b0337c18f80a8a69ccebfc"
       "e"
       "972f80a8a69ccebfce972f000000077761726e696e67"},
      {"72",
       "020207757365725f6964096465766963655f69640503686f740b74656d70657261747572650001036472790868756d69646974790001046"
       "a"
       "756d700b74656d70657261747572650001066661696c65640673746174757300010673696c656e74000001"},
      {"73", "0280a0a9c9e4bfce972f"},
      {"74050100000075050100000061",
       "02d8b6b1af0e0080d0fcd5d5bfce972f000201cda432f8dd7617eb8fbed84b80d0fcd5d5bfce972f000000000000584003d4d0f52f19245"
       "f"
       "330e93cd812b4e5ddd020000000080d0fcd5d5bfce972f0100000000000058403e0926f4183153ca27299b0ae1a9ca2201000080d0fcd5d"
       "5"
       "bfce972f010000000000002640f49423b4468933d779505271d72a33c801000080d0fcd5d5bfce972f01f49423b4468933d7"},
      {"74050100000075050100000062",
       "02d8b6b1af0e0080f8d28fddbfce972f000301cda432f8dd7617eb8fbed84b80f8d28fddbfce972f000000000000554001d4d0f52f19245"
       "f"
       "330e93cd812b4e5ddd0280f8d28fddbfce972f01000080f8d28fddbfce972f010000000000005540"},
      {"74050100000075050100000063",
       "02d8b6b1af0e0080a0a9c9e4bfce972f000401cda432f8dd7617eb8fbed84b80a0a9c9e4bfce972f000000000000344000"}};
  harness::state made;
  for (const auto& [key, value] : entries) made[{"telemetry/0", bytes(key)}] = bytes(value);
  return made;
}

std::vector<pl::testing::config_value> rules() {
  const auto severities = list({object({{"severity", "warning"}, {"above", 80.0}, {"clear_below", 75.0}}),
                                object({{"severity", "critical"}, {"above", 90.0}})});
  return {object({{"name", "hot"}, {"metric", "temperature"}, {"severities", severities}, {"times", 2}}),
          object({{"name", "dry"}, {"metric", "humidity"}, {"outside", list({20.0, 90.0})}, {"clear_above", 25.0}}),
          object({{"name", "jump"}, {"metric", "temperature"}, {"rate_of_change", "second"}, {"above", 15.0}}),
          object({{"name", "failed"}, {"metric", "status"}, {"equals", "failed"}}),
          object({{"name", "silent"}, {"missing_for", 60s}})};
}

}  // namespace

TEST_CASE("version 2: alerts continue under their ids, with hysteresis, counts and references") {
  harness h(rules());
  h.restore(stored(), "telemetry/0", 4);
  CHECK(h.host.last("alerts_open{rule=hot}") == 1);
  h.feed({{5, real(76), "a", real(24), text("failed")}});  // within the hysteresis of `warning` and of dry
  h.feed({{6, real(84), "b"}, {7, real(70), "c"}});        // the second reading of b; 50 in three seconds
  const auto all = h.take_fields();
  REQUIRE(all.size() == 3);
  CHECK((all[0].at("id") == "098981d7-527e-53a6-bc8c-36355c62c1d0" && all[0].at("state") == "changed"));
  CHECK((all[1].at("device_id") == "b" && all[1].at("state") == "firing"));
  CHECK((all[2].at("device_id") == "c" && all[2].at("rule") == "jump"));
  h.feed({{8, real(74), "a", real(26), text("ok")}});
  const auto closed = h.take_fields();
  REQUIRE(closed.size() == 3);
  for (const auto& e : closed) CHECK(e.at("state") == "resolved");
  CHECK(closed[1].at("id") == "4f960021-2a92-5c7e-982b-d39cf7b8f5fc");
  CHECK(closed[2].at("id") == "8b9f0fd1-2035-5b6e-be06-9b3b0337c18f");
}

TEST_CASE("version 2: a number written as an integer is the same threshold") {
  auto with_integers = rules();
  with_integers[1] =
      object({{"name", "dry"}, {"metric", "humidity"}, {"outside", list({20, 90})}, {"clear_above", 25}});
  harness h(with_integers);
  h.restore(stored(), "telemetry/0", 4);
  h.feed({{5, real(96), "a", real(24), text("failed")}});
  CHECK(h.take() == lines{});
}
