// SPDX-License-Identifier: Apache-2.0
#include "harness.hpp"

#include <thread>

TEST_CASE("each line is a record at its byte offset, and the stream ends with the file") {
  temp_dir dir;
  write_file(dir / "in", "\xEF\xBB\xBFone\n\ntwo\r\nthree");
  running r(dir);
  r.start({{"path", dir / "in"}});
  r.drain();
  CHECK(r.all == std::vector<record>{{"one", 0}, {"two", 8}, {"three", 13}});
  CHECK(r.poll() == PL_END);
  CHECK(r.host.assigned_streams() == texts{dir / "in"});
}

TEST_CASE("all rows are returned once, for any max_rows") {
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

TEST_CASE("reading begins at the assigned position") {
  temp_dir dir;
  write_file(dir / "in", "one\ntwo\nthree\n");
  running r(dir);
  r.host.resume_at(dir / "in", 4);
  r.start({{"path", dir / "in"}});
  CHECK(r.drain().values() == texts{"two", "three"});
}

TEST_CASE("patterns: files in the order of their names, one stream per file, distributed over lanes") {
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

TEST_CASE("a line that is too long is truncated with a warning, and the next lines are complete") {
  temp_dir dir;
  write_file(dir / "in", "before\n" + std::string(500'000, 'x') + "\nafter\n" + std::string(300'000, 'y'));
  running r(dir);
  r.start({{"path", dir / "in"}, {"max_line", pl::byte_size{1'000}}});
  CHECK(r.drain().values() == texts{"before", std::string(1'000, 'x'), "after", std::string(1'000, 'y')});
  REQUIRE(!r.host.logs().empty());
  CHECK(r.host.logs()[0].message.find("longer than max_line (1000 bytes), truncated") != std::string::npos);
}

TEST_CASE("a long line within max_line is complete") {
  temp_dir dir;
  write_file(dir / "in", std::string(900'000, 'x') + "\nafter\n");
  running r(dir);
  r.start({{"path", dir / "in"}});
  CHECK(r.drain().values() == texts{std::string(900'000, 'x'), "after"});
}

TEST_CASE("following: a line is read after its newline, and appended lines are read at once") {
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

TEST_CASE("following through rotation: the old file to its end, then the new one, with ascending positions") {
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
}

TEST_CASE("following over a restart: a rotation in between loses no line") {
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

TEST_CASE("a truncated file is read from its beginning, with a warning") {
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
  CHECK(r.host.logs()[0].message == (dir / "in") + " was truncated; continuing at its beginning");
}

TEST_CASE("following: new files are found") {
  temp_dir dir;
  running r(dir);
  r.start({{"path", dir / "*.log"}, {"follow", true}});
  CHECK(r.poll() == PL_AGAIN);
  write_file(dir / "x.log", "hello\n");
  while (r.all.empty()) REQUIRE(r.poll(10, 10s) != PL_FATAL);
  CHECK(r.values() == texts{"hello"});
}

TEST_CASE("a file that is shorter than its position was replaced, which is an error") {
  temp_dir dir;
  write_file(dir / "in", "x\n");
  pl::testing::fake_host host;
  host.resume_at(dir / "in", 100);
  pl::testing::instance source(host, file_source(), {{"path", dir / "in"}});
  REQUIRE(source.create() == PL_OK);
  CHECK(source.start() == PL_FATAL);
  CHECK(host.error_text().find("has 2 bytes, but was read up to byte 100 before: it was replaced or truncated") !=
        std::string::npos);
}

TEST_CASE("a pattern without a match, a missing file and a folder are reported") {
  temp_dir dir;
  const auto error_of = [&](const std::string& path) {
    pl::testing::fake_host host;
    pl::testing::instance source(host, file_source(), {{"path", path}});
    REQUIRE(source.create() == PL_OK);
    CHECK(source.start() == PL_FATAL);
    return host.error_text();
  };
  CHECK(error_of(dir / "*.ndjson") == "path: no file matches '" + (dir / "*.ndjson") + "'");
  CHECK(error_of(dir / "missing").find("cannot read " + (dir / "missing") + ": No such file or directory") == 0);
  CHECK(error_of(dir.path().string()).find("is not a regular file") != std::string::npos);
}

TEST_CASE("conformance") {
  for (const auto& p : pl::testing::check_plugin(plugin())) FAIL_CHECK(p);
  temp_dir dir;
  write_file(dir / "in", "one\ntwo\nthree\nfour\n");
  for (const auto& p : pl::testing::check_life(file_source(), {{"path", dir / "in"}})) FAIL_CHECK(p);
}
