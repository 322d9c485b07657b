// SPDX-License-Identifier: Apache-2.0
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>
#include <spool_common/folders.hpp>
#include <spool_common/spool.hpp>
#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fs = std::filesystem;

namespace {

std::unique_ptr<spool::log> open(const fs::path& folder) {
  auto made = spool::log::open({.folder = folder, .segment_bytes = 4096}, [](spool::severity, std::string_view) {});
  REQUIRE_MESSAGE(made.ok(), made.why().message);
  return std::move(*made);
}

void append(spool::log& to, int records) {
  const std::array<std::string_view, 1> body{"a record of some length, so that there are several files"};
  for (int i = 0; i < records; ++i) REQUIRE(to.append(body).ok());
}

}  // namespace

TEST_CASE("spools are found, with the number of records that are not settled") {
  const pl::testing::temp_dir state;
  const auto one = spool::source_folder(state.path(), "iot", "devices") / "0";
  const auto two = spool::source_folder(state.path(), "iot", "devices") / "1";
  {
    const auto full = open(one);
    append(*full, 500);
    full->settle(120);
    const auto settled = open(two);
    append(*settled, 10);
    settled->settle(10);
    REQUIRE(spool::set_plugin(one, "mqtt_source").ok());
    CHECK(spool::find_spools(state.path()).front().in_use);
  }
  const auto found = spool::find_spools(state.path());
  REQUIRE(found.size() == 2);
  CHECK(found[0].folder == one);
  CHECK(found[0].pipeline == "iot");
  CHECK(found[0].source == "devices");
  CHECK(found[0].plugin == "mqtt_source");
  CHECK(found[0].settled == 120);
  CHECK(found[0].unsettled == 380);
  CHECK(found[0].stream.starts_with("spool/"));
  CHECK_FALSE(found[0].in_use);
  CHECK(found[1].unsettled == 0);
  CHECK(found[1].plugin.empty());
  CHECK(spool::find_spools(state.path() / "none").empty());
}

TEST_CASE("a spool is moved to another source, as a further lane, with its records") {
  const pl::testing::temp_dir state;
  const auto old = spool::source_folder(state.path(), "iot", "old") / "0";
  const auto source = spool::source_folder(state.path(), "iot", "fresh");
  append(*open(old), 30);
  open(source / "0");
  open(source / "4");
  {
    const auto lock = spool::lock_spool(old);
    REQUIRE(lock.ok());
    CHECK_FALSE(spool::lock_spool(old).ok());
    const auto moved = spool::move_spool(old, source, 2);
    REQUIRE_MESSAGE(moved.ok(), moved.why().message);
    CHECK(*moved == source / "5");
  }
  CHECK_FALSE(fs::exists(old));
  CHECK(open(source / "5")->end() == 30);
  // Lanes read the further ones by their number modulo the number of lanes.
  const auto beyond = spool::folders_beyond(source, 1, 2);
  REQUIRE(beyond.size() == 1);
  CHECK(beyond[0].lane == 5);
  CHECK(spool::folders_beyond(source, 0, 2).size() == 1);
  CHECK(spool::folders_beyond(source, 0, 6).empty());
}

TEST_CASE("other users cannot read a spool") {
  const pl::testing::temp_dir state;
  const auto before = ::umask(0);
  const auto source = spool::source_folder(state.path(), "iot", "devices");
  append(*open(source / "0"), 10);
  ::umask(before);
  const auto mode_of = [](const fs::path& path) { return static_cast<unsigned>(fs::status(path).permissions()); };
  for (auto folder = source / "0"; folder != state.path(); folder = folder.parent_path())
    CHECK_MESSAGE(mode_of(folder) == 0750, folder.string());
  int files = 0;
  for (const auto& file : fs::directory_iterator(source / "0")) {
    ++files;
    CHECK_MESSAGE(mode_of(file) == 0640, file.path().string());
  }
  CHECK(files >= 4);
}
