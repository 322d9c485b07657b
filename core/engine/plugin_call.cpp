// SPDX-License-Identifier: Apache-2.0
#include "engine/plugin_call.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <utility>
#include <vector>

namespace pl::engine {

namespace {

constexpr std::array<const char*, 28> function_names{
    "create",   "check",  "start",         "stop",    "destroy",    "extension",   "ports",
    "poll",     "settle", "apply",         "tick",    "revoked",    "write",       "columns",
    "position", "claim",  "load",          "streams", "restore",    "restored",    "snapshot",
    "windows",  "select", "reset_offsets", "uses",    "rewritable", "open_alerts", "used"};

constinit thread_local plugin_call* innermost_call = nullptr;

// Violations on threads of plugins, each with the load address of the library. The release of a batch has no context,
// so there is no instance to keep them in.
struct own_thread_violation {
  const void* library;
  std::string rule;
};
std::atomic<bool> any_violation{false};
std::mutex violations_mutex;
std::vector<own_thread_violation> violations;

const void* library_of(const void* code) noexcept {
  Dl_info found{};
  return ::dladdr(code, &found) != 0 ? found.dli_fbase : nullptr;
}

}  // namespace

const char* name_of(plugin_function f) noexcept { return function_names[static_cast<std::size_t>(f)]; }

plugin_call::plugin_call(const names& of, std::uint32_t nports, call_clock& clock, plugin_function function,
                         call_effects& effects, batches passed)
    : plugin_frame(of, name_of(function)),
      clock_(clock),
      outer_clock_(clock.begin(name_of(function))),
      nports_(nports),
      id_(function),
      effects_(effects),
      passed_(passed),
      outer_call_(std::exchange(innermost_call, this)) {}

plugin_call::~plugin_call() {
  innermost_call = outer_call_;
  clock_.resume(outer_clock_);
}

plugin_call* plugin_call::current() noexcept { return innermost_call; }

bool plugin_call::is_one_of(std::initializer_list<plugin_function> functions) const noexcept {
  return std::ranges::find(functions, id_) != functions.end();
}

bool plugin_call::was_passed(const record_batch& b) const noexcept {
  return std::ranges::find(passed_, &b) != passed_.end();
}

void plugin_call::violated(std::string rule) noexcept {
  if (rule_.empty()) rule_ = std::move(rule);
}

std::string plugin_call::failure() const {
  if (rule_.empty()) return "out of memory";
  return violation_sentence(of().plugin, function(), rule_);
}

std::string violation_sentence(std::string_view plugin, std::string_view function, std::string_view rule) {
  return fmt::format(
      "plugin {} violates the plugin interface in {}: {}; nothing of this call was used: report it to the plugin's "
      "author",
      plugin, function, rule);
}

void violated_on_own_thread(const void* caller, std::string rule) noexcept {
  try {
    std::scoped_lock lock(violations_mutex);
    violations.push_back({library_of(caller), std::move(rule)});
    any_violation = true;
  } catch (const std::exception&) {  // no memory: the plugin was prevented from doing harm, only the report is missing
  }
}

std::optional<std::string> take_own_thread_violation(const void* code_of_component) {
  if (!any_violation.load(std::memory_order_relaxed)) return std::nullopt;
  const auto* library = library_of(code_of_component);
  std::scoped_lock lock(violations_mutex);
  const auto at = std::ranges::find(violations, library, &own_thread_violation::library);
  if (at == violations.end()) return std::nullopt;
  auto rule = std::move(at->rule);
  violations.erase(at);
  any_violation = !violations.empty();
  return rule;
}

}  // namespace pl::engine
