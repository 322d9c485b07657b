// SPDX-License-Identifier: Apache-2.0
// Decides what `dead-letters retry` does with each selected dead letter: a row that a sink refused goes to that sink
// again, a record that a transform refused goes through that transform again. Main thread.
#pragma once

#include "config/pipeline.hpp"
#include "host/dead_letter.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl::host {

// What enters the pipeline again.
enum class retried : std::uint8_t {
  record,  // the original record, in place of the source, and only through the node that refused it
  row      // the refused row, at the node that refused it
};

// One record or row, and all its dead letters.
struct retry_item {
  std::string stream;
  std::optional<std::uint64_t> position;
  std::string identity;            // of a row; its copies have the same one
  std::string content;             // of a row: a digest of its original record
  std::vector<std::string> lines;  // of the dead-letter files; the first one is retried
  std::string whole;               // the first line with the record that was read again; empty: the line is complete
};

// Items that are retried in one run of the pipeline.
struct retry_group {
  retried what = retried::record;
  std::string node;      // where the items enter, or which node they must pass
  bool at_sink = false;  // the node is a sink
  std::vector<retry_item> items;

  [[nodiscard]] std::uint64_t letters() const;
};

struct retry_plan {
  std::vector<retry_group> groups;
  std::uint64_t without_original = 0;
  std::uint64_t collapsed = 0;  // records whose originals are not stored
  std::map<std::string, std::uint64_t> of_unknown_nodes;
};

// Collects the dead letters. p: the configured pipeline; it must outlive the planner.
class retry_planner {
 public:
  // node: as given with --node. sinks: as given with --sink; all must exist.
  retry_planner(const config::pipeline& p, std::string node, std::vector<std::string> sinks)
      : p_(p), node_(std::move(node)), sinks_(std::move(sinks)) {}

  // whole: the dead letter's line with its original record, if the line itself lacks a part of it.
  void add(const dead_letter& l, std::string_view line, std::string_view whole = {});
  [[nodiscard]] retry_plan finish();

 private:
  using group_key = std::pair<std::string, retried>;

  [[nodiscard]] std::string target_of(const dead_letter& l) const;
  [[nodiscard]] bool is_sink(const std::string& name) const;
  void place(group_key where, std::string key, retry_item item, std::string_view line);
  void merge_downstream();

  const config::pipeline& p_;
  const std::string node_;
  const std::vector<std::string> sinks_;
  std::map<group_key, std::map<std::string, retry_item>> items_;  // by place or row, and content
  std::uint64_t nameless_ = 0;
  retry_plan plan_;
};

// Substitute stream for dead letters without a stream or position.
constexpr std::string_view nameless_stream = "dead-letters";

}  // namespace pl::host
