// SPDX-License-Identifier: Apache-2.0
// What the functions of pl_host check before they do anything: the call in which a plugin may call them, and what it
// passes. A violation is reported to the call, or to the library that called the host.
#pragma once

#include "engine/plugin_call.hpp"
#include "engine/record_batch.hpp"

#include <exception>
#include <initializer_list>
#include <string>
#include <string_view>

namespace pl::engine::host_checks {

// The address in the plugin that a host function returns to, for violations on a thread of the plugin's own.
[[gnu::always_inline]] inline const void* caller() noexcept { return __builtin_return_address(0); }

// Report a violation to the call that runs on this thread, or else to the library that called the host.
void violated(const void* caller, std::string rule) noexcept;

// Run the body of a host function. The caller may be C code, so no exception may leave it. The host's code throws only if
// memory is exhausted.
template <class T, class F>
T guarded(T otherwise, F&& body) noexcept {
  try {
    return body();
  } catch (const std::exception&) {
    if (auto* call = plugin_call::current()) call->ran_out_of_memory();
    return otherwise;
  }
}
template <class F>
void guarded(F&& body) noexcept {
  (void)guarded(0, [&] {
    body();
    return 0;
  });
}

// Return the current call if it is one of these; otherwise report the violation. Null: the call has no effect.
plugin_call* call_in(const void* caller, std::initializer_list<plugin_function> allowed, std::string_view what);

// Return the batch; null: the plugin passed an address that is not one of a batch.
record_batch* existing(const void* caller, const pl_batch* b, std::string_view what);
// Like `existing`, for a batch that the plugin holds or was passed in this call.
record_batch* readable(const void* caller, const pl_batch* b, std::string_view what);
// Like `existing`, for a batch that the plugin has derived and not handed over.
record_batch* writable(const void* caller, const pl_batch* b, std::string_view what);

inline bool valid(pl_str s) noexcept { return s.n == 0 || s.p != nullptr; }
// Return whether texts are valid; otherwise report the violation.
bool valid(const void* caller, std::initializer_list<pl_str> texts, std::string_view what);

}  // namespace pl::engine::host_checks
