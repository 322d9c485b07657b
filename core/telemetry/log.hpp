// SPDX-License-Identifier: Apache-2.0
//
// The program's log on stderr: text for people, or JSON (one object per line) for programs.
//
//   pl::telemetry::logger log({.level = log_level::debug});
//   log.info("iot", "store", "connected to {}", host);
//
// Ownership: main creates one logger and passes it by reference. The logger must outlive all its users.
// Threads:   every function may be called from any thread.
// Errors:    not reported. A line that cannot be written is lost. Only the formatting of an argument of a user-defined
//            type may throw.
#pragma once

#include <pipeline/abi.h>

#include <fmt/core.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace pl::telemetry {

enum class log_level : int {
  trace = PL_LOG_TRACE,
  debug = PL_LOG_DEBUG,
  info = PL_LOG_INFO,
  warn = PL_LOG_WARN,
  error = PL_LOG_ERROR
};
enum class log_format { text, json };
enum class color_mode { automatic, always, never };  // automatic: a terminal, and NO_COLOR is unset

std::string_view to_string(log_level level) noexcept;
std::optional<log_level> parse_log_level(std::string_view text) noexcept;  // "trace" "debug" "info" "warn" "error"
std::optional<log_format> parse_log_format(std::string_view text) noexcept;
log_level to_log_level(int abi_level) noexcept;  // converts a plugin's level; out of range: the nearest level

struct log_options {
  log_level level = log_level::info;
  log_format format = log_format::text;
  color_mode color = color_mode::automatic;
  int fd = 2;  // file descriptor of the log; not owned

  // Repeats of a message (same level, pipeline, node and text) are suppressed and counted during this pause. Then one
  // line reports the count, and the pause doubles, up to eight times the first. 0: nothing is suppressed.
  std::chrono::milliseconds repeat_pause{10'000};

  // Messages of one node at one level are dropped and counted above this burst and, on average, `rate` per second. The
  // limit covers messages that differ (for example, by an offset), so that they cannot fill the disk. 0: no limit.
  std::uint32_t burst = 500;
  double rate = 50;
};
// Neither limit applies to trace and debug, and to the results of an operator's actions (logger::report).

class logger {
 public:
  explicit logger(const log_options& options = {});
  ~logger();  // logs the counts of suppressed messages, and removes the status line
  logger(const logger&) = delete;
  logger& operator=(const logger&) = delete;

  bool log_on(log_level level) const noexcept;  // check before costly formatting
  void set_level(log_level level) noexcept;

  // `pipeline` and `node` are empty for the host's own messages. `message` may be any bytes: invalid UTF-8 is replaced
  // by U+FFFD, control characters are escaped, and the text is cut at 16 KiB.
  void log(log_level level, std::string_view pipeline, std::string_view node, std::string_view message) noexcept;

  // Log the result of an operator's action (a signal, a reload). It is never suppressed as a repetition and never dropped.
  void report(log_level level, std::string_view pipeline, std::string_view node, std::string_view message) noexcept;

  template <class... Args>
  void log_fmt(log_level level, std::string_view pipeline, std::string_view node, fmt::format_string<Args...> format,
               Args&&... args) {
    if (log_on(level)) log(level, pipeline, node, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void debug(std::string_view pipeline, std::string_view node, fmt::format_string<Args...> format, Args&&... args) {
    log_fmt(log_level::debug, pipeline, node, format, std::forward<Args>(args)...);
  }
  template <class... Args>
  void info(std::string_view pipeline, std::string_view node, fmt::format_string<Args...> format, Args&&... args) {
    log_fmt(log_level::info, pipeline, node, format, std::forward<Args>(args)...);
  }
  template <class... Args>
  void warn(std::string_view pipeline, std::string_view node, fmt::format_string<Args...> format, Args&&... args) {
    log_fmt(log_level::warn, pipeline, node, format, std::forward<Args>(args)...);
  }
  template <class... Args>
  void error(std::string_view pipeline, std::string_view node, fmt::format_string<Args...> format, Args&&... args) {
    log_fmt(log_level::error, pipeline, node, format, std::forward<Args>(args)...);
  }

  // Write the counts of suppressed messages that are due. Logging also writes them; call tick about every second
  // (progress_reporter does), so that they are written even if nothing else is logged.
  void tick() noexcept;

  // Return whether a status line is possible: text format on a terminal, and not TERM=dumb.
  bool interactive() const noexcept;
  std::size_t columns() const noexcept;  // current width of the terminal; 80 without a terminal
  // Show a line below the log. It replaces the previous status line and stays below new log lines. Empty: remove it.
  // Does nothing unless interactive. The line must be shorter than columns().
  void status_line(std::string_view line) noexcept;

 private:
  class state;
  std::unique_ptr<state> state_;
};

}  // namespace pl::telemetry
