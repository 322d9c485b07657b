// SPDX-License-Identifier: Apache-2.0
#include <pipeline/context.hpp>
#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

using namespace pl::testing;

namespace {

const pl_component& component() {
  const auto* directory = std::getenv("PIPELINE_PLUGIN_DIR");
  REQUIRE(directory != nullptr);
  std::string error;
  const auto* plugin = load_plugin(std::string(directory) + "/json_check.so", error);
  REQUIRE_MESSAGE(plugin != nullptr, error);
  for (const auto& problem : check_plugin(*plugin)) FAIL_CHECK(problem);
  return *plugin->components[0];
}

// Return the reason for which the payload is rejected; "" if it passes.
std::string fate(const std::optional<std::string>& payload, const config_fields& options = {}) {
  fake_host host;
  instance i(host, component(), options);
  REQUIRE(i.create() == PL_OK);
  const pl::context ctx(&host.raw());
  auto b = ctx.build(ctx.schema({"value", "topic"}), 3);
  auto values = b.make_column(0), topics = b.make_column(1);
  for (std::size_t r = 0; r < 3; ++r) {
    values[r] = pl::bytes_cell(b.copy("{\"n\":1}"));
    topics[r] = pl::text_cell("t");
  }
  values[1] = payload ? pl::bytes_cell(b.copy(*payload)) : pl::null_cell();
  const auto batch = std::move(b).finish();
  REQUIRE(i.apply(batch.get()) == PL_OK);
  REQUIRE(i.output().size() == 1);
  const auto passed = i.output()[0].data.get().selected();
  CHECK(passed + host.rejects().size() == 3);
  if (host.rejects().empty()) return {};
  CHECK(host.rejects()[0].row == 1);
  return host.rejects()[0].reason;
}

}  // namespace

TEST_CASE("the component passes the lifecycle checks") {
  for (const auto& problem : check_life(component(), {}, {"value", "topic"})) FAIL_CHECK(problem);
}

TEST_CASE("valid JSON passes unchanged, and so do the rows around any payload") {
  for (const auto* good : {"{}", "[]", " {\"a\": [1, 2.5e3, null, true, \"x\"]} ", "1", "\"text\"", "null"})
    CHECK_MESSAGE(fate(good).empty(), good);
  CHECK(fate("{\"a\":1}", {{"type", "object"}}).empty());
}

TEST_CASE("invalid payloads are rejected with a reason") {
  CHECK(fate(std::nullopt) == "no payload");
  CHECK(fate("") == "the payload is empty");
  CHECK(fate("{\"a\":1").find("not JSON: the document ends") == 0);
  CHECK(fate("{'a':1}").find("expected a key in double quotes") != std::string::npos);
  CHECK(fate("{} {}").find("not JSON") == 0);
  CHECK(fate("{\"a\":1,\"a\":2}").find("\"a\"") != std::string::npos);
  CHECK(fate("{\"a\":1,\"a\":2}", {{"unique_keys", false}}).empty());
  CHECK(fate("[[[]]]", {{"max_depth", 2}}).find("2") != std::string::npos);
  CHECK(fate("[1]", {{"type", "object"}}) == "the document is not an object");
  CHECK(fate("{\"long\":\"12345\"}", {{"max_bytes", pl::byte_size{10}}}) == "16 bytes; max_bytes is 10");
}

TEST_CASE("messages without a payload, or with an empty one, are rejected or skipped") {
  for (const auto& payload : {std::optional<std::string>(), std::optional<std::string>("")}) {
    CHECK_FALSE(fate(payload).empty());
    fake_host host;
    instance i(host, component(), {{"tombstones", "skip"}});
    REQUIRE(i.create() == PL_OK);
    const auto cell = payload ? pl::bytes_cell(*payload) : pl::null_cell();
    const auto batch = host.make_batch({{"value", {pl::bytes_cell("{}"), cell}}});
    REQUIRE(i.apply(batch.get()) == PL_OK);
    REQUIRE(i.output().size() == 1);
    CHECK(i.output()[0].data.get().selected() == 1);
    CHECK(host.rejects().empty());
    CHECK(host.sum("json_check_tombstones_total") == 1);
  }
}

TEST_CASE("columns: the kinds of the input pass; a payload that is never text is an error") {
  fake_host host;
  instance i(host, component());
  REQUIRE(i.create() == PL_OK);
  const auto* in = pl::context(&host.raw()).schema({"value", "topic"});
  pl::column_set out;
  REQUIRE(ask_columns(component(), i.self(), {in, {PL_BYTES, PL_TEXT}}, 0, out) == PL_OK);
  CHECK(out.kinds == std::vector<std::uint32_t>{PL_BYTES, PL_TEXT});
  CHECK(ask_columns(component(), i.self(), {in, {PL_I64, PL_TEXT}}, 0, out) == PL_FATAL);
  CHECK(host.error_text() == "payload: the column 'value' has the kind int; this option needs bytes or text or json");
}
