// SPDX-License-Identifier: Apache-2.0
#include "telemetry/process_metrics.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string_view>
#include <system_error>
#include <vector>

namespace pl::telemetry {
namespace {

struct definition {
  std::string_view name, kind, doc;
  std::optional<double> (*value)();
};

// Return the fields of /proc/self/stat from the third on: `state` is fields[0]. The second one may contain spaces.
std::vector<std::string> stat_fields() {
  std::ifstream in("/proc/self/stat");
  std::string text;
  std::getline(in, text);
  std::istringstream rest(text.substr(std::min(text.rfind(')'), text.size() - 1) + 1));
  return {std::istream_iterator<std::string>(rest), {}};
}

// number: as in proc(5), where the first field has the number 1.
std::optional<double> stat_field(std::size_t number) {
  const auto fields = stat_fields();
  if (number < 3 || fields.size() <= number - 3) return std::nullopt;
  return std::stod(fields[number - 3]);
}

std::optional<double> cpu_seconds() {
  timespec used{};
  if (::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) != 0) return std::nullopt;
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
}

std::optional<double> open_files() {
  std::error_code error;
  const std::filesystem::directory_iterator fds("/proc/self/fd", error);
  if (error) return std::nullopt;
  return static_cast<double>(std::distance(fds, {}) - 1);  // one of them lists the directory
}

std::optional<double> max_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return static_cast<double>(limit.rlim_cur);
}

std::optional<double> resident_bytes() {
  const auto pages = stat_field(24);
  if (!pages) return std::nullopt;
  return *pages * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

std::optional<double> boot_time() {
  std::ifstream in("/proc/stat");
  for (std::string word; in >> word;) {
    double seconds = 0;
    if (word == "btime" && in >> seconds) return seconds;
  }
  return std::nullopt;
}

std::optional<double> start_time() {
  static const std::optional<double> booted = boot_time();
  const auto ticks = stat_field(22);
  if (!booted || !ticks) return std::nullopt;
  return *booted + *ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

constexpr std::array definitions{
    definition{"process_cpu_seconds_total", "counter", "CPU time that the process used, in seconds", cpu_seconds},
    definition{"process_open_fds", "gauge", "Open file descriptors", open_files},
    definition{"process_max_fds", "gauge", "Maximum number of open file descriptors", max_open_files},
    definition{"process_virtual_memory_bytes", "gauge", "Virtual memory, in bytes", [] { return stat_field(23); }},
    definition{"process_resident_memory_bytes", "gauge", "Resident memory, in bytes", resident_bytes},
    definition{"process_start_time_seconds", "gauge", "Start time of the process, in seconds since 1970", start_time},
    definition{"process_threads", "gauge", "Threads of the process", [] { return stat_field(20); }},
};

}  // namespace

std::string process_metrics() {
  std::string text;
  for (const auto& d : definitions)
    if (const auto value = d.value())
      text += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n{0} {3:.15g}\n", d.name, d.doc, d.kind, *value);
  return text;
}

std::string process_metrics_markdown() {
  std::string table = "| metric | kind | meaning |\n|---|---|---|\n";
  for (const auto& d : definitions) table += fmt::format("| `{}` | {} | {} |\n", d.name, d.kind, d.doc);
  return table;
}

}  // namespace pl::telemetry
