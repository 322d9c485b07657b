// SPDX-License-Identifier: Apache-2.0
#include "../tracked_file.hpp"

#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

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
  // Until the end of the stream, or for as long as something comes.
  running& drain(std::uint32_t max_rows = 1000) {
    while (poll(max_rows) == PL_OK) {
    }
    return *this;
  }
};

using texts = std::vector<std::string>;

}  // namespace

TEST_CASE("each line is a record, at its byte offset; the end is the end of the stream") {
  temp_dir dir;
  write_file(dir / "in", "\xEF\xBB\xBFone\n\ntwo\r\nthree");
  running r(dir);
  r.start({{"path", dir / "in"}});
  r.drain();
  CHECK(r.all == std::vector<record>{{"one", 0}, {"two", 8}, {"three", 13}});
  CHECK(r.poll() == PL_END);
  CHECK(r.host.assigned_streams() == texts{dir / "in"});
}

TEST_CASE("however few rows are taken at once, all come, once") {
  temp_dir dir;
  std::string text;
  texts expected;
  for (int i = 0; i < 5'000; ++i) {
    expected.push_back("line " + std::to_string(i) + std::string(static_cast<std::size_t>(i % 97), 'x'));
    text += expected.back() + "\n";
  }
  write_file(dir / "in", text);
  for (const std::uint32_t max_rows : {1U, 7U, 100'000U}) {
    running r(dir);
    r.start({{"path", dir / "in"}});
    CHECK(r.drain(max_rows).values() == expected);
  }
}

TEST_CASE("begins where the host says, and goes back where it says") {
  temp_dir dir;
  write_file(dir / "in", "one\ntwo\nthree\n");
  running r(dir);
  r.host.resume_at(dir / "in", 4);
  r.start({{"path", dir / "in"}});
  CHECK(r.drain().values() == texts{"two", "three"});
  CHECK(r.source->seek(dir / "in", 8) == PL_OK);
  CHECK(r.drain().values() == texts{"two", "three", "three"});
  CHECK(r.source->seek("other", 0) == PL_FATAL);
}

TEST_CASE("patterns: files in the order of their names, a stream each; lanes share them") {
  temp_dir dir;
  for (const char* name : {"b.ndjson", "a.ndjson", "c.ndjson", "x.txt"})
    write_file(dir / name, std::string(name) + "\n");
  running r(dir);
  r.start({{"path", dir / "*.ndjson"}, {"more_paths", pl::testing::list({dir / "x.txt"})}});
  CHECK(r.drain().values() == texts{"a.ndjson", "b.ndjson", "c.ndjson", "x.txt"});
  std::size_t both = 0;
  for (std::uint32_t lane = 0; lane < 2; ++lane) {
    running one(dir);
    one.host.raw().lane = lane;
    one.host.raw().lanes = 2;
    one.start({{"path", dir / "*.ndjson"}});
    both += one.drain().all.size();
  }
  CHECK(both == 3);
}

TEST_CASE("a line that is too long is cut off, with a warning; the next ones are whole") {
  temp_dir dir;
  write_file(dir / "in", "before\n" + std::string(500'000, 'x') + "\nafter\n" + std::string(300'000, 'y'));
  running r(dir);
  r.start({{"path", dir / "in"}, {"max_line", pl::byte_size{1'000}}});
  CHECK(r.drain().values() == texts{"before", std::string(1'000, 'x'), "after", std::string(1'000, 'y')});
  REQUIRE(!r.host.logs().empty());
  CHECK(r.host.logs()[0].message.find("longer than max_line (1000 bytes), cut off there") != std::string::npos);
}

TEST_CASE("a long line within max_line is whole") {
  temp_dir dir;
  write_file(dir / "in", std::string(900'000, 'x') + "\nafter\n");
  running r(dir);
  r.start({{"path", dir / "in"}});
  CHECK(r.drain().values() == texts{std::string(900'000, 'x'), "after"});
}

TEST_CASE("following: a line counts once its end is there, and what is appended comes at once") {
  temp_dir dir;
  write_file(dir / "in", "one\ntw");
  running r(dir);
  r.start({{"path", dir / "in"}, {"follow", true}});
  CHECK(r.drain().values() == texts{"one"});
  CHECK(r.poll() == PL_AGAIN);
  std::thread writer([&] { write_file(dir / "in", "o\nthree\n", true); });
  const auto begin = std::chrono::steady_clock::now();
  while (r.all.size() < 3) CHECK(r.poll(1000, 60s) == PL_OK);
  CHECK(std::chrono::steady_clock::now() - begin < 30s);  // woken up, not timed out
  writer.join();
  CHECK(r.all == std::vector<record>{{"one", 0}, {"two", 4}, {"three", 8}});
}

TEST_CASE("following through rotation: the old file to its end, then the new one, positions grow") {
  temp_dir dir;
  write_file(dir / "in", "one\n");
  running r(dir);
  r.start({{"path", dir / "in"}, {"follow", true}});
  r.drain();
  write_file(dir / "in", "two\nlast without end", true);
  fs::rename(dir / "in", dir / "in.1");
  write_file(dir / "in", "new\n");
  CHECK(r.drain().values() == texts{"one", "two", "last without end", "new"});
  CHECK(r.all.back().position == 24);
  CHECK(r.source->seek(dir / "in", 4) == PL_OK);  // not settled: the old file is still there for it
  CHECK(r.drain().values() == texts{"one", "two", "last without end", "new", "two", "last without end", "new"});
  r.source->settle(dir / "in", 0, 28);
  CHECK(r.source->seek(dir / "in", 4) == PL_FATAL);
}

TEST_CASE("following over a restart: rotated meanwhile, and nothing lost") {
  temp_dir dir;
  write_file(dir / "in", "one\n");
  const config_fields options = {{"path", dir / "in"}, {"follow", true}};
  {
    running r(dir);
    r.start(options);
    r.drain();
  }
  write_file(dir / "in", "two\n", true);
  fs::rename(dir / "in", dir / "in.1");
  write_file(dir / "in", "three\n");
  {
    running r(dir);
    r.host.resume_at(dir / "in", 4);
    r.start(options);
    CHECK(r.drain().all == std::vector<record>{{"two", 4}, {"three", 8}});
  }
  {
    running r(dir);
    r.host.resume_at(dir / "in", 14);
    r.start(options);
    CHECK(r.drain().all.empty());
    write_file(dir / "in", "four\n", true);
    CHECK(r.drain().all == std::vector<record>{{"four", 14}});
  }
}

TEST_CASE("following through truncation: said, and read from the begin") {
  temp_dir dir;
  write_file(dir / "in", "one\ntwo\n");
  running r(dir);
  r.start({{"path", dir / "in"}, {"follow", true}});
  r.drain();
  fs::resize_file(dir / "in", 0);
  write_file(dir / "in", "new\n", true);
  CHECK(r.drain().values() == texts{"one", "two", "new"});
  CHECK(r.all.back().position == 8);
  REQUIRE(r.host.logs().size() == 1);
  CHECK(r.host.logs()[0].message == (dir / "in") + " was truncated; going on at its begin");
}

TEST_CASE("following: files that come later are found") {
  temp_dir dir;
  running r(dir);
  r.start({{"path", dir / "*.log"}, {"follow", true}});
  CHECK(r.poll() == PL_AGAIN);
  write_file(dir / "x.log", "hello\n");
  while (r.all.empty()) REQUIRE(r.poll(10, 10s) != PL_FATAL);
  CHECK(r.values() == texts{"hello"});
}

TEST_CASE("a file that is shorter than its position was replaced: told, never read as if nothing had happened") {
  temp_dir dir;
  write_file(dir / "in", "x\n");
  pl::testing::fake_host host;
  host.resume_at(dir / "in", 100);
  pl::testing::instance source(host, file_source(), {{"path", dir / "in"}});
  REQUIRE(source.create() == PL_OK);
  CHECK(source.start() == PL_FATAL);
  CHECK(host.error_text().find("has 2 bytes, but was read up to byte 100 before; it was replaced") !=
        std::string::npos);
}

TEST_CASE("no file, a folder, no permission") {
  temp_dir dir;
  const auto error_of = [&](const std::string& path) {
    pl::testing::fake_host host;
    pl::testing::instance source(host, file_source(), {{"path", path}});
    REQUIRE(source.create() == PL_OK);
    CHECK(source.start() == PL_FATAL);
    return host.error_text();
  };
  CHECK(error_of(dir / "*.ndjson") == "path: no file fits '" + (dir / "*.ndjson") + "'");
  CHECK(error_of(dir / "missing").find("cannot read " + (dir / "missing") + ": No such file or directory") == 0);
  CHECK(error_of(dir.path().string()).find("is no regular file") != std::string::npos);
}

TEST_CASE("conformance") {
  for (const auto& p : pl::testing::check_plugin(plugin())) FAIL_CHECK(p);
  temp_dir dir;
  write_file(dir / "in", "one\ntwo\nthree\nfour\n");
  for (const auto& p : pl::testing::check_life(file_source(), {{"path", dir / "in"}})) FAIL_CHECK(p);
}
