// SPDX-License-Identifier: Apache-2.0
// The end of the process by a crash, or by a plugin that calls `exit`: one line that names the plugin, its node and the
// function, the addresses of the call stack, and an exit status that is not 0.
#pragma once

namespace pl::host {

// Report from now on. Call it once, on the main thread, before plugins are loaded.
void report_crashes() noexcept;

// From now on, `exit` is called by the program itself, at the end of `main`.
void expect_exit() noexcept;

// End the process at once, without running destructors.
[[noreturn]] void end_process(int code) noexcept;

}  // namespace pl::host
