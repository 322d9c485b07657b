// SPDX-License-Identifier: Apache-2.0
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>
#include <file_common/line_file.hpp>
#include <file_common/line_rewrite.hpp>

#include <atomic>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>

namespace fs = std::filesystem;
using pl::files::line_fate;
using pl::files::rewrite_lines;
using pl::testing::read_file;
using pl::testing::temp_dir;
using pl::testing::write_file;

namespace {

line_fate by_first_letter(std::string_view line) {
  return line.starts_with('m') ? line_fate::moves : line.starts_with('g') ? line_fate::goes : line_fate::stays;
}

}  // namespace

TEST_CASE("lines stay, go or move, in the file and in its rotated files") {
  temp_dir dir;
  const fs::path path = dir / "out.ndjson", moved = dir / "moved.ndjson";
  const fs::path emptied = dir / "out.20261124T180000.000000Z.ndjson", old = dir / "out.20261125T180000.000000Z.ndjson";
  write_file(emptied, "m1\n");
  write_file(old, "s2\ng2\nm2\n");
  write_file(path, "m3\ns3\n");
  write_file(moved, "m0\n");
  REQUIRE(rewrite_lines(path, by_first_letter, moved, "added\n").ok());
  CHECK_FALSE(fs::exists(emptied));
  CHECK(read_file(old) == "s2\n");
  CHECK(read_file(path) == "s3\nadded\n");
  CHECK(read_file(moved) == "m0\nm1\nm2\nm3\n");
}

TEST_CASE("if all lines stay, no file is changed") {
  temp_dir dir;
  const fs::path path = dir / "out.ndjson", moved = dir / "moved.ndjson";
  write_file(path, "s1\n");
  const auto before = fs::last_write_time(path);
  REQUIRE(rewrite_lines(path, by_first_letter, moved, "").ok());
  CHECK(fs::last_write_time(path) == before);
  CHECK_FALSE(fs::exists(moved));
}

TEST_CASE("a writer that appends meanwhile loses no line") {
  temp_dir dir;
  const fs::path path = dir / "out.ndjson", moved = dir / "moved.ndjson";
  std::atomic<bool> stop{false};
  std::atomic<int> written{0};
  std::thread writer([&] {
    pl::files::line_file_options o;
    o.path = path;
    o.sync = false;
    o.lock_timeout = std::chrono::minutes(1);
    pl::files::line_file file(o, [](const std::string&) {});
    while (!stop || written < 100)
      if (file.append("m\ns\n").ok()) ++written;
  });
  for (int i = 0; i < 20 || written < 100; ++i) CHECK(rewrite_lines(path, by_first_letter, moved, "").ok());
  stop = true;
  writer.join();
  REQUIRE(rewrite_lines(path, by_first_letter, moved, "").ok());
  CHECK(read_file(path).size() == 2U * static_cast<unsigned>(written));
  CHECK(read_file(moved).size() == 2U * static_cast<unsigned>(written));
}
