// SPDX-License-Identifier: Apache-2.0
// Which parts of a pipeline the test cases reach: nodes, outputs (ports, routes) and alert rules.
#pragma once

#include "config/pipeline.hpp"
#include "engine/pipeline.hpp"
#include "host/cases/case_run.hpp"

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace pl::host {

class coverage {
 public:
  coverage(const config::pipeline& p, const std::vector<engine::node_outputs>& outputs);
  void add(const case_rows& made);

  [[nodiscard]] std::size_t parts() const noexcept { return reached_.size(); }
  // Return the parts that no case reached: "sink store", "output split.cold", "rule alerts/silent".
  [[nodiscard]] std::vector<std::string> not_reached() const;

 private:
  void reach(const std::string& part);
  [[nodiscard]] static std::vector<std::string> rules_of(const config::node& n);

  std::vector<std::string> order_;
  std::map<std::string, bool> reached_;
  // Of each node, the outputs that it reads, as "node.port", or the name of a source.
  std::map<std::string, std::vector<std::string>> inputs_;
  std::map<std::string, std::string> names_;  // of the parts of transforms, by node
  std::vector<std::string> alerting_;
};

}  // namespace pl::host
