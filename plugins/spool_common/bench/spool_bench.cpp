// SPDX-License-Identifier: Apache-2.0
// Measures appends per second for each durability and number of threads, compared with pwrite and fdatasync of the same
// bytes.
//
//   spool_bench [folder [bytes per record]]      creates and removes the folder; use a folder on the disk to measure
#include <fcntl.h>
#include <spool_common/spool.hpp>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

constexpr auto measured = 2s;

struct setting {
  const char* name;
  spool::durability fsync;
};

void show(const char* what, int threads, std::uint64_t appends, clock::duration took) {
  const auto seconds = std::chrono::duration<double>(took).count();
  std::printf("%-22s %d thread%s %12.0f per second  %9.1f us each\n", what, threads, threads == 1 ? " " : "s",
              static_cast<double>(appends) / seconds, seconds * threads * 1e6 / static_cast<double>(appends));
}

void measure_raw(const fs::path& folder, const std::string& record, bool sync) {
  fs::create_directories(folder);
  const auto path = folder / "raw";
  const pl::descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  constexpr off_t room = 16 << 20;
  if (!file || ::fallocate(file.get(), FALLOC_FL_KEEP_SIZE, 0, room) != 0) return std::perror(path.c_str());
  std::uint64_t n = 0;
  off_t at = 0;
  const auto begun = clock::now();
  for (; clock::now() - begun < measured;
       ++n, at = at + 2 * static_cast<off_t>(record.size()) < room ? at + static_cast<off_t>(record.size()) : 0)
    if (::pwrite(file.get(), record.data(), record.size(), at) < 0 || (sync && ::fdatasync(file.get()) != 0))
      return std::perror(path.c_str());
  show(sync ? "raw: pwrite, fdatasync" : "raw: pwrite", 1, n, clock::now() - begun);
}

// Settle records during the measurement, so that the disk does not fill up.
void measure_spool(const fs::path& folder, const std::string& record, const setting& with, int threads) {
  fs::remove_all(folder);
  auto made = spool::log::open({.folder = folder, .fsync = with.fsync}, [](spool::severity, std::string_view) {});
  if (!made.ok()) return void(std::fprintf(stderr, "%s\n", made.why().message.c_str()));
  auto& log = **made;
  std::atomic<std::uint64_t> appends = 0;
  std::atomic<bool> ended = false;
  const auto begun = clock::now();
  std::vector<std::jthread> writers;
  for (int t = 0; t < threads; ++t)
    writers.emplace_back([&] {
      const std::string_view parts[] = {record};
      while (!ended && log.append(parts).ok()) ++appends;
    });
  while (clock::now() - begun < measured) {
    std::this_thread::sleep_for(50ms);
    log.settle(log.end());
  }
  ended = true;
  const std::uint64_t n = appends;
  const auto took = clock::now() - begun;
  writers.clear();
  show(with.name, threads, n, took);
}

}  // namespace

int main(int argc, char** argv) {
  const fs::path folder = argc > 1 ? argv[1] : "spool-bench";
  const std::string record(argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 200, 'x');
  measure_raw(folder, record, false);
  measure_raw(folder, record, true);
  for (const auto& with : {setting{"never", spool::durability::never}, setting{"interval", spool::durability::interval},
                           setting{"always", spool::durability::always}})
    for (const int threads : {1, 8}) measure_spool(folder / "log", record, with, threads);
  fs::remove_all(folder);
}
