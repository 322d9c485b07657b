// SPDX-License-Identifier: Apache-2.0
#include <pipeline/posix.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>

namespace fs = std::filesystem;

namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

}  // namespace

TEST_CASE("a descriptor closes its file exactly once") {
  int fd = -1;
  {
    pl::descriptor first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    fd = first.get();
    REQUIRE(first);
    pl::descriptor second(std::move(first));
    CHECK_FALSE(first);  // NOLINT(bugprone-use-after-move): tests the moved-from state
    CHECK(second.get() == fd);
    CHECK(is_open(fd));
  }
  CHECK_FALSE(is_open(fd));
}

TEST_CASE("assignment to a descriptor closes the file that it owned") {
  pl::descriptor a(::open("/dev/null", O_RDONLY | O_CLOEXEC)), b(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int old = a.get(), kept = b.get();
  a = std::move(b);
  CHECK_FALSE(is_open(old));
  CHECK(a.get() == kept);
  errno = ENOENT;
  a.reset();
  CHECK(errno == ENOENT);
  CHECK_FALSE(is_open(kept));
  CHECK_FALSE(a);
}

TEST_CASE("write_all writes every byte and returns errors") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pl::descriptor from(ends[0]);
  pl::descriptor to(ends[1]);
  CHECK_FALSE(pl::write_all(to.get(), "abc"));
  CHECK_FALSE(pl::write_all(to.get(), ""));
  to.reset();
  char read[8];
  CHECK(::read(from.get(), read, sizeof read) == 3);
  CHECK(pl::write_all(-1, "abc").value() == EBADF);
  const pl::descriptor full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  CHECK(pl::write_all(full.get(), "abc") == std::errc::no_space_on_device);
}

TEST_CASE("folders are synced by their name and by the name of a file in them") {
  const pl::testing::temp_dir dir;
  CHECK_FALSE(pl::sync_folder(dir / ""));
  CHECK_FALSE(pl::sync_folder_of(dir / "file"));
  CHECK_FALSE(pl::sync_folder(""));
  CHECK_FALSE(pl::sync_folder_of("file"));
  CHECK(pl::sync_folder(dir / "missing").value() == ENOENT);
}

TEST_CASE("a file is replaced atomically") {
  const pl::testing::temp_dir dir;
  const auto path = dir / "file";
  for (const auto* content : {"old, and longer", "new", ""}) {
    CHECK_FALSE(pl::replace_file(path, content));
    CHECK(pl::testing::read_file(path) == content);
    CHECK_FALSE(fs::exists(path + ".new"));
  }
}

TEST_CASE("a replacement that is not committed or fails leaves the file unchanged") {
  const pl::testing::temp_dir dir;
  const auto path = dir / "file";
  REQUIRE_FALSE(pl::replace_file(path, "old"));
  {
    pl::file_replacement fresh(path, ".part", 0600);
    fresh.write("new");
    struct stat s {};
    REQUIRE(::fstat(fresh.fd(), &s) == 0);
    CHECK((s.st_mode & 0777U) == 0600);
    CHECK(fs::exists(path + ".part"));
  }
  CHECK_FALSE(fs::exists(path + ".part"));
  {
    pl::file_replacement fresh(path);
    fresh.fail(std::make_error_code(std::errc::io_error));
    fresh.write("new");
    CHECK(fresh.commit() == std::errc::io_error);
  }
  CHECK_FALSE(fs::exists(path + ".new"));
  CHECK(pl::testing::read_file(path) == "old");
  CHECK(pl::replace_file(dir / "missing" + "/file", "x").value() == ENOENT);
  REQUIRE(fs::create_directories(fs::path(dir / "folder") / "inner"));
  CHECK(pl::replace_file(dir / "folder", "x"));  // a folder has that name
  CHECK_FALSE(fs::exists(dir / "folder.new"));
}

TEST_CASE("a file or folder is renamed, and replaces another one only if that is allowed") {
  const pl::testing::temp_dir dir;
  REQUIRE_FALSE(pl::replace_file(dir / "a", "a"));
  REQUIRE_FALSE(pl::replace_file(dir / "b", "b"));
  CHECK(pl::rename_durably(dir / "a", dir / "b", pl::if_exists::fail).value() == EEXIST);
  CHECK(pl::testing::read_file(dir / "b") == "b");
  CHECK_FALSE(pl::rename_durably(dir / "a", dir / "b"));
  CHECK(pl::testing::read_file(dir / "b") == "a");
  CHECK_FALSE(fs::exists(dir / "a"));
  REQUIRE(fs::create_directories(fs::path(dir / "one") / "inner"));
  REQUIRE(fs::create_directories(dir / "two"));
  CHECK_FALSE(pl::rename_durably(dir / "one/inner", dir / "two/inner", pl::if_exists::fail));
  CHECK(fs::is_directory(dir / "two/inner"));
  CHECK(pl::rename_durably(dir / "none", dir / "b").value() == ENOENT);
}

namespace {

unsigned mode_of(const fs::path& path) {
  struct stat s {};
  REQUIRE(::stat(path.c_str(), &s) == 0);
  return s.st_mode & 07777U;
}

}  // namespace

TEST_CASE("other users cannot read new folders and files, and the umask may remove more") {
  const pl::testing::temp_dir dir;
  const auto before = ::umask(0);
  CHECK_FALSE(pl::make_folders(dir / "a/b/"));
  CHECK_FALSE(pl::replace_file(dir / "a/b/data", "x"));
  ::umask(077);
  CHECK_FALSE(pl::make_folders(dir / "a/b/c"));
  CHECK_FALSE(pl::replace_file(dir / "a/private", "x"));
  ::umask(before);
  CHECK(mode_of(dir / "a") == 0750);
  CHECK(mode_of(dir / "a/b") == 0750);
  CHECK(mode_of(dir / "a/b/data") == 0640);
  CHECK(mode_of(dir / "a/b/c") == 0700);
  CHECK(mode_of(dir / "a/private") == 0600);
}

TEST_CASE("make_folders keeps existing folders, and fails if a file is in the way") {
  const pl::testing::temp_dir dir;
  fs::create_directory(dir / "open");
  fs::permissions(dir / "open", fs::perms::all);
  CHECK_FALSE(pl::make_folders(dir / "open/below"));
  CHECK(mode_of(dir / "open") == 0777);
  CHECK_FALSE(pl::make_folders(dir / "open/below"));
  CHECK_FALSE(pl::make_folders(""));
  CHECK_FALSE(pl::make_folders("/"));
  REQUIRE_FALSE(pl::replace_file(dir / "file", "x"));
  CHECK(pl::make_folders(dir / "file").value() == ENOTDIR);
  CHECK(pl::make_folders(dir / "file/below").value() == ENOTDIR);
}
