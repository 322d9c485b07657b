// SPDX-License-Identifier: Apache-2.0
// A file_source under test, and the records that it returned.
#pragma once

#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using pl::testing::config_fields;
using pl::testing::temp_dir;
using pl::testing::write_file;

namespace {

const pl_plugin& plugin() {
  static const pl_plugin* loaded = [] {
    std::string error;
    const auto* p =
        pl::testing::load_plugin(std::string(std::getenv("PIPELINE_PLUGIN_DIR")) + "/file_source.so", error);
    REQUIRE_MESSAGE(p != nullptr, error);
    return p;
  }();
  return *loaded;
}
const pl_component& file_source() { return *pl::testing::find_component(plugin(), "file_source"); }

struct record {
  std::string value;
  std::uint64_t position;
  bool operator==(const record&) const = default;
};

struct running {
  pl::testing::fake_host host;
  std::string state;
  std::unique_ptr<pl::testing::instance> source;
  std::vector<record> all;

  explicit running(const temp_dir& dir) : state(dir / "state") { host.raw().state_dir = pl::borrow(state); }
  running& start(const config_fields& options) {
    source = std::make_unique<pl::testing::instance>(host, file_source(), options);
    REQUIRE_MESSAGE(source->create() == PL_OK, host.error_text());
    REQUIRE_MESSAGE(source->start() == PL_OK, host.error_text());
    return *this;
  }
  pl_status poll(std::uint32_t max_rows = 1000, std::chrono::nanoseconds timeout = 10ms) {
    pl::batch b;
    const auto s = source->poll(b, max_rows, 1 << 20, timeout);
    if (s != PL_OK) return s;
    pl::testing::problems wrong;
    pl::testing::detail::check_batch("batch", b.get(), wrong);
    CHECK(wrong.empty());
    for (const auto row : b.get().selection())
      all.push_back({std::string(pl::bytes_of(b.get().at(0, row))), b.get().position(row)});
    return s;
  }
  std::vector<std::string> values() const {
    std::vector<std::string> v;
    for (const auto& r : all) v.push_back(r.value);
    return v;
  }
  // Poll until the end of the stream, or until there are no records at the moment.
  running& drain(std::uint32_t max_rows = 1000) {
    while (poll(max_rows) == PL_OK) {
    }
    return *this;
  }
};

using texts = std::vector<std::string>;

}  // namespace
