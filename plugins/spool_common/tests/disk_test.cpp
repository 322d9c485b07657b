// SPDX-License-Identifier: Apache-2.0
// Disks that fail: the library disk_faults replaces the functions of the C library.
#include "harness.hpp"

#include <pipeline/testing/temp_dir.hpp>

#include <disk_faults.hpp>
#include <spool_common/folders.hpp>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <set>
#include <thread>

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using spool::durability;
using spool::testing::await;
using spool::testing::records;
using spool::testing::segments_in;
using spool::testing::test_log;

namespace {

const spool::settings frequent{.fsync = durability::interval, .interval = 5ms};

std::map<fs::path, std::string> content_of(const fs::path& folder) {
  std::map<fs::path, std::string> all;
  for (const auto& e : fs::directory_iterator(folder)) all[e.path()] = pl::testing::read_file(e.path());
  return all;
}

std::multiset<std::string> bodies_of(const records& of) {
  std::multiset<std::string> all;
  for (const auto& [n, body] : of) all.insert(body);
  return all;
}

}  // namespace

TEST_CASE("interval: after a failed sync nothing is acknowledged until what is not synced is in a new file") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  test_log log(dir.path(), frequent);
  const auto synced_end = [&] { return pl::testing::read_file(dir.path() / "settled"); };
  for (int i = 0; i < 10; ++i) REQUIRE(log.append("synced " + std::to_string(i)).ok());
  // The log has stored its end, after several syncs.
  await([&] { return fs::exists(dir.path() / "settled") && synced_end() == "0\n10\n"; });
  std::this_thread::sleep_for(20ms);

  faults.set("fdatasync EIO -1 .spool\nfsync EIO -1 .spool\n");
  int acknowledged = 0;
  while (log->fault().empty()) {
    if (log.append("unsynced " + std::to_string(acknowledged)).ok()) ++acknowledged;
    std::this_thread::sleep_for(1ms);
  }
  CHECK(acknowledged > 0);
  CHECK(log->fault().find("cannot sync") == 0);
  CHECK(log->fault().find("Input/output error") != std::string::npos);
  CHECK_FALSE(log->full());  // back-pressure would not help
  for (int i = 0; i < 20; ++i) {
    CHECK_FALSE(log.append("refused").ok());
    std::this_thread::sleep_for(2ms);
  }
  CHECK(log.reports_of("no record is acknowledged until") == 1);
  CHECK(log->faults() == 1);

  // The system has dropped the pages that it could not write.
  const auto old = segments_in(dir.path()).front();
  const auto first_size = spool::segment_header + 10 * (spool::record_header + std::string("synced 0").size());
  fs::resize_file(old, first_size);
  faults.clear();
  await([&] { return log->fault().empty(); });
  CHECK(log.reports_of("records that were not synced were written again, none is lost") == 1);
  CHECK(log->end() == static_cast<std::uint64_t>(10 + acknowledged));
  REQUIRE(log.append("after").ok());
  records expected;
  for (std::uint64_t n = 0; n < 10; ++n) expected[n] = "synced " + std::to_string(n);
  for (std::uint64_t n = 0; n < static_cast<std::uint64_t>(acknowledged); ++n)
    expected[10 + n] = "unsynced " + std::to_string(n);
  expected[10 + static_cast<std::uint64_t>(acknowledged)] = "after";
  CHECK(log.all() == expected);
  CHECK(segments_in(dir.path()).size() == 2);
  REQUIRE(log.open());
  CHECK(log.all() == expected);
  CHECK(log->lost() == 0);
}

TEST_CASE("interval: a log without a synced record continues in a file of the same name") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  faults.set("fdatasync EIO -1 .spool\nfsync EIO -1 .spool.new\n");
  test_log log(dir.path(), frequent);
  CHECK(log.failure.find("cannot sync") == 0);  // not even an empty file can be created
  faults.set("fdatasync EIO 1 .spool\nfsync EIO 2 .spool.new\n");
  await([&] { return log.open() || log.failure.empty(); });
  log.append_until_stored("a");
  await([&] { return log->faults() == 1 && log->fault().empty(); });
  log.append_until_stored("b");
  CHECK(segments_in(dir.path()).size() == 1);
  CHECK(log.all() == records{{0, "a"}, {1, "b"}});
  REQUIRE(log.open());
  CHECK(log.all() == records{{0, "a"}, {1, "b"}});
  for (const auto& e : fs::directory_iterator(dir.path())) CHECK(e.path().extension() != ".new");
}

TEST_CASE("always: a failed append leaves no trace, and a retried record is stored once") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  test_log log(dir.path(), {.fsync = durability::always});
  REQUIRE(log.append("before").ok());
  faults.set("fdatasync EIO 10 .spool\nfsync EIO 1 .spool.new\n");
  CHECK(log.append_until_stored("retried") > 1);
  faults.clear();
  REQUIRE(log.append("after").ok());
  const records expected{{0, "before"}, {1, "retried"}, {2, "after"}};
  CHECK(log.all() == expected);
  REQUIRE(log.open());
  CHECK(log.all() == expected);
}

TEST_CASE("always: what could not be removed from a failed file does not count either") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  test_log log(dir.path(), {.fsync = durability::always});
  REQUIRE(log.append("before").ok());
  faults.set("fdatasync EIO 1 .spool\nftruncate EIO -1 .spool\n");
  CHECK(log.append_until_stored("retried, with a body of another length") > 1);
  REQUIRE(log.append("after").ok());
  const records expected{{0, "before"}, {1, "retried, with a body of another length"}, {2, "after"}};
  CHECK(log.all() == expected);
  REQUIRE(log.open());
  CHECK(log.all() == expected);
}

TEST_CASE("always: of threads that append while syncs fail, each record is stored once") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  test_log log(dir.path(), {.fsync = durability::always, .segment_bytes = 2048});
  faults.set("fdatasync EIO 5 .spool\npwritev EIO 3 .spool\n");
  std::multiset<std::string> expected;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 50; ++i) log.append_until_stored(std::to_string(t) + ":" + std::to_string(i));
      });
  }
  for (int t = 0; t < 4; ++t)
    for (int i = 0; i < 50; ++i) expected.insert(std::to_string(t) + ":" + std::to_string(i));
  CHECK(bodies_of(log.all()) == expected);
  CHECK(log->faults() == 8);
  REQUIRE(log.open());
  CHECK(bodies_of(log.all()) == expected);
}

TEST_CASE("short writes are completed, and a failed append leaves no trace in any mode") {
  for (const auto fsync : {durability::always, durability::interval, durability::never}) {
    const pl::testing::temp_dir dir;
    const pl::testing::disk_faults faults;
    test_log log(dir.path(), {.fsync = fsync, .interval = 1h});
    records expected;
    std::uint64_t n = 0;
    const auto store = [&](const std::string& body) {
      CAPTURE(body);
      log.append_until_stored(body);
      expected[n++] = body;
      REQUIRE(log.all() == expected);
    };
    store("first");
    for (const auto* rules : {"pwritev short 3 .spool\n", "pwritev short 1 .spool\npwritev ENOSPC 2 .spool\n",
                              "pwritev short 1 .spool\npwritev EIO 1 .spool\nftruncate EIO 2 .spool\n"}) {
      faults.set(rules);
      const std::vector<spool::log::parts> three{{"a", "1"}, {"", ""}, {"b", rules}};
      while (!log->append_all(three).ok()) std::this_thread::sleep_for(1ms);
      for (const auto& p : three) expected[n++] = std::string(p[0]) + std::string(p[1]);
      REQUIRE(log.all() == expected);
      faults.set(rules);
      store(std::string(100, 'x') + rules);
    }
    faults.clear();
    store("last");
    REQUIRE(log.open());
    CHECK(log.all() == expected);
    CHECK(log->lost() == 0);
  }
}

TEST_CASE("while every write fails, the spool does not accept records again between repairs") {
  for (const auto fsync : {durability::always, durability::interval, durability::never}) {
    const pl::testing::temp_dir dir;
    const pl::testing::disk_faults faults;
    test_log log(dir.path(), {.fsync = fsync, .interval = 10ms});
    records expected;
    // An unsynced record would be written again, and so be stored, after the first fault.
    if (fsync != durability::interval) REQUIRE(log.append(expected[0] = "before").ok());
    faults.set("pwritev EIO -1 .spool\n");
    for (int i = 0; i < 300; ++i) {
      CHECK_FALSE(log.append("refused").ok());
      std::this_thread::sleep_for(1ms);
    }
    CHECK(log->faults() < 20);  // the pauses double; without them, each attempt is a fault
    CHECK(log->fault().find("cannot write to") == 0);
    CHECK(log.reports_of("no record is acknowledged until") == 1);
    CHECK(log.reports_of("the spool stores records again") == 0);
    faults.clear();
    log.append_until_stored(expected[expected.size()] = "after");
    await([&] { return log.reports_of("the spool stores records again") == 1; });
    CHECK(log.all() == expected);
  }
}

TEST_CASE("large requests, which are written in portions, are appended completely or not at all") {
  const std::string small(1000, 's'), medium(60'000, 'm'), exact(64U << 10U, 'e'), large(200'000, 'l');
  std::vector<spool::log::parts> request(100, {"start", small});
  for (const auto& more : std::vector<spool::log::parts>{{medium, medium},
                                                         {"", exact},
                                                         {exact, ""},
                                                         {large, "1"},
                                                         {"2", large},
                                                         {large, large},
                                                         {"", ""},
                                                         {"3", medium}})
    request.push_back(more);
  for (const auto fsync : {durability::always, durability::interval, durability::never}) {
    const pl::testing::temp_dir dir;
    const pl::testing::disk_faults faults;
    test_log log(dir.path(), {.fsync = fsync, .interval = 5ms});
    records expected;
    std::uint64_t n = 0;
    // The first portion is written in many parts. Then a write of another portion fails, or the sync of all of them.
    for (const auto* rules : {"", "pwritev short 30 .spool\npwritev ENOSPC 1 .spool\n",
                              "pwritev short 30 .spool\npwritev EIO 1 .spool\n", "fdatasync EIO 1 .spool\n"}) {
      CAPTURE(rules);
      const auto before = log->faults();
      faults.set(rules);
      while (!log->append_all(request).ok()) std::this_thread::sleep_for(1ms);
      for (const auto& p : request) expected[n++] = std::string(p[0]) + std::string(p[1]);
      const bool fails = *rules != '\0' && (fsync != durability::never || rules[0] == 'p');
      if (fails) await([&] { return log->faults() == before + 1 && log->fault().empty() && !log->full(); });
      faults.clear();
      CHECK((log.all() == expected));
      REQUIRE(log.open());
      CHECK((log.all() == expected));
    }
    CHECK(log->lost() == 0);
  }
}

TEST_CASE("a full disk is back-pressure, and appending continues once there is space, without an append") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  test_log log(dir.path(), frequent);
  REQUIRE(log.append("a").ok());
  faults.set("pwritev ENOSPC -1 .spool\nwrite ENOSPC -1 .spool.new\n");
  CHECK_FALSE(log.append("b").ok());
  CHECK(log->full());
  CHECK(log->fault().empty());
  faults.clear();
  await([&] { return !log->full(); });
  REQUIRE(log.append("b").ok());
  CHECK(log.all() == records{{0, "a"}, {1, "b"}});
}

TEST_CASE("a file that cannot be opened is not repaired: opening fails, and works later") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  const spool::settings small{.segment_bytes = 4096};
  test_log log(dir.path(), small);
  for (int i = 0; i < 200; ++i) REQUIRE(log.append("a record of some length, number " + std::to_string(i)).ok());
  const auto everything = log.all();
  log->settle(5);
  log.close();
  const auto files = segments_in(dir.path());
  REQUIRE(files.size() > 1);
  const auto before = content_of(dir.path());
  for (const auto& name : {files.front().filename().string(), files.back().filename().string(), std::string("/id"),
                           std::string("/settled"), std::string("/expired"), std::string("/skipped")}) {
    for (const auto* error : {"EACCES", "EIO"}) {
      CAPTURE(name);
      faults.set("open " + std::string(error) + " -1 " + name + "\n");
      CHECK_FALSE(log.open());
      CHECK(log.failure.find("cannot read ") == 0);
      CHECK(log.failure.find(name) != std::string::npos);
    }
  }
  faults.clear();
  const auto after = content_of(dir.path());
  for (const auto& [path, bytes] : before) {
    if (path.filename() == "clock" || path.filename() == "settled") continue;
    CHECK(after.at(path) == bytes);
  }
  for (const auto& [path, bytes] : after) CHECK(path.extension() != ".damaged");
  REQUIRE(log.open());
  CHECK(log.all() == everything);
  CHECK(log->settled() == 5);

  // While it is read, too.
  REQUIRE(log.open());
  faults.set("open EACCES 2 " + files.front().filename().string() + "\n");
  const auto take = [](std::uint64_t, std::string_view) { return true; };
  for (int i = 0; i < 2; ++i) CHECK_FALSE(log->read(0, 10, take, [](spool::severity, std::string_view) {}).ok());
  CHECK(log.all() == everything);
  CHECK(log->lost() == 0);
}

TEST_CASE("a read error is retried; a file that stays unreadable is reported as lost") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  const spool::settings small{.segment_bytes = 4096};
  test_log log(dir.path(), small);
  for (int i = 0; i < 300; ++i) REQUIRE(log.append("a record of some length, number " + std::to_string(i)).ok());
  const auto files = segments_in(dir.path());
  const auto first = *spool::first_of(files[1]), next = *spool::first_of(files[2]);
  const auto take = [](std::uint64_t, std::string_view) { return true; };
  const auto quiet = [](spool::severity, std::string_view) {};
  faults.set("pread EIO 3 " + files[1].filename().string() + "\n");
  for (int i = 0; i < 3; ++i) CHECK_FALSE(log->read(first, 10, take, quiet).ok());
  CHECK(log.all().size() == 300);
  CHECK(log->lost() == 0);

  REQUIRE(log.open());
  faults.set("pread EIO -1 " + files[1].filename().string() + "\n");
  int failures = 0;
  while (!log->read(first, 10, take, quiet).ok()) ++failures;
  CHECK(failures == 4);
  CHECK(log->lost() == next - first);
  faults.clear();
  CHECK(log.all(next).size() == 300 - next);
}

TEST_CASE("records that a killed process left unsynced are written again if they cannot be synced") {
  for (const auto fsync : {durability::always, durability::interval}) {
    const pl::testing::temp_dir dir;
    const pl::testing::disk_faults faults;
    test_log log(dir.path(), {.fsync = durability::never});
    for (int i = 0; i < 10; ++i) REQUIRE(log.append(std::to_string(i)).ok());
    const auto everything = log.all();
    log.close();
    const auto file = segments_in(dir.path()).front();
    faults.set("fsync EIO 1 .spool\n");
    test_log again(dir.path(), {.fsync = fsync, .interval = 5ms});
    await([&] { return again->faults() == 1 && again->fault().empty(); });
    CHECK(again.reports_of("10 records that were not synced were written again") == 1);
    CHECK(again.all() == everything);
    again.append_until_stored("10");
    CHECK(again->end() == 11);
  }
}

TEST_CASE("closing does not wait for the interval, and syncs; a failure is returned") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  test_log log(dir.path(), {.fsync = durability::interval, .interval = 60s});
  REQUIRE(log.append("a").ok());
  faults.record();
  const auto begun = std::chrono::steady_clock::now();
  CHECK(log->close().ok());
  CHECK(std::chrono::steady_clock::now() - begun < 10s);
  const auto calls = faults.recorded();
  CHECK(std::ranges::any_of(calls, [](const auto& c) { return c.starts_with("fdatasync ") && c.ends_with(".spool"); }));
  CHECK_FALSE(log.append("b").ok());

  REQUIRE(log.open());
  REQUIRE(log.append("b").ok());
  faults.set("fdatasync EIO -1 .spool\nfsync EIO -1 .spool\n");
  const auto closed = log->close();
  REQUIRE_FALSE(closed.ok());
  CHECK(closed.why().message.find("records 1 to 1 were acknowledged and are not synced") != std::string::npos);
}

TEST_CASE("every rename follows a sync of the file and is followed by a sync of the folder") {
  const pl::testing::temp_dir state;
  const pl::testing::disk_faults faults;
  faults.record();
  const auto folder = spool::source_folder(state.path(), "p", "s") / "0";
  {
    test_log log(folder, {.segment_bytes = 1000, .max_age = 1h});
    REQUIRE(spool::set_plugin(folder, "mqtt_source").ok());
    for (int i = 0; i < 100; ++i) REQUIRE(log.append("a record of some length, number " + std::to_string(i)).ok());
    log->settle(100);
  }
  const auto calls = faults.recorded();
  std::set<std::string> renamed;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (!calls[i].starts_with("rename ")) continue;
    const auto path = calls[i].substr(7);
    renamed.insert(fs::path(path).filename());
    // Another thread of the log may make calls in between.
    const auto before =
        std::find(calls.begin(), calls.begin() + static_cast<std::ptrdiff_t>(i), "fsync " + path + ".new");
    CHECK_MESSAGE(before != calls.begin() + static_cast<std::ptrdiff_t>(i), path);
    const auto after = std::find(calls.begin() + static_cast<std::ptrdiff_t>(i), calls.end(),
                                 "fsync " + fs::path(path).parent_path().string());
    CHECK_MESSAGE(after != calls.end(), path);
  }
  for (const auto* name : {"id", "settled", "clock", "plugin"}) CHECK_MESSAGE(renamed.contains(name), name);
  CHECK(renamed.size() > 5);  // and the files of records
}

TEST_CASE("a position that cannot be stored deletes no file, and is reported") {
  const pl::testing::temp_dir dir;
  const pl::testing::disk_faults faults;
  test_log log(dir.path(), {.segment_bytes = 1000});
  for (int i = 0; i < 100; ++i) REQUIRE(log.append("a record of some length, number " + std::to_string(i)).ok());
  const auto files = segments_in(dir.path()).size();
  REQUIRE(files > 2);
  faults.set("rename EIO -1 /settled\n");
  log->settle(100);
  CHECK(segments_in(dir.path()).size() == files);
  CHECK(log.reports_of("records may be delivered again") == 1);
  faults.clear();
  log->settle(100);
  CHECK(segments_in(dir.path()).size() == 1);
  await([&] { return log.reports_of("can be written again") == 1; });
}
