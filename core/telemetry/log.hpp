// SPDX-License-Identifier: Apache-2.0
//
// The program's log: text for people, JSON (one object a line) for machines, on stderr.
//
//   pl::telemetry::logger log({.level = log_level::debug});
//   log.info("iot", "store", "connected to {}", host);
//
// Ownership: main makes one logger and passes it by reference; it outlives whoever logs.
// Threads:   every function may be called from any thread.
// Errors:    none are reported. A line that can't be written is lost: there is nobody left to tell. Nothing throws but
//            the formatting of an argument of one's own type.
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
log_level to_log_level(int abi_level) noexcept;  // for what a plugin says; out of range: the nearest

struct log_options {
  log_level level = log_level::info;
  log_format format = log_format::text;
  color_mode color = color_mode::automatic;
  int fd = 2;  // where lines go; not owned

  // A message that was just logged (same level, pipeline, node and text) is held back and counted; this much later one
  // line tells how often it came, and the pause doubles, up to eight times. 0: nothing is held back.
  std::chrono::milliseconds repeat_pause{10'000};

  // Beyond this many messages at once, and as many as `rate` a second in the long run, those of one node at one level
  // are dropped and counted: messages that differ (by an offset, say) can't fill the disk either. 0: no limit.
  std::uint32_t burst = 500;
  double rate = 50;
};
// Neither limit touches trace and debug: who asks for those wants them all.

class logger {
 public:
  explicit logger(const log_options& options = {});
  ~logger();  // tells what was held back, takes the status line away
  logger(const logger&) = delete;
  logger& operator=(const logger&) = delete;

  bool log_on(log_level level) const noexcept;  // ask before formatting something costly
  void set_level(log_level level) noexcept;

  // pipeline and node may be empty: the host's own messages. Any bytes will do: what isn't UTF-8 becomes U+FFFD,
  // control characters are escaped, what goes on beyond 16 KiB is cut.
  void log(log_level level, std::string_view pipeline, std::string_view node, std::string_view message) noexcept;

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

  // Writes the counts of held-back messages that are due. Logging does so too; call it about every second, so that they
  // come when nothing else is logged any more (progress.hpp's reporter does).
  void tick() noexcept;

  // Text on a terminal: a status line is possible. (Not with TERM=dumb.)
  bool interactive() const noexcept;
  std::size_t columns() const noexcept;  // of the terminal, now; 80 where there is none
  // One line below the log, which log lines move down; replaces the one before. Empty: no more. Does nothing unless
  // interactive. The caller keeps it shorter than columns().
  void status_line(std::string_view line) noexcept;

 private:
  class state;
  std::unique_ptr<state> state_;
};

}  // namespace pl::telemetry
