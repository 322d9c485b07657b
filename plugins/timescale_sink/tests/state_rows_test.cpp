// SPDX-License-Identifier: Apache-2.0
#include "state_rows.hpp"

#include <pipeline/testing/fake_host.hpp>

#include <doctest/doctest.h>

using namespace timescale;
using strings = std::vector<std::string>;

namespace {

struct fixture {
  pl::testing::fake_host host;
  std::vector<pl::batch> batches;
  position_tables where{"p", "s", {"", "pos"}, {"", "state"}};
  std::vector<pl_state_change> changes;
  std::vector<pl_batch*> raw;

  state_rows made() {
    auto& b = batches.emplace_back(host.make_batch({}, "t/0", 0));
    const_cast<pl_range&>(b.get().ranges()[0]).source = pl::borrow("src");
    b.get().raw()->state_changes = changes.data();
    b.get().raw()->nstate_changes = static_cast<std::uint32_t>(changes.size());
    raw = {b.get().raw()};
    return {where, pl::batch_list{raw.data(), 1}};
  }
  void put(std::string_view key, std::string_view value, std::string_view node = "n") {
    changes.push_back({0, 0, pl::borrow(node), pl::borrow(key), pl::borrow(value)});
  }
  void erase(std::string_view key, std::string_view node = "n") {
    changes.push_back({0, 1, pl::borrow(node), pl::borrow(key), {}});
  }
};

constexpr std::string_view deleted =
    R"(DELETE FROM "state" WHERE pipeline = E'p' AND sink = E's' AND source = E'src' AND stream = E't/0' AND node = )";

}  // namespace

TEST_CASE_FIXTURE(fixture, "only the last change of each key is written, in the order of keys") {
  put("b", "1");
  put("a", "\xFF");
  erase("c");
  put("b", "2");
  erase("d", "m");
  const std::string owner = "E'p',E's',E'src',E't/0',E'n',";
  const auto state = made();
  CHECK(state.statements() ==
        strings{R"(INSERT INTO "state" (pipeline, sink, source, stream, node, key, value) VALUES ()" + owner +
                    R"(E'\\x61'::bytea,E'\\xff'::bytea),()" + owner +
                    R"(E'\\x62'::bytea,E'\\x32'::bytea) ON CONFLICT (pipeline, sink, source, stream, node, key) )" +
                    "DO UPDATE SET value = EXCLUDED.value",
                std::string(deleted) + R"(E'm' AND key = ANY (E'{\\\\x64}'::bytea[]))",
                std::string(deleted) + R"(E'n' AND key = ANY (E'{\\\\x63}'::bytea[]))"});
  CHECK(state.copied() == 0);
  CHECK(state.copy_sql().empty());
}

TEST_CASE_FIXTURE(fixture, "much state is copied, and replaces the rows of its keys") {
  const std::string large(70'000, 'x');
  put("b", "1");
  put("b", large);
  erase("c");
  put("a", "2", "m");
  const auto state = made();
  CHECK(state.statements() == strings{std::string(deleted) + R"(E'm' AND key = ANY (E'{\\\\x61}'::bytea[]))",
                                      std::string(deleted) + R"(E'n' AND key = ANY (E'{\\\\x62}'::bytea[]))",
                                      std::string(deleted) + R"(E'n' AND key = ANY (E'{\\\\x63}'::bytea[]))"});
  CHECK(state.copy_sql() ==
        R"(COPY "state" (pipeline, sink, source, stream, node, key, value) FROM STDIN (FORMAT binary))");
  REQUIRE(state.copied() == 2);
  byte_buffer first, second;
  state.append(first, 0);
  state.append(second, 1);
  const std::string row(
      "\0\7\0\0\0\1p\0\0\0\1s\0\0\0\3src\0\0\0\3t/0\0\0\0\1m\0\0\0\1a\0\0\0\1"
      "2",
      41);
  CHECK(first.bytes() == row);
  CHECK(second.size() == row.size() + large.size() - 1);
  CHECK(second.bytes().ends_with(large));
}

TEST_CASE_FIXTURE(fixture, "very many keys are deleted by several statements, each of a limited size") {
  constexpr int many = 100'000;
  std::vector<std::string> keys;
  for (int i = 0; i < many; ++i) keys.push_back("key " + std::to_string(many + i));
  for (const auto& key : keys) erase(key);
  const std::string text(3000, 'l');
  std::vector<std::string> long_keys;
  for (int i = 0; i < 300; ++i) long_keys.push_back(text + std::to_string(i));
  for (const auto& key : long_keys) erase(key, "o");
  const auto statements = made().statements();
  std::size_t deleted_keys = 0, largest = 0;
  for (const auto& sql : statements) {
    CHECK(sql.starts_with(deleted));
    for (auto at = sql.find("\\\\x"); at != std::string::npos; at = sql.find("\\\\x", at + 1)) ++deleted_keys;
    largest = std::max(largest, sql.size());
  }
  CHECK(deleted_keys == many + 300);
  CHECK(statements.size() == (many + 4095) / 4096 + 4);
  CHECK(largest < 600'000);
}

TEST_CASE_FIXTURE(fixture, "no changes, no statements") {
  CHECK(made().statements().empty());
  CHECK(state_rows().statements().empty());
  CHECK(state_rows().copied() == 0);
}
