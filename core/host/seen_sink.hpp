// SPDX-License-Identifier: Apache-2.0
// A sink that notes of which records rows reach a pipeline's sinks. It is linked into the program and not for
// configurations.
#pragma once

#include <pipeline/abi.h>
#include <pipeline/result.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pl::host {

constexpr std::string_view seen_sink_name = "seen_sink";
const pl_plugin& seen_sink_plugin();

// The records of which rows arrived.
class seen_records {
 public:
  // Read what a seen_sink wrote. The file may be missing: no row arrived.
  static result<seen_records> read(const std::filesystem::path& file);
  [[nodiscard]] bool contains(const std::string& stream, std::uint64_t position) const;

 private:
  struct records {
    std::set<std::uint64_t> positions;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;  // of batches whose rows have no positions
  };
  std::map<std::string, records> streams_;
};

}  // namespace pl::host
