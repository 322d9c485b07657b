// SPDX-License-Identifier: Apache-2.0
// The next write of a writer, which its sink may see while the current one is in progress ("next_write/1").
#include "engine/writer.hpp"

#include <utility>

namespace pl::engine {

writer::group writer::take() {
  const auto seen = std::exchange(peeked_, {}).size();
  is_ahead_ = false;
  if (!ahead_.empty()) {
    auto batches = queue_.load(std::exchange(ahead_, {}));  // what is lost by now is not written
    is_ahead_ = seen != 0 && batches.size() == seen;
    if (!batches.empty()) return batches;
    queue_.taken_is_done({});
  }
  discard_prepared();
  return queue_.take();
}

// Call the sink without batches, so that it discards what it prepared: the next write may be due a long time from now, and
// until then the sink would hold resources, such as locks, for nothing.
void writer::discard_prepared() {
  if (!std::exchange(prepared_, false)) return;
  was_peeked_ = looks_ahead_ = false;
  call_effects effects;
  const auto discarded = sink_->write({}, effects);
  if (!discarded.ok() && sink_->broken()) (void)fail({}, discarded.why().message);
}

// Take the next write while the current one is in progress. The sink must not see what is divided before it is written.
std::span<pl_batch* const> writer::next_write() {
  if (!looks_ahead_) return {};
  if (!ahead_.empty()) return peeked_;
  ahead_ = queue_.take_next();
  std::vector<pl_batch*> batches;
  std::uint64_t rows = 0, bytes = 0;
  for (const auto& g : ahead_) {
    rows += g.size.rows;
    bytes += g.size.write_bytes;
    for (const auto& b : g.batches) batches.push_back(b.get());
  }
  if (rows <= limits().rows && bytes <= limits().bytes) peeked_ = std::move(batches);
  prepared_ = !peeked_.empty();
  return peeked_;
}

void writer::put_back_next() {
  if (ahead_.empty()) return;
  queue_.put_back(std::exchange(ahead_, {}));
  peeked_.clear();
}

}  // namespace pl::engine
