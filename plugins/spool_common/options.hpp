// SPDX-License-Identifier: Apache-2.0
// The option `spool` of the sources that stand on one.
#pragma once

#include <pipeline/plugin.hpp>

#include <spool_common/spool.hpp>

#include <array>
#include <chrono>
#include <string_view>
#include <utility>

namespace spool {

constexpr std::array<std::pair<std::string_view, durability>, 3> choices(durability) {
  return {{{"always", durability::always}, {"interval", durability::interval}, {"never", durability::never}}};
}

struct options {
  durability fsync = durability::interval;
  std::chrono::nanoseconds fsync_interval = std::chrono::milliseconds(100);
  pl::byte_size max_bytes{1ULL << 30U};
  std::chrono::nanoseconds max_age{0};

  static pl::option_table<options> table() {
    return {
        pl::option(&options::fsync, "fsync",
                   "When a message is on the disk. always: before its sender hears that it has arrived, so that not "
                   "even a power cut loses it; interval: within fsync_interval; never: when the system likes. A host "
                   "that is killed loses nothing under any of these."),
        pl::option(&options::fsync_interval, "fsync_interval", "How long a power cut may reach back.").range(0.001, 60),
        pl::option(&options::max_bytes, "max_bytes",
                   "Room for messages that no sink has yet. When it is used up the source takes no more until there "
                   "is room again. What is on its way then still finds room.")
            .range(1 << 20, 1e15),
        pl::option(
            &options::max_age, "max_age",
            "What has waited for longer and no sink has taken is dropped, told as LOST and counted: for whom old "
            "messages are worth nothing. Whole files go, of 1 to 16 MiB, when their newest message is that old. "
            "0: nothing is dropped.")
            .range(0)
            .example("24h")};
  }
};

}  // namespace spool
