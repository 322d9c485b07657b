// SPDX-License-Identifier: Apache-2.0
// Damaged files: what is intact is delivered, and the rest is reported, counted and kept aside.
#include "harness.hpp"

#include <spool_common/checksum.hpp>
#include <spool_common/record_search.hpp>

#include <cstdlib>
#include <fstream>
#include <random>

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using spool::testing::records;
using spool::testing::segments_in;
using spool::testing::test_log;

namespace {

void write_file(const fs::path& path, std::string_view content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

std::string binary(std::mt19937& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (auto& b : bytes) b = static_cast<char>(random());
  return bytes;
}

constexpr std::uint64_t small_file = 1 << 16;

// A folder in memory if possible, for tests that open a log very often.
class quick_folder {
 public:
  [[nodiscard]] const fs::path& path() const { return dir_->path(); }
  quick_folder() {
    const char* was = std::getenv("TMPDIR");
    const std::string kept = was == nullptr ? "" : was;
    if (fs::is_directory("/dev/shm")) ::setenv("TMPDIR", "/dev/shm", 1);
    dir_ = std::make_unique<pl::testing::temp_dir>();
    kept.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", kept.c_str(), 1);
  }

 private:
  std::unique_ptr<pl::testing::temp_dir> dir_;
};

// Files of a closed log, to begin from again and again.
class original {
 public:
  original(const fs::path& folder, const std::vector<std::string>& bodies) {
    {
      test_log log(folder, {.segment_bytes = small_file << 8U});
      for (const auto& body : bodies) REQUIRE(log.append(body).ok());
    }
    REQUIRE(segments_in(folder).size() == 1);
    segment = segments_in(folder).front();
    for (const auto& e : fs::directory_iterator(folder)) files_[e.path()] = pl::testing::read_file(e.path());
    content = files_[segment];
    std::size_t at = spool::segment_header;
    for (const auto& body : bodies) at = ends.emplace_back(at + spool::record_header + body.size());
    REQUIRE(content.size() == at);
  }
  void restore() const {
    for (const auto& e : fs::directory_iterator(segment.parent_path()))
      if (!files_.contains(e.path())) fs::remove(e.path());
    for (const auto& [path, bytes] : files_) write_file(path, bytes);
  }
  // Return the number of the record that a byte belongs to; -1: the header of the file.
  [[nodiscard]] int record_at(std::size_t offset) const {
    if (offset < spool::segment_header) return -1;
    return static_cast<int>(std::ranges::upper_bound(ends, offset) - ends.begin());
  }

  fs::path segment;
  std::string content;
  std::vector<std::size_t> ends;

 private:
  std::map<fs::path, std::string> files_;
};

}  // namespace

TEST_CASE("the register of the CRC can be calculated over zeros and backwards") {
  using namespace spool::crc_register;
  std::mt19937 random(19);
  for (const std::uint64_t zeros : {0ULL, 1ULL, 4ULL, 777ULL, 65536ULL}) {
    const auto before = static_cast<std::uint32_t>(random());
    const auto reached = after(before, std::string(zeros, '\0'));
    CHECK(after_zeros(before, zeros) == reached);
    CHECK(before_zeros(reached, zeros) == before);
  }
  CHECK(before_zeros(after_zeros(1, 1ULL << 40U), 1ULL << 40U) == 1);
}

TEST_CASE("a bit flipped at any byte costs at most the record of that byte") {
  const quick_folder dir;
  std::mt19937 random(36);
  const std::vector<std::string> bodies{"first",
                                        "",
                                        R"({"device_id":"d1","temperature":21.5})",
                                        binary(random, 300),
                                        std::string(100, '\0'),
                                        "x",
                                        "",
                                        binary(random, 17),
                                        "the last record"};
  const original whole(dir.path(), bodies);
  for (std::size_t at = 0; at < whole.content.size(); ++at) {
    CAPTURE(at);
    whole.restore();
    auto damaged = whole.content;
    damaged[at] = static_cast<char>(static_cast<unsigned char>(damaged[at]) ^ (1U << (at % 8)));
    write_file(whole.segment, damaged);
    const auto victim = whole.record_at(at);
    records expected;
    for (std::size_t n = 0; n < bodies.size(); ++n)
      if (static_cast<int>(n) != victim) expected[n] = bodies[n];
    test_log log(dir.path(), {.segment_bytes = small_file});
    REQUIRE(log->end() == bodies.size());
    REQUIRE(log.all() == expected);
    REQUIRE(log->lost() == (victim < 0 ? 0 : 1));
    REQUIRE(log.reports_of("LOST: record " + std::to_string(victim) + " cannot be read") == (victim < 0 ? 0 : 1));
    REQUIRE(log.reports_of("damaged") >= 1);
    if (victim >= 0) REQUIRE(log.reports_of("damaged bytes of " + whole.segment.string() + " are kept in ") == 1);
    // A new record gets a new number, also after a restart.
    REQUIRE(log.append("more").ok());
    expected[bodies.size()] = "more";
    REQUIRE(log.open());
    REQUIRE(log.all() == expected);
  }
}

TEST_CASE("a bit flipped at any byte costs no other record, also after a crash") {
  const quick_folder dir;
  const std::vector<std::string> bodies{"first", std::string(40, 'a'), "", "the last record"};
  const original whole(dir.path(), bodies);
  for (std::size_t at = 0; at < whole.content.size(); ++at) {
    CAPTURE(at);
    whole.restore();
    fs::remove(dir.path() / "settled");  // it has the number of records
    auto damaged = whole.content;
    damaged[at] = static_cast<char>(static_cast<unsigned char>(damaged[at]) ^ (1U << (at % 8)));
    write_file(whole.segment, damaged);
    const auto victim = whole.record_at(at);
    records expected;
    for (std::size_t n = 0; n < bodies.size(); ++n)
      if (static_cast<int>(n) != victim) expected[n] = bodies[n];
    test_log log(dir.path(), {.segment_bytes = small_file});
    REQUIRE(log.all() == expected);
    REQUIRE(log.reports_of("damaged") + log.reports_of("incomplete last record") >= 1);
  }
}

TEST_CASE("a file cut at any byte after a clean stop: the missing records are reported") {
  const quick_folder dir;
  const std::vector<std::string> bodies{"first", std::string(40, 'a'), "", "the last record"};
  const original whole(dir.path(), bodies);
  for (std::size_t size = 0; size < whole.content.size(); ++size) {
    CAPTURE(size);
    whole.restore();
    write_file(whole.segment, std::string_view(whole.content).substr(0, size));
    const auto intact = static_cast<std::uint64_t>(std::ranges::upper_bound(whole.ends, size) - whole.ends.begin());
    test_log log(dir.path(), {.segment_bytes = small_file});
    REQUIRE(log->end() == bodies.size());
    REQUIRE(log.all().size() == intact);
    REQUIRE(log->lost() == bodies.size() - intact);
  }
}

TEST_CASE("a damaged block in the middle of a large binary segment costs the records that it touches") {
  const pl::testing::temp_dir dir;
  std::mt19937 random(1936);
  std::vector<std::string> bodies;
  for (int i = 0; i < 10'000; ++i) bodies.push_back(binary(random, random() % 600));
  const original whole(dir.path(), bodies);
  for (const auto& [offset, size] : std::vector<std::pair<std::size_t, std::size_t>>{{4096, 4096}, {1 << 20, 65536}}) {
    whole.restore();
    auto damaged = whole.content;
    damaged.replace(offset, size, size, '\0');
    write_file(whole.segment, damaged);
    const auto first = static_cast<std::uint64_t>(whole.record_at(offset));
    const auto last = static_cast<std::uint64_t>(whole.record_at(offset + size - 1));
    test_log log(dir.path());
    const auto found = log.all();
    CHECK(found.size() == bodies.size() - (last - first + 1));
    CHECK(log->lost() == last - first + 1);
    CHECK(log.reports_of("LOST: records " + std::to_string(first) + " to " + std::to_string(last) + " (") == 1);
    for (const auto& [n, body] : found) REQUIRE(body == bodies[n]);
    // The damaged bytes are kept beside the file.
    const auto begin = first == 0 ? spool::segment_header : whole.ends[first - 1];
    const auto aside = whole.segment.string() + "." + std::to_string(begin) + ".damaged";
    CHECK(pl::testing::read_file(aside) == damaged.substr(begin, whole.ends[last] - begin));
  }
}

TEST_CASE("no record is found in bytes that hold none") {
  std::mt19937 random(7);
  for (const auto& bytes : {binary(random, 1 << 20), std::string(1 << 20, '\0'), std::string(1 << 20, 'x')}) {
    const auto begun = std::chrono::steady_clock::now();
    CHECK_FALSE(spool::record_search(bytes, 1000, UINT64_MAX).first());
    CHECK(std::chrono::steady_clock::now() - begun < 30s);
  }
}

TEST_CASE("a single record is found by its number, past damage, and nothing is reported") {
  const pl::testing::temp_dir dir;
  const spool::settings small{.segment_bytes = 4096};
  test_log log(dir.path(), small);
  for (int i = 0; i < 100; ++i) REQUIRE(log.append(std::to_string(i) + std::string(100, 'a')).ok());
  log.close();
  const auto files = segments_in(dir.path());
  REQUIRE(files.size() > 2);
  auto bytes = pl::testing::read_file(files[1]);
  bytes[spool::segment_header + spool::record_header] ^= 1;
  write_file(files[1], bytes);
  REQUIRE(log.open());
  const auto victim = *spool::first_of(files[1]);
  for (std::uint64_t n = 0; n < 105; ++n) {
    CAPTURE(n);
    const auto found = log->find(n);
    REQUIRE(found.ok());
    REQUIRE(found->has_value() == (n < 100 && n != victim));
    if (*found) CHECK(**found == std::to_string(n) + std::string(100, 'a'));
  }
  CHECK(log.reported.empty());
  CHECK(log->lost() == 0);
  // It does not move the position of reading.
  CHECK(log.all().size() == 99);
  CHECK(log->lost() == 1);
  CHECK(log.append("more").ok());
  CHECK(**log->find(100) == "more");
}

TEST_CASE("records of one append are in one file") {
  const pl::testing::temp_dir dir;
  test_log log(dir.path(), {.segment_bytes = 4096});
  const std::string body(300, 'x');
  const std::vector<spool::log::parts> ten(10, {"", body});
  for (int i = 0; i < 20; ++i) REQUIRE(log->append_all(ten).ok());
  const auto files = segments_in(dir.path());
  CHECK(files.size() > 5);
  for (const auto& file : files) CHECK(*spool::first_of(file) % 10 == 0);
}

TEST_CASE("a deleted file is reported as lost records, also if it is the first") {
  const pl::testing::temp_dir dir;
  const spool::settings small{.segment_bytes = 4096};
  {
    test_log log(dir.path(), small);
    for (int i = 0; i < 200; ++i) REQUIRE(log.append(std::string(100, 'a')).ok());
  }
  const auto files = segments_in(dir.path());
  REQUIRE(files.size() > 3);
  fs::remove(files[0]);
  fs::remove(files[2]);
  const auto missing = *spool::first_of(files[1]) + *spool::first_of(files[3]) - *spool::first_of(files[2]);
  test_log log(dir.path(), small);
  CHECK(log->start() == 0);
  CHECK(log.all(log->start()).size() == 200 - missing);
  CHECK(log->lost() == missing);
  CHECK(log.reports_of("LOST: records 0 to ") == 1);
}

TEST_CASE("a damaged id is not replaced: the records would become another stream") {
  const pl::testing::temp_dir dir;
  std::string id;
  {
    test_log log(dir.path());
    id = log->id();
    REQUIRE(log.append("a").ok());
  }
  for (const auto& content : {std::string(), id.substr(1) + "\n", "X" + id.substr(1) + "\n"}) {
    write_file(dir.path() / "id", content);
    test_log log(dir.path());
    CHECK(log.failure.find("id is damaged") != std::string::npos);
    CHECK(pl::testing::read_file(dir.path() / "id") == content);
  }
  write_file(dir.path() / "id", id + "\n");
  test_log log(dir.path());
  CHECK(log.all() == records{{0, "a"}});
}

TEST_CASE("a damaged settled position is reported, and reading begins at the oldest record") {
  const pl::testing::temp_dir dir;
  {
    test_log log(dir.path());
    REQUIRE(log.append("a").ok());
    log->settle(1);
  }
  write_file(dir.path() / "settled", "");
  test_log log(dir.path());
  CHECK(log.reports_of("settled is damaged") == 1);
  CHECK(log.all(log->start()) == records{{0, "a"}});
}

TEST_CASE("after a power cut new records get numbers that no sink can have seen, and what is gone is reported") {
  const pl::testing::temp_dir dir;
  spool::settings given;
  std::string boot = "first";
  given.time.boot = [&boot] { return boot; };
  {
    test_log log(dir.path(), given);
    for (int i = 0; i < 80; ++i) REQUIRE(log.append(std::to_string(i)).ok());
  }
  {
    test_log log(dir.path(), given);
    // Stopped and started again: no number is skipped, also after a reboot.
    boot = "second";
    REQUIRE(log.open());
    CHECK(log->end() == 80);
    spool::testing::await([&] { return pl::testing::read_file(dir.path() / "settled") == "0\n80\n"; });
    for (int i = 80; i < 100; ++i) REQUIRE(log.append(std::to_string(i)).ok());
  }
  // The power cut: the last 50 of 100 records are gone from the disk, and the end was stored at 80.
  const auto segment = segments_in(dir.path()).front();
  fs::resize_file(segment, spool::segment_header + 50 * spool::record_header + 10 + 40 * 2);
  write_file(dir.path() / "settled", "0\n80\n");
  boot = "third";
  test_log log(dir.path(), given);
  REQUIRE(log.append("new").ok());
  const auto first_new = log->end() - 1;
  CHECK(first_new > 100);
  CHECK(log->lag_end(0) == 81);
  CHECK(log->lag_end(first_new) == first_new + 1);
  const auto found = log.all();
  CHECK(found.size() == 51);
  CHECK(found.at(first_new) == "new");
  CHECK(log->lost() == 30);
  CHECK(log.reports_of("LOST: records 50 to 79 (30 records)") == 1);
  // A sink that has the first 100 loses nothing.
  REQUIRE(log->resume_at(100).ok());
  CHECK(log.all(100) == records{{first_new, "new"}});
  CHECK(log->lost() == 30);
  // The machine stops regularly, and starts again.
  log.close();
  boot = "fourth";
  REQUIRE(log.open());
  CHECK(log->end() == first_new + 1);
}
