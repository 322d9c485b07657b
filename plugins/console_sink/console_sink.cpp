// SPDX-License-Identifier: Apache-2.0
// console_sink writes rows to standard output or standard error: as a table for people, or as NDJSON for the next
// program in a shell pipeline.
#include "table.hpp"

#include <pipeline/json.hpp>
#include <pipeline/plugin.hpp>
#include <pipeline/text.hpp>

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <system_error>

namespace console {

enum class output_format { ndjson, text };
constexpr std::array<std::pair<std::string_view, output_format>, 2> choices(output_format) {
  return {{{"ndjson", output_format::ndjson}, {"text", output_format::text}}};
}
enum class color_policy { automatic, always, never };
constexpr std::array<std::pair<std::string_view, color_policy>, 3> choices(color_policy) {
  return {{{"auto", color_policy::automatic}, {"always", color_policy::always}, {"never", color_policy::never}}};
}
enum class output_stream { out, err };
constexpr std::array<std::pair<std::string_view, output_stream>, 2> choices(output_stream) {
  return {{{"stdout", output_stream::out}, {"stderr", output_stream::err}}};
}

struct options {
  output_format format = output_format::ndjson;
  color_policy color = color_policy::automatic;
  output_stream stream = output_stream::out;
  std::uint32_t max_width = 40;

  static pl::option_table<options> table() {
    return {pl::option(&options::format, "format",
                       "ndjson: one JSON object per line, for programs; text: a table with aligned columns."),
            pl::option(&options::color, "color", "Colors in the table. auto: on a terminal, unless NO_COLOR is set."),
            pl::option(&options::stream, "stream", "Where to write the rows. The host writes its log to stderr."),
            pl::option(&options::max_width, "max_width",
                       "Maximum width of a value in the table, in characters; longer values are truncated.")
                .range(4, 10'000)};
  }
};

namespace {

bool wants_color(color_policy policy, int fd) {
  if (policy != color_policy::automatic) return policy == color_policy::always;
  const char* no_color = std::getenv("NO_COLOR");
  return ::isatty(fd) == 1 && (no_color == nullptr || *no_color == '\0');
}

// sigpipe_blocker blocks SIGPIPE for this thread and this write, so that a closed pipe is an error and does not end the
// program. It does not change how the program handles SIGPIPE otherwise.
class sigpipe_blocker {
 public:
  sigpipe_blocker() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    if (!was_pending_) pthread_sigmask(SIG_BLOCK, &pipe_, &old_);
  }
  sigpipe_blocker(const sigpipe_blocker&) = delete;
  sigpipe_blocker& operator=(const sigpipe_blocker&) = delete;
  ~sigpipe_blocker() {
    if (was_pending_) return;
    const timespec now{};
    while (sigtimedwait(&pipe_, nullptr, &now) == -1 && errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &old_, nullptr);
  }

 private:
  sigset_t pipe_{}, old_{};
  bool was_pending_ = false;
};

// Write the whole text, even to a non-blocking descriptor. Return an errno.
int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const auto n = ::write(fd, text.data(), text.size());
    if (n > 0)
      text.remove_prefix(static_cast<std::size_t>(n));
    else if (errno == EAGAIN) {
      pollfd p{fd, POLLOUT, 0};
      ::poll(&p, 1, 1000);
    } else if (errno != EINTR)
      return errno;
  }
  return 0;
}

}  // namespace

class console_sink final : public pl::sink {
 public:
  using options = console::options;

  static pl::description describe() {
    return {.name = "console_sink",
            .doc =
                "Writes rows to standard output, as NDJSON or as a table.\n"
                "Use it to inspect a pipeline, or to pass rows to the next program of a shell pipe.",
            .example = "plugin: console_sink\nfrom: alerts\nformat: text\n"};
  }

  console_sink(options o, pl::context)
      : options_(o),
        file_(o.stream == output_stream::out ? stdout : stderr),
        table_(wants_color(o.color, ::fileno(file_)), o.max_width) {}

  pl::result<void> write(const pl::batch_list& batches) override {
    text_.clear();
    for (const auto b : batches) {
      if (options_.format == output_format::text) {
        table_.append(text_, b);
        continue;
      }
      for (const auto row : b.selection()) {
        line_.clear();
        pl::append_json_row(line_, b, row);
        pl::append_json_for_terminal(text_, line_);
        text_.push_back('\n');
      }
    }
    return text_.empty() ? pl::result<void>{} : print();
  }

 private:
  // Write the text under the lock of the stream, so that lines are not mixed with those of other writers or of the rest
  // of the program.
  pl::result<void> print() {
    const sigpipe_blocker held;
    ::flockfile(file_);
    ::fflush_unlocked(file_);
    const int error = write_all(::fileno(file_), text_);
    ::funlockfile(file_);
    if (error == 0) return {};
    const std::string name = options_.stream == output_stream::out ? "standard output" : "standard error";
    if (error == EPIPE)
      return pl::fatal(name +
                       " is closed: the program that read it has ended; rows that it did not read are not delivered");
    const auto text = "cannot write to " + name + ": " + std::generic_category().message(error);
    return error == EBADF ? pl::fatal(text + "; it is closed") : pl::retry(text);
  }

  const options options_;
  std::FILE* const file_;
  class table table_;
  std::string text_, line_;
};

}  // namespace console

PL_EXPORT("0.1.0", console::console_sink)
