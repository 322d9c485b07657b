// SPDX-License-Identifier: Apache-2.0
// Who we are in the consumer group: a name that is the same after a restart and unique among the living.
#pragma once

#include <pipeline/context.hpp>
#include <pipeline/result.hpp>

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace kafka {

// A numbered place that one live process holds, by the lock on a file. The lowest free number is taken, so a restarted
// process finds its own again; the kernel frees the lock of a killed one. The file stays: to remove it would let two
// processes lock two files of one name.
class instance_slot {
 public:
  // Locks <directory>/<stem>.slot-<n>.lock (with a lane: <stem>.slot-<n>.<lane>.lock).
  static pl::result<instance_slot> take(const std::filesystem::path& directory, const std::string& stem,
                                        const std::string& lane);
  instance_slot(instance_slot&& other) noexcept;
  instance_slot& operator=(instance_slot&&) = delete;
  instance_slot(const instance_slot&) = delete;
  instance_slot& operator=(const instance_slot&) = delete;
  ~instance_slot();

  [[nodiscard]] unsigned number() const noexcept { return number_; }

 private:
  instance_slot(int lock, unsigned number) noexcept : lock_(lock), number_(number) {}
  int lock_;
  unsigned number_;
};

// The membership of one lane. Static where it has an id (group.instance.id): a restart takes its partitions back at
// once.
struct membership {
  std::string id;                     // empty: dynamic
  std::optional<instance_slot> slot;  // held as long as the id is used
};

// `instance` is the option: "auto", "dynamic" or a name.
[[nodiscard]] membership join_as(std::string_view instance, const pl::context& ctx, std::string_view host_name,
                                 std::span<const std::string> topics);

// Why `name` can't be an instance's name; empty: it can.
[[nodiscard]] std::string instance_name_fault(std::string_view name);

// Docker names a container by 12 random hexadecimal digits: another name after each restart.
[[nodiscard]] bool looks_random(std::string_view host_name);
[[nodiscard]] std::string this_host();

}  // namespace kafka
