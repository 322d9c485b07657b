// SPDX-License-Identifier: Apache-2.0
#include "engine/call_effects.hpp"

#include <algorithm>

namespace pl::engine {

void call_effects::discard(std::span<record_batch* const> inputs) {
  for (const auto& b : released) {
    const auto& root = b->root();
    if (std::none_of(inputs.begin(), inputs.end(), [&](auto* in) { return &in->root() == &root; }))
      b->mark_undelivered();
  }
  emitted.clear();
  rejected.clear();
  changes.clear();
  timer_batches.clear();
}

}  // namespace pl::engine
