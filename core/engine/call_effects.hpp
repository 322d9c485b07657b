// SPDX-License-Identifier: Apache-2.0
// What one call into a component emitted, rejected, released and changed. The host applies these effects once the call
// has returned its status. The effects are plain data; only the thread of the call uses them.
#pragma once

#include "engine/record_batch.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace pl::engine {

struct emission {
  std::uint32_t port;
  batch_ref data;
};
struct rejection {
  batch_ref of;
  std::uint32_t row;
  std::string why;
};

// A change of a transform's state.
struct state_change {
  std::string node, stream, key, value;
  bool erase;
  bool until_delivered = false;  // erased once everything that was read or emitted so far is delivered
};
// A batch that a transform made in `tick`, and the stream that it belongs to.
struct timer_batch {
  record_batch* batch;
  std::string stream;
};

struct call_effects {
  std::vector<emission> emitted;
  std::vector<rejection> rejected;
  std::vector<batch_ref> released;
  std::vector<state_change> changes;
  std::vector<timer_batch> timer_batches;

  // Discard the effects of a call that failed. Released batches that do not derive from one of `inputs` are marked
  // undelivered; the inputs are passed to the component again.
  void discard(std::span<record_batch* const> inputs);
};

}  // namespace pl::engine
