// SPDX-License-Identifier: Apache-2.0
#include "engine/ledger.hpp"

#include <pipeline/failpoint.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace pl::engine {

outcome ledger::look(std::string_view source, std::string_view stream) {
  std::vector<pl_position> found;
  for (const auto& a : accounts_) {
    pl_position at{};
    if (auto asked = a.store->position(source, stream, at); !asked.ok()) return asked;
    found.push_back(at);
  }
  seen_.insert_or_assign(std::string(stream), std::move(found));
  return {};
}

// Of the sinks that know the stream; PL_UNKNOWN: none does.
std::uint64_t ledger::lowest_next(const std::vector<pl_position>& seen) {
  std::uint64_t lowest = PL_UNKNOWN;
  for (const auto& at : seen)
    if (at.epoch != 0) lowest = std::min(lowest, at.next);
  return lowest;
}

outcome ledger::claim(std::string_view source, std::string_view stream, begin why, std::uint64_t proposed,
                      std::uint64_t held, bool marked, claimed_stream& out) {
  const bool announced = seen_.contains(stream);
  if (!announced)
    if (auto looked = look(source, stream); !looked.ok()) return looked;
  const auto seen = std::move(seen_.extract(seen_.find(stream)).mapped());
  // Its positions begin again (a topic that was created anew): a host that has slept through a claim must not say so.
  if (!announced && held != 0 && std::ranges::any_of(seen, [&](const auto& at) { return at.epoch != held; }))
    return {PL_FENCED, {{fmt::format("another host has claimed {} in the meantime", stream), {}}}};
  out = {};
  for (const auto& at : seen) out.epoch = std::max(out.epoch, at.epoch + 1);
  const auto lowest = lowest_next(seen);
  const bool first = lowest == PL_UNKNOWN, ordered = why == begin::by_order;
  const auto begins = ordered || first ? proposed : why == begin::by_progress ? std::min(lowest, proposed) : lowest;
  const auto marker = std::to_string(begins);
  failpoint("claim.before");
  for (std::size_t i = 0; i < accounts_.size(); ++i) {
    // A sink that was added later begins where the furthest behind of the others stands.
    const auto next = ordered || first ? proposed : seen[i].epoch == 0 ? lowest : seen[i].next;
    const std::uint32_t rule = !marked             ? PL_MARK_NOTHING
                               : ordered && !first ? PL_MARK_AGAIN
                               : first && i == 0   ? PL_MARK_FIRST
                                                   : PL_MARK_NOTHING;
    const pl_mark mark{rule, 0, borrow(seen_until_key), borrow(marker)};
    if (auto asked = accounts_[i].store->claim(source, stream, seen[i], {next, out.epoch}, mark); !asked.ok()) {
      if (asked.code != PL_AGAIN) return asked;
      return {PL_RETRY, {{fmt::format("another host claimed {} at the same time", stream), {}}}};
    }
    out.next.push_back(next);
  }
  failpoint("claim.after");
  out.settled = *std::min_element(out.next.begin(), out.next.end());
  // What the source noted was settled at every branch: those that keep no positions need the rest once more.
  if (why == begin::by_progress) out.settled = std::min(out.settled, proposed);
  out.start = out.settled;
  return {};
}

outcome ledger::load(std::string_view source, std::string_view stream, std::size_t account, const entry& each) {
  outcome refused;
  auto loaded = accounts_[account].store->load(
      source, stream, [&](std::string_view node, std::string_view key, std::string_view value) {
        if (refused.ok()) refused = each(node, key, value);
      });
  return refused.ok() ? loaded : refused;
}

}  // namespace pl::engine
