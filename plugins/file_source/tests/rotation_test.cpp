// SPDX-License-Identifier: Apache-2.0
// Files that are rotated, replaced and overwritten while they are read, and while the source is stopped.
#include "../rotation.hpp"

#include "harness.hpp"

#include <sys/stat.h>

#include <cstdint>

namespace {

using records = std::vector<record>;

// Follow dir/in, read all there is, and stop. next: where the host continues.
records follow(const temp_dir& dir, std::uint64_t next, std::vector<std::string>* messages = nullptr) {
  running r(dir);
  if (next != 0) r.host.resume_at(dir / "in", next);
  r.start({{"path", dir / "in"}, {"follow", true}});
  r.drain();
  CHECK(r.source->stop() == PL_OK);
  if (messages != nullptr)
    for (const auto& l : r.host.logs()) messages->push_back(l.message);
  return r.all;
}

// Rotate as logrotate does: in.1 becomes in.2, in becomes in.1.
void rotate(const temp_dir& dir, const std::string& content) {
  for (int n = 8; n > 0; --n)
    if (fs::exists(dir / ("in." + std::to_string(n))))
      fs::rename(dir / ("in." + std::to_string(n)), dir / ("in." + std::to_string(n + 1)));
  fs::rename(dir / "in", dir / "in.1");
  write_file(dir / "in", content);
}

texts values_of(const records& all) {
  texts v;
  for (const auto& r : all) v.push_back(r.value);
  return v;
}

std::string error_of_start(const temp_dir& dir, std::uint64_t next) {
  running r(dir);
  if (next != 0) r.host.resume_at(dir / "in", next);
  r.source = std::make_unique<pl::testing::instance>(r.host, file_source(), config_fields{{"path", dir / "in"}});
  REQUIRE(r.source->create() == PL_OK);
  return r.source->start() == PL_OK ? std::string() : r.host.error_text();
}

// Read dir/in once, as a finite run.
records read_once(const temp_dir& dir) {
  running r(dir);
  r.start({{"path", dir / "in"}});
  r.drain();
  CHECK(r.source->stop() == PL_OK);
  return r.all;
}

}  // namespace

TEST_CASE("several rotations while stopped: all files are read in order, and the rotations are reported") {
  temp_dir dir;
  write_file(dir / "in", "one\n");
  CHECK(values_of(follow(dir, 0)) == texts{"one"});
  write_file(dir / "in", "two\n", true);
  rotate(dir, "three\n");
  rotate(dir, "four\nfive\n");
  rotate(dir, "six\n");
  std::vector<std::string> messages;
  CHECK(follow(dir, 4, &messages) == records{{"two", 4}, {"three", 8}, {"four", 14}, {"five", 19}, {"six", 24}});
  REQUIRE(messages.size() == 1);
  CHECK(messages[0].find("was rotated more than once since it was read; the files in between are read first: " +
                         (dir / "in.2") + ", " + (dir / "in.1")) != std::string::npos);
  CHECK(follow(dir, 28).empty());
}

TEST_CASE("a stop in the middle of rotated files loses no line") {
  temp_dir dir;
  write_file(dir / "in", "one\n");
  follow(dir, 0);
  rotate(dir, "two\n");
  rotate(dir, "three\n");
  CHECK(values_of(follow(dir, 4)) == texts{"two", "three"});
  rotate(dir, "four\n");
  // The host has settled only "one": the files of the last run are found under their new names.
  CHECK(follow(dir, 4) == records{{"two", 4}, {"three", 8}, {"four", 14}});
}

TEST_CASE("older rotated files that were read before are not read again") {
  temp_dir dir;
  write_file(dir / "in.2", "ancient\n");
  write_file(dir / "in.1", "old\n");
  write_file(dir / "in", "one\n");
  CHECK(values_of(follow(dir, 0)) == texts{"one"});
  rotate(dir, "two\n");
  CHECK(values_of(follow(dir, 4)) == texts{"two"});
}

TEST_CASE("rotated files are found by their time if the last file was deleted, and the loss is reported") {
  temp_dir dir;
  write_file(dir / "in.20261123T000000Z", "ancient\n");
  write_file(dir / "in", "one\n");
  follow(dir, 0);
  const auto later = fs::last_write_time(dir / "in") + 1s;
  fs::remove(dir / "in");
  write_file(dir / "in.20261125T000000Z", "two\n");
  fs::last_write_time(dir / "in.20261125T000000Z", later);
  write_file(dir / "in", "three\n");
  std::vector<std::string> messages;
  CHECK(follow(dir, 4, &messages) == records{{"two", 4}, {"three", 8}});
  REQUIRE(messages.size() == 2);
  CHECK(
      messages[1].find("lines of the old file after position 4 can no longer be read; continuing at the beginning of " +
                       (dir / "in.20261125T000000Z")) != std::string::npos);
}

TEST_CASE("compressed rotated files are reported as lost, with their number and size") {
  temp_dir dir;
  write_file(dir / "in", "one\n");
  follow(dir, 0);
  rotate(dir, "two\n");
  rotate(dir, "three\n");
  fs::rename(dir / "in.1", dir / "in.1.gz");
  std::vector<std::string> messages;
  CHECK(values_of(follow(dir, 4, &messages)) == texts{"three"});
  REQUIRE(messages.size() == 1);
  CHECK(messages[0].starts_with("LOST: 1 rotated files of " + (dir / "in") + " (4 bytes) are not read"));
}

TEST_CASE("several rotations between two reads of a running source") {
  temp_dir dir;
  write_file(dir / "in", "one\n");
  running r(dir);
  r.start({{"path", dir / "in"}, {"follow", true}});
  r.drain();
  rotate(dir, "two\n");
  rotate(dir, "three\n");
  rotate(dir, "four\n");
  CHECK(r.drain().values() == texts{"one", "two", "three", "four"});
  CHECK(r.all.back().position == 14);
}

TEST_CASE("a truncated file whose content was copied is read to its end from the copy") {
  temp_dir dir;
  write_file(dir / "in", "one\n");
  follow(dir, 0);
  write_file(dir / "in", "two\n", true);
  fs::copy_file(dir / "in", dir / "in.1");
  fs::resize_file(dir / "in", 0);
  write_file(dir / "in", "three\n");
  CHECK(follow(dir, 4) == records{{"two", 4}, {"three", 8}});
}

TEST_CASE("a file that is overwritten in place by one of the same length is noticed while it is followed") {
  temp_dir dir;
  write_file(dir / "in", "one\ntwo\n");
  running r(dir);
  r.start({{"path", dir / "in"}, {"follow", true}});
  r.drain();
  write_file(dir / "in", "ONE\nTWO\n");
  fs::last_write_time(dir / "in", fs::last_write_time(dir / "in") + 1s);
  CHECK(r.drain().values() == texts{"one", "two", "ONE", "TWO"});
  REQUIRE(r.host.logs().size() == 1);
  CHECK(r.host.logs()[0].message == (dir / "in") + " was overwritten; continuing at its beginning");
  write_file(dir / "in", "three\n", true);
  CHECK(r.drain().values().back() == "three");
}

TEST_CASE("a followed file that was overwritten while stopped is read from its beginning, with a warning") {
  temp_dir dir;
  write_file(dir / "in", "one\ntwo\n");
  follow(dir, 0);
  write_file(dir / "in", "ONE\nTWO\n");
  std::vector<std::string> messages;
  CHECK(follow(dir, 8, &messages) == records{{"ONE", 8}, {"TWO", 12}});
  REQUIRE(messages.size() == 1);
  CHECK(messages[0].find("was replaced or truncated while it was not being read") != std::string::npos);
}

TEST_CASE("read once: a replaced file is an error that names the remedy, whatever its length") {
  for (const auto* content : {"ONE\nTWO\n", "ONE\nTWO\nTHREE\n", "ONE\n", ""}) {
    CAPTURE(content);
    temp_dir dir;
    write_file(dir / "in", "one\ntwo\n");
    CHECK(read_once(dir).size() == 2);
    SUBCASE("in place") { write_file(dir / "in", content); }
    SUBCASE("by another file") {
      write_file(dir / "other", content);
      fs::rename(dir / "other", dir / "in");
    }
    const auto why = error_of_start(dir, 8);
    CHECK(why.find("it was replaced or truncated; to read it from its beginning, start the host with 'run --fresh', or "
                   "restore the file") != std::string::npos);
    CHECK(error_of_start(dir, 0).empty());  // as after --fresh
  }
}

TEST_CASE("read once: a file that is longer, or that was restored, is continued") {
  temp_dir dir;
  write_file(dir / "in", "one\ntwo\n");
  read_once(dir);
  write_file(dir / "other", "one\ntwo\nthree\n");
  fs::rename(dir / "other", dir / "in");
  running r(dir);
  r.host.resume_at(dir / "in", 8);
  r.start({{"path", dir / "in"}});
  CHECK(r.drain().all == records{{"three", 8}});
}

TEST_CASE("read once: a change anywhere in a large file of the same length is noticed") {
  temp_dir dir;
  std::string text;
  while (text.size() < 300'000) text += "line " + std::to_string(text.size()) + "\n";
  write_file(dir / "in", text);
  read_once(dir);
  for (const std::size_t at : {std::size_t{5}, text.size() / 2, text.size() - 3}) {
    CAPTURE(at);
    auto changed = text;
    changed[at] = 'x';
    write_file(dir / "in", changed);
    CHECK_FALSE(error_of_start(dir, text.size()).empty());
  }
}

TEST_CASE("a followed file that differs only in the middle, and has the same length, is read from its beginning") {
  temp_dir dir;
  std::string text;
  while (text.size() < 300'000) text += "line " + std::to_string(text.size()) + "\n";
  auto changed = text;
  changed[changed.find("line", text.size() / 2)] = 'L';
  write_file(dir / "in", text);
  SUBCASE("while stopped, in place") {
    const auto lines = follow(dir, 0).size();
    write_file(dir / "in", changed);
    CHECK(follow(dir, text.size()).size() == lines);
  }
  SUBCASE("while stopped, by another file") {
    const auto lines = follow(dir, 0).size();
    write_file(dir / "other", changed);
    fs::rename(dir / "other", dir / "in");
    CHECK(follow(dir, text.size()).size() == lines);
  }
  SUBCASE("while stopped, and then longer") {
    const auto lines = follow(dir, 0).size();
    write_file(dir / "in", changed + "one more\n");
    CHECK(follow(dir, text.size()).size() == lines + 1);
  }
  SUBCASE("not changed, but touched") {
    (void)follow(dir, 0);
    fs::last_write_time(dir / "in", fs::last_write_time(dir / "in") + 5s);
    write_file(dir / "in", "one more\n", true);
    CHECK(follow(dir, text.size()) == records{{"one more", text.size()}});
  }
  SUBCASE("while it is followed") {
    running r(dir);
    r.start({{"path", dir / "in"}, {"follow", true}});
    const auto lines = r.drain().all.size();
    write_file(dir / "in", changed);
    fs::last_write_time(dir / "in", fs::last_write_time(dir / "in") + 1s);
    CHECK(r.drain().all.size() == 2 * lines);
  }
}

TEST_CASE("the places of an earlier version are read") {
  temp_dir dir;
  write_file(dir / "in", "one\ntwo\n");
  follow(dir, 0);
  std::uint64_t inode = 0;
  {
    struct stat s {};
    REQUIRE(::stat((dir / "in").c_str(), &s) == 0);
    inode = s.st_ino;
  }
  for (const auto& entry : fs::directory_iterator(dir / "state"))
    write_file(entry.path().string(), "100 " + std::to_string(inode) + " " + (dir / "in") + "\n");
  CHECK(follow(dir, 104) == records{{"two", 104}});
}

TEST_CASE("names of rotated files") {
  temp_dir dir;
  for (const auto* name : {"a.ndjson", "a.ndjson.10", "a.ndjson.9.gz", "a.ndjson.1", "a.ndjson.bak", "ab.ndjson.1",
                           "a.ndjson.", "a-new.ndjson"})
    write_file(dir / name, "x\n");
  texts found;
  for (const auto& f : lines::rotated_files_of(dir / "a.ndjson")) found.push_back(f.path);
  CHECK(found == texts{dir / "a.ndjson.10", dir / "a.ndjson.9.gz", dir / "a.ndjson.1"});
  write_file(dir / "a.20261124T180000.000000Z.ndjson", "x\n");
  CHECK(lines::rotated_files_of(dir / "a.ndjson").size() == 4);
}
