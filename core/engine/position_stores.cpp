// SPDX-License-Identifier: Apache-2.0
#include "engine/position_stores.hpp"

#include "engine/sink_node.hpp"

#include <pipeline/failpoint.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace pl::engine {

namespace {

// Return the lowest of the stores' positions of a stream; PL_UNKNOWN if no store has one.
std::uint64_t lowest_next(const std::vector<pl_position>& seen) {
  std::uint64_t lowest = PL_UNKNOWN;
  for (const auto& at : seen)
    if (at.epoch != 0) lowest = std::min(lowest, at.next);
  return lowest;
}

}  // namespace

std::optional<std::size_t> position_stores::index_of(const sink_node& sink) const {
  const auto at = std::ranges::find_if(stores_, [&](const auto& s) { return s.sink.get() == &sink; });
  if (at == stores_.end()) return std::nullopt;
  return static_cast<std::size_t>(at - stores_.begin());
}

// Also true for a changed sink that has taken over what its predecessor could not write. It writes under the present
// claims, and is fenced if its positions are others. Claiming anew would mean to read nothing until the queue is written.
bool position_stores::same_sinks(const position_stores& other) const {
  return std::equal(stores_.begin(), stores_.end(), other.stores_.begin(), other.stores_.end(),
                    [](const auto& before, const auto& now) {
                      return before.sink == now.sink ||
                             (before.sink->name() == now.sink->name() && now.sink->unwritten().groups != 0);
                    });
}

result<std::vector<pl_position>> position_stores::positions(std::string_view source, std::string_view stream) {
  std::vector<pl_position> found;
  for (const auto& s : stores_) {
    const auto at = s.store->position(source, stream);
    if (!at.ok()) return at.why();
    found.push_back(*at);
  }
  return found;
}

result<void> position_stores::look(std::string_view source, std::string_view stream) {
  auto found = positions(source, stream);
  if (!found.ok()) return found.why();
  seen_.insert_or_assign(std::string(stream), std::move(*found));
  return {};
}

result<void> position_stores::adopt(std::string_view source, std::string_view stream,
                                    const std::vector<pl_position>& from) {
  const auto seen = positions(source, stream);
  if (!seen.ok()) return seen.why();
  for (std::size_t i = 0; i < stores_.size() && i < from.size(); ++i) {
    const auto& has = (*seen)[i];
    if (from[i].epoch == 0 || (has.epoch != 0 && has.next >= from[i].next)) continue;
    const pl_position wanted{from[i].next, std::max(has.epoch, from[i].epoch) + 1};
    if (auto claimed = claim_in(i, source, stream, has, wanted, {}); !claimed.ok()) return claimed;
  }
  return {};
}

result<stream_claim> position_stores::claim(std::string_view source, std::string_view stream,
                                            const claim_request& request) {
  const bool announced = seen_.contains(stream);
  if (!announced)
    if (auto looked = look(source, stream); !looked.ok()) return looked.why();
  const auto seen = std::move(seen_.extract(seen_.find(stream)).mapped());
  // Without `look` the positions restart (a topic was recreated). Only the host that still holds the claim may report
  // this.
  if (!announced && request.held_epoch != 0 &&
      std::ranges::any_of(seen, [&](const auto& at) { return at.epoch != request.held_epoch; }))
    return fenced(fmt::format("another host has claimed {} in the meantime", stream));
  stream_claim out;
  for (const auto& at : seen) out.epoch = std::max(out.epoch, at.epoch + 1);
  const auto proposed = request.proposed;
  const auto lowest = lowest_next(seen);
  const bool first = lowest == PL_UNKNOWN, reset = request.why == start_reason::reset;
  const bool progress = request.why == start_reason::committed;
  const auto value = std::to_string(reset || first ? proposed : progress ? std::min(lowest, proposed) : lowest);
  failpoint("claim.before");
  for (std::size_t i = 0; i < stores_.size(); ++i) {
    // A sink that was added later begins at the position of the sink that is furthest behind.
    const auto next = reset || first ? proposed : seen[i].epoch == 0 ? lowest : seen[i].next;
    const std::uint32_t rule = !request.marks_start                ? PL_WATERMARK_NONE
                               : reset && !first                   ? PL_WATERMARK_UPDATE
                               : first && i == request.state_store ? PL_WATERMARK_INSERT
                                                                   : PL_WATERMARK_NONE;
    const pl_state_watermark watermark{rule, 0, borrow(state_watermark_key), borrow(value)};
    if (auto claimed = claim_in(i, source, stream, seen[i], {next, out.epoch}, watermark); !claimed.ok())
      return claimed.why();
    out.next.push_back(next);
  }
  failpoint("claim.after");
  out.settled = *std::min_element(out.next.begin(), out.next.end());
  // Every branch has settled the records below the committed position. Sinks without positions receive all later
  // records again.
  if (progress) out.settled = std::min(out.settled, proposed);
  out.start = out.settled;
  return out;
}

result<void> position_stores::claim_in(std::size_t store, std::string_view source, std::string_view stream,
                                       pl_position seen, pl_position wanted, const pl_state_watermark& watermark) {
  auto claimed = stores_[store].store->claim(source, stream, seen, wanted, watermark);
  if (claimed.ok() || claimed.why().code != status::again) return claimed;
  return retry(fmt::format("another host claimed {} at the same time", stream));
}

result<void> position_stores::load(std::string_view source, std::string_view stream, std::size_t store,
                                   const entry& each) {
  result<void> refused;
  auto loaded = stores_[store].store->load(source, stream,
                                           [&](std::string_view node, std::string_view key, std::string_view value) {
                                             if (refused.ok()) refused = each(node, key, value);
                                           });
  return refused.ok() ? loaded : refused;
}

}  // namespace pl::engine
