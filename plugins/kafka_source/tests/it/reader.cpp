// SPDX-License-Identifier: Apache-2.0
// A process that reads with kafka_source like an at-least-once host: writes "stream position" of each record to a
// file, then settles. The tests against a real broker run it, kill it and count its records.
//
//   kafka_source_reader BROKERS GROUP STATE_DIRECTORY OUTPUT [option=value]... [properties.name=value]...
//
// OUTPUT.live gets what the source reports about arrivals: "end STREAM END BEFORE", "why REASON" (empty: records are
// received) and "arrival STREAM POSITION TIME CLAIMED"; times in ns. SIGUSR1 blocks the reader as a full sink would, and
// again lets it continue. SIGTERM stops the process cleanly. The exit status is 0, or the pl_status of the failure. The
// log goes to stderr.
#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>

namespace {

volatile std::sig_atomic_t stopping = 0, blocked = 0;

pl::testing::config_fields parse(int argc, char** argv) {
  pl::testing::config_fields options, properties;
  options.emplace_back("brokers", argv[1]);
  options.emplace_back("group", argv[2]);
  constexpr std::string_view prefix = "properties.";
  for (int i = 5; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const auto equals = argument.find('=');
    const std::string name(argument.substr(0, equals)), value(argument.substr(equals + 1));
    if (name.starts_with(prefix))
      properties.emplace_back(name.substr(prefix.size()), value);
    else
      options.emplace_back(name, value);
  }
  if (!properties.empty()) options.emplace_back("properties", pl::testing::object(properties));
  return options;
}

void print_log(void*, int level, pl_str message) {
  if (level >= PL_LOG_INFO) std::fprintf(stderr, "%d %.*s\n", level, static_cast<int>(message.n), message.p);
}

int failed(const char* doing, pl_status status, const pl::testing::fake_host& host) {
  std::fprintf(stderr, "%s: status %d: %s\n", doing, status, host.error_text().c_str());
  return status;
}

// Append in one write, so that a killed process leaves complete lines.
void append(int file, const std::string& lines) {
  if (write(file, lines.data(), lines.size()) != static_cast<ssize_t>(lines.size()))
    std::perror("write"), std::_Exit(1);
}

std::string place(pl::batch_view batch, pl::row_index row) {
  return std::string(batch.stream(row)) + " " + std::to_string(batch.position(row));
}

void append(int file, pl::batch_view batch) {
  std::string lines;
  for (const auto row : batch.selection()) lines += place(batch, row) + "\n";
  append(file, lines);
}

void append_arrivals(int file, pl::batch_view batch) {
  std::string lines;
  for (const auto row : batch.selection())
    if (const auto at = batch.arrival(row))
      lines += "arrival " + place(batch, row) + " " + std::to_string(at->time_since_epoch().count()) + " " +
               std::to_string(batch.raw()->arrival_claimed) + "\n";
  append(file, lines);
}

// Writes what the source has reported since the last call.
class live_reports {
 public:
  void append_to(int file, const pl::testing::fake_host& host) {
    const auto ends = host.observed_ends();
    for (; ends_ < ends.size(); ++ends_)
      append(file, "end " + ends[ends_].stream + " " + std::to_string(ends[ends_].end) + " " +
                       std::to_string(ends[ends_].before_ns) + "\n");
    const auto reasons = host.receptions();
    for (; reasons_ < reasons.size(); ++reasons_) append(file, "why " + reasons[reasons_] + "\n");
  }

 private:
  std::size_t ends_ = 0, reasons_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5)
    return std::fprintf(stderr, "usage: %s BROKERS GROUP STATE_DIRECTORY OUTPUT [option=value]...\n", argv[0]), 64;
  std::signal(SIGTERM, [](int) { stopping = 1; });
  std::signal(SIGUSR1, [](int) { blocked = !blocked; });
  pl::testing::fake_host host;
  host.raw().state_dir = pl::borrow(argv[3]);
  host.raw().log = print_log;
  const int file = open(argv[4], O_WRONLY | O_APPEND | O_CREAT, 0644);
  const int live = open((std::string(argv[4]) + ".live").c_str(), O_WRONLY | O_APPEND | O_CREAT, 0644);
  live_reports reports;
  pl::testing::instance source(host, *pl::testing::find_component(pl_plugin_v1, "kafka_source"), parse(argc, argv));
  if (const auto status = source.create(); status != PL_OK) return failed("create", status, host);
  if (const auto status = source.start(); status != PL_OK) return failed("start", status, host);
  while (stopping == 0) {
    pl::batch batch;
    const auto status = source.poll(batch, blocked != 0 ? 0 : 1000, 1 << 20, std::chrono::milliseconds(100));
    reports.append_to(live, host);
    if (status == PL_AGAIN) continue;
    if (status != PL_OK) return failed("poll", status, host);
    append(file, batch.get());
    append_arrivals(live, batch.get());
    for (const auto& range : batch.get().ranges()) {
      host.settled(std::string(pl::view(range.stream)), range.next);  // returned when the stream is revoked
      source.settle(pl::view(range.stream), range.first, range.next);
    }
  }
  return source.stop();
}
