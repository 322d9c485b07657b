// SPDX-License-Identifier: Apache-2.0
// Files of lines (rows, dead letters) on disks that fail. The library disk_faults replaces functions of the C library.
#include <pipeline/testing/temp_dir.hpp>

#include <disk_faults.hpp>
#include <doctest/doctest.h>
#include <file_common/line_file.hpp>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace fs = std::filesystem;
using pl::files::line_file;
using pl::testing::read_file;

namespace {

line_file make_file(const std::string& path, bool sync, std::vector<std::string>& warnings,
                    pl::files::rotation rotate = {}) {
  pl::files::line_file_options o;
  o.path = path;
  o.sync = sync;
  o.keep_unsynced = !sync;
  o.rotate = rotate;
  return {std::move(o), [&warnings](const std::string& text) { warnings.push_back(text); }};
}

}  // namespace

TEST_CASE("a failed append leaves no line, even if the file could not be truncated at once") {
  for (const auto* rules : {"fdatasync EIO 1 /out\n", "fdatasync EIO 1 /out\nftruncate EIO 1 /out\n",
                            "fdatasync EIO 2 /out\nftruncate EIO 3 /out\n", "write ENOSPC 1 /out\n",
                            "write short 1 /out\nwrite EIO 1 /out\nftruncate EIO 1 /out\n"}) {
    CAPTURE(rules);
    const pl::testing::temp_dir dir;
    const pl::testing::disk_faults faults;
    std::vector<std::string> warnings;
    auto file = make_file(dir / "out", true, warnings);
    REQUIRE(file.open());
    REQUIRE(file.append("{\"n\":1}\n"));
    faults.set(rules);
    CHECK_FALSE(file.append("{\"n\":2}\n{\"n\":3}\n").ok());
    int attempts = 0;
    while (!file.append("{\"n\":2}\n{\"n\":3}\n").ok()) REQUIRE(++attempts < 10);
    CHECK(read_file(dir / "out") == "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
  }
}

TEST_CASE("what another writer appended after a failed append is kept") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  std::vector<std::string> warnings;
  auto file = make_file(dir / "out", true, warnings), other = make_file(dir / "out", true, warnings);
  REQUIRE(file.open());
  REQUIRE(other.open());
  faults.set("fdatasync EIO 1 /out\nftruncate EIO 1 /out\n");
  CHECK_FALSE(file.append("{\"n\":1}\n").ok());
  REQUIRE(other.append("{\"n\":2}\n"));
  REQUIRE(file.append("{\"n\":1}\n"));
  CHECK(read_file(dir / "out") == "{\"n\":1}\n{\"n\":2}\n{\"n\":1}\n");
}

TEST_CASE("short writes are completed") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  std::vector<std::string> warnings;
  auto file = make_file(dir / "out", true, warnings);
  REQUIRE(file.open());
  faults.set("write short 5 /out\n");
  REQUIRE(file.append("{\"a\":\"a line that is long enough for five writes\"}\n"));
  CHECK(read_file(dir / "out") == "{\"a\":\"a line that is long enough for five writes\"}\n");
}

TEST_CASE("lines that a failed periodic sync may have lost are written again before anything else") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  std::vector<std::string> warnings;
  auto file = make_file(dir / "out", false, warnings);
  REQUIRE(file.open());
  REQUIRE(file.append("{\"n\":1}\n"));
  REQUIRE(file.sync());
  const auto synced = fs::file_size(dir / "out");
  REQUIRE(file.append("{\"n\":2}\n"));
  REQUIRE(file.append("{\"n\":3}\n"));
  faults.set("fdatasync EIO 3 /out\n");
  for (int i = 0; i < 2; ++i) CHECK_FALSE(file.sync().ok());
  CHECK_FALSE(file.append("{\"n\":4}\n").ok());
  fs::resize_file(dir / "out", synced);  // the system drops what it could not write
  REQUIRE(file.append("{\"n\":4}\n"));
  CHECK(read_file(dir / "out") == "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n");
  CHECK(warnings.size() == 1);

  // The same without an append, and with the lines still in the file.
  faults.set("fdatasync EIO 1 /out\n");
  CHECK_FALSE(file.sync().ok());
  REQUIRE(file.sync());
  CHECK(read_file(dir / "out") == "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n");
  REQUIRE(file.close());
}

TEST_CASE("a file is synced before it is rotated, and its folder afterwards") {
  for (const bool sync : {true, false}) {
    const pl::testing::temp_dir dir;
    const pl::testing::disk_faults faults;
    std::vector<std::string> warnings;
    auto file = make_file(dir / "out", sync, warnings, {.max_size = 10});
    REQUIRE(file.open());
    REQUIRE(file.append("{\"n\":1}\n"));
    faults.record();
    REQUIRE(file.append("{\"n\":2}\n"));
    const auto calls = faults.recorded();
    const auto renamed = std::ranges::find_if(calls, [](const auto& c) { return c.starts_with("rename "); });
    REQUIRE(renamed != calls.end());
    CHECK(std::find(calls.begin(), renamed, "fsync " + (dir / "out")) != renamed);
    CHECK(std::find(renamed, calls.end(), "fsync " + dir.path().string()) != calls.end());
    CHECK(file.rotations() == 1);
  }
}
