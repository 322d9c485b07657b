// SPDX-License-Identifier: Apache-2.0
// Which plugin a thread runs code of, and why. A signal handler reads this to name the plugin.
#pragma once

namespace pl::loader {

// A call into a plugin on this thread, from construction to destruction. Calls may nest: a source's `poll` may claim a
// stream in a sink. Plain C strings, which must outlive the frame, so that a signal handler can print them.
class plugin_frame {
 public:
  struct names {
    const char* plugin;
    const char* pipeline;  // empty: none
    const char* node;      // empty: none
  };

  plugin_frame(const names& of, const char* function) noexcept;
  ~plugin_frame();
  plugin_frame(const plugin_frame&) = delete;
  plugin_frame& operator=(const plugin_frame&) = delete;

  [[nodiscard]] const names& of() const noexcept { return of_; }
  [[nodiscard]] const char* function() const noexcept { return function_; }
  [[nodiscard]] const plugin_frame* outer() const noexcept { return outer_; }  // null: none

  // The innermost call on this thread; null: the thread is in no call. May be called by a signal handler.
  [[nodiscard]] static const plugin_frame* innermost() noexcept;

 private:
  names of_;
  const char* function_;
  const plugin_frame* outer_;
};

}  // namespace pl::loader
