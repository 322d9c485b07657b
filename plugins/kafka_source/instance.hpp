// SPDX-License-Identifier: Apache-2.0
// The instance name of this host in the consumer group: the same after a restart and unique among live hosts.
#pragma once

#include <pipeline/context.hpp>
#include <pipeline/posix.hpp>
#include <pipeline/result.hpp>

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace kafka {

// A numbered slot that one live process holds by locking a file. A process takes the lowest free number, so a
// restarted process finds its slot again; the kernel releases the lock of a killed process. The file is never removed:
// otherwise two processes could lock two files of the same name.
class instance_slot {
 public:
  // Lock <directory>/<stem>.slot-<n>.lock (with a lane: <stem>.slot-<n>.<lane>.lock).
  static pl::result<instance_slot> take(const std::filesystem::path& directory, const std::string& stem,
                                        const std::string& lane);
  [[nodiscard]] unsigned number() const noexcept { return number_; }

 private:
  instance_slot(pl::descriptor lock, unsigned number) noexcept : lock_(std::move(lock)), number_(number) {}
  pl::descriptor lock_;
  unsigned number_;
};

// The group membership of one lane. It is static if it has an id (group.instance.id): after a restart the lane gets
// its partitions back at once.
struct membership {
  std::string id;                     // empty: dynamic
  std::optional<instance_slot> slot;  // held for as long as the id is used
};

// Return the membership for the value of the option `instance`: "auto", "dynamic" or a name.
[[nodiscard]] membership join_as(std::string_view instance, const pl::context& ctx, std::string_view host_name,
                                 std::span<const std::string> topics);

// Return why `name` is not a valid instance name; empty if it is valid.
[[nodiscard]] std::string instance_name_fault(std::string_view name);

// Return whether the name looks like a container id: Docker uses 12 random hexadecimal digits, which change at
// restart.
[[nodiscard]] bool looks_random(std::string_view host_name);
[[nodiscard]] std::string this_host();

}  // namespace kafka
