// SPDX-License-Identifier: Apache-2.0
#include "telemetry/log.hpp"

#include "telemetry/repeat_filter.hpp"
#include "telemetry/text.hpp"

#include <poll.h>
#include <spdlog/details/log_msg.h>
#include <spdlog/pattern_formatter.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <mutex>

namespace pl::telemetry {
namespace {

constexpr std::size_t max_message = std::size_t{16} * 1024;
constexpr std::string_view clear_line = "\r\x1b[2K";
constexpr std::array<std::string_view, 5> level_names{"trace", "debug", "info", "warn", "error"};
constexpr std::array<std::string_view, 5> level_colors{"\x1b[90m", "\x1b[36m", "\x1b[32m", "\x1b[33m", "\x1b[1;31m"};

std::size_t index_of(log_level level) noexcept {
  return static_cast<std::size_t>(to_log_level(static_cast<int>(level)));
}

bool is_set(const char* variable) noexcept {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

bool is_capable_terminal(int fd) noexcept {
  const char* term = std::getenv("TERM");
  return ::isatty(fd) == 1 && (term == nullptr || std::string_view(term) != "dumb");
}

bool use_color(const log_options& options) noexcept {
  if (options.color != color_mode::automatic) return options.color == color_mode::always;
  return is_capable_terminal(options.fd) && !is_set("NO_COLOR");
}

// The message type of the formatters below: spdlog's message with our fields. They receive no other type.
struct entry : spdlog::details::log_msg {
  explicit entry(const log_message& message) : fields(message) { time = spdlog::log_clock::now(); }
  log_message fields;
};

// Formats the line after the time. spdlog's pattern formatter writes the time and computes the calendar once a second.
class text_body final : public spdlog::custom_flag_formatter {
 public:
  explicit text_body(bool color) : color_(color) {}
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    const auto& fields = static_cast<const entry&>(message).fields;
    std::string line = level_text(fields.level);
    if (!fields.pipeline.empty() || !fields.node.empty()) append_source(line, fields);
    append_indented(line, fields.text);
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<text_body>(color_); }

 private:
  std::string level_text(log_level level) const {
    const std::size_t i = index_of(level);
    if (!color_) return fmt::format("{:<5} ", level_names[i]);
    return fmt::format("{}{:<5}\x1b[0m ", level_colors[i], level_names[i]);
  }
  static void append_source(std::string& line, const log_message& fields) {
    append_printable(line, fields.pipeline);
    if (!fields.pipeline.empty() && !fields.node.empty()) line += '/';
    append_printable(line, fields.node);
    line += ": ";
  }
  // Indent continuation lines, so that a message cannot imitate another log line.
  static void append_indented(std::string& line, std::string_view text) {
    for (std::size_t end = text.find('\n'); end != text.npos; end = text.find('\n')) {
      append_printable(line, text.substr(0, end));
      line += "\n    ";
      text.remove_prefix(end + 1);
    }
    append_printable(line, text);
  }

  bool color_;
};

class json_body final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    const auto& fields = static_cast<const entry&>(message).fields;
    std::string line;
    append_field(line, "level", level_names[index_of(fields.level)]);
    if (!fields.pipeline.empty()) append_field(line, "pipeline", fields.pipeline);
    if (!fields.node.empty()) append_field(line, "node", fields.node);
    append_field(line, "message", fields.text);
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<json_body>(); }

 private:
  static void append_field(std::string& line, std::string_view name, std::string_view value) {
    line += ",\"";
    line += name;
    line += "\":";
    append_json_string(line, value);
  }
};

std::unique_ptr<spdlog::pattern_formatter> make_formatter(const log_options& options) {
  const bool json = options.format == log_format::json;
  auto formatter = std::make_unique<spdlog::pattern_formatter>(
      json ? spdlog::pattern_time_type::utc : spdlog::pattern_time_type::local, "\n");
  if (json) {
    formatter->add_flag<json_body>('*');
    formatter->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ"%*})");
  } else {
    formatter->add_flag<text_body>('*', use_color(options));
    formatter->set_pattern("%H:%M:%S.%e %*");
  }
  return formatter;
}

// Wait up to 100 ms for a full non-blocking terminal or pipe. After that, the rest of the line is lost.
bool can_write_soon(int fd) noexcept {
  pollfd waiting{fd, POLLOUT, 0};
  return ::poll(&waiting, 1, 100) == 1 && (waiting.revents & POLLOUT) != 0;
}

void write_all(int fd, std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!can_write_soon(fd)) return;
    } else if (errno != EINTR) {
      return;
    }
  }
}

}  // namespace

std::string_view to_string(log_level level) noexcept { return level_names[index_of(level)]; }

std::optional<log_level> parse_log_level(std::string_view text) noexcept {
  const auto found = std::find(level_names.begin(), level_names.end(), text);
  if (found == level_names.end()) return std::nullopt;
  return static_cast<log_level>(found - level_names.begin());
}

std::optional<log_format> parse_log_format(std::string_view text) noexcept {
  if (text == "text") return log_format::text;
  if (text == "json") return log_format::json;
  return std::nullopt;
}

log_level to_log_level(int abi_level) noexcept {
  return static_cast<log_level>(std::clamp<int>(abi_level, PL_LOG_TRACE, PL_LOG_ERROR));
}

class logger::state {
 public:
  explicit state(const log_options& options)
      : level(options.level),
        fd_(options.fd),
        interactive_(options.format == log_format::text && is_capable_terminal(options.fd)),
        formatter_(make_formatter(options)),
        filter_(options) {}

  ~state() {
    try {
      write_notes(filter_.rest());
      show_status({});
    } catch (...) {  // out of memory
    }
  }

  void log(const log_message& message) {
    const auto now = repeat_filter::clock::now();
    const std::lock_guard lock(mutex_);
    write_due(now);
    if (filter_.admit(message, now)) write_line(message);
  }

  void tick() {
    const std::lock_guard lock(mutex_);
    write_due(repeat_filter::clock::now());
  }

  void status_line(std::string_view line) {
    const std::lock_guard lock(mutex_);
    show_status(line);
  }

  bool interactive() const noexcept { return interactive_; }
  std::size_t columns() const noexcept {
    winsize size{};
    return ::ioctl(fd_, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  }

  std::atomic<log_level> level;

 private:
  void write_due(repeat_filter::clock::time_point now) {
    if (filter_.anything_due(now)) write_notes(filter_.due(now));
  }

  void write_notes(const std::vector<repeat_filter::note>& notes) {
    for (const auto& note : notes) write_line({note.level, note.pipeline, note.node, note.text});
  }

  // One write per line, so that lines of several processes on one pipe do not mix and the status line does not flicker.
  void write_line(const log_message& message) {
    spdlog::memory_buf_t buffer;
    if (!status_.empty()) buffer.append(clear_line.data(), clear_line.data() + clear_line.size());
    formatter_->format(entry(message), buffer);
    buffer.append(status_.data(), status_.data() + status_.size());
    write_all(fd_, {buffer.data(), buffer.size()});
  }

  void show_status(std::string_view line) {
    if (!interactive_ || (line.empty() && status_.empty())) return;
    status_.clear();
    append_printable(status_, line);
    std::replace(status_.begin(), status_.end(), '\n', ' ');
    write_all(fd_, std::string(clear_line) + status_);
  }

  const int fd_;
  const bool interactive_;
  std::mutex mutex_;  // guards all members below, and the order of writes
  const std::unique_ptr<spdlog::pattern_formatter> formatter_;
  repeat_filter filter_;
  std::string status_;
};

logger::logger(const log_options& options) : state_(std::make_unique<state>(options)) {}

logger::~logger() = default;

bool logger::log_on(log_level level) const noexcept { return level >= state_->level.load(std::memory_order_relaxed); }

void logger::set_level(log_level level) noexcept { state_->level.store(level, std::memory_order_relaxed); }

// The functions below ignore exceptions: if memory is exhausted, the message is lost and the program continues.

void logger::log(log_level level, std::string_view pipeline, std::string_view node, std::string_view message) noexcept {
  if (!log_on(level)) return;
  try {
    state_->log({level, pipeline, node, cut_bytes(message, max_message)});
  } catch (...) {
  }
}

void logger::report(log_level level, std::string_view pipeline, std::string_view node,
                    std::string_view message) noexcept {
  if (!log_on(level)) return;
  try {
    state_->log({level, pipeline, node, cut_bytes(message, max_message), true});
  } catch (...) {
  }
}

void logger::tick() noexcept {
  try {
    state_->tick();
  } catch (...) {
  }
}

void logger::status_line(std::string_view line) noexcept {
  try {
    state_->status_line(line);
  } catch (...) {
  }
}

bool logger::interactive() const noexcept { return state_->interactive(); }
std::size_t logger::columns() const noexcept { return state_->columns(); }

}  // namespace pl::telemetry
