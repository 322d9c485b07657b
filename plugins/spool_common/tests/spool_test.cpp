// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <spool_common/checksum.hpp>
#include <spool_common/spool.hpp>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <thread>

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using spool::durability;

namespace {

class folder {
 public:
  folder() : path_(fs::temp_directory_path() / ("spool." + std::to_string(std::random_device{}()))) {}
  ~folder() { fs::remove_all(path_); }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  [[nodiscard]] const fs::path& path() const { return path_; }
  [[nodiscard]] std::vector<fs::path> files() const {
    std::vector<fs::path> all;
    for (const auto& e : fs::directory_iterator(path_))
      if (spool::first_of(e.path())) all.push_back(e.path());
    std::sort(all.begin(), all.end());
    return all;
  }

 private:
  fs::path path_;
};

struct opened {
  std::unique_ptr<spool::log> log;
  std::vector<std::string> reported;
  std::string failure;
};

opened open(const folder& in, spool::settings with = {}) {
  opened o;
  with.folder = in.path();
  auto made = spool::log::open(with, [&](spool::severity, std::string_view text) { o.reported.emplace_back(text); });
  if (made.ok())
    o.log = std::move(*made);
  else
    o.failure = made.why().message;
  return o;
}

void append(spool::log& to, const std::string& body) {
  const std::array<std::string_view, 2> parts{std::string_view(body).substr(0, body.size() / 2),
                                              std::string_view(body).substr(body.size() / 2)};
  REQUIRE(to.append(parts).ok());
}

std::map<std::uint64_t, std::string> all(spool::log& of, std::uint64_t from = 0,
                                         std::vector<std::string>* reported = nullptr) {
  std::map<std::uint64_t, std::string> found;
  while (true) {
    const auto next = of.read(
        from, 100,
        [&](std::uint64_t number, std::string_view body) {
          found[number] = body;
          return true;
        },
        [&](spool::severity, std::string_view text) {
          if (reported != nullptr) reported->emplace_back(text);
        });
    REQUIRE(next.ok());
    if (*next == from) return found;
    from = *next;
  }
}

std::string text(std::uint64_t n) { return "record " + std::to_string(n) + std::string(n % 97, 'x'); }

}  // namespace

TEST_CASE("CRC-32C as in RFC 3720") {
  CHECK(spool::crc32c("") == 0);
  CHECK(spool::crc32c("123456789") == 0xE3069283);
  CHECK(spool::crc32c(std::string(32, '\0')) == 0x8A9136AA);
  CHECK(spool::crc32c("6789", spool::crc32c("12345")) == 0xE3069283);
}

TEST_CASE("appended records are read in order with their numbers, also after a restart") {
  folder f;
  for (const auto fsync : {durability::always, durability::interval, durability::never}) {
    fs::remove_all(f.path());
    std::string id;
    for (std::uint64_t round = 0; round < 3; ++round) {
      auto o = open(f, {.fsync = fsync, .segment_bytes = 4096});
      REQUIRE_MESSAGE(o.log, o.failure);
      CHECK(o.reported.empty());
      if (round != 0) CHECK(o.log->id() == id);
      id = o.log->id();
      for (std::uint64_t n = round * 500; n < (round + 1) * 500; ++n) append(*o.log, text(n));
      CHECK(o.log->end() == (round + 1) * 500);
      const auto found = all(*o.log);
      REQUIRE(found.size() == (round + 1) * 500);
      for (const auto& [n, body] : found) CHECK(body == text(n));
      CHECK(all(*o.log, 321).begin()->first == 321);
    }
    CHECK(f.files().size() > 10);
  }
}

TEST_CASE("append_all appends all records or none") {
  const folder where;
  auto spool = open(where);
  const std::string big(5000, 'x');
  const std::vector<spool::log::parts> three{{"a", "1"}, {"", ""}, {"b", big}};
  REQUIRE(spool.log->append_all(three).ok());
  CHECK(spool.log->append_all({}).ok());
  CHECK(spool.log->end() == 3);

  // Simulate a full disk in the middle of the second append by a limit on the file size.
  const auto before = spool.log->bytes();
  struct rlimit was {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &was) == 0);
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit tight {
    before + 3000, was.rlim_max
  };
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &tight) == 0);
  const auto refused = spool.log->append_all(three);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &was) == 0);
  std::signal(SIGXFSZ, handler);
  CHECK(!refused.ok());
  CHECK(spool.log->end() == 3);
  // While the sender waits, the log must detect that there is space again.
  while (spool.log->full()) std::this_thread::sleep_for(5ms);

  REQUIRE(spool.log->append_all(three).ok());
  spool.log.reset();
  spool = open(where);
  CHECK(spool.reported.empty());
  CHECK(all(*spool.log) ==
        std::map<std::uint64_t, std::string>{{0, "a1"}, {1, ""}, {2, "b" + big}, {3, "a1"}, {4, ""}, {5, "b" + big}});
}

TEST_CASE("with max_bytes of one file, appending continues after everything is settled") {
  const folder where;
  auto spool = open(where, {.max_bytes = 1000, .segment_bytes = 1000});
  for (int i = 0; i < 3; ++i) {
    while (!spool.log->full()) append(*spool.log, std::string(100, 'x'));
    spool.log->settle(spool.log->end());
    CHECK(!spool.log->full());
    CHECK(where.files().size() == 1);
  }
}

TEST_CASE("settled files are deleted, and numbers continue") {
  folder f;
  {
    auto o = open(f, {.segment_bytes = 4096});
    for (std::uint64_t n = 0; n < 1000; ++n) append(*o.log, text(n));
    const auto before = o.log->bytes();
    o.log->settle(900);
    CHECK(o.log->begin() > 800);
    CHECK(o.log->begin() <= 900);
    CHECK(o.log->bytes() < before / 5);
    CHECK(all(*o.log, 0).begin()->first == o.log->begin());
    o.log->settle(1000);
    CHECK(f.files().size() == 1);
  }
  auto o = open(f, {.segment_bytes = 4096});
  CHECK(o.log->settled() == 1000);
  CHECK(o.log->end() == 1000);
  append(*o.log, "more");
  CHECK(all(*o.log, 1000).at(1000) == "more");
}

TEST_CASE("resume_at skips numbers that the sinks have already seen") {
  folder f;
  {
    auto o = open(f);
    append(*o.log, "a");
    REQUIRE(o.log->resume_at(1).ok());
    append(*o.log, "b");
    REQUIRE(o.log->resume_at(100).ok());
    append(*o.log, "c");
  }
  auto o = open(f);
  CHECK(all(*o.log) == std::map<std::uint64_t, std::string>{{0, "a"}, {1, "b"}, {100, "c"}});
}

TEST_CASE("an incomplete last record is truncated at any byte, and all earlier records are kept") {
  folder f;
  {
    auto o = open(f);
    for (std::uint64_t n = 0; n < 20; ++n) append(*o.log, text(n));
  }
  const auto file = f.files().front();
  std::string whole;
  {
    std::ifstream in(file, std::ios::binary);
    whole.assign(std::istreambuf_iterator<char>(in), {});
  }
  std::size_t records = 0;
  for (std::size_t cut = whole.size(); cut > spool::segment_header; --cut) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << whole.substr(0, cut);
    fs::remove(f.path() / "settled");  // a killed process has not stored the end of the log
    auto o = open(f);
    REQUIRE(o.log);
    const auto found = all(*o.log);
    for (const auto& [n, body] : found) REQUIRE(body == text(n));
    CHECK(o.log->end() == found.size());
    if (cut == whole.size()) records = found.size();
    CHECK(found.size() <= records);
    records = found.size();
    append(*o.log, "after");
    CHECK(all(*o.log).at(found.size()) == "after");
  }
  CHECK(records == 0);
}

TEST_CASE("damage while the log is closed costs the damaged record, which is reported when it is read") {
  folder f;
  {
    auto o = open(f, {.segment_bytes = 4096});
    for (std::uint64_t n = 0; n < 1000; ++n) append(*o.log, text(n));
  }
  const auto files = f.files();
  const auto& victim = files[3];
  const auto first = *spool::first_of(victim), next = *spool::first_of(files[4]);
  {
    std::fstream change(victim, std::ios::binary | std::ios::in | std::ios::out);
    change.seekp(1000);
    change.put('\x7F');
  }
  auto o = open(f, {.segment_bytes = 4096});
  CHECK(o.reported.empty());
  std::vector<std::string> reported;
  const auto found = all(*o.log, 0, &reported);
  CHECK(found.size() == 999);
  CHECK(o.log->lost() == 1);
  REQUIRE(reported.size() == 2);  // the damage, and where its bytes are kept
  CHECK(reported[1].find("LOST: record ") == 0);
  CHECK(reported[1].find(" cannot be read: " + victim.string() + " is damaged") != std::string::npos);
  CHECK(found.contains(first));
  CHECK(found.contains(next - 1));
  for (const auto& [n, body] : found) CHECK(body == text(n));
  CHECK(all(*o.log, first + 1).size() == 999 - first - 1);
}

TEST_CASE("damage while the log is open is reported") {
  folder f;
  auto o = open(f, {.segment_bytes = 4096});
  for (std::uint64_t n = 0; n < 300; ++n) append(*o.log, text(n));
  const auto files = f.files();
  {
    std::fstream change(files[1], std::ios::binary | std::ios::in | std::ios::out);
    change.seekp(500);
    change.put('\x7F');
  }
  std::vector<std::string> reported;
  const auto found = all(*o.log, 0, &reported);
  REQUIRE(reported.size() == 2);
  CHECK(reported[1].find("is damaged") != std::string::npos);
  CHECK(found.size() == 299);
  CHECK(o.log->lost() == 1);
}

TEST_CASE("a second process cannot open the spool") {
  folder f;
  auto o = open(f);
  const auto child = ::fork();
  if (child == 0) {
    auto other = open(f);
    ::_exit(!other.log && other.failure.find("another process uses the spool") == 0 ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("a killed process loses no appended record") {
  for (const auto fsync : {durability::always, durability::interval, durability::never}) {
    folder f;
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    const auto child = ::fork();
    if (child == 0) {
      auto o = open(f, {.fsync = fsync, .segment_bytes = 8192});
      for (std::uint64_t n = 0;; ++n) {
        append(*o.log, text(n));
        if (::write(pipe_ends[1], &n, sizeof n) != sizeof n) ::_exit(1);
      }
    }
    ::close(pipe_ends[1]);
    std::uint64_t last = 0, n = 0;
    while (last < 3000 && ::read(pipe_ends[0], &n, sizeof n) == sizeof n) last = n;
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    while (::read(pipe_ends[0], &n, sizeof n) == sizeof n) last = n;
    ::close(pipe_ends[0]);
    auto o = open(f, {.segment_bytes = 8192});
    const auto found = all(*o.log);
    CHECK(found.size() >= last + 1);
    for (const auto& [number, body] : found) REQUIRE(body == text(number));
  }
}

TEST_CASE("many threads append, one reads and settles") {
  folder f;
  auto o = open(f, {.fsync = durability::always, .max_bytes = 1 << 16, .segment_bytes = 8192});
  constexpr std::uint64_t each = 300;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < each; ++i) append(*o.log, std::to_string(t) + ":" + std::to_string(i));
    });
  std::map<std::string, std::uint64_t> next_of;
  std::uint64_t next = 0;
  while (next < 4 * each) {
    o.log->wait(next, 100ms);
    const auto read = o.log->read(
        next, 50,
        [&](std::uint64_t number, std::string_view body) {
          CHECK(number == next++);
          const auto colon = body.find(':');
          CHECK(std::string(body.substr(colon + 1)) == std::to_string(next_of[std::string(body.substr(0, colon))]++));
          return true;
        },
        [](spool::severity, std::string_view) {});
    REQUIRE(read.ok());
    o.log->settle(next);
  }
  threads.clear();
  CHECK(o.log->bytes() < 3 * 8192);
}

TEST_CASE("back-pressure starts at max_bytes, and records in flight are still appended") {
  folder f;
  auto o = open(f, {.max_bytes = 20'000, .segment_bytes = 4096});
  std::uint64_t n = 0;
  while (!o.log->full()) append(*o.log, text(n++));
  CHECK(o.log->bytes() >= 20'000);
  for (int i = 0; i < 50; ++i) append(*o.log, text(n++));
  o.log->settle(n);
  CHECK(!o.log->full());
}
