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

outcome ledger::claim(std::string_view source, std::string_view stream, begin why, std::uint64_t proposed,
                      claimed_stream& out) {
  if (!seen_.contains(stream))
    if (auto looked = look(source, stream); !looked.ok()) return looked;
  const auto seen = std::move(seen_.extract(seen_.find(stream)).mapped());
  out = {};
  for (const auto& at : seen) out.epoch = std::max(out.epoch, at.epoch + 1);
  failpoint("claim.before");
  for (std::size_t i = 0; i < accounts_.size(); ++i) {
    const bool follow = why == begin::by_order || seen[i].epoch == 0;
    const pl_position wanted{follow ? proposed : seen[i].next, out.epoch};
    if (auto asked = accounts_[i].store->claim(source, stream, seen[i], wanted); !asked.ok()) {
      if (asked.code != PL_AGAIN) return asked;
      return {PL_RETRY, {{fmt::format("another host claimed {} at the same time", stream), {}}}};
    }
    out.next.push_back(wanted.next);
  }
  failpoint("claim.after");
  out.settled = *std::min_element(out.next.begin(), out.next.end());
  // What the source noted was settled at every branch: those that keep no positions need the rest once more.
  if (why == begin::by_progress) out.settled = std::min(out.settled, proposed);
  out.start = out.settled;
  return {};
}

outcome ledger::load(std::string_view source, std::string_view stream, const claimed_stream& claimed,
                     const entry& each) {
  const auto behind = std::min_element(claimed.next.begin(), claimed.next.end()) - claimed.next.begin();
  outcome refused;
  auto loaded = accounts_[static_cast<std::size_t>(behind)].store->load(
      source, stream, [&](std::string_view node, std::string_view key, std::string_view value) {
        if (refused.ok()) refused = each(node, key, value);
      });
  return refused.ok() ? loaded : refused;
}

}  // namespace pl::engine
