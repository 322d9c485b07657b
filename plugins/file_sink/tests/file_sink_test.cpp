// SPDX-License-Identifier: Apache-2.0
#include "../line_file.hpp"

#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
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

const pl_component& file_sink() {
  static const pl_plugin* plugin = [] {
    std::string error;
    const auto* p = pl::testing::load_plugin(std::string(std::getenv("PIPELINE_PLUGIN_DIR")) + "/file_sink.so", error);
    REQUIRE_MESSAGE(p != nullptr, error);
    return p;
  }();
  return *pl::testing::find_component(*plugin, "file_sink");
}

// Files may not grow beyond `bytes` while this lives: a disk that gets full in the middle of a write.
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

TEST_CASE("appends to what is there, and makes the folder") {
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

TEST_CASE("a torn last line is cut off with a warning, at start and before each append") {
  temp_dir dir;
  warnings w;
  const auto name = dir / "out.ndjson";
  write_file(name, "{\"a\":1}\n{\"a\":2}\n{\"a\":3");
  auto file = make_file(name, w);
  REQUIRE(file.open().ok());
  CHECK(read_file(name) == "{\"a\":1}\n{\"a\":2}\n");
  REQUIRE(w.all.size() == 1);
  CHECK(w.all[0] ==
        name + ": cut off the last 6 bytes, half a line that a crash left behind; its records are written again");
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

TEST_CASE("a file that isn't ours is not cut") {
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

TEST_CASE("a disk that gets full in the middle leaves nothing half-written") {
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

TEST_CASE("no space: retry, and the message says what to do") {
  warnings w;
  auto file = make_file("/dev/full", w);
  REQUIRE(file.open().ok());
  const auto r = file.append("{}\n");
  REQUIRE_FALSE(r.ok());
  CHECK(r.why().code == pl::status::retry);
  CHECK(r.why().message ==
        "cannot write to /dev/full: No space left on device; free space on that disk; nothing of this batch is in the "
        "file, and it will be written again");
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

TEST_CASE("a file that somebody renames is begun anew") {
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

TEST_CASE("a lock that isn't given back is told, not waited for for ever") {
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

TEST_CASE("killed at any moment: whole lines after the next start") {
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

TEST_CASE("what only a person can help with is fatal at the start") {
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

TEST_CASE("check looks and changes nothing") {
  temp_dir dir;
  warnings w;
  CHECK(make_file(dir / "a/b/out.ndjson", w).check().ok());
  CHECK(files_in(dir.path()).empty());
  write_file(dir / "file", "x");
  CHECK_FALSE(make_file(dir / "file/out.ndjson", w).check().ok());
  CHECK_FALSE(make_file(dir.path().string(), w).check().ok());
}

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

TEST_CASE("the plugin: a row is one line, whatever JSON is in it") {
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

TEST_CASE("the plugin: each fsync policy writes the same") {
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

TEST_CASE("the plugin: options that can't be are named") {
  const auto error_of = [](const pl::testing::config_fields& options) {
    pl::testing::fake_host host;
    pl::testing::instance sink(host, file_sink(), options);
    CHECK(sink.create() == PL_FATAL);
    return host.error_text();
  };
  CHECK(error_of({{"path", "x/{pipelin}.ndjson"}}) ==
        "path: unknown name {pipelin} in the path; there are {pipeline}, {node} and {writer}");
  CHECK(error_of({{"path", "x/{pipeline"}}).find("path: '{' at character 3 is not closed") == 0);
  CHECK(error_of({{"path", "folder/"}}).find("path: 'folder/' is no file name") == 0);
  CHECK(error_of({{"path", "x"}, {"mode", "rw"}}).find("mode: 'rw' is no file mode") == 0);
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
