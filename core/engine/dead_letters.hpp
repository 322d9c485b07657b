// SPDX-License-Identifier: Apache-2.0
// Rejected rows as records of their own: reason, place, and the original bytes.
#pragma once

#include "engine/instance.hpp"

#include <string_view>
#include <vector>

namespace pl::engine {

// Takes what nodes reject to the dead letters' sink. Any thread.
class dead_letter_office {
 public:
  dead_letter_office(services common, block_pool& pool, std::string pipeline);

  // Batches that hold the rejected ones' roots, so that those settle once the dead letters are written. Columns: time,
  // pipeline, node, reason, stream, position, topic, key, value, headers; `record` (JSON) where there is no original.
  [[nodiscard]] std::vector<batch_ref> letters(const std::vector<rejection>& rejected, std::string_view node) const;

 private:
  services common_;
  block_pool& pool_;
  std::string pipeline_;
  const pl_schema* schema_;
};

}  // namespace pl::engine
