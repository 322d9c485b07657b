// SPDX-License-Identifier: Apache-2.0
#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

using namespace std::chrono_literals;
using pl::testing::read_file;
using pl::testing::temp_dir;

namespace {

const pl_component& file_sink() {
  static const pl_plugin* plugin = [] {
    std::string error;
    const auto* p = pl::testing::load_plugin(std::string(std::getenv("PIPELINE_PLUGIN_DIR")) + "/file_sink.so", error);
    REQUIRE_MESSAGE(p != nullptr, error);
    return p;
  }();
  return *pl::testing::find_component(*plugin, "file_sink");
}

}  // namespace

TEST_CASE("the plugin: rows of batches as NDJSON, selections honoured, names in the path") {
  temp_dir dir;
  pl::testing::fake_host host;
  pl::testing::instance sink(host, file_sink(), {{"path", dir / "{pipeline}-{node}-{writer}.ndjson"}});
  REQUIRE(sink.create() == PL_OK);
  REQUIRE(sink.check() == PL_OK);
  REQUIRE(sink.start() == PL_OK);
  auto b = host.make_batch({{"time", {pl::time_cell(0), pl::time_cell(1)}},
                            {"device_id", {pl::text_cell("a\"\n"), pl::text_cell("b")}},
                            {"temperature", {pl::real_cell(21.5), pl::null_cell()}}});
  REQUIRE(sink.write(b.get()) == PL_OK);
  const std::uint32_t only[] = {1};
  b.get().raw()->sel = only;
  b.get().raw()->nsel = 1;
  REQUIRE(sink.write(b.get()) == PL_OK);
  REQUIRE(sink.stop() == PL_OK);
  CHECK(read_file(dir / "test-node-0.ndjson") ==
        "{\"time\":\"1970-01-01T00:00:00Z\",\"device_id\":\"a\\\"\\n\",\"temperature\":21.5}\n"
        "{\"time\":\"1970-01-01T00:00:00.000000001Z\",\"device_id\":\"b\"}\n"
        "{\"time\":\"1970-01-01T00:00:00.000000001Z\",\"device_id\":\"b\"}\n");
  CHECK(host.sum("file_sink_bytes_total") == static_cast<double>(read_file(dir / "test-node-0.ndjson").size()));
}

TEST_CASE("the plugin: a row is one line, with any JSON in it") {
  temp_dir dir;
  pl::testing::fake_host host;
  pl::testing::instance sink(host, file_sink(), {{"path", dir / "out"}, {"unique_by", pl::testing::list({"extra"})}});
  REQUIRE(sink.create() == PL_OK);
  REQUIRE(sink.start() == PL_OK);
  auto b = host.make_batch(
      {{"extra", {pl::json_cell("{\r\n  \"a\": [1,\n\t2],\n  \"b\": \"c\\n\"\n}"), pl::json_cell("1e400")}},
       {"n", {pl::int_cell(1), pl::int_cell(2)}}});
  REQUIRE(sink.write(b.get()) == PL_OK);
  REQUIRE(sink.write(b.get()) == PL_OK);
  REQUIRE(sink.stop() == PL_OK);
  CHECK(read_file(dir / "out") ==
        "{\"extra\":{    \"a\": [1, \t2],   \"b\": \"c\\n\" },\"n\":1}\n{\"extra\":1e400,\"n\":2}\n");
}

TEST_CASE("the plugin: each fsync policy writes the same lines") {
  for (const char* policy : {"never", "batch", "interval"}) {
    CAPTURE(policy);
    temp_dir dir;
    pl::testing::fake_host host;
    pl::testing::instance sink(
        host, file_sink(),
        {{"path", dir / "out"}, {"fsync", policy}, {"fsync_interval", std::chrono::nanoseconds(1ms)}});
    REQUIRE(sink.create() == PL_OK);
    REQUIRE(sink.start() == PL_OK);
    auto b = host.make_batch({{"n", {pl::int_cell(7)}}});
    for (int i = 0; i < 50; ++i) REQUIRE(sink.write(b.get()) == PL_OK);
    REQUIRE(sink.stop() == PL_OK);
    CHECK(read_file(dir / "out").size() == 50 * 8);
  }
}

TEST_CASE("the plugin: invalid options are reported") {
  const auto error_of = [](const pl::testing::config_fields& options) {
    pl::testing::fake_host host;
    pl::testing::instance sink(host, file_sink(), options);
    CHECK(sink.create() == PL_FATAL);
    return host.error_text();
  };
  CHECK(error_of({{"path", "x/{pipelin}.ndjson"}}) ==
        "path: unknown name {pipelin} in the path; there are {pipeline}, {node} and {writer}");
  CHECK(error_of({{"path", "x/{pipeline"}}).find("path: '{' at character 3 is not closed") == 0);
  CHECK(error_of({{"path", "folder/"}}).find("path: 'folder/' is not a file name") == 0);
  CHECK(error_of({{"path", "x"}, {"mode", "rw"}}).find("mode: 'rw' is not a file mode") == 0);
  CHECK(error_of({{"path", "x"}, {"mode", "0440"}}).find("mode: ") == 0);
}

TEST_CASE("conformance") {
  temp_dir dir;
  std::string error;
  const auto* plugin =
      pl::testing::load_plugin(std::string(std::getenv("PIPELINE_PLUGIN_DIR")) + "/file_sink.so", error);
  REQUIRE(plugin != nullptr);
  for (const auto& p : pl::testing::check_plugin(*plugin)) FAIL_CHECK(p);
  for (const auto& p : pl::testing::check_life(file_sink(), {{"path", dir / "out"}, {"fsync", "never"}})) FAIL_CHECK(p);
}

TEST_CASE("the plugin: dead letters are rotated by default, other rows only if `rotate` is set") {
  const auto files_after_80_mib = [](const char* node, pl::testing::config_fields more = {}) {
    temp_dir dir;
    pl::testing::fake_host host;
    host.raw().node = pl::borrow(node);
    more.emplace_back("path", dir / "out.ndjson");
    more.emplace_back("fsync", "never");
    pl::testing::instance sink(host, file_sink(), more);
    REQUIRE(sink.create() == PL_OK);
    REQUIRE(sink.start() == PL_OK);
    const std::string text(std::size_t{8} << 20U, 'x');
    for (int i = 0; i < 10; ++i)
      REQUIRE(sink.write(host.make_batch({{"value", {pl::text_cell(text)}}}).get()) == PL_OK);
    REQUIRE(sink.stop() == PL_OK);
    return std::distance(std::filesystem::directory_iterator(dir.path()), std::filesystem::directory_iterator());
  };
  CHECK(files_after_80_mib("dead_letters") == 2);
  CHECK(files_after_80_mib("store") == 1);
  CHECK(files_after_80_mib("dead_letters", {{"rotate", pl::testing::object({{"max_size", 0}})}}) == 1);
}
