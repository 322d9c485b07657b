// SPDX-License-Identifier: Apache-2.0
// Runs one test case: the real transforms in the real engine, with the sources and sinks replaced and the clock simulated.
#pragma once

#include "config/pipeline.hpp"
#include "engine/pipeline.hpp"
#include "host/cases/captured_row.hpp"
#include "host/cases/input.hpp"
#include "host/session.hpp"
#include "host/signals.hpp"

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace pl::host {

// What a case made.
struct case_rows {
  std::set<std::string> sources;                                          // that received records
  std::map<std::string, std::vector<captured_row>, std::less<>> sinks;    // by name
  std::map<std::string, std::vector<captured_row>, std::less<>> outputs;  // of transforms; by "node.port"
  std::vector<captured_row> alerts, dead_letters;
  std::string failure;   // why the pipeline stopped by itself; empty: it did not
  bool stopped = false;  // by a signal
};

class case_runner {
 public:
  // outputs: of the configured pipeline. work: a folder for files.
  case_runner(config::pipeline settings, std::vector<engine::node_outputs> outputs, std::filesystem::path work,
              session& s, signals& incoming);

  // Each source has its own instances of transforms: run the pipeline once for each source that receives records. Report
  // errors of the build.
  case_rows run(const case_input& input, config::diagnostics& problems);

 private:
  struct captured_file {
    std::string output;  // "node.port" or the name of a sink
    bool of_transform = false, alerts = false;
    std::filesystem::path path;
  };

  config::pipeline prepared(const std::string& source, std::vector<captured_file>& files) const;
  void run(const std::string& source, std::int64_t now, case_rows& to, config::diagnostics& problems);
  void collect(const std::vector<captured_file>& files, case_rows& to) const;

  const config::pipeline settings_;
  const std::vector<engine::node_outputs> outputs_;
  const std::filesystem::path work_;
  session& session_;
  signals& incoming_;
};

}  // namespace pl::host
