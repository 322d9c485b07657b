// SPDX-License-Identifier: Apache-2.0
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <file_common/line_file.hpp>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <map>
#include <sstream>
#include <thread>

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using pl::files::line_file;
using pl::testing::read_file;
using pl::testing::temp_dir;
using pl::testing::write_file;

namespace {

struct warnings {
  std::vector<std::string> all;
  line_file::warning sink() {
    return [this](const std::string& m) { all.push_back(m); };
  }
};

line_file make_file(const std::string& path, warnings& w, pl::files::rotation rotate = {}) {
  pl::files::line_file_options o;
  o.path = path;
  o.rotate = rotate;
  o.lock_timeout = 100ms;
  return {std::move(o), w.sink()};
}

std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& e : fs::directory_iterator(folder)) names.push_back(e.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// Limits the size of files to `bytes` during its lifetime, to simulate a disk that becomes full during a write.
class file_size_limit {
 public:
  explicit file_size_limit(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~file_size_limit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int);
};

}  // namespace

TEST_CASE("append adds to existing lines, and creates the folder") {
  temp_dir dir;
  warnings w;
  const auto name = dir / "a/b/out.ndjson";
  auto file = make_file(name, w);
  REQUIRE(file.open().ok());
  REQUIRE(file.append("{\"a\":1}\n").ok());
  auto second = make_file(name, w);
  REQUIRE(second.append("{\"a\":2}\n").ok());
  CHECK(read_file(name) == "{\"a\":1}\n{\"a\":2}\n");
  CHECK((fs::status(name).permissions() & fs::perms::others_all) == fs::perms::none);
  CHECK(w.all.empty());
}

TEST_CASE("a torn last line is removed with a warning, at start and before each append") {
  temp_dir dir;
  warnings w;
  const auto name = dir / "out.ndjson";
  write_file(name, "{\"a\":1}\n{\"a\":2}\n{\"a\":3");
  auto file = make_file(name, w);
  REQUIRE(file.open().ok());
  CHECK(read_file(name) == "{\"a\":1}\n{\"a\":2}\n");
  REQUIRE(w.all.size() == 1);
  CHECK(w.all[0] ==
        name + ": removed the last 6 bytes, an incomplete line from a crash; its records will be written again");
  CHECK(file.repaired_bytes() == 6);

  write_file(name, "{\"torn by another writer", true);
  REQUIRE(file.append("{\"a\":3}\n").ok());
  CHECK(read_file(name) == "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
}

TEST_CASE("a long torn line, and one that is the whole file") {
  temp_dir dir;
  warnings w;
  const auto name = dir / "out.ndjson";
  write_file(name, "{}\n{\"x\":\"" + std::string(300'000, 'x'));
  REQUIRE(make_file(name, w).open().ok());
  CHECK(read_file(name) == "{}\n");
  write_file(name, "{\"half");
  REQUIRE(make_file(name, w).open().ok());
  CHECK(read_file(name).empty());
}

TEST_CASE("a file of another program is not truncated") {
  temp_dir dir;
  warnings w;
  const auto name = dir / "notes.txt";
  write_file(name, "line\nmy notes without a line end");
  const auto r = make_file(name, w).open();
  REQUIRE_FALSE(r.ok());
  CHECK(r.why().code == pl::status::fatal);
  CHECK(r.why().message.find("move the file away") != std::string::npos);
  CHECK(read_file(name) == "line\nmy notes without a line end");
}

TEST_CASE("a disk that becomes full during a write leaves no partial lines") {
  temp_dir dir;
  warnings w;
  const auto name = dir / "out.ndjson";
  auto file = make_file(name, w);
  REQUIRE(file.append("{\"a\":1}\n").ok());
  const std::string big = "{\"x\":\"" + std::string(100'000, 'x') + "\"}\n";
  {
    const file_size_limit limit(20'000);
    const auto r = file.append(big);
    REQUIRE_FALSE(r.ok());
    CHECK(r.why().code == pl::status::retry);
    CHECK(r.why().message.find("cannot write to " + name) == 0);
    CHECK(read_file(name) == "{\"a\":1}\n");
  }
  REQUIRE(file.append(big).ok());
  CHECK(read_file(name) == "{\"a\":1}\n" + big);
}

TEST_CASE("without space, append returns retry and a remedy") {
  warnings w;
  auto file = make_file("/dev/full", w);
  REQUIRE(file.open().ok());
  const auto r = file.append("{}\n");
  REQUIRE_FALSE(r.ok());
  CHECK(r.why().code == pl::status::retry);
  CHECK(r.why().message ==
        "cannot write to /dev/full: No space left on device; free space on that disk; no row of this batch is in the "
        "file, and the batch will be retried");
}

TEST_CASE("rotation by size keeps whole batches and the newest files") {
  temp_dir dir;
  warnings w;
  auto file = make_file(dir / "out.ndjson", w, {.max_size = 20, .max_age = 0s, .max_files = 3});
  for (int i = 0; i < 10; ++i) REQUIRE(file.append("{\"n\":" + std::to_string(i) + "}\n{}\n").ok());
  const auto names = files_in(dir.path());
  REQUIRE(names.size() == 4);
  CHECK(names[3] == "out.ndjson");
  std::string all;
  for (const auto& n : names) all += read_file(dir / n);
  CHECK(all == "{\"n\":6}\n{}\n{\"n\":7}\n{}\n{\"n\":8}\n{}\n{\"n\":9}\n{}\n");
  CHECK(file.rotations() == 9);
  REQUIRE(w.all.size() == 6);  // each removed file is reported
  CHECK(w.all.front().ends_with("with its rows: there are more than 3 rotated files (rotate.max_files)"));
}

TEST_CASE("rotation by age") {
  temp_dir dir;
  warnings w;
  auto file = make_file(dir / "out.ndjson", w, {.max_size = 0, .max_age = 1h, .max_files = 0});
  REQUIRE(file.append("{}\n").ok());
  REQUIRE(file.append("{}\n").ok());
  CHECK(files_in(dir.path()).size() == 1);
  auto impatient = make_file(dir / "out.ndjson", w, {.max_size = 0, .max_age = 1ns, .max_files = 0});
  REQUIRE(impatient.append("{}\n").ok());
  CHECK(files_in(dir.path()).size() == 2);
}

TEST_CASE("names of rotated files sort by time and keep the extension") {
  const auto at = std::chrono::sys_days(std::chrono::year(2026) / 11 / 24) + 18h + 28min + 6s + 42us;
  CHECK(pl::files::rotated_name("d/out.ndjson", at) == "d/out.20261124T182806.000042Z.ndjson");
  CHECK(pl::files::rotated_name("out", at) == "out.20261124T182806.000042Z");
}

TEST_CASE("after the file is renamed, a new one is created") {
  temp_dir dir;
  warnings w;
  auto file = make_file(dir / "out.ndjson", w);
  REQUIRE(file.append("{\"a\":1}\n").ok());
  fs::rename(dir / "out.ndjson", dir / "old.ndjson");
  REQUIRE(file.append("{\"a\":2}\n").ok());
  CHECK(read_file(dir / "old.ndjson") == "{\"a\":1}\n");
  CHECK(read_file(dir / "out.ndjson") == "{\"a\":2}\n");
}

TEST_CASE("writers that share a file never mix their lines, even while it is rotated") {
  temp_dir dir;
  constexpr int writers = 4, batches = 200;
  std::vector<std::thread> threads;
  std::atomic<int> failed = 0;
  for (int t = 0; t < writers; ++t)
    threads.emplace_back([&, t] {
      warnings w;
      pl::files::line_file_options o;
      o.path = dir / "out.ndjson";
      o.sync = false;
      o.rotate.max_size = 4096;
      o.lock_timeout = 60s;
      line_file file(std::move(o), w.sink());
      for (int b = 0; b < batches; ++b) {
        const auto line = "{\"w\":" + std::to_string(t) + ",\"b\":" + std::to_string(b) + "}\n";
        if (!file.append(line + line).ok()) ++failed;
      }
    });
  for (auto& t : threads) t.join();
  CHECK(failed == 0);
  std::map<std::string, int> lines;
  for (const auto& n : files_in(dir.path())) {
    std::istringstream in(read_file(dir / n));
    for (std::string line; std::getline(in, line);) ++lines[line];
  }
  CHECK(lines.size() == writers * batches);
  CHECK(std::all_of(lines.begin(), lines.end(), [](const auto& l) { return l.second == 2 && l.first.back() == '}'; }));
}

TEST_CASE("a lock that is not released is reported after the timeout") {
  temp_dir dir;
  warnings w;
  const auto name = dir / "out.ndjson";
  auto file = make_file(name, w);
  REQUIRE(file.append("{}\n").ok());
  const int other = ::open(name.c_str(), O_RDWR);
  REQUIRE(::flock(other, LOCK_EX) == 0);
  const auto r = file.append("{}\n");
  REQUIRE_FALSE(r.ok());
  CHECK(r.why().code == pl::status::retry);
  CHECK(r.why().message.find("is locked by another program") != std::string::npos);
  ::close(other);
  CHECK(file.append("{}\n").ok());
}

TEST_CASE("after a kill at any moment, the next start leaves only whole lines") {
  temp_dir dir;
  const auto name = dir / "out.ndjson";
  for (int round = 0; round < 20; ++round) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      warnings w;
      pl::files::line_file_options o;
      o.path = name;
      o.sync = false;
      line_file file(std::move(o), w.sink());
      const std::string batch = "{\"x\":\"" + std::string(200'000, 'x') + "\"}\n";
      while (file.append(batch).ok()) {
      }
      ::_exit(1);
    }
    while (!fs::exists(name) || fs::file_size(name) == 0) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::microseconds(137 * (round + 1)));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));
    warnings w;
    REQUIRE(make_file(name, w).open().ok());
    const auto text = read_file(name);
    REQUIRE((text.empty() || (text.ends_with("\"}\n") && text.size() % 200'009 == 0)));
    fs::remove(name);
  }
}

TEST_CASE("problems that an operator must correct are fatal at start") {
  temp_dir dir;
  warnings w;
  write_file(dir / "file", "x");
  auto r = make_file(dir / "file/out.ndjson", w).open();
  REQUIRE_FALSE(r.ok());
  CHECK(r.why().code == pl::status::fatal);
  CHECK(r.why().message.find("a part of the path is a file, not a folder") != std::string::npos);
  r = make_file(dir.path().string(), w).open();
  REQUIRE_FALSE(r.ok());
  CHECK(r.why().code == pl::status::fatal);
}

TEST_CASE("check reports problems and changes nothing") {
  temp_dir dir;
  warnings w;
  CHECK(make_file(dir / "a/b/out.ndjson", w).check().ok());
  CHECK(files_in(dir.path()).empty());
  write_file(dir / "file", "x");
  CHECK_FALSE(make_file(dir / "file/out.ndjson", w).check().ok());
  CHECK_FALSE(make_file(dir.path().string(), w).check().ok());
}
