// SPDX-License-Identifier: Apache-2.0
// Which calls into plugins run, and for how long, so that a call that does not return is reported. A call cannot be
// interrupted.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace pl::engine {

// The calls of one instance. Its owner's thread begins and ends calls; any thread reads.
class call_clock {
 public:
  call_clock(std::string pipeline, std::string node, std::string plugin)
      : pipeline_(std::move(pipeline)), node_(std::move(node)), plugin_(std::move(plugin)) {}

  // function: a string literal. Return the call that was running, which `resume` continues.
  struct call {
    const char* function = nullptr;
    std::int64_t began_ns = 0;
  };
  call begin(const char* function) noexcept;
  void resume(const call& outer) noexcept;
  [[nodiscard]] call running() const noexcept;

  [[nodiscard]] const std::string& pipeline() const noexcept { return pipeline_; }
  [[nodiscard]] const std::string& node() const noexcept { return node_; }
  [[nodiscard]] const std::string& plugin() const noexcept { return plugin_; }

 private:
  const std::string pipeline_, node_, plugin_;
  std::atomic<const char*> function_{nullptr};
  std::atomic<std::int64_t> began_ns_{0};
};

struct running_call {
  std::string pipeline, node, plugin, function;
  std::int64_t began_ns;  // with the names, it identifies the call
  std::chrono::nanoseconds length;
};
// "the call of write in plugin timescale_sink has not returned for 75 s"
std::string to_string(const running_call& call);

// Thread-safe.
class call_monitor {
 public:
  void watch(const std::shared_ptr<call_clock>& calls);
  void set_limit(const std::string& pipeline, std::chrono::nanoseconds limit);
  // Return the calls that have run longer than the limit of their pipeline.
  [[nodiscard]] std::vector<running_call> overdue() const;
  // Return the calls that have run longer than `least`, whatever the limit is.
  [[nodiscard]] std::vector<running_call> longer_than(std::chrono::nanoseconds least) const;

  // A plugin violated the rules of the interface in a call whose result nobody uses (destroy).
  void count_violation() noexcept { ++violations_; }
  [[nodiscard]] std::uint64_t violations() const noexcept { return violations_; }

 private:
  template <class Limit>
  [[nodiscard]] std::vector<running_call> find(Limit&& limit_of) const;

  static constexpr std::chrono::nanoseconds default_limit = std::chrono::minutes(1);

  mutable std::mutex mutex_;
  std::map<std::string, std::chrono::nanoseconds, std::less<>> limits_;  // by pipeline
  mutable std::vector<std::weak_ptr<call_clock>> all_;  // entries whose instance is gone are removed later
  std::atomic<std::uint64_t> violations_{0};
};

}  // namespace pl::engine
