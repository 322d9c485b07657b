// SPDX-License-Identifier: Apache-2.0
// The option `spool` of the sources that use a spool.
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
                   "When messages are synced to the disk. always: before they are acknowledged to the sender, so that "
                   "a power cut loses none; interval: within fsync_interval; never: when the operating system writes "
                   "them. If the host is killed, no message is lost with any of these."),
        pl::option(&options::fsync_interval, "fsync_interval", "With fsync: interval, the maximum time between syncs.")
            .range(0.001, 60),
        pl::option(&options::max_bytes, "max_bytes",
                   "Maximum size of the messages that are not settled. At the limit the source accepts no new messages "
                   "until there is room again. Messages in flight at that moment are still stored.")
            .range(1 << 20, 1ULL << 50U),
        pl::option(
            &options::max_age, "max_age",
            "Maximum age of messages that no sink has. Use this when old messages have no value. Older messages are "
            "dropped, logged as LOST and counted, in whole files of 1 to 16 MiB, when the newest message of a file is "
            "that old. 0: no limit.")
            .range(0)
            .example("24h")};
  }
};

}  // namespace spool
