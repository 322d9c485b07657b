// SPDX-License-Identifier: Apache-2.0
#include "engine/host_checks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace pl::engine::host_checks {

void violated(const void* caller, std::string rule) noexcept {
  if (auto* call = plugin_call::current())
    call->violated(std::move(rule));
  else
    violated_on_own_thread(caller, std::move(rule));
}

plugin_call* call_in(const void* caller, std::initializer_list<plugin_function> allowed, std::string_view what) {
  auto* call = plugin_call::current();
  if (call != nullptr && call->is_one_of(allowed)) return call;
  std::string names;
  for (const auto* f = allowed.begin(); f != allowed.end(); ++f)
    names += fmt::format("{}{}", names.empty() ? "" : f + 1 == allowed.end() ? " and " : ", ", name_of(*f));
  violated(caller, fmt::format("it called {}, which it may only call in {}{}", what, names,
                               call == nullptr ? ", on the thread of the call" : ""));
  return nullptr;
}

record_batch* existing(const void* caller, const pl_batch* b, std::string_view what) {
  if (auto* found = record_batch::find(b)) return found;
  violated(caller, b == nullptr
                       ? fmt::format("it called {} with a batch that is NULL", what)
                       : fmt::format("it called {} with a batch that does not exist: derive did not make it, or "
                                     "its last reference was released",
                                     what));
  return nullptr;
}

record_batch* readable(const void* caller, const pl_batch* b, std::string_view what) {
  auto* found = existing(caller, b, what);
  if (found == nullptr || found->lent()) return found;
  if (const auto* call = plugin_call::current(); call != nullptr && call->was_passed(*found)) return found;
  violated(caller, fmt::format("it called {} with a batch of which it holds no reference", what));
  return nullptr;
}

record_batch* writable(const void* caller, const pl_batch* b, std::string_view what) {
  auto* found = existing(caller, b, what);
  if (found == nullptr || (found->lent() && !found->checked())) return found;
  violated(caller,
           fmt::format("it called {} with a batch that it was passed or has handed over: it must not change", what));
  return nullptr;
}

bool valid(const void* caller, std::initializer_list<pl_str> texts, std::string_view what) {
  const auto* bad = std::ranges::find_if_not(texts, [](pl_str s) { return valid(s); });
  if (bad == texts.end()) return true;
  violated(caller, fmt::format("it passed {} bytes of text at NULL to {}", bad->n, what));
  return false;
}

}  // namespace pl::engine::host_checks
