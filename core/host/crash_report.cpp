// SPDX-License-Identifier: Apache-2.0
#include "host/crash_report.hpp"

#include "engine/signal_stack.hpp"
#include "host/arguments.hpp"
#include "host/emergency_line.hpp"
#include "host/loaded_modules.hpp"
#include "loader/plugin_frame.hpp"

#include <dlfcn.h>
#include <execinfo.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <span>

namespace pl::host {

namespace {

struct fatal_signal {
  int number;
  const char* name;
};
constexpr std::array<fatal_signal, 6> fatal_signals{{{SIGSEGV, "SIGSEGV (invalid memory access)"},
                                                     {SIGBUS, "SIGBUS (memory that cannot be read)"},
                                                     {SIGFPE, "SIGFPE (arithmetic error)"},
                                                     {SIGILL, "SIGILL (invalid instruction)"},
                                                     {SIGABRT, "SIGABRT (abort)"},
                                                     {SIGSYS, "SIGSYS (forbidden system call)"}}};

std::array<struct sigaction, fatal_signals.size()> actions_before;
std::atomic<pid_t> reporting_thread{0}, host_process{0};
std::atomic<bool> exit_expected{false};

pid_t this_thread() noexcept { return static_cast<pid_t>(::syscall(SYS_gettid)); }

// Return the address of the instruction that failed.
std::uint64_t failed_instruction(const void* context) noexcept {
  const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  return static_cast<std::uint64_t>(machine.gregs[REG_RIP]);
#elif defined(__aarch64__)
  return machine.pc;
#else
  return (void)machine, 0;
#endif
}

// Append the addresses of the call stack, each with its library and the offset in it, which addr2line accepts.
void append_stack(fixed_text& to, std::uint64_t begin) noexcept {
  std::array<void*, 64> frames{};
  const auto n = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  std::array<std::uint64_t, 65> addresses{};
  std::size_t used = 0;
  if (begin != 0) addresses[used++] = begin;
  bool below = begin == 0;  // skip the frames of the handler
  for (const auto* frame : std::span(frames).first(static_cast<std::size_t>(n > 0 ? n : 0))) {
    const auto at = reinterpret_cast<std::uint64_t>(frame);
    if (below) addresses[used++] = at;
    below = below || at == begin;
  }
  for (std::size_t i = 0; !below && i < static_cast<std::size_t>(n); ++i)
    addresses[used++] = reinterpret_cast<std::uint64_t>(frames[i]);
  append_modules(to, std::span(addresses).first(used));
}

// Begin a message with who did it: the plugin that this thread runs code of, or else the code at this address.
const loader::plugin_frame* append_culprit(fixed_text& to, std::uint64_t code) noexcept {
  const auto* call = loader::plugin_frame::innermost();
  if (call != nullptr) {
    to << "plugin " << call->of().plugin << " ";
  } else {
    append_module(to << "code of ", code);
    to << ", on a thread that is in no call of a plugin, ";
  }
  return call;
}

void print(const loader::plugin_frame* call, const fixed_text& message) noexcept {
  if (call != nullptr)
    emergency_line(call->of().pipeline, call->of().node, message.view());
  else
    emergency_line({}, {}, message.view());
}

void report_signal(const fatal_signal& what, const siginfo_t* info, const void* context) noexcept {
  const auto at = failed_instruction(context);
  fixed_text message;
  const auto* call = append_culprit(message, at);
  message << "crashed" << (call != nullptr ? " in " : "") << (call != nullptr ? call->function() : "") << ": "
          << what.name;
  if (what.number == SIGSEGV || what.number == SIGBUS)
    (message << " at address ").hex(reinterpret_cast<std::uint64_t>(info->si_addr));
  message << "; the process ends, and records in flight are read again after the next start; report it to the "
             "plugin's author with this call stack:";
  append_stack(message, at);
  print(call, message);
}

// Only one thread reports. A crash within the report ends the process at once.
void on_signal(int number, siginfo_t* info, void* context) noexcept {
  pid_t none = 0;
  const auto me = this_thread();
  const bool first = reporting_thread.compare_exchange_strong(none, me);
  if (!first && none != me)
    while (true) ::pause();
  for (std::size_t i = 0; i < fatal_signals.size(); ++i) {
    if (fatal_signals[i].number != number) continue;
    ::sigaction(number, &actions_before[i], nullptr);
    if (first) report_signal(fatal_signals[i], info, context);
  }
  // A fault repeats when the handler returns; a signal that was sent does not.
  if (info->si_code <= 0) ::raise(number);
}

void report_exit(int code, const void* caller) noexcept {
  fixed_text message;
  const auto* call = append_culprit(message, reinterpret_cast<std::uint64_t>(caller));
  message << "ended the process with exit code " << std::int64_t{code};
  if (call != nullptr) message << " in " << call->function();
  message << ", which a plugin must not do; records in flight are read again after the next start; report it to the "
             "plugin's author with this call stack:";
  append_stack(message, 0);
  print(call, message);
}

}  // namespace

void report_crashes() noexcept {
  static const engine::signal_stack stack;  // of the main thread
  std::array<void*, 1> warm_up{};
  (void)::backtrace(warm_up.data(), 1);  // loads what it needs now, not in a handler
  host_process = ::getpid();
  for (std::size_t i = 0; i < fatal_signals.size(); ++i) {
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    ::sigaction(fatal_signals[i].number, &action, &actions_before[i]);
  }
}

void expect_exit() noexcept { exit_expected = true; }

void end_process(int code) noexcept {
  while (true) ::syscall(SYS_exit_group, code);
}

// End the process for a caller outside of this program. A child process that a plugin has forked may end as it wants.
[[noreturn]] void end_for(int code, const void* caller) noexcept {
  if (exit_expected || ::getpid() != host_process) end_process(code);
  report_exit(code, caller);
  end_process(code == 0 ? static_cast<int>(exit_failed) : code);
}

}  // namespace pl::host

// These replace the functions of the C library for all libraries in the process, so that a plugin cannot end the host
// without a line. The C library itself, and so the end of `main`, does not use them.
extern "C" {
[[gnu::visibility("default")]] void _exit(int code) { pl::host::end_for(code, __builtin_return_address(0)); }
[[gnu::visibility("default")]] void _Exit(int code) noexcept { pl::host::end_for(code, __builtin_return_address(0)); }
[[gnu::visibility("default")]] void quick_exit(int code) noexcept {
  pl::host::end_for(code, __builtin_return_address(0));
}
[[gnu::visibility("default")]] void exit(int code) noexcept {
  if (!pl::host::exit_expected && ::getpid() == pl::host::host_process)
    pl::host::end_for(code, __builtin_return_address(0));
  // In a child process, or after main: as usual.
  using exit_function = void (*)(int);
  if (const auto next = reinterpret_cast<exit_function>(::dlsym(RTLD_NEXT, "exit"))) next(code);
  pl::host::end_process(code);
}
}
