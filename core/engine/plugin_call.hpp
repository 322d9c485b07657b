// SPDX-License-Identifier: Apache-2.0
// The call into a plugin that runs on this thread: what it may do, its effects, and the rule of the plugin interface that
// it violated, if it did. The functions of pl_host look it up, because some of them receive no context.
#pragma once

#include "engine/call_effects.hpp"
#include "engine/call_monitor.hpp"
#include "loader/plugin_frame.hpp"

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>

namespace pl::engine {

enum class plugin_function : std::uint32_t {
  create,
  check,
  start,
  stop,
  destroy,
  extension,
  ports,
  poll,
  settle,
  apply,
  tick,
  revoked,
  write,
  columns,
  position,
  claim,
  load,
  streams,
  restore,
  restored,
  snapshot,
  windows,
  select,
  reset_offsets,
  uses,
  rewritable,
  open_alerts,
  used
};
// Return the name in abi.h, which is a string literal.
[[nodiscard]] const char* name_of(plugin_function f) noexcept;

class plugin_call : public loader::plugin_frame {
 public:
  using batches = std::span<record_batch* const>;

  // nports: of the component, with its options. passed: the batches that the call receives.
  plugin_call(const names& of, std::uint32_t nports, call_clock& clock, plugin_function function, call_effects& effects,
              batches passed);
  ~plugin_call();

  // Null: this thread is in no call. The thread may then be one of the plugin's own.
  [[nodiscard]] static plugin_call* current() noexcept;

  [[nodiscard]] bool is_one_of(std::initializer_list<plugin_function> functions) const noexcept;
  [[nodiscard]] std::uint32_t nports() const noexcept { return nports_; }
  [[nodiscard]] call_effects& effects() const noexcept { return effects_; }
  [[nodiscard]] bool was_passed(const record_batch& b) const noexcept;

  // Keep the first violation, or memory that ran out: the call fails, whatever it returns.
  void violated(std::string rule) noexcept;
  void ran_out_of_memory() noexcept { out_of_memory_ = true; }
  [[nodiscard]] bool failed() const noexcept { return out_of_memory_ || !rule_.empty(); }
  // Return the sentence for the operator.
  [[nodiscard]] std::string failure() const;

 private:
  call_clock& clock_;
  const call_clock::call outer_clock_;
  const std::uint32_t nports_;
  const plugin_function id_;
  call_effects& effects_;
  const batches passed_;
  plugin_call* const outer_call_;
  std::string rule_;
  bool out_of_memory_ = false;
};

// "plugin x violates the plugin interface in poll: ..."
[[nodiscard]] std::string violation_sentence(std::string_view plugin, std::string_view function, std::string_view rule);

// A violation on a thread that is in no call from the host. `caller` is an address in the code that called the host. The
// next call of an instance whose code is in the same library returns the violation.
void violated_on_own_thread(const void* caller, std::string rule) noexcept;
[[nodiscard]] std::optional<std::string> take_own_thread_violation(const void* code_of_component);

}  // namespace pl::engine
